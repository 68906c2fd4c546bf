"""Fixtures for the tests of stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_cloakroom.stores.redis.store import RedisStore
from stores.backends import Surroundings, prefix
from stores.servers_for_stores import GuardedRedisServer, Proxy, RedisCluster, Sentinel, VolatileRedisServer


@pytest.fixture(scope="session")
def guarded_redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRedisServer]:
    """A server with a password and a Unix socket, for all tests that don't stop it."""
    server = GuardedRedisServer(tmp_path_factory.mktemp("guarded"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def volatile_redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VolatileRedisServer]:
    """A server that never waits for a disk, for all tests that don't stop it."""
    server = VolatileRedisServer(tmp_path_factory.mktemp("volatile"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Three masters."""
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def redis_sentinel(
    tmp_path_factory: pytest.TempPathFactory, volatile_redis_server: VolatileRedisServer
) -> Iterator[Sentinel]:
    """A Sentinel that knows where the volatile server is."""
    sentinel = Sentinel(tmp_path_factory.mktemp("sentinel"), volatile_redis_server)
    sentinel.start()
    yield sentinel
    sentinel.stop()


@pytest.fixture
def surroundings(tmp_path: Path, request: pytest.FixtureRequest) -> Surroundings:
    """What a row of the table of backends is opened with."""
    return Surroundings(tmp_path, request.getfixturevalue)


@pytest.fixture
def own_volatile_server(tmp_path: Path) -> Iterator[VolatileRedisServer]:
    """A server for a test that pauses, fills or looks at it, and that nothing need survive."""
    folder = tmp_path / "volatile"
    folder.mkdir()
    server = VolatileRedisServer(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def proxy(own_volatile_server: VolatileRedisServer) -> Iterator[Proxy]:
    """Return a proxy before a server of the test's own."""
    proxy = Proxy(own_volatile_server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def through_proxy(proxy: Proxy) -> Iterator[RedisStore]:
    """Return a store behind the proxy, which was used. It is patient, because no test waits for the end of that."""
    store = RedisStore(proxy.url, prefix=prefix(), timeout=5.0)
    assert store.load(b"nothing") is None
    yield store
    store.close()
