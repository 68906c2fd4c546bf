"""Log a warning if an application uses the embedded server in production."""

from __future__ import annotations

import logging
import weakref
from typing import Any, Final

log: Final = logging.getLogger("flask_cloakroom.redis")


class ProductionWarning:
    """A listener that logs a warning before the first use of the server, if neither ``debug`` nor ``testing`` is set.

    At the start of the application it is too early to know this: ``app.run(debug=True)`` sets debug mode later.
    """

    def __init__(self, app: Any) -> None:
        """Make the listener of ``app``, a Flask application with ``name``, ``debug`` and ``testing``."""
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
