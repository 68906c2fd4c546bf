"""``LoginState``: what one request knows of its login in one realm.

The request object has the state, and not ``g``: one application context may serve several requests, which would then
share one user.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from flask import Flask, Request
from flask.sessions import SessionMixin
from werkzeug.exceptions import HTTPException

from ...context import this_app, this_request
from ..in_session.session_login import SessionLogin
from ..remember.flask_login_cookies import as_accepting
from ..remember.tokens import Remembered, RememberTokens
from ..setup.realm import Realm, realm_of
from ..setup.settings import LoginSettings

#: How a request's user was found: "session"; "remember", by a remember token, which began a session in this request;
#: "header", by an authenticator; "browser", by an authenticator and a credential that browsers send automatically;
#: "request_loader".
LoginSource = Literal["session", "remember", "header", "browser", "request_loader"]


@dataclass(slots=True, eq=False, repr=False)
class LoginState:
    """The login of one request, made by its first call of :func:`login_state`. It lives as long as the request."""

    app: Flask
    request: Request
    realm: Realm
    #: The settings when the request first used the realm. A later change has no effect on the request.
    settings: LoginSettings
    #: The request's user, or an anonymous user. None until ``is_loaded`` is true.
    user: Any = None
    is_loaded: bool = False
    #: How the user was found, or None for an anonymous user.
    source: LoginSource | None = None
    #: The user who is logged in by the session, if this user impersonates ``user``, otherwise None.
    impersonator: Any = None
    #: The response to a credential that an authenticator refused.
    refusal: HTTPException | None = None
    #: Whether the request has a credential, valid or not. Then the login in its session is ignored.
    ignores_session: bool = False
    #: Whether a loader is running. A loader that uses ``current_user`` gets an anonymous user.
    is_loading: bool = False
    #: Whether a user was logged in at any time of the request, so that caches must not store the response.
    private: bool = False
    #: Whether the response tells the browser to delete the data that it stores of this site.
    clear_site_data: bool = False
    #: The remember token that the response sets, "" to delete the cookie, or None to send no remember cookie.
    remember_cookie: str | None = None
    #: The lifetime of the remember cookie, in seconds.
    remember_cookie_age: int = 0
    #: The remember token that logged the user in again in this request.
    used_token: Remembered | None = None
    #: The login in the request's session. None until it is used, and again after each call of :func:`login_state`.
    session_login: SessionLogin | None = None
    _tokens: RememberTokens | None = None

    @property
    def login(self) -> SessionLogin:
        """The login in the request's session of this realm."""
        if self.session_login is None:
            self.session_login = SessionLogin(self.realm.session_of(self.request))
        return self.session_login

    @property
    def session(self) -> SessionMixin:
        """The request's session of this realm."""
        return self.login.session

    @property
    def tokens(self) -> RememberTokens:
        """The remember tokens of the realm.

        Raises SettingError if REMEMBER_COOKIE_ACCEPT_LEGACY is on and the tokens cannot replace Flask-Login's cookies.
        """
        if self._tokens is None:
            tokens = self.realm.tokens_for(self.app)
            if self.settings.accept_legacy:
                as_accepting(tokens)
            self._tokens = tokens
        return self._tokens

    @property
    def can_send_cookies(self) -> bool:
        """Whether a cookie that is set now can reach the browser: the response is not made yet."""
        server_session = self.login.server_session
        is_closed = server_session is not None and server_session.closed
        return not is_closed and not self.realm.has_finished(self.request)

    def set_user(
        self, user: Any, *, private: bool, source: LoginSource | None = None, impersonator: Any = None
    ) -> None:
        """Set the request's user. ``private``: whether ``user`` is a logged-in user and not an anonymous user."""
        self.user = user
        self.source = source
        self.impersonator = impersonator
        self.refusal = None
        self.ignores_session = source in ("header", "browser")
        self.is_loaded = True
        self.private = self.private or private

    def refuse(self, answer: HTTPException) -> None:
        """Make the request's user anonymous, because its credential was refused. ``answer``: the response for views."""
        self.set_user(self.realm.anonymous_user(), private=False)
        self.refusal = answer
        self.ignores_session = True

    def set_remember_cookie(self, token: str, lifetime: int = 0) -> None:
        """Let the response set this remember token for ``lifetime`` seconds, or delete the cookie if it is ""."""
        self.remember_cookie = token
        self.remember_cookie_age = lifetime


def login_state(realm: Realm | None = None) -> LoginState:
    """Return the login state of the current request, for ``realm`` or the application's own users.

    Raises RuntimeError outside of a request, and for a realm that the application does not have.
    """
    app, request = this_app(), this_request()
    realm = realm_of(app) if realm is None else realm
    state: LoginState | None = request.__dict__.get(realm.state_name)
    if state is None:
        state = LoginState(app, request, realm, realm.settings_for(app))
        request.__dict__[realm.state_name] = state
    state.session_login = None  # tests and extensions may have replaced the session since the last call
    return state
