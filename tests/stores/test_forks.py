"""Forked processes: the child uses no connection of the parent, and no data is lost between them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from flask_cloakroom.stores import Entry, Store
from flask_cloakroom.stores.memory import MemoryStore
from flask_cloakroom.stores.redis.store import RedisStore
from flask_cloakroom.stores.sqlite.store import SQLiteStore
from flask_cloakroom.testing.parallel import child_succeeded, run_in_child, run_in_threads
from support.servers.special import VolatileRedisServer, admin
from support.stores.backends import prefix

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SQLiteStore]:
    """Return a store that was opened and used."""
    store = SQLiteStore(tmp_path / "s.db")
    assert store.create(b"before", b"of the parent", 60) is not None
    yield store
    store.close()


class Steps:
    """Lets a child go from step to step: made before the fork, and then each side uses its half."""

    def __init__(self) -> None:
        self._hear, self._tell = os.pipe()
        self._wait, self._done = os.pipe()

    def obey(self, *steps: Callable[[], object]) -> None:
        """Do one step each time that the other side says so. For the child."""
        for step in steps:
            assert os.read(self._hear, 1) == b"."
            step()
            os.write(self._done, b".")

    def step(self) -> None:
        """Let the child do one step, and wait until it has. For the parent."""
        os.write(self._tell, b".")
        assert os.read(self._wait, 1) == b"."

    def close(self) -> None:
        """Close both halves, in this process."""
        for end in (self._hear, self._tell, self._wait, self._done):
            os.close(end)


@pytest.fixture
def steps() -> Iterator[Callable[[], Steps]]:
    """Return what makes Steps, which are closed at the end."""
    made: list[Steps] = []

    def make() -> Steps:
        made.append(Steps())
        return made[-1]

    yield make
    for each in made:
        each.close()


def in_another_process(path: Path, key: bytes) -> bytes | None:
    """Return what a process that has nothing to do with this one finds under ``key``."""
    code = """
import sys
from flask_cloakroom.stores.sqlite.store import SQLiteStore
store = SQLiteStore(sys.argv[1])
entry = store.load(bytes.fromhex(sys.argv[2]))
store.close()
print("none" if entry is None else entry.data.hex())
"""
    command = [sys.executable, "-c", code, str(path), key.hex()]
    env = {"PYTHONPATH": ":".join(sys.path)}
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout.strip()
    return None if found == "none" else bytes.fromhex(found)


def test_sqlite_child_has_connections_of_its_own(sqlite: SQLiteStore) -> None:
    """No connection object of the parent is in the child's hands, used or idle."""
    parents = list(sqlite._idle)
    assert parents

    def work() -> None:
        assert sqlite.load(b"before") is not None
        assert not any(db is parents[0] for db in [*sqlite._idle, *sqlite._inherited])
        assert len(sqlite._idle) == len(sqlite._open_count) == 1

    assert child_succeeded(run_in_child(work))
    assert sqlite.load(b"before") is not None


def test_sqlite_child_outlives_the_parents_connections(sqlite: SQLiteStore, steps: Callable[[], Steps]) -> None:
    """The parent closes its store while the child uses it: what the child wrote since is there for everybody.

    A child that shares SQLite's picture of its parent's locks holds none of its own. Then the parent takes itself for
    the last one, and deletes the WAL that the child writes to.
    """
    told = steps()
    child = run_in_child(
        lambda: told.obey(
            lambda: sqlite.create(b"first", b"of the child", 60),
            lambda: sqlite.create(b"second", b"of the child", 60),
            lambda: None,
        )
    )
    told.step()
    sqlite.close()
    told.step()
    assert in_another_process(sqlite.path, b"second") == b"of the child"
    assert sqlite.load(b"second") is not None
    told.step()
    assert child_succeeded(child)


def test_sqlite_children_outlive_their_parent(tmp_path: Path, steps: Callable[[], Steps]) -> None:
    """The same among children, and where the parent ends altogether."""
    path = tmp_path / "s.db"
    told = {b"a": steps(), b"b": steps()}

    def grandchild(name: bytes, store: SQLiteStore) -> None:
        told[name].obey(
            lambda: store.create(name + b" first", b"data", 60),
            lambda: store.create(name + b" second", b"data", 60),
            lambda: None,
        )

    def parent() -> None:
        store = SQLiteStore(path)
        store.create(b"before", b"of the parent", 60)
        for name in told:
            run_in_child(lambda name=name: grandchild(name, store))  # type: ignore[misc]
        for each in told.values():
            each.step()
        store.close()

    assert child_succeeded(run_in_child(parent))
    for each in told.values():
        each.step()
    for key in (b"before", b"a first", b"a second", b"b first", b"b second"):
        assert in_another_process(path, key) is not None
    for each in told.values():
        each.step()


