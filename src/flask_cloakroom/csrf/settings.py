"""The CSRF settings in ``app.config``: their names and defaults, read and checked.

They are read at start, and again when a setting has changed.
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

#: The safe methods (RFC 9110, 9.2.1). A view for these changes nothing, so a forged request gains nothing.
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

#: The defaults of Flask-WTF's settings, and then of three settings of this package. If WTF_CSRF_METHODS is None, the
#: protection checks all methods except the safe methods.
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
#: The defaults of Flask-SeaSurf's settings and of CSRF_COOKIE_PARTITIONED. They have an effect only with SeaSurf.
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
#: Settings of Flask-WTF whose names look like CSRF settings, but that have another purpose.
_NOT_OURS: Final = ("WTF_I18N_ENABLED",)

#: The beginnings of the names above, also with swapped or doubled letters. A name such as JWT_CSRF_METHODS does not
#: match, because it belongs to another package.
_LOOKS_LIKE_OURS: Final = re.compile(r"(?:W[TF]{2,3}|C[SRF]{3,4}|SEA?SURF)_", re.ASCII).match
#: A name counts as a misspelling of a setting if their similarity, from 0 to 1 as in difflib, is at least this number.
_MISSPELLING_CUTOFF: Final = 0.85

#: The settings whose defaults Flask-WTF writes into ``app.config``. Forms and applications read them there.
SET_IN_CONFIG: Final = (
    "WTF_CSRF_ENABLED",
    "WTF_CSRF_CHECK_DEFAULT",
    "WTF_CSRF_FIELD_NAME",
    "WTF_CSRF_HEADERS",
    "WTF_CSRF_META_NAME",
    "WTF_CSRF_SSL_STRICT",
    "WTF_CSRF_TIME_LIMIT",
)
#: The attributes that the token's cookie copies from the session cookie. The token is useful only in requests that the
#: browser sends with the session cookie.
_FROM_SESSION: Final = ("DOMAIN", "PATH", "SECURE", "SAMESITE", "PARTITIONED")
#: The session settings that the CSRF settings depend on.
SESSION_NAMES: Final = (*(f"SESSION_COOKIE_{part}" for part in ("NAME", *_FROM_SESSION)), "APPLICATION_ROOT")
#: The syntax of a header's or cookie's name (RFC 9110, 5.6.2).
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII).fullmatch
_METHOD: Final = re.compile(r"[A-Z][A-Z\-]*", re.ASCII).fullmatch
_CACHE_KEY: Final = "flask_cloakroom.csrf settings"
_SOURCE_KEY: Final = "flask_cloakroom.csrf settings source"


@dataclass(frozen=True, slots=True)
class CSRFSettings:
    """All CSRF settings of one application, checked."""

    enabled: bool
    check_default: bool
    #: The methods that are checked. None means all methods except the safe methods.
    methods: frozenset[str] | None
    field: str
    #: The headers that may contain the token, by their names in the WSGI environ.
    headers: tuple[str, ...]
    meta_name: str
    #: An additional secret key for all tokens, or b"" for no such key.
    secret_key: bytes = dataclasses.field(repr=False)
    #: The lifetime of a token in seconds. None means that a token is valid as long as its session.
    time_limit: int | None
    ssl_strict: bool
    require_token: bool
    trusted_origins: frozenset[Origin]
    #: The cookie from which scripts read the token, or None.
    cookie: Cookie | None
    #: The lifetime of the token's cookie in seconds. None means that the cookie ends when the browser is closed.
    cookie_lifetime: int | None = None
    #: Whether the header Referer is read.
    check_referrer: bool = True
    #: Whether only the views that ``SeaSurf.include`` marks are protected.
    include_only: bool = False

    @classmethod
    def read(cls, app: Flask) -> CSRFSettings:
        """Return the application's settings. Raises :class:`SettingError` for the first wrong value."""
        read = Reader({**DEFAULTS, **app.config})
        limit = read["WTF_CSRF_TIME_LIMIT"]
        return cls(
            enabled=read.boolean("WTF_CSRF_ENABLED"),
            check_default=read.boolean("WTF_CSRF_CHECK_DEFAULT"),
            methods=_read_methods(read["WTF_CSRF_METHODS"]),
            field=_read_name(read, "WTF_CSRF_FIELD_NAME"),
            headers=read_headers("WTF_CSRF_HEADERS", read["WTF_CSRF_HEADERS"]),
            meta_name=_read_name(read, "WTF_CSRF_META_NAME"),
            secret_key=secret_key_bytes(read["WTF_CSRF_SECRET_KEY"]),
            time_limit=None if limit is None else read.seconds("WTF_CSRF_TIME_LIMIT", at_least=1),
            ssl_strict=read.boolean("WTF_CSRF_SSL_STRICT"),
            require_token=read.boolean("CSRF_REQUIRE_TOKEN"),
            trusted_origins=_read_origins(read["CSRF_TRUSTED_ORIGINS"]),
            cookie=_read_cookie(read),
        )

    def checks(self, method: str) -> bool:
        """Return True if requests with this method are checked."""
        return method not in SAFE_METHODS if self.methods is None else method in self.methods


