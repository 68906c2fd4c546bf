"""``LoginManager``: an application's loaders and handlers, and what its visitors are told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, Request, Response, abort, flash, redirect, request, session
from flask.sessions import SessionMixin

from .. import signals
from ..redirects import safe_path
from ..sessions.interface import ServerSessionInterface
from .config import (
    ID_ATTRIBUTE,
    LOGIN_MESSAGE,
    LOGIN_MESSAGE_CATEGORY,
    REFRESH_MESSAGE,
    REFRESH_MESSAGE_CATEGORY,
)
from .current import EXTENSION_KEY, manager_of, user_context
from .legacy import LegacyManager
from .loading import call
from .mixins import AnonymousUserMixin
from .remember import RememberTokens, SignedTokens
from .remember_legacy import LegacyTokens
from .remember_stored import StoredTokens
from .response import finish
from .settings import LoginSettings, settings_of
from .state import known_state_of, this_app, this_request
from .urls import expand_login_view, login_url, make_next_param

log = logging.getLogger("flask_cloakroom.login")

C = TypeVar("C", bound=Callable[..., Any])


class LoginManager(LegacyManager):
    """Lives as long as the process; one serves any number of applications. Its attributes are set before they run.

    Loaders and handlers may be async, if Flask was installed with its extra ``async``.
    """

    def __init__(self, app: Flask | None = None, add_context_processor: bool = True) -> None:
        """With ``app``, do :meth:`init_app` at once."""
        #: Makes the user of those who are not logged in: a class or another callable without arguments.
        self.anonymous_user: Callable[[], Any] = AnonymousUserMixin
        #: The endpoint, path or URL where one logs in. None: whoever would be sent there gets a 401.
        self.login_view: str | None = None
        #: The same by blueprint name, where that has another one.
        self.blueprint_login_views: dict[str | None, str | None] = {}
        #: What is flashed to who is sent to log in, if anything; and its category.
        self.login_message: Any = LOGIN_MESSAGE
        self.login_message_category = LOGIN_MESSAGE_CATEGORY
        #: The endpoint, path or URL where those who are logged in show again who they are. None: they get a 401.
        self.refresh_view: str | None = None
        #: What is flashed to who is sent there, if anything; and its category.
        self.needs_refresh_message: Any = REFRESH_MESSAGE
        self.needs_refresh_message_category = REFRESH_MESSAGE_CATEGORY
        #: "basic", "strong" or None; SESSION_PROTECTION in the application's configuration comes before it.
        self.session_protection: str | None = "basic"
        #: Translates the two messages.
        self.localize_callback: Callable[[Any], Any] | None = None
        #: Make the response for those who are not logged in, or not freshly.
        self.unauthorized_callback: Callable[[], Any] | None = None
        self.needs_refresh_callback: Callable[[], Any] | None = None
        #: The method of user objects that returns the id.
        self.id_attribute = ID_ATTRIBUTE
        #: Makes what issues and checks remember tokens, given the application. None: stored ones for sessions on the
        #: server, signed ones for others.
        self.remember_tokens: Callable[[Flask], RememberTokens] | None = None
        self._user_callback: Callable[[Any], Any] | None = None
        self._request_callback: Callable[[Any], Any] | None = None
        self._header_callback: Callable[[str], Any] | None = None
        if app is not None:
            self.init_app(app, add_context_processor)

    def init_app(self, app: Flask, add_context_processor: bool = True) -> None:
        """Make this the application's manager, ``app.login_manager``; with ``current_user`` in its templates.

        Raises :class:`~flask_cloakroom.SettingError` for a wrong setting.
        """
        settings_of(app)
        if EXTENSION_KEY not in app.extensions:
            # Whichever manager the application has by then.
            app.after_request(lambda response: manager_of(app)._finish(response))
        app.extensions[EXTENSION_KEY] = self
        app.login_manager = self  # type: ignore[attr-defined]
        if add_context_processor:
            app.context_processor(user_context)

    # -- loaders and handlers, each usable as a decorator ---------------------------------------------------

    def user_loader(self, callback: C) -> C:
        """Register what returns the user of an id, as ``get_id()`` gave it, or None if there is no such user."""
        self._user_callback = callback
        return callback

    def request_loader(self, callback: C) -> C:
        """Register what returns the user that a request shows by itself (a header, a token), or None."""
        self._request_callback = callback
        return callback

    def unauthorized_handler(self, callback: C) -> C:
        """Register what makes the response for those who are not logged in."""
        self.unauthorized_callback = callback
        return callback

    def needs_refresh_handler(self, callback: C) -> C:
        """Register what makes the response for those whose login is not fresh."""
        self.needs_refresh_callback = callback
        return callback

    @property
    def user_callback(self) -> Callable[[Any], Any] | None:
        """What :meth:`user_loader` registered."""
        return self._user_callback

    @property
    def request_callback(self) -> Callable[[Any], Any] | None:
        """What :meth:`request_loader` registered."""
        return self._request_callback

    @property
    def has_loader(self) -> bool:
        """Whether anybody can be logged in."""
        return not (self._user_callback is None and self._request_callback is None and self._header_callback is None)

    # -- responses ------------------------------------------------------------------------------------------

    def unauthorized(self) -> Any:
        """Return the response for those who are not logged in: the handler's, or a redirect to the login view.

        Raises a 401 if there is neither.
        """
        app = this_app()
        log.info("%s was refused: nobody is logged in", request.endpoint)
        signals.user_unauthorized.send(app)
        if self.unauthorized_callback is not None:
            return call(self.unauthorized_callback)
        views = self.blueprint_login_views
        found = (views[name] for name in (*request.blueprints, None) if views.get(name))
        return self._sent_to(app, next(found, self.login_view), self.login_message, self.login_message_category)

    def needs_refresh(self) -> Any:
        """Return the response for those whose login is not fresh: the handler's, or a redirect to the refresh view.

        Raises a 401 if there is neither.
        """
        app = this_app()
        log.info("%s was refused: the login is not fresh", request.endpoint)
        signals.user_needs_refresh.send(app)
        if self.needs_refresh_callback is not None:
            return call(self.needs_refresh_callback)
        return self._sent_to(app, self.refresh_view, self.needs_refresh_message, self.needs_refresh_message_category)

    def _sent_to(self, app: Flask, view: str | None, message: Any, category: str) -> Any:
        if not view:
            abort(401)
        if message:
            flash(message if self.localize_callback is None else self.localize_callback(message), category=category)
        wanted = make_next_param(expand_login_view(view), request.url)
        if wanted.startswith("/") and safe_path(wanted, "") is None:
            return redirect(login_url(view))  # no login view would lead there again
        if settings_of(app).next_in_session:
            session["next"] = wanted
            return redirect(login_url(view))
        return redirect(login_url(view, next_url=request.url))

    # -- for this package -----------------------------------------------------------------------------------

    #: Under what a request keeps its state.
    state_name = "_flask_cloakroom_login"

    def settings_for(self, app: Flask) -> LoginSettings:
        """Return the settings that hold for this manager's logins. Raises :class:`~flask_cloakroom.SettingError`."""
        return settings_of(app)

    def interface_for(self, app: Flask) -> Any:
        """Return what opens and saves the sessions in which its logins are kept."""
        return app.session_interface

    def session_of(self, request: Request) -> SessionMixin:
        """Return the session in which a request's login is kept."""
        found: SessionMixin = session._get_current_object()  # type: ignore[attr-defined]
        return found

    def _finish(self, response: Response) -> Response:
        """Finish the response of a request that asked for its user. One that did not is left as it is."""
        state = known_state_of(this_request(), self)
        if state is not None:
            finish(state, response)
        return response

    def id_of(self, user: Any) -> Any:
        """Return the user's id. Raises ValueError for one that has none."""
        user_id = getattr(user, self.id_attribute)()
        if user_id is None:
            raise ValueError(f"{self.id_attribute}() of the user returned None, so there is nobody to log in")
        return user_id

    def tokens_for(self, app: Flask) -> RememberTokens:
        """Return what issues and checks the application's remember tokens."""
        tokens: RememberTokens
        interface = self.interface_for(app)
        if self.remember_tokens is not None:
            tokens = self.remember_tokens(app)
        elif isinstance(interface, ServerSessionInterface):
            tokens = StoredTokens(app, interface.repository)
        else:
            tokens = SignedTokens(app)
        settings = self.settings_for(app)
        return LegacyTokens(app, tokens, settings.remember_for) if settings.accept_legacy else tokens
