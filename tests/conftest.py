"""Fixtures that every test may use: applications on every store, and real Redis servers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
from flask import Flask

from flask_cloakroom import Session
from support.redis.clients import Outside
from support.servers.groups import SixNodeCluster
from support.servers.redis_server import RedisServer
from support.servers.sentinel import SentinelSetup
from support.servers.special import GuardedRedisServer, VolatileRedisServer
from support.sites.requests_on_app import MakeApp
from support.sites.stores import stores_closed_after


class Startable(Protocol):
    """A server, or a group of servers."""

    def __init__(self, folder: Path) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


Servers = TypeVar("Servers", bound=Startable)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="also run the tests that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--soak"):
        for item in items:
            if item.get_closest_marker("soak"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: run with --soak"))


def running(kind: type[Servers], folder: Path) -> Iterator[Servers]:
    """Start a server or a group of servers in a new folder, and end it also if it does not come up."""
    folder.mkdir(exist_ok=True)
    servers = kind(folder)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests that don't stop it. Tests keep apart by key prefix or namespace."""
    yield from running(RedisServer, tmp_path_factory.mktemp("redis"))


@pytest.fixture
def own_redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server for a test that stops, pauses or counts."""
    yield from running(RedisServer, tmp_path / "redis")


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VolatileRedisServer]:
    """A server that never waits for a disk, for all tests that neither stop it nor count its connections."""
    yield from running(VolatileRedisServer, tmp_path_factory.mktemp("shared"))


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[VolatileRedisServer]:
    """A server that never waits for a disk, for a test that stops, fills or looks at it."""
    yield from running(VolatileRedisServer, tmp_path / "own")


@pytest.fixture
def outside(own_server: VolatileRedisServer) -> Iterator[Outside]:
    """Return a look at the test's own server from outside."""
    outside = Outside(own_server)
    yield outside
    outside.close()


@pytest.fixture(scope="session")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRedisServer]:
    """A server with a password, on TCP, TLS and a Unix socket, for all tests that don't stop it."""
    yield from running(GuardedRedisServer, tmp_path_factory.mktemp("guarded"))


@pytest.fixture(scope="session")
def six_node_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SixNodeCluster]:
    """One cluster for all tests that kill nothing in it. Slots may move; who is a master is asked, not assumed."""
    yield from running(SixNodeCluster, tmp_path_factory.mktemp("six-nodes"))


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[SixNodeCluster]:
    """A cluster for a test that kills or pauses nodes."""
    yield from running(SixNodeCluster, tmp_path / "six-nodes")


@pytest.fixture(scope="session")
def sentinel_setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelSetup]:
    """One master with replicas and Sentinels for all tests that leave these as they are."""
    yield from running(SentinelSetup, tmp_path_factory.mktemp("sentinel-setup"))


@pytest.fixture
def own_sentinel_setup(tmp_path: Path) -> Iterator[SentinelSetup]:
    """One for a test that kills or pauses the master."""
    yield from running(SentinelSetup, tmp_path / "sentinel-setup")


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A URL of each store in turn, where nothing is stored yet."""
    if request.param == "memory":
        return "memory://"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/sessions.sqlite3"
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url


@pytest.fixture
def make_app(store_url: str, tmp_path: Path) -> Iterator[MakeApp]:
    """Return a function that makes an application on the store, with the settings it is given."""
    prefix = f"test-{uuid.uuid4().hex}:"

    def make(name: str = "shop", **settings: Any) -> Flask:
        app = Flask(name, instance_path=str(tmp_path / "instance"))
        app.config.update(TESTING=True, SESSION_STORE=store_url, SESSION_KEY_PREFIX=prefix)
        app.config.update(settings)
        Session(app)
        apps.append(app)
        return app

    with stores_closed_after() as apps:
        yield make


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    """An application on the store with default settings."""
    return make_app()
