"""Warns of an embedded server in production."""

from __future__ import annotations

import logging
import weakref
from typing import Any, Final, Protocol

log: Final = logging.getLogger("flask_cloakroom.redis")


class Application(Protocol):
    """What a Flask application says of how it runs."""

    @property
    def name(self) -> str:
        """The application's name."""

    @property
    def debug(self) -> bool:
        """Whether it runs in debug mode."""

    @property
    def testing(self) -> bool:
        """Whether it is under test."""


class ProductionWarning:
    """A listener that warns before the server is used, unless its application runs in debug mode or under test.

    At the first use and not at start, because ``app.run(debug=True)`` says late how it runs.
    """

    def __init__(self, app: Application) -> None:
        self._app = weakref.ref(app)

    def __call__(self, event: str, **details: Any) -> None:
        """Log a warning, once for each application."""
        app = self._app()
        if event != "starting" or app is None or app.debug or app.testing or app in _warned:
            return
        _warned.add(app)
        log.warning(
            "%s uses embedded://, which is for development and tests: one machine, no replica, no password; "
            "in production set a URL of a server",
            app.name,
        )


_warned: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
