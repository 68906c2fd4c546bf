"""Fixtures for the tests of stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_cloakroom.stores.redis.store import RedisStore
from support.servers.special import Proxy, RedisCluster, Sentinel, VolatileRedisServer
from support.stores.backends import Surroundings, prefix


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Three masters."""
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def redis_sentinel(tmp_path_factory: pytest.TempPathFactory, shared_server: VolatileRedisServer) -> Iterator[Sentinel]:
    """A Sentinel that knows where the shared server is."""
    sentinel = Sentinel(tmp_path_factory.mktemp("sentinel"), shared_server)
    sentinel.start()
    yield sentinel
    sentinel.stop()


@pytest.fixture
def surroundings(tmp_path: Path, request: pytest.FixtureRequest) -> Surroundings:
    """What a row of the table of backends is opened with."""
    return Surroundings(tmp_path, request.getfixturevalue)


@pytest.fixture
def proxy(own_server: VolatileRedisServer) -> Iterator[Proxy]:
    """Return a proxy before a server of the test's own."""
    proxy = Proxy(own_server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def through_proxy(proxy: Proxy) -> Iterator[RedisStore]:
    """Return a store behind the proxy, which was used. It is patient, because no test waits for the end of that."""
    store = RedisStore(proxy.url, prefix=prefix(), timeout=5.0)
    assert store.load(b"nothing") is None
    yield store
    store.close()
