"""The names of the settings that concern request forgery, what they are unless set, and names that are none."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from ..errors import SettingError

#: Flask-WTF's names, then ours. None for the methods: all but the safe ones.
DEFAULTS: Final[dict[str, Any]] = {
    "WTF_CSRF_ENABLED": True,
    "WTF_CSRF_CHECK_DEFAULT": True,
    "WTF_CSRF_METHODS": None,
    "WTF_CSRF_FIELD_NAME": "csrf_token",
    "WTF_CSRF_HEADERS": ["X-CSRFToken", "X-CSRF-Token"],
    "WTF_CSRF_META_NAME": "csrf-token",
    "WTF_CSRF_SECRET_KEY": None,
    "WTF_CSRF_SSL_STRICT": False,
    "WTF_CSRF_TIME_LIMIT": None,
    "CSRF_COOKIE": None,
    "CSRF_REQUIRE_TOKEN": False,
    "CSRF_TRUSTED_ORIGINS": (),
}
#: Flask-SeaSurf's names, and one that cookies have got since. They count where its class is used.
SEASURF_DEFAULTS: Final[dict[str, Any]] = {
    "CSRF_COOKIE_NAME": "_csrf_token",
    "CSRF_COOKIE_TIMEOUT": timedelta(days=5),
    "CSRF_COOKIE_SECURE": False,
    "CSRF_COOKIE_HTTPONLY": False,
    "CSRF_COOKIE_PATH": "/",
    "CSRF_COOKIE_DOMAIN": None,
    "CSRF_COOKIE_SAMESITE": "Lax",
    "CSRF_COOKIE_PARTITIONED": False,
    "CSRF_HEADER_NAME": "X-CSRFToken",
    "CSRF_CHECK_REFERER": True,
    "CSRF_DISABLE": False,
    "SEASURF_INCLUDE_OR_EXEMPT_VIEWS": "exempt",
}
#: Flask-WTF's names that begin like these and concern something else.
_OTHERS: Final = ("WTF_I18N_ENABLED",)

#: How the names begin, letters swapped or doubled included. Other extensions have names with CSRF in them
#: (JWT_CSRF_METHODS), which are none of ours.
_BEGINS: Final = re.compile(r"(?:W[TF]{2,3}|C[SRF]{3,4}|SEA?SURF)_", re.ASCII).match
#: How alike two names are that are taken for one and its misspelling; see difflib.
_ALIKE: Final = 0.85


def check_spelling(given: Iterable[Any]) -> None:
    """Raise :class:`SettingError` for a setting that is none, and whose name is nearly that of one."""
    known = [*DEFAULTS, *SEASURF_DEFAULTS, *_OTHERS]
    for name in given:
        if isinstance(name, str) and _BEGINS(name) and name not in known:
            close = difflib.get_close_matches(name, known, 1, _ALIKE)
            if close:
                raise SettingError(name, f"is no setting of Flask-Cloakroom. Is {close[0]} meant?")
