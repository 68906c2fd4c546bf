"""The settings of a cookie: read and checked alike for the session's and for the one that remembers a login."""

from __future__ import annotations

import re
from typing import Any, Final

from .cookies import SessionCookie
from .errors import SettingError
from .settings import Reader

# RFC 6265, 4.1.1: a cookie's name is a token.
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_DOMAIN: Final = re.compile(r"[^\s;,/]+").fullmatch


def read_cookie(read: Reader, kind: str = "SESSION") -> SessionCookie:
    """Return the cookie that the settings ``<kind>_COOKIE_…`` describe. Raises :class:`SettingError`.

    Where no path is set it is the session's, and where that has none the application's root: a cookie that is sent
    to more than the application can be read by more.
    """
    name = read.text(f"{kind}_COOKIE_NAME")
    if not _TOKEN(name):
        raise SettingError(f"{kind}_COOKIE_NAME", f"{name!r} is no cookie name: letters, digits and -_. only")
    domain = read[f"{kind}_COOKIE_DOMAIN"] or None
    if domain is not None and not _is_domain(domain):
        raise SettingError(f"{kind}_COOKIE_DOMAIN", f'must be a host name like "example.org" or None, not {domain!r}')
    paths = (f"{kind}_COOKIE_PATH", "SESSION_COOKIE_PATH", "APPLICATION_ROOT")
    path_setting = next((setting for setting in paths if read[setting]), "APPLICATION_ROOT")
    path = read[path_setting] or "/"
    if not isinstance(path, str) or not path.startswith("/"):
        raise SettingError(path_setting, f'must be a path that begins with "/", or None, not {path!r}')
    samesite = read[f"{kind}_COOKIE_SAMESITE"]
    # Flask leaves it out, and then browsers differ. Lax is what most take it for.
    samesite = "Lax" if samesite is None else samesite.title() if isinstance(samesite, str) else samesite
    if samesite not in ("Lax", "Strict", "None"):
        raise SettingError(f"{kind}_COOKIE_SAMESITE", f'must be "Lax", "Strict" or "None", not {samesite!r}')
    secure = read.boolean(f"{kind}_COOKIE_SECURE")
    partitioned = read.boolean(f"{kind}_COOKIE_PARTITIONED")
    # RFC 6265bis, 4.1.3: browsers look at the prefixes without regard to case.
    bound_to_host = name.lower().startswith("__host-")
    if bound_to_host and domain:
        raise SettingError(f"{kind}_COOKIE_DOMAIN", f"browsers refuse {name!r} with a domain; set it to None")
    if bound_to_host and path != "/":
        raise SettingError(path_setting, f'browsers refuse {name!r} unless {kind}_COOKIE_PATH is "/"')
    # The prefixes mean nothing else than that it is secure, so the name is the wish.
    secure = secure or partitioned or bound_to_host or name.lower().startswith("__secure-")
    if samesite == "None" and not secure:
        raise SettingError(f"{kind}_COOKIE_SAMESITE", f'"None" needs {kind}_COOKIE_SECURE = True')
    httponly = read.boolean(f"{kind}_COOKIE_HTTPONLY")
    return SessionCookie(name, domain, path, secure, httponly, samesite, partitioned)


def _is_domain(value: Any) -> bool:
    if not isinstance(value, str) or not _DOMAIN(value):
        return False
    try:
        value.lstrip(".").encode("idna")  # as Werkzeug will, when the cookie is set
    except UnicodeError:
        return False
    return True
