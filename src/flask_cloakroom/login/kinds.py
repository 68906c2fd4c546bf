"""``UserKind``: a second group of users beside the application's own, such as staff beside customers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

from flask import Flask, Request, Response, has_request_context
from flask.sessions import SessionMixin

from ..context import peek_at_session, this_app
from ..errors import SettingError
from ..hooks import HAS_HEADER_LOGIN, LOGIN_SECRETS
from ..sessions.kinds import KindCookieInterface, KindInterface, interface_for_kind
from ..sessions.outcome import add_response_part
from ..sessions.work import SessionWork
from .manager import LoginManager
from .request.csrf_hooks import has_header_login, login_secrets
from .request.current_user import UserProxy, user_of
from .request.state import login_state
from .setup.realm import KINDS_KEY
from .setup.settings import LoginSettings, settings_of
from .user_session.mappings import UserSession
from .user_session.proxy import user_session_proxy

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*").fullmatch


@dataclass(slots=True)
class _KindInApp:
    """The session interface and settings of a user kind in one application, made from the application's own.

    ``main`` and ``main_settings`` are the application's own. If the application replaces them, the interface and
    settings of the kind are made again.
    """

    main: Any
    interface: KindInterface | KindCookieInterface
    main_settings: LoginSettings
    settings: LoginSettings


class UserKind(LoginManager):
    """A second group of users with its own loaders, views, messages and handlers, such as staff beside customers.

    Its logins are in a separate session, in the same store and with the same settings. The names of its cookies are the
    names of the application's cookies with ``_<name>`` appended. A ticket or remember token of one kind is not valid
    for another kind. Each function for the application's users, such as ``login_user``, is a method of this class.
    """

    def __init__(self, name: str, app: Flask | None = None) -> None:
        """Make a kind of user. With ``app``, also call :meth:`init_app`.

        ``name`` begins with a small letter, has small letters, digits and "_", and is not "user". Raises ValueError for
        another name.
        """
        if not isinstance(name, str) or not _NAME(name) or name == "user":
            raise ValueError(f'{name!r} is no name of a user kind. Use small letters, as in "operator", but not "user"')
        self.name = name
        #: The name of the attribute of the request object with the login state.
        self.state_name = f"_flask_cloakroom_login_{name}"
        self._session_name = f"{self.state_name}_session"
        self._in_apps: WeakKeyDictionary[Flask, _KindInApp] = WeakKeyDictionary()
        #: The request's user of this kind, or an anonymous user. Templates have it as ``current_<name>``.
        self.current_user: Any = UserProxy(self._get_user)
        #: The user data of the request's user of this kind: see :data:`flask_cloakroom.user_session`.
        self.user_session: UserSession = user_session_proxy(lambda: self)
        super().__init__()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, add_context_processor: bool = True) -> None:
        """Add this kind of user to the application. With ``add_context_processor``, templates get ``current_<name>``.

        Raises ValueError if the application has another kind of this name, and
        :class:`~flask_cloakroom.SettingError` for a wrong setting.
        """
        settings = settings_of(app)
        kinds: dict[str, UserKind] = app.extensions.setdefault(KINDS_KEY, {})
        present = kinds.get(self.name)
        if present is self:
            return
        if present is not None:
            raise ValueError(f"the application {app.name!r} has another UserKind({self.name!r}). Rename this one")
        taken = {app.config["SESSION_COOKIE_NAME"], settings.cookie.name}
        if taken & {f"{name}_{self.name}" for name in taken}:
            problem = f"is taken by the cookies of UserKind({self.name!r}). Use another name"
            raise SettingError("REMEMBER_COOKIE_NAME", problem)
        kinds[self.name] = self
        app.extensions |= {LOGIN_SECRETS: login_secrets, HAS_HEADER_LOGIN: has_header_login}
        add_response_part(app, self, self)
        if add_context_processor:
            app.context_processor(lambda: {f"current_{self.name}": self.current_user})

    # -- used inside this package -----------------------------------------------------------------------------

    def settings_for(self, app: Flask) -> LoginSettings:
        """Return the application's settings with the remember cookie of this kind.

        Raises RuntimeError if the application does not have this kind of user.
        """
        known: UserKind | None = app.extensions.get(KINDS_KEY, {}).get(self.name)
        if known is not self:
            raise RuntimeError(f"the application {app.name!r} lacks this UserKind({self.name!r}). Call init_app(app)")
        return self._in_app(app).settings

    def interface_for(self, app: Flask) -> KindInterface | KindCookieInterface:
        """Return the session interface of this kind.

        Raises CloakroomError if the application's sessions are neither Session(app) nor Flask's own.
        """
        return self._in_app(app).interface

    def session_of(self, request: Request) -> SessionMixin:
        """Return the request's session of this kind. The first call opens it."""
        found: SessionMixin | None = request.__dict__.get(self._session_name)
        if found is None:
            app = this_app()
            interface = self.interface_for(app)
            found = interface.open_session(app, request)
            if found is None:  # Flask's own interface returns None without a SECRET_KEY
                found = interface.make_null_session(app)
            if isinstance(interface, KindCookieInterface):
                found.accessed = True
            opened = found
            found = request.__dict__.setdefault(self._session_name, opened)  # atomic: all threads get one session
            main = peek_at_session()
            if found is opened and isinstance(found, SessionWork) and isinstance(main, SessionWork):
                main.add_kind(found)
        return found

    def may_have_login(self, app: Flask, request: Request) -> bool:
        """Return whether the request has opened the session of this kind, or may have a cookie of this kind.

        The result is also True if another cookie contains the name of a cookie of this kind. Then the caller opens an
        empty session.
        """
        if self._session_name in request.__dict__:
            return True
        header = request.environ.get("HTTP_COOKIE")
        return header is not None and any(name in header for name in self.cookie_names(app))

    def finish_response(self, request: Request, response: Response) -> None:
        """Add the headers and cookies of this kind's login. Save its session, if it is in a cookie as Flask's own."""
        found = request.__dict__.get(self._session_name)
        if found is not None and not isinstance(found, SessionWork):  # Session(app) saves a session on the server
            app = this_app()
            interface = self.interface_for(app)
            if not interface.is_null_session(found):
                interface.save_session(app, found, response)
        super().finish_response(request, response)

    def _in_app(self, app: Flask) -> _KindInApp:
        main, settings = app.session_interface, settings_of(app)
        place = self._in_apps.get(app)
        if place is None or place.main is not main:
            interface = interface_for_kind(main, app, self.name)
            place = self._in_apps[app] = _KindInApp(main, interface, settings, settings.for_kind(self.name))
        elif place.main_settings is not settings:
            place.main_settings, place.settings = settings, settings.for_kind(self.name)
        return place

    def _get_user(self) -> Any:
        return user_of(login_state(self)) if has_request_context() else None
