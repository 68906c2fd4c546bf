"""Tell caches which request headers a response depends on, and whether they may store it."""

from __future__ import annotations

from flask import Response


def add_vary(response: Response, *names: str) -> None:
    """Add request headers to the response's ``Vary``, each name once, and all in one line.

    Only a whole name counts as present: a view's ``X-Cookie-Consent`` is not ``Cookie``. In one line, because nginx
    1.22 and Flask's own sessions read one line only.
    """
    lines = response.headers.getlist("Vary")
    if not lines:
        response.headers.add("Vary", ", ".join(names))
        return
    present = [name for line in lines for token in line.split(",") if (name := token.strip(" \t"))]
    known = {name.lower() for name in present}
    missing = [name for name in names if name.lower() not in known]
    if "*" in known:
        # "*" includes every header (RFC 9110, 12.5.5), but nginx knows it only if it stands alone.
        response.headers["Vary"] = "*"
    elif missing or len(lines) > 1:
        response.headers["Vary"] = ", ".join([*present, *missing])


def forbid_caching(response: Response) -> None:
    """Forbid every cache to store a response that sets one of our cookies, even if the view said ``public``.

    A cache that stores a ticket gives it to the next visitor (OWASP session cheat sheet: no-store with Set-Cookie).
    """
    cache = response.cache_control
    cache.no_store = True
    cache.public = False
    cache.max_age = None
    cache.s_maxage = None
