"""Leads connections to the embedded server, and starts it before the first one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ..driver import Driver
from ..watch import Watch
from .server import EmbeddedServer, EmbeddedServerLateError, find_program

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
