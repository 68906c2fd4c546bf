"""An exception at any instruction between taking a connection and giving it back: every count stays right."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import redis

from flask_cloakroom.errors import StoreError
from flask_cloakroom.redis_connections.limit import ConnectionLimit, IdleConnections, Permit, TooManyConnectionsError
from flask_cloakroom.stores import Entry
from flask_cloakroom.stores.redis.store import RedisStore
from support.redis.clients import Outside, make_client
from support.redis.interrupting import Interrupted, interrupt_everywhere
from support.servers.special import VolatileRedisServer

#: Python says that it dropped a connection which was interrupted while the driver opened it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def no_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    """Log nothing: what a log line keeps of a traceback would keep connections."""
    caplog.set_level(logging.CRITICAL, logger="flask_cloakroom.redis")


@pytest.fixture(params=[Interrupted, MemoryError])
def error(request: pytest.FixtureRequest) -> Any:
    """Return what is raised: something that no ``except Exception`` catches, and something that one does."""
    return request.param


#: Like ``interrupt_everywhere``, with as many places as there is time for.
Interrupt = Callable[[Callable[[], object], type[BaseException], Callable[[], object]], Iterator[BaseException | None]]


@pytest.fixture
def interrupt(request: pytest.FixtureRequest) -> Interrupt:
    """Interrupt after each call and at each line; with --soak at each instruction."""
    return partial(interrupt_everywhere, every=request.config.getoption("--soak"))


def nothing() -> None:
    """Prepare nothing."""


class TestStore:
    """The session store's own connections."""

    @pytest.fixture
    def store(self, own_server: VolatileRedisServer) -> Iterator[RedisStore]:
        """Return a store."""
        store = RedisStore(own_server.url, prefix="i:", timeout=5.0)
        yield store
        store.close()

    @pytest.mark.parametrize("before", ["idle", "none", "closed by the server", "unread bytes"])
    def test_every_count_is_right(
        self, store: RedisStore, outside: Outside, before: str, error: type[BaseException], interrupt: Interrupt
    ) -> None:
        """Open, idle and waiting, whichever way the command takes; and the next call gets its own answer."""
        version = store.create(b"k", b"data", 60)
        transport: Any = store._transport

        def prepare() -> None:
            if before == "none":
                transport.close()
            elif before == "closed by the server":
                outside.kill_all()
            elif before == "unread bytes":
                wire = transport._idle[-1]
                wire._socket.sendall(b"PING\r\n")
                while not wire.unread():
                    pass

        runs = 0
        for came in interrupt(lambda: store.load(b"k"), error, prepare):
            runs += 1
            assert came is None or isinstance(came, (error, StoreError)), came
            assert transport._limit.open_count == len(transport._idle) <= 1
            assert not transport._limit.waiters
            assert store.load(b"nothing") is None
            assert store.load(b"k") == Entry(b"data", version or b"")
            assert transport._limit.open_count == len(transport._idle) == 1
        assert runs > 30
        outside.wait_for(1)

    def test_waiting_in_vain(
        self, store: RedisStore, own_server: VolatileRedisServer, error: Any, interrupt: Interrupt
    ) -> None:
        """At the limit: no place in the line stays behind, and no permit is taken."""
        client = make_client(own_server.url, max_connections=1)
        pool: Any = client.connection_pool
        taken = pool.get_connection()
        transport: Any = store._transport
        transport._acquire_timeout = 0.005
        for came in interrupt(lambda: store.load(b"k"), error, nothing):
            assert isinstance(came, (error, StoreError)), came
            assert not transport._limit.waiters
            assert transport._limit.open_count == 1
        pool.release(taken)
        assert store.load(b"k") is None

    def test_the_room_of_another_kind(
        self, store: RedisStore, own_server: VolatileRedisServer, error: Any, interrupt: Interrupt
    ) -> None:
        """At the limit: the connection that gives up its permit is closed and counts no more."""
        client = make_client(own_server.url, max_connections=1)
        pool: Any = client.connection_pool
        transport: Any = store._transport
        for _ in interrupt(lambda: store.load(b"k"), error, client.ping):
            assert transport._limit.open_count == len(transport._idle) + len(pool._available_connections) <= 1
            assert not transport._limit.waiters
        assert store.load(b"k") is None


class TestClient:
    """FlaskRedis' pool."""

    @pytest.mark.parametrize("before", ["idle", "none", "closed by the server", "unread bytes"])
    def test_every_count_is_right(
        self,
        own_server: VolatileRedisServer,
        outside: Outside,
        before: str,
        error: type[BaseException],
        interrupt: Interrupt,
    ) -> None:
        """Open, idle, in use and waiting; and the next command gets its own answer."""
        client = make_client(own_server.url, max_connections=2, timeout=0)
        pool: Any = client.connection_pool
        client.mset({"a": "A", "b": "B"})

        def prepare() -> None:
            if before == "none":
                pool.limit.close_idle()
            elif before == "closed by the server":
                outside.kill_all()
            elif before == "unread bytes":
                connection = pool._available_connections[-1]
                connection._sock.sendall(b"GET b\r\n")
                while not connection.can_read():
                    pass

        runs = 0
        for came in interrupt(lambda: client.get("a"), error, prepare):
            runs += 1
            assert came is None or isinstance(came, (error, redis.RedisError)), came
            assert len(pool._in_use_connections) == 0
            assert pool.limit.open_count == len(pool._available_connections) <= 1
            assert not pool.limit.waiters
            assert client.get("b") == b"B"
            assert client.get("a") == b"A"
        assert runs > 30
        outside.wait_for(1)


def test_the_bound_alone(error: type[BaseException], interrupt: Interrupt) -> None:
    """While one waits, gets permit, or gives it back: what counts is what somebody has."""
    limit = ConnectionLimit(1)
    idle = IdleConnections()
    limit.add_pool(idle)

    def take_and_give_back() -> None:
        permit = limit.acquire(deque(), 0)
        limit.release(permit)

    for _ in interrupt(take_and_give_back, error, nothing):
        assert limit.open_count == 0
        assert not limit.waiters
    held = limit.acquire(deque(), 0)
    assert isinstance(held, Permit)

    def wait_in_vain() -> None:
        with pytest.raises(TooManyConnectionsError):
            limit.acquire(idle, 0.002)

    for _ in interrupt(wait_in_vain, error, nothing):
        assert limit.open_count == 1
        assert not limit.waiters
