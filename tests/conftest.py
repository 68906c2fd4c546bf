"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from redis_servers import SixNodeCluster
from sentinel_servers import SentinelSetup
from servers import RedisServer

Group = TypeVar("Group", SixNodeCluster, SentinelSetup)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="also run the tests that take minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--soak"):
        for item in items:
            if item.get_closest_marker("soak"):
                item.add_marker(pytest.mark.skip(reason="takes minutes: run with --soak"))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests that don't stop it. Tests keep apart by key prefix or namespace."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server for a test that stops, pauses or counts."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def six_node_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SixNodeCluster]:
    """One cluster for all tests that kill nothing in it. Slots may move; who is a master is asked, not assumed."""
    cluster = SixNodeCluster(tmp_path_factory.mktemp("six-nodes"))
    yield from _running(cluster)


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[SixNodeCluster]:
    """A cluster for a test that kills or pauses nodes."""
    folder = tmp_path / "six-nodes"
    folder.mkdir()
    yield from _running(SixNodeCluster(folder))


@pytest.fixture(scope="session")
def sentinel_setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelSetup]:
    """One master with replicas and Sentinels for all tests that leave these as they are."""
    setup = SentinelSetup(tmp_path_factory.mktemp("sentinel-setup"))
    yield from _running(setup)


@pytest.fixture
def own_sentinel_setup(tmp_path: Path) -> Iterator[SentinelSetup]:
    """One for a test that kills or pauses the master."""
    folder = tmp_path / "sentinel-setup"
    folder.mkdir()
    yield from _running(SentinelSetup(folder))


def _running(group: Group) -> Iterator[Group]:
    """Start a group of servers, and end it also if it does not come up."""
    try:
        group.start()
        yield group
    finally:
        group.stop()
