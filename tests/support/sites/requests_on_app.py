"""Requests with exactly the cookies that a test wants, and what came back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask

MakeApp = Callable[..., Flask]


def ticket_of(response: Any) -> str | None:
    """Return the ticket that a response sets; "" if it deletes the cookie; None if it sets none."""
    for header in response.headers.getlist("Set-Cookie"):
        name, _, rest = header.partition("=")
        if name in ("session", "__Host-session"):
            return str(rest.partition(";")[0])
    return None


def send(app: Flask, path: str, ticket: str | None = None, **options: Any) -> Any:
    """Send a request with exactly this ticket, as a browser that keeps no other cookie."""
    headers = {"Cookie": f"session={ticket}"} if ticket else {}
    return app.test_client(use_cookies=False).open(path, headers=headers, **options)


def entries(app: Flask) -> int:
    """Return how many live entries the application's store holds under its prefix."""
    return sum(1 for _ in app.session_interface.store.walk())  # type: ignore[attr-defined]
