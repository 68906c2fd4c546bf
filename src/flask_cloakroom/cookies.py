"""Read a cookie's settings, find the cookie in a request, set it and delete it.

Only this module reads the session cookie, the remember cookie and the CSRF cookie. It does not use Werkzeug's parser,
which removes all characters around a name that Python counts as white space. An attacker on a sibling domain can set a
cookie over plain HTTP whose name is the byte 0xa0 and then ``__Host-session``. Chromium sends this name unchanged, and
Werkzeug's parser would take the cookie for ``__Host-session``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from flask import Response
from werkzeug.sansio.http import parse_cookie

from .caching import add_vary, forbid_caching
from .errors import SettingError
from .secret import Secret
from .settings import Reader

#: The longest lifetime of a cookie in seconds: browsers store a cookie for at most 400 days (RFC 6265bis, 5.6.3).
MAX_AGE_LIMIT: Final = 400 * 24 * 3600
#: The number of cookies with the same name that are tried. A browser may send several, because a sibling domain may
#: have set a cookie with this name. Each try costs a store command, so a request with many cookies must not be costly.
MAX_TRIES: Final = 3

#: A function that returns the values of one cookie in a request, from the request's WSGI environ.
Finder = Callable[[Mapping[str, Any]], list[Secret]]

# RFC 6265, 4.1.1: the name of a cookie consists of the characters of a token.
_COOKIE_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_DOMAIN: Final = re.compile(r"[^\s;,/]+").fullmatch


@dataclass(frozen=True, slots=True)
class Cookie:
    """The name and attributes of a cookie. :func:`read_cookie` makes a Cookie from the settings and checks them."""

    name: str = "session"
    domain: str | None = None
    path: str = "/"
    secure: bool = False
    httponly: bool = True
    samesite: str | None = "Lax"
    partitioned: bool = False

    def finder(self, pattern: str) -> Finder:
        """Return a function that lists the values of this cookie that match ``pattern`` from start to end.

        The function takes the WSGI environ, so that no local variable contains the Cookie header: error reporters show
        local variables. The function returns the first :data:`MAX_TRIES` values in the browser's order, in which the
        cookie with the longest path is first. It does not remove quotes around a value, because tickets have no quotes.
        """
        found_in = re.compile(rf"{_name_pattern(self.name)}({pattern})[ \t]*(?=;|\Z)").findall
        return lambda environ: list(map(Secret, found_in(environ.get("HTTP_COOKIE", ""))[:MAX_TRIES]))

    def values(self, environ: Mapping[str, Any]) -> list[Secret]:
        """Return all values of this cookie in a request's WSGI environ. Quotes around a value are removed."""
        return [_unquoted(value) for value in _values(environ, self.name)]

    def value(self, environ: Mapping[str, Any]) -> Secret:
        """Return the first value of this cookie in a request's WSGI environ. Return "" without such a cookie."""
        return next(iter(self.values(environ)), Secret())

    def set(self, response: Response, ticket: str, max_age: int | None) -> None:
        """Set the cookie in ``response``. ``max_age`` is in seconds; None for a cookie that ends with the window."""
        age = None if max_age is None else min(max_age, MAX_AGE_LIMIT)
        response.set_cookie(self.name, ticket, max_age=age, **self._attributes())
        self._forbid_caching(response)

    def delete(self, response: Response) -> None:
        """Delete the cookie from the browser. Browsers demand the same attributes as when the cookie was set."""
        response.delete_cookie(self.name, **self._attributes())
        self._forbid_caching(response)

    def _attributes(self) -> dict[str, Any]:
        return {field: getattr(self, field) for field in self.__slots__ if field != "name"}

    @staticmethod
    def _forbid_caching(response: Response) -> None:
        forbid_caching(response)
        add_vary(response, "Cookie")


