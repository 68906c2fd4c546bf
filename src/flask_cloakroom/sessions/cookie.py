"""The session cookie: read, set and deleted in one place, so that all three agree on its attributes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import Response

from ..secret import Secret

#: RFC 6265bis, 5.6.3: browsers keep no cookie longer than 400 days, in seconds.
MAX_AGE_LIMIT: Final = 400 * 24 * 3600

#: Lists the values of a cookie in a request, given its WSGI environ.
Finder = Callable[[Mapping[str, Any]], list[Secret]]


@dataclass(frozen=True, slots=True)
class SessionCookie:
    """Name and attributes (the SESSION_COOKIE_* settings), checked by :mod:`.settings`."""

    name: str = "session"
    domain: str | None = None
    path: str = "/"
    secure: bool = False
    httponly: bool = True
    samesite: str | None = "Lax"
    partitioned: bool = False

    def finder(self, value: str) -> Finder:
        """Return a function that lists, from a request's Cookie header, the values of this cookie that match a pattern.

        Not werkzeug's parser, which unquotes and decodes every cookie there is: a ticket needs neither. They are
        in the browser's order, the one with the longest path first.
        """
        found_in = re.compile(rf"(?:^|;)\s*{re.escape(self.name)}=({value})\s*(?=;|$)").findall
        # It takes the environ, so that nobody has the header in a local variable, where an error reporter finds it.
        return lambda environ: list(map(Secret, found_in(environ.get("HTTP_COOKIE", ""))))

    def set(self, response: Response, ticket: str, max_age: int | None) -> None:
        """Send the ticket. ``max_age`` is in seconds; None for a cookie that ends with the browser's session."""
        age = None if max_age is None else min(max_age, MAX_AGE_LIMIT)
        response.set_cookie(self.name, ticket, max_age=age, **self._attributes())
        _keep_from_caches(response)

    def delete(self, response: Response) -> None:
        """Delete it with the attributes it was set with, without which browsers keep it."""
        response.delete_cookie(self.name, **self._attributes())
        _keep_from_caches(response)

    def _attributes(self) -> dict[str, Any]:
        return {
            "domain": self.domain,
            "path": self.path,
            "secure": self.secure,
            "httponly": self.httponly,
            "samesite": self.samesite,
            "partitioned": self.partitioned,
        }


def _keep_from_caches(response: Response) -> None:
    """A cache that keeps a ticket hands it to the next visitor (OWASP session cheat sheet: no-store with Set-Cookie).

    So this holds even where the view said "public".
    """
    cache = response.cache_control
    cache.no_store = True
    cache.public = False
    cache.max_age = None
    cache.s_maxage = None
