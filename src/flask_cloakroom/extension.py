"""``Cloakroom(app)``: every part at once. The only module that knows them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from .csrf import CSRFProtect
from .login import LoginManager
from .login.request.current_user import user_context
from .redis_client import FlaskRedis
from .sessions import Session

if TYPE_CHECKING:
    from flask import Flask

C = TypeVar("C", bound=Callable[..., Any])


class Cloakroom:
    """Switch on every part that this version has: server-side sessions, logins, and Redis if there is a URL."""

    def __init__(self, app: Flask | None = None) -> None:
        """With ``app``, do :meth:`init_app` at once."""
        #: The client for ``REDIS_URL``; of use in applications that set it.
        self.redis = FlaskRedis()
        #: Logins; of use once there is a loader.
        self.login_manager = LoginManager()
        #: Protection against forged requests.
        self.csrf = CSRFProtect()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set up all parts for ``app``. Raises :class:`~flask_cloakroom.errors.SettingError`."""
        # The application may have a client of its own already, under the name that everybody looks it up by.
        if app.config.get("REDIS_URL") and "redis" not in app.extensions:
            self.redis.init_app(app)
        Session(app)
        # So with logins: its own manager, ours or Flask-Login's, stays.
        present = getattr(app, "login_manager", None)
        if present is None:
            self.login_manager.init_app(app, add_context_processor=False)
            app.context_processor(self._user_context)
        elif isinstance(present, LoginManager):
            self.login_manager = present
        # And with the protection, whichever of the two is set up first.
        protection = app.extensions.get("csrf")
        if isinstance(protection, CSRFProtect):
            self.csrf = protection
        elif protection is None:
            self.csrf.init_app(app, unless_replaced=True)

    def user_loader(self, callback: C) -> C:
        """Register what returns the user of an id, or None: :meth:`LoginManager.user_loader`."""
        return self.login_manager.user_loader(callback)

    def request_loader(self, callback: C) -> C:
        """Register what returns the user that a request shows by itself: :meth:`LoginManager.request_loader`."""
        return self.login_manager.request_loader(callback)

    def _user_context(self) -> dict[str, Any]:
        # Templates of an application without logins may have a current_user of another kind.
        return user_context() if self.login_manager.has_loader else {}
