"""Fixtures of the embedded server, which end what they started."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flask_cloakroom.redis_connections.embedded.server import EmbeddedServer
from support.redis.embedded_users import Processes, User, require_embedded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where the server's folder is to be: in an instance folder that is not there yet."""
    require_embedded()
    return tmp_path / "instance" / "redis"


@pytest.fixture
def processes(folder: Path) -> Iterator[Processes]:
    """Return a look at the folder's processes, which must all end by themselves at the end of the test."""
    processes = Processes(folder)
    yield processes
    try:
        processes.wait_for_none()
    finally:
        processes.kill()


@pytest.fixture
def new_user(folder: Path, processes: Processes) -> Iterator[Callable[[], User]]:
    """Return what makes a process that may use the server; all are killed at the end."""
    users: list[User] = []

    def new() -> User:
        users.append(User(EmbeddedServer(folder), [each for each in users if each.pid]))
        return users[-1]

    yield new
    for each in users:
        each.end()


@pytest.fixture
def server(folder: Path, processes: Processes) -> Iterator[EmbeddedServer]:
    """Return the server as this process sees it, not used yet."""
    server = EmbeddedServer(folder)
    yield server
    server.close()
