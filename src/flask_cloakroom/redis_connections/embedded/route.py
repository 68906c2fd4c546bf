"""Leads connections to the embedded server, and starts it before the first one."""

from __future__ import annotations

import logging
import weakref
from pathlib import Path
from typing import Any, Final, Protocol

from ..driver import Driver
from ..watch import Watch
from .server import EmbeddedServer, EmbeddedServerLateError, find_program

log: Final = logging.getLogger("flask_cloakroom.redis")

#: Seconds to wait for a server, for connections that wait for ever. A start takes about 0.1.
PATIENCE: Final = 10.0


class EmbeddedRoute:
    """Where the embedded server of one folder listens."""

    def __init__(self, driver: Driver, folder: Path, watch: Watch) -> None:
        """Raises ImportError, with what to install, if the server's program is not there. Starts nothing."""
        find_program()
        self._errors = driver.exceptions
        self._server = EmbeddedServer(folder)
        self._watch = watch

    def lead(self, connection: Any) -> None:
        """Set where ``connection`` is to connect, and start the server if it does not run.

        Raises the driver's TimeoutError after the connection's own time for connecting, also with a server that hangs;
        OSError if there can be no server.
        """
        self._watch.starting()
        try:
            self._server.ensure_running(connection.socket_connect_timeout or PATIENCE)
        except EmbeddedServerLateError as error:
            # Not tried again by the driver: a page has waited long enough.
            raise self._errors.TimeoutError(str(error)) from error
        connection.path = self._server.socket_path

    def check(self, connection: Any, error: Exception) -> None:
        """Do nothing: no error tells of another place to go to."""


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
