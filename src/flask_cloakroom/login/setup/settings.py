"""The login settings in ``app.config``, read and checked.

They are checked at start, and again when a setting changes: with Flask-Login, applications and tests may change some
settings after the start.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from ...cookies import MAX_AGE_LIMIT, Cookie, Finder, read_cookie
from ...errors import SettingError
from ...settings import Reader
from ..remember.tokens import LONGEST_TOKEN

if TYPE_CHECKING:
    from flask import Flask

log = logging.getLogger("flask_cloakroom.login")

#: The value for a setting that the application has not set. None is not used, because it is a valid value of settings.
UNSET: Final = object()

#: The defaults of the settings. Settings of Flask-Login have Flask-Login's defaults.
DEFAULTS: Final[dict[str, Any]] = {
    "AUTH_HEADER_NAME": "Authorization",
    "FORCE_HOST_FOR_REDIRECTS": None,
    "LOGIN_DISABLED": False,
    "LOGOUT_CLEAR_SITE_DATA": ("cache", "storage"),
    "REMEMBER_COOKIE_NAME": "remember_token",
    "REMEMBER_COOKIE_DURATION": timedelta(days=365),
    "REMEMBER_COOKIE_DOMAIN": None,
    "REMEMBER_COOKIE_PATH": None,
    "REMEMBER_COOKIE_SECURE": False,
    "REMEMBER_COOKIE_HTTPONLY": True,
    "REMEMBER_COOKIE_SAMESITE": None,
    "REMEMBER_COOKIE_PARTITIONED": False,
    "REMEMBER_COOKIE_REFRESH_EACH_REQUEST": False,
    "REMEMBER_COOKIE_ACCEPT_LEGACY": False,
    "SESSION_PROTECTION": UNSET,
    "USE_SESSION_FOR_NEXT": False,
}
#: Attributes that the remember cookie copies from the session cookie if REMEMBER_COOKIE_… does not set them. If only
#: the session cookie were secure, a listener in the network could read the remember cookie and log in with it.
_DEFAULTS_FROM_SESSION: Final = ("SECURE", "SAMESITE", "PARTITIONED")
_NAMES: Final = (
    *DEFAULTS,
    *(f"SESSION_COOKIE_{part}" for part in ("PATH", *_DEFAULTS_FROM_SESSION)),
    "APPLICATION_ROOT",
)
#: The values of the header Clear-Site-Data (W3C, section 3.1), and values that browsers added.
_CLEARABLE: Final = (
    "cache",
    "cookies",
    "storage",
    "executionContexts",
    "clientHints",
    "prefetchCache",
    "prerenderCache",
    "*",
)

_HOST: Final = re.compile(r"[A-Za-z0-9.\-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?").fullmatch
#: The characters of a remember token. A cookie with other characters is ignored.
_TOKEN_PATTERN: Final = rf"[A-Za-z0-9_.\-]{{1,{LONGEST_TOKEN}}}"

_CACHE: Final = "flask_cloakroom.login settings"


@dataclass(frozen=True, slots=True)
class LoginSettings:
    """The login settings of one application, checked."""

    cookie: Cookie
    #: Lists the values in a request's Cookie header that look like remember tokens, in the browser's order.
    find_tokens: Finder
    #: The lifetime of a remember token, in seconds.
    remember_for: int
    refresh_each_request: bool
    #: Whether remember cookies of Flask-Login are accepted.
    accept_legacy: bool
    disabled: bool
    #: "basic", "strong" or None. UNSET means that the manager's attribute ``session_protection`` is used.
    protection: Any
    next_in_session: bool
    forced_host: str | None
    #: The value of the header Clear-Site-Data at a logout, or None for no header.
    clear_site_data: str | None
    auth_header: str

    def for_kind(self, kind: str) -> LoginSettings:
        """Return these settings with the remember cookie of the user kind with the name ``kind``."""
        cookie = replace(self.cookie, name=f"{self.cookie.name}_{kind}")
        # A cookie of Flask-Login names no user kind. The cookie of the customer 7 would log in the operator 7.
        return replace(self, cookie=cookie, find_tokens=cookie.finder(_TOKEN_PATTERN), accept_legacy=False)

    @classmethod
    def read(cls, app: Flask) -> LoginSettings:
        """Return the application's settings. Raises :class:`SettingError` for the first wrong setting."""
        read = Reader({**DEFAULTS, **app.config})
        missing = [part for part in _DEFAULTS_FROM_SESSION if app.config.get(f"REMEMBER_COOKIE_{part}") is None]
        read = read.with_overrides(
            {f"REMEMBER_COOKIE_{part}": app.config.get(f"SESSION_COOKIE_{part}", False) for part in missing}
        )
        cookie = read_cookie(read, "REMEMBER")
        if cookie.name == read["SESSION_COOKIE_NAME"]:
            raise SettingError("REMEMBER_COOKIE_NAME", "is the name of the session cookie. Use another name")
        protection = read["SESSION_PROTECTION"]
        return cls(
            cookie=cookie,
            find_tokens=cookie.finder(_TOKEN_PATTERN),
            remember_for=min(read.seconds("REMEMBER_COOKIE_DURATION", at_least=1), MAX_AGE_LIMIT),
            refresh_each_request=read.boolean("REMEMBER_COOKIE_REFRESH_EACH_REQUEST"),
            accept_legacy=read.boolean("REMEMBER_COOKIE_ACCEPT_LEGACY"),
            disabled=read.boolean("LOGIN_DISABLED"),
            protection=protection if protection is UNSET else checked_protection(protection),
            next_in_session=read.boolean("USE_SESSION_FOR_NEXT"),
            forced_host=_read_host(read),
            clear_site_data=_read_clear_site_data(read),
            auth_header=read.text("AUTH_HEADER_NAME"),
        )


