"""The settings of ``app.config`` that concern request forgery: their names and defaults, read and checked.

As those of logins: at start, and again when one of them has another value than before.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..cookies import Cookie, read_cookie
from ..errors import SettingError
from ..secret import Secret, SecretBytes
from ..settings import Reader, describe_value
from .origin import Origin

if TYPE_CHECKING:
    from flask import Flask

log = logging.getLogger("flask_cloakroom.csrf")

#: Safe methods (RFC 9110, 9.2.1): a view for one of them changes nothing, so nobody gains by forging it.
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

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

#: What Flask-WTF leaves in the configuration, where its forms and applications look for it.
LEFT_IN_CONFIG: Final = (
    "WTF_CSRF_ENABLED",
    "WTF_CSRF_CHECK_DEFAULT",
    "WTF_CSRF_FIELD_NAME",
    "WTF_CSRF_HEADERS",
    "WTF_CSRF_META_NAME",
    "WTF_CSRF_SSL_STRICT",
    "WTF_CSRF_TIME_LIMIT",
)
#: What the readable cookie has from the session's: it is of use where that one is sent.
_FROM_SESSION: Final = ("DOMAIN", "PATH", "SECURE", "SAMESITE", "PARTITIONED")
#: Settings of sessions that this part reads.
SESSION_NAMES: Final = (*(f"SESSION_COOKIE_{part}" for part in ("NAME", *_FROM_SESSION)), "APPLICATION_ROOT")
#: RFC 9110, 5.6.2: methods, names of headers and of cookies are tokens.
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII).fullmatch
_METHOD: Final = re.compile(r"[A-Z][A-Z\-]*", re.ASCII).fullmatch
_KEPT: Final = "flask_cloakroom.csrf settings"
_SPELLING: Final = "flask_cloakroom.csrf spelling"


@dataclass(frozen=True, slots=True)
class CSRFSettings:
    """All of them, checked."""

    enabled: bool
    check_default: bool
    #: The methods that are checked; None for all but the safe ones.
    methods: frozenset[str] | None
    field: str
    #: Names of headers that may carry the token, as WSGI has them.
    headers: tuple[str, ...]
    meta_name: str
    #: Goes into every token; b"" for nothing.
    key: bytes = dataclasses.field(repr=False)
    #: Seconds that a token is good for; None for as long as its session.
    time_limit: int | None
    ssl_strict: bool
    require_token: bool
    trusted: frozenset[Origin]
    #: The cookie that scripts read the token from, if there is to be one.
    cookie: Cookie | None
    #: Seconds that the browser keeps it; None until it is closed.
    cookie_lifetime: int | None = None
    #: Whether the header Referer is looked at.
    check_referrer: bool = True
    #: Whether views are protected only if they are marked, and not unless they are.
    only_included: bool = False

    @classmethod
    def read(cls, app: Flask) -> CSRFSettings:
        """Return the application's settings. Raises :class:`SettingError`, which names the first wrong one."""
        read = Reader({**DEFAULTS, **app.config})
        limit = read["WTF_CSRF_TIME_LIMIT"]
        return cls(
            enabled=read.boolean("WTF_CSRF_ENABLED"),
            check_default=read.boolean("WTF_CSRF_CHECK_DEFAULT"),
            methods=_read_methods(read["WTF_CSRF_METHODS"]),
            field=read_name(read, "WTF_CSRF_FIELD_NAME"),
            headers=read_headers("WTF_CSRF_HEADERS", read["WTF_CSRF_HEADERS"]),
            meta_name=read_name(read, "WTF_CSRF_META_NAME"),
            key=as_key(read["WTF_CSRF_SECRET_KEY"]),
            time_limit=None if limit is None else read.seconds("WTF_CSRF_TIME_LIMIT", at_least=1),
            ssl_strict=read.boolean("WTF_CSRF_SSL_STRICT"),
            require_token=read.boolean("CSRF_REQUIRE_TOKEN"),
            trusted=_read_origins(read["CSRF_TRUSTED_ORIGINS"]),
            cookie=_read_cookie(read),
        )

    def checks(self, method: str) -> bool:
        """Tell whether requests of a method are checked."""
        return method not in SAFE_METHODS if self.methods is None else method in self.methods


class Spelling(NamedTuple):
    """The names by which an application has its settings, and what reads them."""

    names: tuple[str, ...]
    read: Callable[[Flask], CSRFSettings]


@dataclass(frozen=True, slots=True, repr=False)
class _Kept:
    """What was read of an application's configuration, and what from. It may hold a key, so it shows nothing."""

    names: tuple[str, ...]
    values: list[Any]
    settings: CSRFSettings


#: Flask-WTF's.
WTF: Final = Spelling((*DEFAULTS, *SESSION_NAMES), CSRFSettings.read)


def spell(app: Flask, spelling: Spelling) -> None:
    """Let the application have its settings by other names from here on."""
    app.extensions[_SPELLING] = spelling
    app.extensions.pop(_KEPT, None)


