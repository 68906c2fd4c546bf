"""Fixtures of the embedded server, which end what they started, and of servers for the client's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from embedded_users import Processes, User, require_embedded
from redis_clients import Outside

from flask_cloakroom.redis_connections.embedded.server import EmbeddedServer
from stores.servers_for_stores import GuardedRedisServer, VolatileRedisServer


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


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VolatileRedisServer]:
    """One server for all tests of the client that neither stop it nor count its connections."""
    server = VolatileRedisServer(tmp_path_factory.mktemp("shared"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[VolatileRedisServer]:
    """A server of the test's own, which it may stop, and on which nobody else has a connection."""
    folder = tmp_path / "own"
    folder.mkdir()
    server = VolatileRedisServer(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def outside(own_server: VolatileRedisServer) -> Iterator[Outside]:
    """Return a look at the test's own server from outside."""
    outside = Outside(own_server)
    yield outside
    outside.close()


@pytest.fixture(scope="session")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRedisServer]:
    """One with a password, on TCP, TLS and a Unix socket."""
    server = GuardedRedisServer(tmp_path_factory.mktemp("guarded"))
    server.start()
    yield server
    server.stop()
