"""``Cloakroom(app)``: every part at once. The only module that knows them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .sessions import Session

if TYPE_CHECKING:
    from flask import Flask


class Cloakroom:
    """Switch on every part that this version has: server-side sessions."""

    def __init__(self, app: Flask | None = None) -> None:
        """With ``app``, do :meth:`init_app` at once."""
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set up all parts for ``app``. Raises :class:`~flask_cloakroom.errors.SettingError`."""
        Session(app)