def test_sqlite_fork_while_other_threads_write(sqlite: SQLiteStore) -> None:
    """Children that are forked in the middle of other threads' writes write as well: no lock stays behind in them."""
    done = threading.Event()
    acknowledged: list[bytes] = []

    def work(number: int) -> None:
        if number:
            turn = 0
            while not done.is_set():
                turn += 1
                key = b"%d.%d" % (number, turn)
                assert sqlite.create(key, b"x" * 3000, 60) is not None
                if not acknowledged:
                    acknowledged.append(key)
            acknowledged.append(key)
            return
        try:
            for turn in range(20):
                key = b"child %d" % turn
                assert child_succeeded(run_in_child(lambda key=key: sqlite.create(key, b"child", 60)))  # type: ignore[misc]
                acknowledged.append(key)
        finally:
            done.set()

    run_in_threads(5, work)
    assert [key for key in acknowledged if sqlite.load(key) is None] == []


def test_sqlite_fork_holds_nobody_up(sqlite: SQLiteStore) -> None:
    """After a fork the parent keeps connections as before, and the count of those that are open is right."""
    for _ in range(3):
        assert child_succeeded(run_in_child(lambda: sqlite.load(b"before")))
        assert sqlite.load(b"before") is not None
        assert len(sqlite._idle) == len(sqlite._open_count) == 1


def test_sqlite_fork_with_a_connection_that_is_not_given_back(tmp_path: Path) -> None:
    """A fork waits for a call that is under way no longer than a call may take, and the child works all the same."""
    store = SQLiteStore(tmp_path / "s.db", timeout=0.2)
    store.create(b"before", b"data", 60)
    held = store._idle.pop()
    assert child_succeeded(run_in_child(lambda: store.load(b"before")))
    store._return(held)
    assert store.load(b"before") is not None
    store.close()


def test_sqlite_store_that_nobody_has_any_more_is_no_bother(tmp_path: Path) -> None:
    """A fork thinks of the stores that are alive, and only of these."""
    store = SQLiteStore(tmp_path / "s.db")
    store.create(b"k", b"data", 60)
    store.close()
    del store
    assert child_succeeded(run_in_child(lambda: None))


def ids_of_clients(server: VolatileRedisServer) -> set[str]:
    with admin(server) as client:
        return {each["id"] for each in client.client_list()} - {str(client.client_id())}


@pytest.mark.parametrize("kind", ["url", "subclass"])
def test_redis_child_has_connections_of_its_own(
    shared_server: VolatileRedisServer, steps: Callable[[], Steps], kind: str
) -> None:
    """The server sees other clients when the child asks than when the parent does, and the parent's stay open."""

    class Subclass(redis.Redis):
        pass

    client = Subclass.from_url(shared_server.url) if kind == "subclass" else None
    store = RedisStore(client or shared_server.url, prefix=prefix(), timeout=5.0)
    others = ids_of_clients(shared_server)
    version = store.create(b"before", b"of the parent", 60)
    assert version is not None
    parents = ids_of_clients(shared_server) - others
    assert len(parents) == 1

    def ask() -> None:
        assert store.load(b"before") == Entry(b"of the parent", version)

    told = steps()
    child = run_in_child(lambda: told.obey(ask, ask, lambda: None))
    told.step()
    childs = ids_of_clients(shared_server) - others - parents
    assert len(childs) == 1
    ask()
    told.step()
    assert ids_of_clients(shared_server) - others == parents | childs
    told.step()
    assert child_succeeded(child)
    ask()
    assert ids_of_clients(shared_server) - others == parents
    store.close()
    if client is not None:
        client.close()


def test_redis_fork_in_the_middle_of_a_call(shared_server: VolatileRedisServer) -> None:
    """Children that are forked between a command and its answer, in another thread, get answers of their own."""
    store = RedisStore(shared_server.url, prefix=prefix(), timeout=5.0)
    done = threading.Event()

    def work(number: int) -> None:
        key = b"thread %d" % number
        if number:
            store.create(key, key * 1000, 60)
            while not done.is_set():
                entry = store.load(key)
                assert entry is not None
                assert entry.data == key * 1000
            return

        def ask() -> None:
            for turn in range(10):
                own = b"child %d %d" % (os.getpid(), turn)
                version = store.create(own, own, 60)
                assert version is not None
                assert store.load(own) == Entry(own, version)

        try:
            for _ in range(15):
                assert child_succeeded(run_in_child(ask))
        finally:
            done.set()

    run_in_threads(5, work)
    store.close()


def test_memory_child_does_not_wait_for_a_thread_that_it_has_not_got() -> None:
    """The lock was held by another thread at the moment of the fork: the child's is free."""
    store: Store = MemoryStore()
    store.create(b"k", b"data", 60)
    held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with store._lock:  # type: ignore[attr-defined]
            held.set()
            may_end.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    child = run_in_child(lambda: store.load(b"k"))
    may_end.set()
    assert child_succeeded(child)
    holder.join()
    assert store.load(b"k") is not None


def test_versions_of_children_differ(sqlite: SQLiteStore) -> None:
    """Children of one parent do not go on with the same row of random numbers: their versions never meet."""
    keys = [b"version of %d" % number for number in range(8)]
    children = [run_in_child(lambda key=key: sqlite.create(key, b"data", 60)) for key in keys]  # type: ignore[misc]
    assert [child_succeeded(child) for child in children] == [True] * len(children)
    sqlite.create(b"parent's", b"data", 60)
    versions = {entry.version for key in [*keys, b"parent's"] if (entry := sqlite.load(key)) is not None}
    assert len(versions) == len(keys) + 1
