"""What one request knows of its login.

It is kept on the request object: an application context may have been pushed around several requests, and then what
lies on ``g`` belongs to all of them.
"""

from __future__ import annotations

from typing import Any, Final

from flask import Flask, Request, current_app
from flask import request as current_request

from .settings import LoginSettings, settings_of

_ATTRIBUTE: Final = "_flask_cloakroom_login"


class LoginState:
    """Lives as long as the request. Made when the request first asks for its user."""

    __slots__ = (
        "app",
        "clear_site_data",
        "loaded",
        "loading",
        "private",
        "remember",
        "remember_for",
        "settings",
        "user",
    )

    def __init__(self, app: Flask) -> None:
        self.app = app
        #: As they are when the request first asks for its user, and then until it ends.
        self.settings: LoginSettings = settings_of(app)
        self.user: Any = None
        #: Whether ``user`` is known, be it an anonymous one.
        self.loaded = False
        #: Whether a loader runs right now; if that asks for the current user, nobody is logged in yet.
        self.loading = False
        #: Whether somebody was logged in at any time of the request, so that the response is theirs alone.
        self.private = False
        #: Whether the browser shall be told to throw away what it keeps of this site.
        self.clear_site_data = False
        #: The remember token that the response shall set, "" to delete the cookie, None to leave it alone.
        self.remember: str | None = None
        #: Seconds that the cookie with that token shall live.
        self.remember_for = 0

    def set_user(self, user: Any, *, private: bool) -> None:
        """Make ``user`` the request's. ``private``: it is somebody, and not an anonymous one."""
        self.user = user
        self.loaded = True
        self.private = self.private or private

    def set_remember(self, token: str, lifetime: int = 0) -> None:
        """Let the response set this token for so many seconds, or delete the cookie if it is ""."""
        self.remember = token
        self.remember_for = lifetime


def this_app() -> Flask:
    """Return the application itself and not a proxy for it."""
    found: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    return found


def this_request() -> Request:
    """Return the request itself and not a proxy for it."""
    found: Request = current_request._get_current_object()  # type: ignore[attr-defined]
    return found


def state_of(request: Request) -> LoginState:
    """Return what this request knows of its login, perhaps nothing yet."""
    state: LoginState | None = request.__dict__.get(_ATTRIBUTE)
    if state is None:
        state = request.__dict__[_ATTRIBUTE] = LoginState(this_app())
    return state


def known_state_of(request: Request) -> LoginState | None:
    """Return the same, or None if the request never asked."""
    state: LoginState | None = request.__dict__.get(_ATTRIBUTE)
    return state
