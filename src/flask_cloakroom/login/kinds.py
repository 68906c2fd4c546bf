"""Several kinds of user side by side, as customers and operators: each with a session of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

from flask import Flask, Request, Response, has_request_context
from flask.sessions import SessionMixin

from ..context import this_app, this_request
from ..errors import SettingError
from ..hooks import HAS_HEADER_LOGIN, LOGIN_SECRETS
from ..sessions.kinds import KindCookieInterface, KindInterface, interface_beside
from .manager import LoginManager
from .request.csrf_hooks import is_shown_by_header, login_secrets
from .request.current import UserProxy
from .request.loading import user_of
from .request.state import state_of_realm
from .setup.realm import KINDS_KEY
from .setup.settings import LoginSettings, settings_of
from .user_session.mappings import UserSession
from .user_session.proxy import user_session_of

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*").fullmatch


@dataclass(slots=True)
class _Place:
    """What a kind of user is made of in one application; made anew when what it was made from is another."""

    main: Any
    interface: KindInterface | KindCookieInterface
    main_settings: LoginSettings
    settings: LoginSettings


class UserKind(LoginManager):
    """Another kind of user beside the application's own, with its own loaders, views, messages and handlers.

    Its logins are in a session of their own: in the same store with the same settings, under the names of the
    application's cookies with ``_<name>`` behind them. Nothing of one kind is worth anything as another. What are
    functions for the application's users are methods here, which do the same.
    """

    def __init__(self, name: str, app: Flask | None = None) -> None:
        """``name``: small letters, digits and "_", other than "user". With ``app``, do :meth:`init_app` at once."""
        if not isinstance(name, str) or not _NAME(name) or name == "user":
            raise ValueError(f'a kind of user has a name like "operator", other than "user"; not {name!r}')
        self.name = name
        #: Under what a request keeps its state.
        self.state_name = f"_flask_cloakroom_login_{name}"
        self.finished_name = f"{self.state_name}_finished"
        self._session_name = f"{self.state_name}_session"
        self._places: WeakKeyDictionary[Flask, _Place] = WeakKeyDictionary()
        #: The user of this kind who makes the present request, or an anonymous one; ``current_<name>`` in templates.
        self.current_user: Any = UserProxy(self._get_user)
        #: What belongs to that user: :data:`flask_cloakroom.user_session`, and apart from other kinds'.
        self.user_session: UserSession = user_session_of(lambda: self)
        super().__init__()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask, add_context_processor: bool = True) -> None:
        """Add this kind of user to the application, with ``current_<name>`` in its templates.

        Call it early: ``after_request`` functions that are registered before run when its session is saved already.
        Raises ValueError if there is another kind of this name, :class:`~flask_cloakroom.SettingError` for a setting.
        """
        settings = settings_of(app)
        kinds: dict[str, UserKind] = app.extensions.setdefault(KINDS_KEY, {})
        present = kinds.get(self.name)
        if present is self:
            return
        if present is not None:
            raise ValueError(f"the application {app.name!r} has another UserKind({self.name!r}); give this one a name")
        taken = {app.config["SESSION_COOKIE_NAME"], settings.cookie.name}
        if taken & {f"{name}_{self.name}" for name in taken}:
            raise SettingError("REMEMBER_COOKIE_NAME", f"is taken by the cookies of UserKind({self.name!r})")
        kinds[self.name] = self
        app.extensions |= {LOGIN_SECRETS: login_secrets, HAS_HEADER_LOGIN: is_shown_by_header}
        app.after_request(self.finish_response)
        if add_context_processor:
            app.context_processor(lambda: {f"current_{self.name}": self.current_user})

    # -- for this package -----------------------------------------------------------------------------------

    def settings_for(self, app: Flask) -> LoginSettings:
        """Return the application's settings, with a remember cookie of its own."""
        return self._place(app).settings

    def interface_for(self, app: Flask) -> KindInterface | KindCookieInterface:
        """Return what opens and saves this kind's sessions. Raises CloakroomError where there can be none."""
        return self._place(app).interface

    def session_of(self, request: Request) -> SessionMixin:
        """Return the session of this kind, which is opened when it is first used."""
        found: SessionMixin | None = request.__dict__.get(self._session_name)
        if found is None:
            app = this_app()
            interface = self.interface_for(app)
            found = interface.open_session(app, request)
            if found is None:  # without a SECRET_KEY
                found = interface.make_null_session(app)
            if isinstance(interface, KindCookieInterface):
                found.accessed = True
            request.__dict__[self._session_name] = found
        return found

    def may_have_login(self, app: Flask, request: Request) -> bool:
        """Tell whether the request has opened the session of this kind, or has a cookie by which it may be logged in.

        A name that is part of another cookie's value counts too, which costs nothing but a look for the cookie.
        """
        if self._session_name in request.__dict__:
            return True
        header = request.environ.get("HTTP_COOKIE")
        return header is not None and any(name in header for name in self.cookie_names(app))

    def finish_response(self, response: Response) -> Response:
        """Finish the response of a request that asked for its user of this kind, and save the session."""
        super().finish_response(response)
        app, found = this_app(), this_request().__dict__.get(self._session_name)
        if found is not None:
            interface = self.interface_for(app)
            if not interface.is_null_session(found):
                interface.save_session(app, found, response)
        return response

    def _place(self, app: Flask) -> _Place:
        main, settings = app.session_interface, settings_of(app)
        place = self._places.get(app)
        if place is None or place.main is not main:
            interface = interface_beside(main, app, self.name)
            place = self._places[app] = _Place(main, interface, settings, settings.of_kind(self.name))
        elif place.main_settings is not settings:
            place.main_settings, place.settings = settings, settings.of_kind(self.name)
        return place

    def check_set_up(self, app: Flask) -> None:
        """Raise RuntimeError if the application does not have this kind of user."""
        if app.extensions.get(KINDS_KEY, {}).get(self.name) is not self:
            raise RuntimeError(f"the application {app.name!r} has no such UserKind: call init_app(app) of it first")

    def _get_user(self) -> Any:
        return user_of(state_of_realm(self)) if has_request_context() else None
