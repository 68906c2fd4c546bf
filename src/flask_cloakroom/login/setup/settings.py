"""The settings of ``app.config`` that concern logins, checked here.

They are checked at start, and again when one of them has another value than before: applications and their tests set
some of them late, as they may with Flask-Login.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from ...cookies import MAX_AGE_LIMIT, Cookie, Finder, read_cookie
from ...errors import SettingError
from ...settings import Reader
from ..remember.tokens import LONGEST_TOKEN
from .config import (
    AUTH_HEADER_NAME,
    COOKIE_DURATION,
    COOKIE_HTTPONLY,
    COOKIE_NAME,
    COOKIE_SAMESITE,
    COOKIE_SECURE,
    USE_SESSION_FOR_NEXT,
)

if TYPE_CHECKING:
    from flask import Flask

log = logging.getLogger("flask_cloakroom.login")

#: Says that a setting was not made, where None is a value.
UNSET: Final = object()

DEFAULTS: Final[dict[str, Any]] = {
    "AUTH_HEADER_NAME": AUTH_HEADER_NAME,
    "FORCE_HOST_FOR_REDIRECTS": None,
    "LOGIN_DISABLED": False,
    "LOGOUT_CLEAR_SITE_DATA": ("cache", "storage"),
    "REMEMBER_COOKIE_NAME": COOKIE_NAME,
    "REMEMBER_COOKIE_DURATION": COOKIE_DURATION,
    "REMEMBER_COOKIE_DOMAIN": None,
    "REMEMBER_COOKIE_PATH": None,
    "REMEMBER_COOKIE_SECURE": COOKIE_SECURE,
    "REMEMBER_COOKIE_HTTPONLY": COOKIE_HTTPONLY,
    "REMEMBER_COOKIE_SAMESITE": COOKIE_SAMESITE,
    "REMEMBER_COOKIE_PARTITIONED": False,
    "REMEMBER_COOKIE_REFRESH_EACH_REQUEST": False,
    "REMEMBER_COOKIE_ACCEPT_LEGACY": False,
    "SESSION_PROTECTION": UNSET,
    "USE_SESSION_FOR_NEXT": USE_SESSION_FOR_NEXT,
}
#: What the remember cookie has from the session's cookie unless it is said for itself. Were it sent where that one is
#: not, it would be the weaker of two keys to the same door.
_FROM_SESSION: Final = ("SECURE", "SAMESITE", "PARTITIONED")
_NAMES: Final = (
    *DEFAULTS,
    *(f"SESSION_COOKIE_{part}" for part in ("PATH", *_FROM_SESSION)),
    "APPLICATION_ROOT",
)
#: Clear Site Data (W3C), section 3.1, and what browsers added.
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
#: What a token of ours can consist of. A cookie of the name that holds anything else is not looked at.
_PLAUSIBLE: Final = rf"[A-Za-z0-9_.\-]{{1,{LONGEST_TOKEN}}}"

_CACHE: Final = "flask_cloakroom.login settings"


@dataclass(frozen=True, slots=True)
class LoginSettings:
    """All of them, checked."""

    cookie: Cookie
    #: Lists what could be tokens in a request's Cookie header, in the browser's order.
    find_tokens: Finder
    #: Seconds that a login is remembered.
    remember_for: int
    refresh_each_request: bool
    #: Whether the cookies of Flask-Login are taken.
    accept_legacy: bool
    disabled: bool
    #: "basic", "strong" or None; UNSET: what the manager says.
    protection: Any
    next_in_session: bool
    forced_host: str | None
    #: The value of the header Clear-Site-Data at a logout, or None.
    clear_site_data: str | None
    auth_header: str

    def of_kind(self, kind: str) -> LoginSettings:
        """Return those of another kind of user: with a cookie of its own."""
        cookie = replace(self.cookie, name=f"{self.cookie.name}_{kind}")
        # Flask-Login has one kind of user: its cookie of a customer would be good as that of the operator with that id.
        return replace(self, cookie=cookie, find_tokens=cookie.finder(_PLAUSIBLE), accept_legacy=False)

    @classmethod
    def read(cls, app: Flask) -> LoginSettings:
        """Return the application's settings. Raises :class:`SettingError`, which names the first wrong one."""
        read = Reader({**DEFAULTS, **app.config})
        unsaid = [part for part in _FROM_SESSION if app.config.get(f"REMEMBER_COOKIE_{part}") is None]
        read = read.with_overrides(
            {f"REMEMBER_COOKIE_{part}": app.config.get(f"SESSION_COOKIE_{part}", False) for part in unsaid}
        )
        cookie = read_cookie(read, "REMEMBER")
        if cookie.name == read["SESSION_COOKIE_NAME"]:
            raise SettingError("REMEMBER_COOKIE_NAME", "is the name of the session's cookie; each needs its own")
        protection = read["SESSION_PROTECTION"]
        return cls(
            cookie=cookie,
            find_tokens=cookie.finder(_PLAUSIBLE),
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
    """Return the application's settings, read anew if one has changed. Raises :class:`SettingError`."""
    get = app.config.get
    values = [get(name, UNSET) for name in _NAMES]
    kept: tuple[list[Any], LoginSettings] | None = app.extensions.get(_CACHE)
    if kept is not None and kept[0] == values:
        return kept[1]
    settings = LoginSettings.read(app)
    if settings.disabled and not (app.debug or app.testing):
        log.warning("LOGIN_DISABLED is on: login_required lets everybody in")
    app.extensions[_CACHE] = (values, settings)
    return settings


def checked_protection(mode: Any) -> str | None:
    """Return "basic", "strong" or None. Raises :class:`SettingError`.

    A mistyped mode must not mean that there is none.
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