def settings_of(app: Flask) -> LoginSettings:
    """Return the application's settings, which are read again if a value has changed. Raises :class:`SettingError`."""
    get = app.config.get
    values = [get(name, UNSET) for name in _NAMES]
    cached: tuple[list[Any], LoginSettings] | None = app.extensions.get(_CACHE)
    if cached is not None and cached[0] == values:
        return cached[1]
    settings = LoginSettings.read(app)
    if settings.disabled and not (app.debug or app.testing):
        log.warning("LOGIN_DISABLED is on: login_required lets everybody in. Use it only in tests")
    app.extensions[_CACHE] = (values, settings)
    return settings


def checked_protection(mode: Any) -> str | None:
    """Return a mode of SESSION_PROTECTION: "basic", "strong" or None.

    Raises :class:`SettingError` for any other value, because a mistyped "strong" must not switch the protection off.
    """
    if mode is None or mode is False or mode == "":
        return None
    if mode not in ("basic", "strong"):
        raise SettingError("SESSION_PROTECTION", f'must be "basic", "strong" or None, not {mode!r}')
    return str(mode)


def _read_host(read: Reader) -> str | None:
    host = read["FORCE_HOST_FOR_REDIRECTS"]
    if host is None or host == "":
        return None
    if not isinstance(host, str) or not _HOST(host):
        problem = f'must be a host like "example.org" or "example.org:8000", not {host!r}'
        raise SettingError("FORCE_HOST_FOR_REDIRECTS", problem)
    return host


def _read_clear_site_data(read: Reader) -> str | None:
    wanted = read["LOGOUT_CLEAR_SITE_DATA"]
    if wanted is None or wanted is False:
        return None
    if not isinstance(wanted, list | tuple | set | frozenset) or not all(name in _CLEARABLE for name in wanted):
        problem = f"must be None or a list with some of {', '.join(_CLEARABLE)}, not {wanted!r}"
        raise SettingError("LOGOUT_CLEAR_SITE_DATA", problem)
    return ", ".join(f'"{name}"' for name in wanted) or None
