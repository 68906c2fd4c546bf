"""``Realm``: one group of users with its loaders, settings and handlers: the application's own users or a user kind.

A realm does not know the login of a request. :class:`.manager.LoginManager` is a realm with functions for views.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, overload

from flask import Flask, Request
from flask.sessions import SessionMixin

from ...context import this_session
from ...core.values.own_keys import is_user_id
from ...sessions.interface import ServerSessionInterface
from ...sessions.settings import DEFAULT_TIMEOUT
from ..remember.signed import SignedTokens
from ..remember.stored import StoredTokens
from ..remember.tokens import RememberTokens, with_present_names
from .authenticators import Authenticator
from .callbacks import call
from .settings import LoginSettings, settings_of
from .users import AnonymousUserMixin

C = TypeVar("C", bound=Callable[..., Any])

#: Flask-Login's messages, which translations of Flask-Login contain, and the category of both messages.
LOGIN_MESSAGE: Final = "Please log in to access this page."
REFRESH_MESSAGE: Final = "Please reauthenticate to access this page."
MESSAGE_CATEGORY: Final = "message"
#: The method of a user object that returns the user's id.
ID_ATTRIBUTE: Final = "get_id"

#: The key in ``app.extensions`` of the realm of the application's own users.
EXTENSION_KEY: Final = "flask_cloakroom.login"
#: The key in ``app.extensions`` of the user kinds, a dict by name.
KINDS_KEY: Final = "flask_cloakroom.login.kinds"


class Realm:
    """The declarations of an application for one group of users. The object lives as long as the process.

    Set its attributes, and register its functions, before the first request.
    """

    #: The name of a :class:`.kinds.UserKind`, or "" for the application's own users.
    name = ""
    #: The name of the attribute of the request object with the login state.
    state_name = "_flask_cloakroom_login"

    def __init__(self) -> None:
        #: The class of anonymous users, or another callable without arguments that returns an anonymous user.
        self.anonymous_user: Callable[[], Any] = AnonymousUserMixin
        #: The endpoint, path or URL of the login page. If it is None, a page that needs a login answers with a 401.
        self.login_view: str | None = None
        #: The login pages of blueprints, by blueprint name. A blueprint with the value None answers with a 401.
        self.blueprint_login_views: dict[str | None, str | None] = {}
        #: The message that is flashed before the redirect to the login page, or None for no message; its category.
        self.login_message: Any = LOGIN_MESSAGE
        self.login_message_category = MESSAGE_CATEGORY
        #: The endpoint, path or URL of the page that asks a logged-in user for the password again. If it is None, a
        #: page that needs a fresh login answers with a 401.
        self.refresh_view: str | None = None
        #: The message that is flashed before the redirect to the refresh view, or None for no message; its category.
        self.needs_refresh_message: Any = REFRESH_MESSAGE
        self.needs_refresh_message_category = MESSAGE_CATEGORY
        #: The mode if the application does not set SESSION_PROTECTION: "basic", "strong" or None.
        self.session_protection: str | None = "basic"
        #: A function that translates the two messages above, or None.
        self.localize_callback: Callable[[Any], Any] | None = None
        #: Functions that return the response to an anonymous user, and to a login that is not fresh. If a function is
        #: None, the response is a redirect or a 401.
        self.unauthorized_callback: Callable[[], Any] | None = None
        self.needs_refresh_callback: Callable[[], Any] | None = None
        #: A function that returns the response to a logged-in user without permission. If it is None, a 403 is sent.
        self.forbidden_callback: Callable[[], Any] | None = None
        #: The name of the method of user objects that returns the user's id.
        self.id_attribute = ID_ATTRIBUTE
        #: A function that returns the :class:`RememberTokens` of an application. If it is None, sessions on the server
        #: get stored tokens, and other sessions get signed tokens.
        self.remember_tokens: Callable[[Flask], RememberTokens] | None = None
        #: The authenticators, in the order of their registration: see :meth:`authenticator`.
        self.authenticators: list[Authenticator] = []
        #: A function that returns whether a user may impersonate another user. If it is None, no user may.
        self.impersonation_callback: Callable[[Any, Any], Any] | None = None
        #: A function that returns the user with an id, or None: see :meth:`user_loader`.
        self.user_callback: Callable[[Any], Any] | None = None
        #: A function that returns the user of a request without a login, or None: see :meth:`request_loader`.
        self.request_callback: Callable[[Any], Any] | None = None
        #: The deprecated ``header_loader``: returns the user for a value of the header AUTH_HEADER_NAME, or None.
        self.header_callback: Callable[[str], Any] | None = None

    # -- loaders and handlers, each usable as a decorator ---------------------------------------------------

    def user_loader(self, callback: C) -> C:
        """Register a function that returns the user with an id, or None. The id is a value of ``get_id()``."""
        self.user_callback = callback
        return callback

    def request_loader(self, callback: C) -> C:
        """Register a function that returns the user of a request, or None.

        The function is called only if no user was found by a credential, the session or a remember cookie.
        """
        self.request_callback = callback
        return callback

    @overload
    def authenticator(self, scheme: C) -> C: ...

    @overload
    def authenticator(
        self, scheme: str | None = None, *, header: str | None = None, challenge: str | None = None
    ) -> Callable[[C], C]: ...

    def authenticator(self, scheme: Any = None, *, header: str | None = None, challenge: str | None = None) -> Any:
        """Register a function that finds the user of a request by a credential, before the session is read.

        The functions are called in the order of their registration, each with the request. A function returns the user,
        or None if the request has no credential for it. It raises :class:`Refused` for a credential that is not valid;
        then the response is a 401.

        ``scheme``: call the function only for this scheme of the Authorization header, such as "Bearer". Then the
        answer None is a refusal too, and a header that cannot be read is refused. ``header``: the same for another
        header, such as "X-API-Key". ``challenge``: the header WWW-Authenticate of the 401.

        Raises ValueError for a header that browsers know, because a page of another site could send it.
        """

        def register(callback: C) -> C:
            self.authenticators.append(Authenticator.create(callback, scheme, challenge, header))
            return callback

        if callable(scheme):
            callback, scheme = scheme, None
            return register(callback)
        return register

    def unauthorized_handler(self, callback: C) -> C:
        """Register a function that returns the response to an anonymous user."""
        self.unauthorized_callback = callback
        return callback

    def needs_refresh_handler(self, callback: C) -> C:
        """Register a function that returns the response to a login that is not fresh."""
        self.needs_refresh_callback = callback
        return callback

    def forbidden_handler(self, callback: C) -> C:
        """Register a function that returns the response to a logged-in user without permission."""
        self.forbidden_callback = callback
        return callback

    def impersonation_allowed(self, callback: C) -> C:
        """Register a function ``(impersonator, user)`` that returns whether the impersonation is allowed.

        The function is called when an impersonation begins, and at each request during the impersonation.
        """
        self.impersonation_callback = callback
        return callback

    @property
    def has_loader(self) -> bool:
        """Whether the realm has a loader or an authenticator. Otherwise nobody can be logged in."""
        callbacks = (self.user_callback, self.request_callback, self.header_callback)
        return bool(self.authenticators) or any(callback is not None for callback in callbacks)

    # -- used by the rest of this package -------------------------------------------------------------------

    @property
    def login_views(self) -> list[tuple[str | None, str]]:
        """All login pages, each with the name of its blueprint, or with None for the application's login page."""
        views = [(None, self.login_view), *self.blueprint_login_views.items()]
        return [(blueprint, view) for blueprint, view in views if view]

    def id_of(self, user: Any) -> Any:
        """Return a user's id. Raises ValueError for a user without an id."""
        user_id = getattr(user, self.id_attribute)()
        if user_id is None:
            raise ValueError(f"{self.id_attribute}() of the user returned None. It must return the user's id")
        return user_id

    def user_with_id(self, user_id: object) -> Any:
        """Return the user with an id from an earlier login, or None if there is no such user or the value is no id."""
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
        """Return the session interface of the sessions with this realm's logins."""
        return app.session_interface

    def timeout_for(self, app: Flask) -> float:
        """Return the longest wait, in seconds, until another thread of a request has found the user."""
        interface = self.interface_for(app)
        return interface.settings.timeout if isinstance(interface, ServerSessionInterface) else DEFAULT_TIMEOUT

    def session_of(self, request: Request) -> SessionMixin:
        """Return the session of a request in which this realm's login is stored."""
        return this_session()

    def cookie_names(self, app: Flask) -> tuple[str, str]:
        """Return the names of this realm's session cookie and remember cookie."""
        return cookie_name(self.interface_for(app), app), self.settings_for(app).cookie.name

    def may_have_login(self, app: Flask, request: Request) -> bool:
        """Return whether a request may have a login of this realm, so that its session must be opened."""
        return True

    def tokens_for(self, app: Flask) -> RememberTokens:
        """Return the remember tokens of an application, for this realm."""
        if self.remember_tokens is not None:
            return with_present_names(self.remember_tokens(app))
        interface = self.interface_for(app)
        if isinstance(interface, ServerSessionInterface):
            return StoredTokens(app, interface.repository)
        return SignedTokens(app, kind=self.name)

    # -- responses to refused requests: LoginManager has them -------------------------------------------------

    def unauthorized(self) -> Any:
        """Return the response to an anonymous user. Raises a 401 if the realm has no such response."""
        raise NotImplementedError

    def needs_refresh(self) -> Any:
        """Return the response to a login that is not fresh. Raises a 401 if the realm has no such response."""
        raise NotImplementedError

    def forbidden(self, reason: str = ...) -> Any:
        """Return the response to a logged-in user without permission. Raises a 403 if the realm has none."""
        raise NotImplementedError


def realm_of(app: Flask) -> Realm:
    """Return the realm of an application's own users. Raises RuntimeError if the application has no manager."""
    realm: Realm | None = app.extensions.get(EXTENSION_KEY)
    if realm is None:
        raise RuntimeError(f"the application {app.name!r} has no LoginManager. Call login_manager.init_app(app) first")
    return realm


def realms_of(app: Flask) -> list[Realm]:
    """Return all realms of an application: first the realm of its own users, if it exists, then the user kinds."""
    own: Realm | None = app.extensions.get(EXTENSION_KEY)
    kinds: dict[str, Realm] = app.extensions.get(KINDS_KEY, {})
    return [*kinds.values()] if own is None else [own, *kinds.values()]


def cookie_name(interface: Any, app: Flask) -> str:
    """Return the name of the session cookie of a session interface, this package's or Flask's."""
    if isinstance(interface, ServerSessionInterface):
        return interface.settings.cookie.name
    name: str = interface.get_cookie_name(app)
    return name
