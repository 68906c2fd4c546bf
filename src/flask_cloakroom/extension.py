"""``Cloakroom(app)`` sets up sessions, logins, CSRF protection and a Redis client: all parts of this package."""

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
    """Sets up server-side sessions, logins and CSRF protection, and a Redis client if ``REDIS_URL`` is set."""

    def __init__(self, app: Flask | None = None) -> None:
        """Make the extension. With ``app``, also call :meth:`init_app`."""
        #: The Redis client. It can be used only by applications that set ``REDIS_URL``.
        self.redis = FlaskRedis()
        #: The login manager. It finds users only if the application registers a loader.
        self.login_manager = LoginManager()
        #: The CSRF protection.
        self.csrf = CSRFProtect()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set up all parts for ``app``. Raises :class:`~flask_cloakroom.errors.SettingError`."""
        # If the application already has a client of its own under the name "redis", do not replace that client.
        if app.config.get("REDIS_URL") and "redis" not in app.extensions:
            self.redis.init_app(app)
        Session(app)
        # If the application already has a login manager, of this package or of Flask-Login, do not replace it.
        present = getattr(app, "login_manager", None)
        if present is None:
            self.login_manager.init_app(app, add_context_processor=False)
            app.context_processor(self._user_context)
        elif isinstance(present, LoginManager):
            self.login_manager = present
        # Do not replace the application's own CSRF protection. The application may also set it up after this call.
        protection = app.extensions.get("csrf")
        if isinstance(protection, CSRFProtect):
            self.csrf = protection
        elif protection is None:
            self.csrf.init_app(app, unless_replaced=True)

    def user_loader(self, callback: C) -> C:
        """Register the function that returns the user with a given id. See :meth:`LoginManager.user_loader`."""
        return self.login_manager.user_loader(callback)

    def request_loader(self, callback: C) -> C:
        """Register the function that returns the user of a request. See :meth:`LoginManager.request_loader`."""
        return self.login_manager.request_loader(callback)

    def _user_context(self) -> dict[str, Any]:
        # An application without a loader may have its own template variable current_user. Do not replace it.
        return user_context() if self.login_manager.has_loader else {}