def settings_of(app: Flask) -> CSRFSettings:
    """Return the application's settings, read anew if one has changed. Raises :class:`SettingError`."""
    kept: _Kept | None = app.extensions.get(_KEPT)
    if kept is not None and kept.values == list(map(app.config.get, kept.names)):
        return kept.settings
    spelling: Spelling = app.extensions.get(_SPELLING, WTF)
    values = [_copied(name, app.config.get(name)) for name in spelling.names]
    settings = spelling.read(app)
    if kept is None:
        _check_spelling(list(app.config))
        _tell_of_others(list(app.config), spelling.names)
    if not settings.enabled and not (app.debug or app.testing):
        log.warning("WTF_CSRF_ENABLED is off, or CSRF_DISABLE on: requests that other sites forge are not refused")
    app.extensions[_KEPT] = _Kept(spelling.names, values, settings)
    return settings


def _copied(name: str, value: Any) -> Any:
    """Return what tells of a list, too, that it has another item than before."""
    if name == "WTF_CSRF_SECRET_KEY":
        return Secret(value) if isinstance(value, str) else SecretBytes(value) if isinstance(value, bytes) else value
    return value.copy() if isinstance(value, list | set) else value


def as_key(key: Any) -> SecretBytes:
    """Return the bytes of a WTF_CSRF_SECRET_KEY; b"" for None. Raises :class:`SettingError`."""
    if key is None:
        return SecretBytes()
    if not isinstance(key, str | bytes) or not key:
        raise SettingError(
            "WTF_CSRF_SECRET_KEY", f"must be a str or bytes that is not empty, or None, not {_what(key)}"
        )
    return SecretBytes(key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key)


def _what(value: Any) -> str:
    return "an empty one" if value in ("", b"") else describe_value(value)


def read_name(read: Reader, name: str) -> str:
    """Return a str that is not empty. Raises :class:`SettingError`."""
    text = read.text(name)
    if not text:
        raise SettingError(name, f'must not be empty; the default is "{DEFAULTS[name]}"')
    return text


def _listed(name: str, value: Any, example: str) -> list[str]:
    """Return a list of str. A single str is a mistake that would be taken for a list of letters."""
    if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(item, str) for item in value):
        raise SettingError(name, f"must be a list of str, as {example}, not {describe_value(value)}")
    return list(value)


def _read_methods(value: Any) -> frozenset[str] | None:
    if value is None:
        return None
    methods = _listed("WTF_CSRF_METHODS", value, '["POST", "PUT", "PATCH", "DELETE"]')
    for method in methods:
        if not _METHOD(method):
            raise SettingError("WTF_CSRF_METHODS", f'must be methods in capitals, as "POST", not {method!r}')
    if not methods:
        raise SettingError("WTF_CSRF_METHODS", "is empty; to check nothing, set WTF_CSRF_ENABLED = False")
    return frozenset(methods)


def read_headers(name: str, value: Any) -> tuple[str, ...]:
    """Return names of headers as WSGI has them. Raises :class:`SettingError`."""
    headers = _listed(name, value, '["X-CSRFToken", "X-CSRF-Token"]')
    for header in headers:
        if not _TOKEN(header):
            raise SettingError(name, f'must be names of headers, as "X-CSRFToken", not {header!r}')
    return tuple("HTTP_" + header.upper().replace("-", "_") for header in headers)


def _read_origins(value: Any) -> frozenset[Origin]:
    found = set()
    for text in _listed("CSRF_TRUSTED_ORIGINS", value, '["https://pay.example.org"]'):
        origin = Origin.parse(text)
        if origin is None:
            problem = f'must be origins, as "https://pay.example.org", with no path and no "*", not {text!r}'
            raise SettingError("CSRF_TRUSTED_ORIGINS", problem)
        found.add(origin)
    return frozenset(found)


def _read_cookie(read: Reader) -> Cookie | None:
    name = read["CSRF_COOKIE"]
    if name is None:
        return None
    if not isinstance(name, str) or not _TOKEN(name):
        raise SettingError("CSRF_COOKIE", f'must be the name of a cookie, as "XSRF-TOKEN", or None, not {_what(name)}')
    if name == read["SESSION_COOKIE_NAME"]:
        raise SettingError("CSRF_COOKIE", "is the name of the session's cookie; each needs its own")
    parts = {f"CSRF_COOKIE_{part}": read[f"SESSION_COOKIE_{part}"] for part in _FROM_SESSION}
    for part in ("SECURE", "PARTITIONED"):
        parts[f"CSRF_COOKIE_{part}"] = bool(parts[f"CSRF_COOKIE_{part}"])
    # Scripts read it, which is all that it is for.
    parts |= {"CSRF_COOKIE_NAME": name, "CSRF_COOKIE_HTTPONLY": False}
    return read_cookie(read.with_overrides(parts), "CSRF")


def _check_spelling(given: Collection[Any]) -> None:
    """Raise :class:`SettingError` for a setting that is none, and whose name is nearly that of one."""
    known = [*DEFAULTS, *SEASURF_DEFAULTS, *_OTHERS]
    for name in given:
        if isinstance(name, str) and _BEGINS(name) and name not in known:
            close = difflib.get_close_matches(name, known, 1, _ALIKE)
            if close:
                raise SettingError(name, f"is no setting of Flask-Cloakroom. Is {close[0]} meant?")


def _tell_of_others(given: Collection[str], names: tuple[str, ...]) -> None:
    for name in SEASURF_DEFAULTS:
        if name in given and name not in names:
            log.info("%s is a setting of SeaSurf, and has no effect with CSRFProtect", name)
