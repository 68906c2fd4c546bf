"""What one request knows of its login.

It is kept on the request object: an application context may have been pushed around several requests, and then what
lies on ``g`` belongs to all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from flask import Flask, Request

from ...context import this_app

if TYPE_CHECKING:
    from flask.sessions import SessionMixin
    from werkzeug.exceptions import HTTPException

    from ..manager import LoginManager
    from ..remember.tokens import Remembered, RememberTokens
    from ..setup.settings import LoginSettings


#: By what a request's user was found: their session; the cookie that remembers a login, which made them one in this
#: request; an authenticator; one by a credential that browsers send by themselves; a request_loader.
LoginSource = Literal["session", "remember", "header", "browser", "request_loader"]


class LoginState:
    """Lives as long as the request. Made when the request first asks its manager for its user."""

    __slots__ = (
        "app",
        "clear_site_data",
        "impersonator",
        "loaded",
        "loading",
        "manager",
        "private",
        "refused",
        "remember",
        "remember_for",
        "request",
        "resumed",
        "settings",
        "source",
        "user",
    )

    def __init__(self, manager: LoginManager, app: Flask, request: Request) -> None:
        self.manager = manager
        self.app = app
        self.request = request
        #: As they are when the request first asks for its user, and then until it ends.
        self.settings: LoginSettings = manager.settings_for(app)
        self.user: Any = None
        #: Whether ``user`` is known, be it an anonymous one.
        self.loaded = False
        #: By what the user was found.
        self.source: LoginSource | None = None
        #: The user who is really logged in, if ``user`` is one whom they impersonate.
        self.impersonator: Any = None
        #: The answer to a credential that an authenticator refused.
        self.refused: HTTPException | None = None
        #: Whether a loader runs right now; if that asks for the current user, nobody is logged in yet.
        self.loading = False
        #: Whether somebody was logged in at any time of the request, so that the response is theirs alone.
        self.private = False
        #: Whether the browser shall be told to throw away what it keeps of this site.
        self.clear_site_data = False
        #: The remember token that the response shall set, "" to delete the cookie, None to leave it alone.
        self.remember: str | None = None
        #: By what the user was logged in again in this request, if they were.
        self.resumed: Remembered | None = None
        #: Seconds that the cookie with that token shall live.
        self.remember_for = 0

    @property
    def session(self) -> SessionMixin:
        """Where the login is kept. Looked up anew each time: tests and extensions put another one in its place."""
        return self.manager.session_of(self.request)

    @property
    def tokens(self) -> RememberTokens:
        """What issues and checks remember tokens."""
        return self.manager.tokens_for(self.app)

    @property
    def user_agent(self) -> str | None:
        """What the browser calls itself."""
        return self.request.headers.get("User-Agent")

    @property
    def ignores_session(self) -> bool:
        """Whether the request brought a credential of its own, good or bad, so that its session counts for nothing."""
        return self.refused is not None or self.source in ("header", "browser")

    def set_user(
        self, user: Any, *, private: bool, source: LoginSource | None = None, impersonator: Any = None
    ) -> None:
        """Make ``user`` the request's. ``private``: it is somebody, and not an anonymous one."""
        self.user = user
        self.source = source
        self.impersonator = impersonator
        self.refused = None
        self.loaded = True
        self.private = self.private or private

    def set_remember(self, token: str, lifetime: int = 0) -> None:
        """Let the response set this token for so many seconds, or delete the cookie if it is ""."""
        self.remember = token
        self.remember_for = lifetime


def state_of(request: Request, manager: LoginManager) -> LoginState:
    """Return what this request knows of its login, perhaps nothing yet."""
    state: LoginState | None = request.__dict__.get(manager.state_name)
    if state is None:
        state = request.__dict__[manager.state_name] = LoginState(manager, this_app(), request)
    return state


def known_state_of(request: Request, manager: LoginManager) -> LoginState | None:
    """Return the same, or None if the request never asked."""
    state: LoginState | None = request.__dict__.get(manager.state_name)
    return state
