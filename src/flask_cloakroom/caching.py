"""What a response tells caches: which request headers it rests on, and whether it may be kept at all."""

from __future__ import annotations

from flask import Response


def vary_on(response: Response, *names: str) -> None:
    """Add request headers to the response's ``Vary``, in one line, each name once.

    A name counts as there only if it stands there whole: a view's ``X-Cookie-Consent`` is not ``Cookie``. In one line
    because nginx 1.22 and Flask's own sessions look at one line alone.
    """
    lines = response.headers.getlist("Vary")
    if not lines:
        response.headers.add("Vary", ", ".join(names))
        return
    there = [name for line in lines for token in line.split(",") if (name := token.strip(" \t"))]
    known = {name.lower() for name in there}
    missing = [name for name in names if name.lower() not in known]
    if "*" in known:
        # It says all there is to say (RFC 9110, 12.5.5), but nginx knows it only where it stands alone.
        response.headers["Vary"] = "*"
    elif missing or len(lines) > 1:
        response.headers["Vary"] = ", ".join([*there, *missing])


def keep_from_caches(response: Response) -> None:
    """Forbid every cache to keep the response, also where the view said ``public``. For what sets a cookie of ours.

    A cache that keeps a ticket hands it to the next visitor (OWASP session cheat sheet: no-store with Set-Cookie).
    """
    cache = response.cache_control
    cache.no_store = True
    cache.public = False
    cache.max_age = None
    cache.s_maxage = None
