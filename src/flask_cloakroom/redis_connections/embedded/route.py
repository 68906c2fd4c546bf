"""Start the embedded server before the first connection, and give each connection the server's address."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ..driver import Driver
from ..watch import ServerWatch
from .server import EmbeddedServer, EmbeddedServerLateError, find_program

#: Seconds to wait for the start of the server if the connection has no time-out. A start takes about 0.1 seconds.
START_TIMEOUT: Final = 10.0


class EmbeddedRoute:
    """Gives each new connection the path of the embedded server's socket."""

    def __init__(self, driver: Driver, folder: Path, watch: ServerWatch) -> None:
        """Check that the server's program is installed. ``folder`` is the folder of the server's files.

        Raises ImportError if the program is not installed. The error says what to install.
        """
        find_program()
        self._errors = driver.exceptions
        self._server = EmbeddedServer(folder)
        self._watch = watch

    def set_address(self, connection: Any) -> None:
        """Start the server if it does not run, and give ``connection`` the socket's path.

        Raises the driver's TimeoutError if the start takes longer than the connection's ``socket_connect_timeout``, and
        OSError if the server cannot be started.
        """
        self._watch.report_starting()
        try:
            self._server.ensure_running(connection.socket_connect_timeout or START_TIMEOUT)
        except EmbeddedServerLateError as error:
            # The driver does not retry after a TimeoutError. The visitor has waited long enough.
            raise self._errors.TimeoutError(str(error)) from error
        connection.path = self._server.socket_path

    def handle_error(self, connection: Any, error: Exception) -> None:
        """Do nothing: an error of a command does not change the address of the embedded server."""