def read_cookie(read: Reader, kind: str = "SESSION") -> Cookie:
    """Return the cookie that the settings ``<kind>_COOKIE_…`` describe. Raises :class:`SettingError`.

    Without ``<kind>_COOKIE_PATH`` the cookie gets SESSION_COOKIE_PATH, and without both APPLICATION_ROOT. With "/",
    browsers would send the cookie to other applications on the same host, too.
    """
    name = read.text(f"{kind}_COOKIE_NAME")
    if not _COOKIE_NAME(name):
        raise SettingError(f"{kind}_COOKIE_NAME", f"{name!r} is no cookie name. Use only letters, digits and -_.")
    domain = read[f"{kind}_COOKIE_DOMAIN"] or None
    if domain is not None and not _is_domain(domain):
        raise SettingError(f"{kind}_COOKIE_DOMAIN", f'must be a host name like "example.org" or None, not {domain!r}')
    paths = (f"{kind}_COOKIE_PATH", "SESSION_COOKIE_PATH", "APPLICATION_ROOT")
    path_setting = next((setting for setting in paths if read[setting]), "APPLICATION_ROOT")
    path = read[path_setting] or "/"
    if not isinstance(path, str) or not path.startswith("/"):
        raise SettingError(path_setting, f'must be a path that begins with "/", or None, not {path!r}')
    samesite = read[f"{kind}_COOKIE_SAMESITE"]
    # Flask sends no SameSite attribute for None. Browsers then differ, and most of them behave as with Lax.
    samesite = "Lax" if samesite is None else samesite.title() if isinstance(samesite, str) else samesite
    if samesite not in ("Lax", "Strict", "None"):
        raise SettingError(f"{kind}_COOKIE_SAMESITE", f'must be "Lax", "Strict" or "None", not {samesite!r}')
    secure = read.boolean(f"{kind}_COOKIE_SECURE")
    partitioned = read.boolean(f"{kind}_COOKIE_PARTITIONED")
    # RFC 6265bis, 4.1.3: browsers ignore the case of these prefixes.
    bound_to_host = name.lower().startswith("__host-")
    if bound_to_host and domain:
        raise SettingError(f"{kind}_COOKIE_DOMAIN", f"browsers refuse {name!r} with a domain. Set this to None.")
    if bound_to_host and path != "/":
        raise SettingError(path_setting, f'browsers refuse {name!r} with another path. Set {kind}_COOKIE_PATH to "/".')
    # Browsers accept names with these prefixes only in secure cookies, so such a name sets "secure".
    secure = secure or partitioned or bound_to_host or name.lower().startswith("__secure-")
    if samesite == "None" and not secure:
        raise SettingError(f"{kind}_COOKIE_SAMESITE", f'browsers refuse "None" without {kind}_COOKIE_SECURE = True')
    httponly = read.boolean(f"{kind}_COOKIE_HTTPONLY")
    return Cookie(name, domain, path, secure, httponly, samesite, partitioned)


def _is_domain(value: Any) -> bool:
    if not isinstance(value, str) or not _DOMAIN(value):
        return False
    try:
        value.lstrip(".").encode("idna")  # Werkzeug does the same when it sets the cookie
    except UnicodeError:
        return False
    return True


def has_cookie(environ: Mapping[str, Any], name: str) -> bool:
    """Return True if a request, given by its WSGI environ, has a cookie with this name."""
    return bool(_values(environ, name))


def _values(environ: Mapping[str, Any], name: str) -> list[Secret]:
    return [Secret(value.rstrip(" \t")) for value in _any_value(name)(environ.get("HTTP_COOKIE", ""))]


@lru_cache
def _any_value(name: str) -> Callable[[str], list[str]]:
    return re.compile(rf"{_name_pattern(name)}([^;]*)").findall


def _name_pattern(name: str) -> str:
    # RFC 6265bis, 5.6: browsers remove only tabs and spaces around the name and value of a cookie.
    return rf"(?:^|;)[ \t]*{re.escape(name)}="


def _unquoted(value: Secret) -> Secret:
    if len(value) < 2 or not value[0] == value[-1] == '"':
        return value
    return Secret(parse_cookie(f"value={value}").get("value", ""))
