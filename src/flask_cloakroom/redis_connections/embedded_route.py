"""Leads connections to the embedded server, and starts it before the first one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .embedded import EmbeddedServer, find_program


class EmbeddedRoute:
    """Where the embedded server of one folder listens."""

    def __init__(self, folder: Path) -> None:
        """Raises ImportError, with what to install, if the server's program is not there. Starts nothing."""
        find_program()
        self._server = EmbeddedServer(folder)

    def lead(self, connection: Any) -> None:
        """Set where ``connection`` is to connect, and see that somebody listens there. Raises OSError."""
        self._server.ensure_running()
        connection.path = self._server.socket_path

    def check(self, connection: Any, error: Exception) -> None:
        """Do nothing: no error tells of another place to go to."""
