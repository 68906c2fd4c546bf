"""Warn of an embedded server in production."""

from __future__ import annotations

import logging
import weakref
from typing import Any, Final

log: Final = logging.getLogger("flask_cloakroom.redis")


class ProductionWarning:
    """A listener that warns before the server's first use, unless the application is in debug mode or under test.

    Not at start, because ``app.run(debug=True)`` switches debug mode on later.
    """

    def __init__(self, app: Any) -> None:
        """``app`` is a Flask application, of which ``name``, ``debug`` and ``testing`` are read."""
        self._app = weakref.ref(app)

    def __call__(self, event: str, **details: Any) -> None:
        """Log a warning, once for each application."""
        app = self._app()
        if event != "starting" or app is None or app.debug or app.testing or app in _warned:
            return
        _warned.add(app)
        log.warning(
            "%s uses embedded://, which is for development and tests: one machine, no replica, no password. "
            "In production set the URL of a server.",
            app.name,
        )


_warned: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