class SettingsSource(NamedTuple):
    """The names of an application's settings, and the function that reads them."""

    names: tuple[str, ...]
    read: Callable[[Flask], CSRFSettings]


@dataclass(frozen=True, slots=True, repr=False)
class _Cached:
    """The settings and the values of app.config that they were made from. Without repr: a value may be a secret key."""

    names: tuple[str, ...]
    values: list[Any]
    settings: CSRFSettings


_FLASK_WTF: Final = SettingsSource((*DEFAULTS, *SESSION_NAMES), CSRFSettings.read)


def set_source(app: Flask, source: SettingsSource) -> None:
    """Let :func:`settings_of` read the application's settings by ``source`` from now on."""
    app.extensions[_SOURCE_KEY] = source
    app.extensions.pop(_CACHE_KEY, None)


def settings_of(app: Flask) -> CSRFSettings:
    """Return the application's settings, which are read again if a value has changed. Raises :class:`SettingError`."""
    cached: _Cached | None = app.extensions.get(_CACHE_KEY)
    if cached is not None and cached.values == list(map(app.config.get, cached.names)):
        return cached.settings
    source: SettingsSource = app.extensions.get(_SOURCE_KEY, _FLASK_WTF)
    values = [_snapshot(name, app.config.get(name)) for name in source.names]
    settings = source.read(app)
    if cached is None:
        _check_names(list(app.config))
        for name in SEASURF_DEFAULTS:
            if name in app.config and name not in source.names:
                log.info("%s is a setting of SeaSurf, and has no effect with CSRFProtect. Remove it", name)
    if not settings.enabled and not (app.debug or app.testing):
        log.warning("WTF_CSRF_ENABLED is off, or CSRF_DISABLE is on, so forged requests pass. Do so only in tests")
    app.extensions[_CACHE_KEY] = _Cached(source.names, values, settings)
    return settings


def _snapshot(name: str, value: Any) -> Any:
    """Return a copy of a list or set, so that a later change is noticed. Wrap a secret key to hide it from a repr."""
    if name == "WTF_CSRF_SECRET_KEY":
        return Secret(value) if isinstance(value, str) else SecretBytes(value) if isinstance(value, bytes) else value
    return value.copy() if isinstance(value, list | set) else value


def secret_key_bytes(key: Any) -> SecretBytes:
    """Return a value of WTF_CSRF_SECRET_KEY as bytes, or b"" for None. Raises :class:`SettingError`."""
    if key is None:
        return SecretBytes()
    if not isinstance(key, str | bytes) or not key:
        problem = f"must be a str or bytes that is not empty, or None, not {_description(key)}"
        raise SettingError("WTF_CSRF_SECRET_KEY", problem)
    return SecretBytes(key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key)


