"""``LoginManager``: an application's loaders and handlers, and what its visitors are told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar, overload

from flask import Blueprint, Flask, Request, Response, abort, flash, redirect, request, session
from flask.sessions import SessionMixin

from .. import signals
from ..context import this_app, this_request, this_session
from ..core.values.own_keys import FLASHES
from ..hooks import LOGIN_SECRETS, SHOWN_BY_HEADER
from ..redirects import safe_path
from ..sessions.interface import ServerSessionInterface
from .access.login_url import expand_login_view, login_url, make_next_param
from .access.required import require_login
from .compat.deprecated import LegacyManager
from .in_session import session_login
from .remember.flask_login_cookies import LegacyTokens
from .remember.stored import StoredTokens
from .remember.tokens import RememberTokens, SignedTokens
from .request.current import EXTENSION_KEY, manager_of, user_context
from .request.header_logins import cookie_name, is_shown_by_header, login_secrets
from .request.response import finish
from .request.state import LoginState, known_state_of, state_of
from .setup.authenticators import Authenticator
from .setup.callbacks import call
from .setup.config import ID_ATTRIBUTE, LOGIN_MESSAGE, LOGIN_MESSAGE_CATEGORY, REFRESH_MESSAGE, REFRESH_MESSAGE_CATEGORY
from .setup.settings import LoginSettings, settings_of
from .setup.users import AnonymousUserMixin

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
        #: The same by blueprint name, where that has another one. None as a value: a 401 for that blueprint's pages.
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
        app.extensions |= {EXTENSION_KEY: self, LOGIN_SECRETS: login_secrets, SHOWN_BY_HEADER: is_shown_by_header}
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
            self.authenticators.append(Authenticator.made(callback, scheme, challenge, header))
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

    def require_login(self, target: Flask | Blueprint) -> None:
        """Let nobody into this application's or blueprint's views but users of this manager's: see the function."""
        require_login(target, self)

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
        callbacks = (self._user_callback, self._request_callback, self._header_callback)
        return bool(self.authenticators) or any(callback is not None for callback in callbacks)

    # -- responses ------------------------------------------------------------------------------------------

    def unauthorized(self) -> Any:
        """Return the response for those who are not logged in: the handler's, or a redirect to the login view.

        Raises a 401 if there is neither.
        """
        app = this_app()
        self._log_refusal("nobody is logged in")
        signals.user_unauthorized.send(app)
        if self.unauthorized_callback is not None:
            return _answered(self.unauthorized_callback)
        views = self.blueprint_login_views
        found = (views[name] for name in (*request.blueprints, None) if name in views)
        return self._sent_to(app, next(found, self.login_view), self.login_message, self.login_message_category)

    def needs_refresh(self) -> Any:
        """Return the response for those whose login is not fresh: the handler's, or a redirect to the refresh view.

        Raises a 401 if there is neither.
        """
        app = this_app()
        self._log_refusal("the login is not fresh")
        signals.user_needs_refresh.send(app)
        if self.needs_refresh_callback is not None:
            return _answered(self.needs_refresh_callback)
        return self._sent_to(app, self.refresh_view, self.needs_refresh_message, self.needs_refresh_message_category)

    def forbidden(self, reason: str = "the user has no permission") -> Any:
        """Return the response for those who are logged in and must not see the page: the handler's.

        Raises a 403 if there is none. ``reason`` is for the log.
        """
        self._log_refusal(reason)
        if self.forbidden_callback is not None:
            return _answered(self.forbidden_callback)
        abort(403)
        return None

    def _log_refusal(self, reason: str) -> None:
        state = known_state_of(this_request(), self)
        # The session is not opened for the log's sake.
        by_session = state is not None and state.loaded and not state.ignores_session
        named = session_login.public_id(self.session_of(this_request())) if by_session else "no session"
        log.info("%s: %s was refused: %s", named, request.endpoint, reason)

    def _sent_to(self, app: Flask, view: str | None, message: Any, category: str) -> Any:
        if not view:
            abort(401)
        if message:
            _flash_once(message if self.localize_callback is None else self.localize_callback(message), category)
        if not _can_be_shown(request):
            # Whoever comes back there by a redirect would get a 405; what they know is the page with the button.
            return redirect(login_url(view, next_url=_page_before(request)))
        wanted = make_next_param(expand_login_view(view), request.url)
        if wanted.startswith("/") and safe_path(wanted, "") is None:
            return redirect(login_url(view))  # no login view would lead there again
        if settings_of(app).next_in_session:
            session["next"] = wanted
            return redirect(login_url(view))
        return redirect(login_url(view, next_url=request.url))

    # -- for this package -----------------------------------------------------------------------------------

    @property
    def login_views(self) -> list[tuple[str | None, str]]:
        """Where one logs in: all of them, each with the blueprint that it is for."""
        views = [(None, self.login_view), *self.blueprint_login_views.items()]
        return [(blueprint, view) for blueprint, view in views if view]

    #: Under what a request keeps its state.
    state_name = "_flask_cloakroom_login"
    #: Under what a request notes that :meth:`_finish` was called.
    _finished_name = f"{state_name}_finished"

    def settings_for(self, app: Flask) -> LoginSettings:
        """Return the settings that hold for this manager's logins. Raises :class:`~flask_cloakroom.SettingError`."""
        return settings_of(app)

    def interface_for(self, app: Flask) -> Any:
        """Return what opens and saves the sessions in which its logins are kept."""
        return app.session_interface

    def session_of(self, request: Request) -> SessionMixin:
        """Return the session in which a request's login is kept."""
        return this_session()

    def cookie_names(self, app: Flask) -> tuple[str, str]:
        """Return the names of the cookies of this manager's logins: the session's, and the one that remembers."""
        return cookie_name(self.interface_for(app), app), self.settings_for(app).cookie.name

    def may_have_login(self, app: Flask, request: Request) -> bool:
        """Tell whether it is worth opening :meth:`session_of` a request to look for a login there."""
        return True

    def has_finished(self, request: Request) -> bool:
        """Tell whether a request's cookies of this manager are sent already, so that no login can begin any more."""
        return self._finished_name in request.__dict__

    def _finish(self, response: Response) -> Response:
        """Finish the response of a request that asked for its user. One that did not is left as it is."""
        request = this_request()
        request.__dict__[self._finished_name] = True
        state = known_state_of(request, self)
        if state is not None:
            finish(state, response)
        return response

    def _this(self) -> LoginState:
        """Return what the present request knows of its login by this manager."""
        return state_of(this_request(), self)

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
            tokens = self._signed_tokens(app)
        settings = self.settings_for(app)
        return LegacyTokens(app, tokens, settings.remember_for) if settings.accept_legacy else tokens

    def _signed_tokens(self, app: Flask) -> RememberTokens:
        return SignedTokens(app)


def _answered(handler: Callable[[], Any]) -> Any:
    """Return a handler's response. Raises TypeError for None, which means "go on" where it would be returned."""
    answer = call(handler)
    if answer is None:
        raise TypeError(f"{getattr(handler, '__name__', 'the handler')}() must return a response, and returned None")
    return answer


def _flash_once(message: Any, category: str) -> None:
    """Flash a message, unless it waits already: a page that polls for a night would fill the session with it."""
    waiting = session.get(FLASHES)
    said = [str(category), str(message)]
    told = waiting if isinstance(waiting, list) else []
    if not any(isinstance(one, tuple | list) and [str(part) for part in one] == said for one in told):
        flash(message, category=category)


def _can_be_shown(request: Request) -> bool:
    """Tell whether the URL of a request can be visited by a link."""
    rule = request.url_rule
    return rule is None or rule.methods is None or "GET" in rule.methods


def _page_before(request: Request) -> str | None:
    """Return the page of this site that a request came from, if it says so."""
    return safe_path(request.referrer, request.host) if request.referrer else None
