"""What one request knows of its login.

It is kept on the request object: an application context may have been pushed around several requests, and then what
lies on ``g`` belongs to all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from flask import Flask, Request
from flask.sessions import SessionMixin
from werkzeug.exceptions import HTTPException

from ...context import this_app, this_request
from ..in_session.session_login import SessionLogin, login_in
from ..remember.flask_login_cookies import accepting
from ..remember.tokens import Remembered, RememberTokens
from ..setup.realm import Realm, realm_of
from ..setup.settings import LoginSettings

#: By what a request's user was found: their session; the cookie that remembers a login, which made them one in this
#: request; an authenticator; one by a credential that browsers send by themselves; a request_loader.
LoginSource = Literal["session", "remember", "header", "browser", "request_loader"]


@dataclass(slots=True, eq=False, repr=False)
class LoginState:
    """Lives as long as the request. Made when the request first asks for its user of one realm."""

    app: Flask
    request: Request
    realm: Realm
    #: As they are when the request first asks for its user, and then until it ends.
    settings: LoginSettings
    user: Any = None
    #: Whether ``user`` is known, be it an anonymous one.
    loaded: bool = False
    #: By what the user was found.
    source: LoginSource | None = None
    #: The user who is really logged in, if ``user`` is one whom they impersonate.
    impersonator: Any = None
    #: The answer to a credential that an authenticator refused.
    refused: HTTPException | None = None
    #: Whether the request brought a credential of its own, good or bad, so that its session counts for nothing.
    ignores_session: bool = False
    #: Whether a loader runs right now; if that asks for the current user, nobody is logged in yet.
    loading: bool = False
    #: Whether somebody was logged in at any time of the request, so that the response is theirs alone.
    private: bool = False
    #: Whether the browser shall be told to throw away what it keeps of this site.
    clear_site_data: bool = False
    #: The remember token that the response shall set, "" to delete the cookie, None to leave it alone.
    remember: str | None = None
    #: By what the user was logged in again in this request, if they were.
    resumed: Remembered | None = None
    #: Seconds that the cookie with that token shall live.
    remember_for: int = 0
    _login: SessionLogin | None = None
    _tokens: RememberTokens | None = None

    @property
    def session(self) -> SessionMixin:
        """Where the login is kept. Looked up anew each time: tests and extensions put another one in its place."""
        return self.realm.session_of(self.request)

    @property
    def login(self) -> SessionLogin:
        """The login in that session."""
        session = self.realm.session_of(self.request)
        if self._login is None or self._login.session is not session:
            self._login = login_in(session)
        return self._login

    @property
    def tokens(self) -> RememberTokens:
        """What issues and checks remember tokens. Raises SettingError if it must take Flask-Login's, and cannot."""
        if self._tokens is None:
            tokens = self.realm.tokens_for(self.app)
            if self.settings.accept_legacy:
                accepting(tokens)
            self._tokens = tokens
        return self._tokens

    @property
    def user_agent(self) -> str | None:
        """What the browser calls itself."""
        return self.request.headers.get("User-Agent")

    def set_user(
        self, user: Any, *, private: bool, source: LoginSource | None = None, impersonator: Any = None
    ) -> None:
        """Make ``user`` the request's. ``private``: it is somebody, and not an anonymous one."""
        self.user = user
        self.source = source
        self.impersonator = impersonator
        self.refused = None
        self.ignores_session = source in ("header", "browser")
        self.loaded = True
        self.private = self.private or private

    def refuse(self, answer: HTTPException) -> None:
        """Let nobody be logged in for the rest of the request, because its credential was refused with this answer."""
        self.set_user(self.realm.anonymous_user(), private=False)
        self.refused = answer
        self.ignores_session = True

    def set_remember(self, token: str, lifetime: int = 0) -> None:
        """Let the response set this token for so many seconds, or delete the cookie if it is ""."""
        self.remember = token
        self.remember_for = lifetime


def state_of(app: Flask, request: Request, realm: Realm) -> LoginState:
    """Return what this request knows of its login, perhaps nothing yet. Raises RuntimeError as ``check_set_up()``."""
    state: LoginState | None = request.__dict__.get(realm.state_name)
    if state is None:
        realm.check_set_up(app)
        state = request.__dict__[realm.state_name] = LoginState(app, request, realm, realm.settings_for(app))
    return state


def known_state_of(request: Request, realm: Realm) -> LoginState | None:
    """Return the same, or None if the request never asked."""
    state: LoginState | None = request.__dict__.get(realm.state_name)
    return state


def this_login() -> LoginState:
    """Return what the present request knows of its login. Raises RuntimeError if the application has no realm."""
    request, app = this_request(), this_app()
    return state_of(app, request, realm_of(app))


def state_of_realm(realm: Realm) -> LoginState:
    """Return what the present request knows of its login in a realm. Raises RuntimeError if the realm is not set up."""
    return state_of(this_app(), this_request(), realm)
