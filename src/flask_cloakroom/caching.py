"""Tell caches which request headers a response depends on, and whether they may store it."""

from __future__ import annotations

from flask import Response


def add_vary(response: Response, *names: str) -> None:
    """Add the names of request headers to the response's header ``Vary``, each name once, and all in one line.

    Only a whole name counts as present: ``X-Cookie-Consent`` from a view does not mean ``Cookie``. One line is
    necessary, because nginx 1.22 and Flask's own sessions read only one ``Vary`` line.
    """
    lines = response.headers.getlist("Vary")
    if not lines:
        response.headers.add("Vary", ", ".join(names))
        return
    present = [name for line in lines for token in line.split(",") if (name := token.strip(" \t"))]
    known = {name.lower() for name in present}
    missing = [name for name in names if name.lower() not in known]
    if "*" in known:
        # "*" includes every header (RFC 9110, 12.5.5), but nginx understands "*" only without other names.
        response.headers["Vary"] = "*"
    elif missing or len(lines) > 1:
        response.headers["Vary"] = ", ".join([*present, *missing])


def forbid_caching(response: Response) -> None:
    """Forbid all caches to store a response that sets a cookie of this package, even if the view set ``public``.

    Otherwise a cache could send one visitor's ticket to the next visitor (OWASP Session Management Cheat Sheet).
    """
    cache = response.cache_control
    cache.no_store = True
    cache.public = False
    cache.max_age = None
    cache.s_maxage = None