def _description(value: Any) -> str:
    return "an empty one" if value in ("", b"") else describe_value(value)


def _read_name(read: Reader, name: str) -> str:
    text = read.text(name)
    if not text:
        raise SettingError(name, f'must not be empty. Write a name, such as the default "{DEFAULTS[name]}"')
    return text


def _check_list(name: str, value: Any, example: str) -> list[str]:
    """Return the setting as a list of str. Raises SettingError for a single str, which would be a list of letters."""
    if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(item, str) for item in value):
        raise SettingError(name, f"must be a list of str, as {example}, not {describe_value(value)}")
    return list(value)


def _read_methods(value: Any) -> frozenset[str] | None:
    if value is None:
        return None
    methods = _check_list("WTF_CSRF_METHODS", value, '["POST", "PUT", "PATCH", "DELETE"]')
    for method in methods:
        if not _METHOD(method):
            raise SettingError("WTF_CSRF_METHODS", f'must be methods in capitals, as "POST", not {method!r}')
    if not methods:
        raise SettingError("WTF_CSRF_METHODS", "is empty. To check no requests, set WTF_CSRF_ENABLED = False")
    return frozenset(methods)


def read_headers(name: str, value: Any) -> tuple[str, ...]:
    """Return the headers' names in the WSGI environ. Raises :class:`SettingError` for the setting ``name``."""
    headers = _check_list(name, value, '["X-CSRFToken", "X-CSRF-Token"]')
    for header in headers:
        if not _TOKEN(header):
            raise SettingError(name, f'must be names of headers, as "X-CSRFToken", not {header!r}')
    return tuple("HTTP_" + header.upper().replace("-", "_") for header in headers)


def _read_origins(value: Any) -> frozenset[Origin]:
    origins = set()
    for text in _check_list("CSRF_TRUSTED_ORIGINS", value, '["https://pay.example.org"]'):
        origin = Origin.parse(text)
        if origin is None:
            problem = f'must be origins, as "https://pay.example.org", with no path and no "*", not {text!r}'
            raise SettingError("CSRF_TRUSTED_ORIGINS", problem)
        origins.add(origin)
    return frozenset(origins)


def _read_cookie(read: Reader) -> Cookie | None:
    name = read["CSRF_COOKIE"]
    if name is None:
        return None
    if not isinstance(name, str) or not _TOKEN(name):
        problem = f'must be the name of a cookie, as "XSRF-TOKEN", or None, not {_description(name)}'
        raise SettingError("CSRF_COOKIE", problem)
    if name == read["SESSION_COOKIE_NAME"]:
        raise SettingError("CSRF_COOKIE", "is the name of the session cookie. Choose another name")
    parts = {f"CSRF_COOKIE_{part}": read[f"SESSION_COOKIE_{part}"] for part in _FROM_SESSION}
    parts |= {flag: bool(parts[flag]) for flag in ("CSRF_COOKIE_SECURE", "CSRF_COOKIE_PARTITIONED")}
    # Scripts must be able to read the cookie.
    parts |= {"CSRF_COOKIE_NAME": name, "CSRF_COOKIE_HTTPONLY": False}
    return read_cookie(read.with_overrides(parts), "CSRF")


def _check_names(given: Collection[Any]) -> None:
    """Raise :class:`SettingError` for an unknown name that looks like a misspelled setting."""
    known = [*DEFAULTS, *SEASURF_DEFAULTS, *_NOT_OURS]
    for name in given:
        if isinstance(name, str) and _LOOKS_LIKE_OURS(name) and name not in known:
            close = difflib.get_close_matches(name, known, 1, _MISSPELLING_CUTOFF)
            if close:
                raise SettingError(name, f"is no setting of Flask-Cloakroom. Write {close[0]} if you mean that")
