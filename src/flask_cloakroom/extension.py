"""``Cloakroom(app)`` sets up every part. This is the only module that knows all parts."""

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
    """Sets up server-side sessions, logins and CSRF protection, and a Redis client if there is a ``REDIS_URL``."""

    def __init__(self, app: Flask | None = None) -> None:
        """Make the extension. With ``app``, call :meth:`init_app` at once."""
        #: The client for ``REDIS_URL``, for applications that set it.
        self.redis = FlaskRedis()
        #: Logins, for applications that register a loader.
        self.login_manager = LoginManager()
        #: CSRF protection.
        self.csrf = CSRFProtect()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set up all parts for ``app``. Raises :class:`~flask_cloakroom.errors.SettingError`."""
        # The application may have a client of its own under the usual name. It stays.
        if app.config.get("REDIS_URL") and "redis" not in app.extensions:
            self.redis.init_app(app)
        Session(app)
        # The application's own login manager stays, ours or Flask-Login's.
        present = getattr(app, "login_manager", None)
        if present is None:
            self.login_manager.init_app(app, add_context_processor=False)
            app.context_processor(self._user_context)
        elif isinstance(present, LoginManager):
            self.login_manager = present
        # The application's own CSRF protection stays as well, whether it was set up before or will be later.
        protection = app.extensions.get("csrf")
        if isinstance(protection, CSRFProtect):
            self.csrf = protection
        elif protection is None:
            self.csrf.init_app(app, unless_replaced=True)

    def user_loader(self, callback: C) -> C:
        """Register the function that returns the user with an id, or None: :meth:`LoginManager.user_loader`."""
        return self.login_manager.user_loader(callback)

    def request_loader(self, callback: C) -> C:
        """Register the function that finds a user by the request alone: :meth:`LoginManager.request_loader`."""
        return self.login_manager.request_loader(callback)

    def _user_context(self) -> dict[str, Any]:
        # Without logins, the templates of the application may have another variable named current_user.
        return user_context() if self.login_manager.has_loader else {}
