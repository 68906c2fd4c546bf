"""``LoginState``: what one request knows of its login in one realm.

The request object has the state, and not ``g``: one application context may serve several requests, which would then
share one user.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from flask import Flask, Request
from flask.sessions import SessionMixin
from werkzeug.exceptions import HTTPException

from ... import signals
from ...context import this_app, this_request
from ...first_use import FirstUse, tell
from ...sessions.outcome import has_finished
from ..in_session.session_login import SessionLogin
from ..remember.flask_login_cookies import as_accepting
from ..remember.tokens import Remembered, RememberTokens, retrying
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
    #: Lets one thread of the request at a time find the user.
    first_use: FirstUse = field(default_factory=FirstUse)
    #: Whether the store failed, and the session is not on the server. Then the user is not looked for again.
    failed: bool = False
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
    #: The remember tokens that this request issued. Those that the response does not set are revoked.
    issued_tokens: list[str] = field(default_factory=list)
    #: The functions of :meth:`call_after_save`, if the session is not on the server.
    after_save: Sequence[Callable[[], object]] = ()
    #: The user of the signal user_logged_in, if this request sent it, until the login is saved.
    logged_in_user: Any = None
    #: The login in the request's session. None until it is used, and again after each call of :func:`login_state`.
    session_login: SessionLogin | None = None
    _tokens: RememberTokens | None = None

    @property
    def login(self) -> SessionLogin:
        """The login in the request's session of this realm."""
        found = self.session_login  # another thread may set the attribute to None meanwhile
        if found is None:
            found = self.session_login = SessionLogin(self.realm.session_of(self.request))
        return found

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

    def set_user(
        self, user: Any, *, private: bool, source: LoginSource | None = None, impersonator: Any = None
    ) -> None:
        """Set the request's user. ``private``: whether ``user`` is a logged-in user and not an anonymous user."""
        self.user = user
        self.source = source
        self.impersonator = impersonator
        self.refusal = None
        self.ignores_session = source in ("header", "browser")
        self.private = self.private or private
        self.is_loaded = True  # last, because other threads read the other attributes then

    @property
    def can_send_cookies(self) -> bool:
        """Whether a response of this request is still to come that can set the cookies of a login."""
        server = self.login.server_session
        return not has_finished(self.request) and (server is None or server.can_send_cookies)

    def fail(self) -> None:
        """Let every later use of the login fail, and the response be a 503, because the store failed."""
        self.failed = True
        server = self.login.server_session
        if server is not None:
            server.fail()

    def roll_back(self) -> None:
        """Forget what this request changed, because its session could not be saved. Nothing of it is sent."""
        self.user = self.source = self.impersonator = self.remember_cookie = self.used_token = None
        self.is_loaded = self.clear_site_data = False
        self.after_save = ()
        self.revoke_unsent()
        user, self.logged_in_user = self.logged_in_user, None
        if user is not None:
            tell(signals.user_login_not_saved.send, self.app, user=user)

    def revoke_unsent(self) -> None:
        """Revoke the remember tokens that this request issued, but not the token that the response sets."""
        unsent = [token for token in self.issued_tokens if token != self.remember_cookie]
        self.issued_tokens = []
        for token in unsent:
            retrying(self.tokens).revoke_or_retry(token)

    def call_after_save(self, function: Callable[[], object]) -> None:
        """Call ``function`` after the session was saved, before the response is sent. Do not call it without a save."""
        server = self.login.server_session
        place = self if server is None else server
        place.after_save = [*place.after_save, function]

    def note_saved_login(self) -> None:
        """Let :meth:`roll_back` send no signal, because the login of this request was saved."""
        self.logged_in_user = None

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
        state = request.__dict__.setdefault(realm.state_name, state)  # atomic, because another thread may do the same
    state.session_login = None  # tests and extensions may have replaced the session since the last call
    return state
