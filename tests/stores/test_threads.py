"""Many threads on one store: no error, no mixed-up answers, no lost data."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_cloakroom.stores import Entry, Saved, Store
from flask_cloakroom.stores.redis.store import RedisStore
from flask_cloakroom.stores.sqlite.store import IDLE_CONNECTIONS, SQLiteStore
from flask_cloakroom.testing.parallel import append_until_saved, run_in_threads
from support.servers.special import VolatileRedisServer, admin
from support.stores.backends import Backend, Surroundings, named, prefix

THREADS = 16
#: Stores that answer over one connection or another, or from one lock; the rest of the table is one of these.
KINDS = named("memory", "sqlite", "redis-url", "redis-tls", "redis-subclass", "valkey-client")


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Let threads take turns a hundred times as often as usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(usual / 100)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture(params=KINDS, ids=lambda backend: backend.name)
def store(request: pytest.FixtureRequest, surroundings: Surroundings) -> Iterator[Store]:
    """Return a store of each kind."""
    backend: Backend = request.param
    with backend.open(surroundings) as store:
        yield store


@pytest.mark.usefixtures("eager_switches")
def test_sixteen_threads_hammer_one_store(store: Store) -> None:
    """Each reads the value of its own key and of a shared one, of sizes that don't fit into one packet."""
    shared = os.urandom(32)
    store.create(shared, b"shared" * 100, 60)
    until = time.monotonic() + 0.4

    def work(number: int) -> None:
        key = b"thread %d " % number + os.urandom(8)
        data = b"data of %d " % number * (1 + number * 700)
        version = store.create(key, data, 60)
        turns = 0
        while turns < 10 or time.monotonic() < until:
            turns += 1
            assert version is not None
            assert store.load(key) == Entry(data, version)
            common = store.load(shared)
            assert common is not None
            assert common.data == b"shared" * 100
            assert store.load(key + b"?") is None
            assert store.touch(key, 60) is True
            saved = store.replace(key, data, 60, version)
            assert isinstance(saved, Saved)
            version = saved.version
            if turns % 5 == 0:
                assert store.delete(key) is True
                version = store.create(key, data, 60)

    run_in_threads(THREADS, work)


@pytest.mark.usefixtures("eager_switches")
def test_sixteen_threads_change_one_entry(store: Store) -> None:
    """What each adds by load, replace and another try is there at the end, once."""
    key = os.urandom(32)
    store.create(key, b"", 60)

    def work(number: int) -> None:
        for turn in range(4):
            append_until_saved(store, key, b"%d.%d" % (number, turn))

    run_in_threads(THREADS, work)
    entry = store.load(key)
    assert entry is not None
    assert sorted(entry.data.split()) == sorted(
        b"%d.%d" % (number, turn) for number in range(THREADS) for turn in range(4)
    )


@pytest.mark.usefixtures("eager_switches")
def test_a_server_that_keeps_closing_connections(shared_server: VolatileRedisServer) -> None:
    """Threads whose connections the server closes all the time notice nothing of it: idle ones are replaced.

    A connection that is closed in the middle of a call, twice in a row, may be a StoreError and nothing else; so the
    killing leaves time for a call in between.
    """
    store = RedisStore(shared_server.url, prefix=prefix(), timeout=5.0)
    done = threading.Event()

    def kill() -> None:
        with admin(shared_server) as client:
            while not done.wait(0.01):
                client.client_kill_filter(_type="normal", skipme=True)

    killer = threading.Thread(target=kill)
    killer.start()
    errors = []

    def work(number: int) -> None:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            key = os.urandom(32)
            try:
                version = store.create(key, b"%d" % number, 60)
                assert version is not None
                assert store.load(key) == Entry(b"%d" % number, version)
                assert isinstance(store.replace(key, b"new", 60, version), Saved)
            except Exception as error:
                errors.append(error)

    try:
        run_in_threads(THREADS, work)
    finally:
        done.set()
        killer.join()
        store.close()
    assert {type(error).__name__ for error in errors} <= {"StoreError"}


def test_threads_that_open_a_new_file_at_once(tmp_path: Path) -> None:
    """Who comes first makes it, and none of the others is told that it is locked."""
    for turn in range(40):
        store = SQLiteStore(tmp_path / f"{turn}.db", timeout=10)
        versions = run_in_threads(8, lambda number, store=store: store.create(b"%d" % number, b"data", 60))  # type: ignore[misc]
        assert None not in versions
        store.close()


def test_sqlite_keeps_no_more_connections_than_it_says(surroundings: Surroundings) -> None:
    """However many threads there were at once: what is kept is bounded, and closing leaves nothing open."""
    store = SQLiteStore(surroundings.folder / "s.db")
    store.create(b"k", b"data", 60)
    barrier = threading.Barrier(IDLE_CONNECTIONS + 8)

    def hold(number: int) -> None:
        db = store._open()
        barrier.wait(30)
        store._return(db)

    run_in_threads(IDLE_CONNECTIONS + 8, hold)
    assert len(store._idle) == len(store._open_count) == IDLE_CONNECTIONS
    store.close()
    assert len(store._idle) == len(store._open_count) == 0
