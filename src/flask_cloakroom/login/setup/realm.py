"""``Realm``: one kind of user in an application: its loaders and handlers, and what else logins ask of it.

It knows no request's login. :class:`.manager.LoginManager` is a realm that logs its users in and out, and answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, overload

from flask import Flask, Request
from flask.sessions import SessionMixin

from ...context import this_session
from ...core.values.own_keys import is_user_id
from ...sessions.interface import ServerSessionInterface
from ..remember.signed import SignedTokens
from ..remember.stored import StoredTokens
from ..remember.tokens import RememberTokens
from .authenticators import Authenticator
from .callbacks import call
from .settings import LoginSettings, settings_of
from .users import AnonymousUserMixin

C = TypeVar("C", bound=Callable[..., Any])

#: Flask-Login's messages, which translations of it know, and the category of both.
LOGIN_MESSAGE: Final = "Please log in to access this page."
REFRESH_MESSAGE: Final = "Please reauthenticate to access this page."
MESSAGE_CATEGORY: Final = "message"
#: The method of a user object that returns the user's id.
ID_ATTRIBUTE: Final = "get_id"

#: Where an application keeps its own realm.
EXTENSION_KEY: Final = "flask_cloakroom.login"
#: And where those of its other kinds of user, by name.
KINDS_KEY: Final = "flask_cloakroom.login.kinds"


class Realm:
    """What an application declares for one kind of user. Lives as long as the process; set up before it serves."""

    #: The name of a :class:`.kinds.UserKind`; "" for the application's own users.
    name = ""
    #: Under what a request keeps its state.
    state_name = "_flask_cloakroom_login"
    #: Under what a request notes that its response is finished.
    finished_name = f"{state_name}_finished"

    def __init__(self) -> None:
        #: Makes the user of those who are not logged in: a class or another callable without arguments.
        self.anonymous_user: Callable[[], Any] = AnonymousUserMixin
        #: The endpoint, path or URL where one logs in. None: whoever would be sent there gets a 401.
        self.login_view: str | None = None
        #: The same by blueprint name, where that has another one. None as a value: a 401 for that blueprint's pages.
        self.blueprint_login_views: dict[str | None, str | None] = {}
        #: What is flashed to who is sent to log in, if anything; and its category.
        self.login_message: Any = LOGIN_MESSAGE
        self.login_message_category = MESSAGE_CATEGORY
        #: The endpoint, path or URL where those who are logged in show again who they are. None: they get a 401.
        self.refresh_view: str | None = None
        #: What is flashed to who is sent there, if anything; and its category.
        self.needs_refresh_message: Any = REFRESH_MESSAGE
        self.needs_refresh_message_category = MESSAGE_CATEGORY
        #: "basic", "strong" or None; SESSION_PROTECTION in the application's configuration comes before it.
        self.session_protection: str | None = "basic"
        #: Translates the two messages.
        self.localize_callback: Callable[[Any], Any] | None = None
        #: Make the response for those who are not logged in, or not freshly.
        self.unauthorized_callback: Callable[[], Any] | None = None
        self.needs_refresh_callback: Callable[[], Any] | None = None
        #: Makes the response for those who are logged in and must not see the page. None: they get a 403.
        self.forbidden_callback: Callable[[], Any] | None = None
        #: The method of user objects that returns the id.
        self.id_attribute = ID_ATTRIBUTE
        #: Makes what issues and checks remember tokens, given the application. None: stored ones for sessions on the
        #: server, signed ones for others.
        self.remember_tokens: Callable[[Flask], RememberTokens] | None = None
        #: Those registered with :meth:`authenticator`, in that order.
        self.authenticators: list[Authenticator] = []
        #: Decides who may impersonate whom. None: nobody.
        self.impersonation_callback: Callable[[Any, Any], Any] | None = None
        #: Returns the user of an id, or None: see :meth:`user_loader`.
        self.user_callback: Callable[[Any], Any] | None = None
        #: Returns the user that a request shows by itself, or None: see :meth:`request_loader`.
        self.request_callback: Callable[[Any], Any] | None = None
        #: The same for a header's value: ``header_loader``, which is deprecated.
        self.header_callback: Callable[[str], Any] | None = None

    # -- loaders and handlers, each usable as a decorator ---------------------------------------------------

    def user_loader(self, callback: C) -> C:
        """Register what returns the user of an id, as ``get_id()`` gave it, or None if there is no such user."""
        self.user_callback = callback
        return callback

    def request_loader(self, callback: C) -> C:
        """Register what returns the user that a request shows by itself (a header, a token), or None."""
        self.request_callback = callback
        return callback

    @overload
    def authenticator(self, scheme: C) -> C: ...

    @overload
    def authenticator(
        self, scheme: str | None = None, *, header: str | None = None, challenge: str | None = None
    ) -> Callable[[C], C]: ...

    def authenticator(self, scheme: Any = None, *, header: str | None = None, challenge: str | None = None) -> Any:
        """Register what finds the user of a request by a credential in it, before any session is looked at.

        They are asked in their order, each with the request. One returns the user; or None, if the request shows
        nothing of its kind; or raises :class:`Refused`, and then the answer is a 401. With a ``scheme``, as "Bearer",
        it is asked only if that is the Authorization header's, and then None is a refusal too, as is a header that
        cannot be read. With a ``header``, as "X-API-Key", likewise if the request has that one; ValueError for one that
        browsers know. ``challenge`` is the 401's header WWW-Authenticate.
        """

        def register(callback: C) -> C:
            self.authenticators.append(Authenticator.create(callback, scheme, challenge, header))
            return callback

        if callable(scheme):
            callback, scheme = scheme, None
            return register(callback)
        return register

    def unauthorized_handler(self, callback: C) -> C:
        """Register what makes the response for those who are not logged in."""
        self.unauthorized_callback = callback
        return callback

    def needs_refresh_handler(self, callback: C) -> C:
        """Register what makes the response for those whose login is not fresh."""
        self.needs_refresh_callback = callback
        return callback

    def forbidden_handler(self, callback: C) -> C:
        """Register what makes the response for those who are logged in and must not see the page."""
        self.forbidden_callback = callback
        return callback

    def impersonation_allowed(self, callback: C) -> C:
        """Register what decides, of an impersonator and a user, whether the one may :func:`impersonate` the other.

        It is asked at the begin, and then at every request.
        """
        self.impersonation_callback = callback
        return callback

    @property
    def has_loader(self) -> bool:
        """Whether anybody can be logged in."""
        callbacks = (self.user_callback, self.request_callback, self.header_callback)
        return bool(self.authenticators) or any(callback is not None for callback in callbacks)

    # -- what logins ask ------------------------------------------------------------------------------------

    @property
    def login_views(self) -> list[tuple[str | None, str]]:
        """Where one logs in: all of them, each with the blueprint that it is for."""
        views = [(None, self.login_view), *self.blueprint_login_views.items()]
        return [(blueprint, view) for blueprint, view in views if view]

    def id_of(self, user: Any) -> Any:
        """Return the user's id. Raises ValueError for one that has none."""
        user_id = getattr(user, self.id_attribute)()
        if user_id is None:
            raise ValueError(f"{self.id_attribute}() of the user returned None, so there is nobody to log in")
        return user_id

    def user_with_id(self, user_id: object) -> Any:
        """Return the user of an id that an earlier login stored; None if there is none, or the id cannot be one."""
        load = self.user_callback
        return call(load, user_id) if load is not None and is_user_id(user_id) else None

    def settings_for(self, app: Flask) -> LoginSettings:
        """Return the settings of this realm's logins in an application.

        Raises RuntimeError if the application does not have this realm, and
        :class:`~flask_cloakroom.SettingError` for a wrong setting.
        """
        realm_of(app)
        return settings_of(app)

    def interface_for(self, app: Flask) -> Any:
        """Return what opens and saves the sessions in which its logins are kept."""
        return app.session_interface

    def session_of(self, request: Request) -> SessionMixin:
        """Return the session in which a request's login is kept."""
        return this_session()

    def cookie_names(self, app: Flask) -> tuple[str, str]:
        """Return the names of the cookies of this realm's logins: the session's, and the one that remembers."""
        return cookie_name(self.interface_for(app), app), self.settings_for(app).cookie.name

    def may_have_login(self, app: Flask, request: Request) -> bool:
        """Tell whether it is worth opening :meth:`session_of` a request to look for a login there."""
        return True

    def has_finished(self, request: Request) -> bool:
        """Tell whether a request's cookies of this realm are sent already, so that no login can begin any more."""
        return self.finished_name in request.__dict__

    def tokens_for(self, app: Flask) -> RememberTokens:
        """Return what issues and checks the application's remember tokens."""
        if self.remember_tokens is not None:
            return self.remember_tokens(app)
        interface = self.interface_for(app)
        if isinstance(interface, ServerSessionInterface):
            return StoredTokens(app, interface.repository)
        return SignedTokens(app, kind=self.name)

    # -- the answers to refused requests, by the class that can find the request's login ----------------------

    def unauthorized(self) -> Any:
        """Return the response for those who are not logged in. Raises a 401 if there is none."""
        raise NotImplementedError

    def needs_refresh(self) -> Any:
        """Return the response for those whose login is not fresh. Raises a 401 if there is none."""
        raise NotImplementedError

    def forbidden(self, reason: str = ...) -> Any:
        """Return the response for those who are logged in and must not see the page. Raises a 403 if there is none."""
        raise NotImplementedError


def realm_of(app: Flask) -> Realm:
    """Return the realm of the application's own users. Raises RuntimeError if it has none."""
    realm: Realm | None = app.extensions.get(EXTENSION_KEY)
    if realm is None:
        raise RuntimeError(f"the application {app.name!r} has no LoginManager: call login_manager.init_app(app) first")
    return realm


def realms_of(app: Flask) -> list[Realm]:
    """Return the application's realms: that of its own users, if it has one, and those of its other kinds of user."""
    own: Realm | None = app.extensions.get(EXTENSION_KEY)
    kinds: dict[str, Realm] = app.extensions.get(KINDS_KEY, {})
    return [*kinds.values()] if own is None else [own, *kinds.values()]


def cookie_name(interface: Any, app: Flask) -> str:
    """Return the name of the session cookie of a session interface, ours or Flask's."""
    if isinstance(interface, ServerSessionInterface):
        return interface.settings.cookie.name
    name: str = interface.get_cookie_name(app)
    return name
