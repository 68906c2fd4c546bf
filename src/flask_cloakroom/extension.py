"""``Cloakroom(app)``: every part at once. The only module that knows them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .redis_client import FlaskRedis
from .sessions import Session

if TYPE_CHECKING:
    from flask import Flask


class Cloakroom:
    """Switch on every part that this version has: server-side sessions, and the Redis client if there is a URL."""

    def __init__(self, app: Flask | None = None) -> None:
        """With ``app``, do :meth:`init_app` at once."""
        #: The client for ``REDIS_URL``; of use in applications that set it.
        self.redis = FlaskRedis()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set up all parts for ``app``. Raises :class:`~flask_cloakroom.errors.SettingError`."""
        # The application may have a client of its own already, under the name that everybody looks it up by.
        if app.config.get("REDIS_URL") and "redis" not in app.extensions:
            self.redis.init_app(app)
        Session(app)
