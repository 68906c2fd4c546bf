"""SQLiteStore beside other writers, with colliding keys, clocks that jump, and interruptions."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_cloakroom.errors import StoreError
from flask_cloakroom.stores import Conflict, Entry, Gone, Saved, StoreOptions, open_store
from flask_cloakroom.stores.sqlite import store as sqlite_module
from flask_cloakroom.stores.sqlite.store import SQLiteStore
from support.clock import CalmClock

# -- others that write ------------------------------------------------------------------------------------


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Hold the file's write lock, as another process's long transaction would."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


def test_nothing_is_in_the_way_of_readers(store: SQLiteStore, path: Path) -> None:
    """A writer that holds the lock keeps nobody from reading."""
    store.create(b"k", b"data", 60)
    with writing(path):
        entry = store.load(b"k")
    assert entry is not None
    assert entry.data == b"data"


def test_it_leaves_no_transaction_open(store: SQLiteStore, path: Path) -> None:
    """Reads between writes see the newest, over each connection, and the WAL can be emptied at any time."""
    store.create(b"k", b"0", 60)
    other = SQLiteStore(path)
    connections = [store._open() for _ in range(3)]
    for db in connections:
        store._return(db)
    for number in range(1, 20):
        entry = other.load(b"k")
        assert entry is not None
        assert isinstance(other.replace(b"k", b"%d" % number, 60, entry.version), Saved)
        # The oldest connection next, so that each is asked.
        store._idle.rotate()
        entry = store.load(b"k")
        assert entry is not None
        assert entry.data == b"%d" % number
        list(store.walk())
        walk = store.walk()
        next(walk)
        assert not any(db.in_transaction for db in store._idle)
        with contextlib.closing(sqlite3.connect(path)) as db:
            busy, *_ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            assert busy == 0, "somebody holds a transaction open"
    other.close()


def test_a_writer_that_does_not_end(store: SQLiteStore, path: Path) -> None:
    """Who waits for it longer than the timeout gets a StoreError within that time; then all is as before."""
    version = store.create(b"k", b"data", 60)
    assert version is not None
    with writing(path), CalmClock() as clock:
        for verb in (
            lambda: store.create(b"k2", b"data", 60),
            lambda: store.replace(b"k", b"new", 60, version),
            lambda: store.touch(b"k", 60),
            lambda: store.delete(b"k"),
        ):
            began, calm = time.monotonic(), clock.time()
            with pytest.raises(StoreError, match="locked"):
                verb()
            assert time.monotonic() - began > 0.35
            assert clock.time() - calm < 0.4 + 0.5
        assert store.load(b"k") == Entry(b"data", version)
    assert store.create(b"k2", b"data", 60) is not None
    assert isinstance(store.replace(b"k", b"new", 60, version), Saved)


def test_a_writer_that_ends_in_time(path: Path) -> None:
    """Who waits for it goes on as soon as it has ended."""
    store = SQLiteStore(path, timeout=30)
    store.create(b"k", b"data", 60)
    done: list[float] = []

    def write() -> None:
        assert store.create(b"k2", b"data", 60) is not None
        done.append(clock.time())

    with CalmClock() as clock:
        with writing(path):
            thread = threading.Thread(target=write)
            thread.start()
            time.sleep(0.1)
            ended = clock.time()
            assert done == []
        thread.join()
    # SQLite looks at least every 0.1 s whether the way is free.
    assert done[0] - ended < 0.25
    store.close()


def test_the_first_use_of_a_file_that_somebody_holds(store: SQLiteStore, path: Path) -> None:
    """Also then a StoreError comes within about the timeout, and no connection is left over."""
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE TABLE others (x)")
        db.execute("BEGIN EXCLUSIVE")
        with CalmClock() as clock:
            began = clock.time()
            with pytest.raises(StoreError, match="locked"):
                store.load(b"k")
            assert clock.time() - began < 0.4 + 0.5
    assert not store._open_count
    assert store.load(b"k") is None


def test_purging_holds_writers_up_for_a_moment(store: SQLiteStore) -> None:
    """20,000 expired rows go in batches; a writer beside it waits less than a quarter of a second each time."""
    for number in range(50):
        store.create(b"live %d" % number, b"data", 600)
    past = int(time.time() * 1000) - 1000
    with contextlib.closing(sqlite3.connect(store.path)) as db, db:
        db.executemany(
            "INSERT INTO cloakroom_entries (id, key, version, expires, data) VALUES (?, ?, x'00', ?, zeroblob(400))",
            ((number, b"%d" % number, past) for number in range(20_000)),
        )
    purged: list[int] = []

    def purge() -> None:
        while count := store.purge(1000):
            purged.append(count)

    thread = threading.Thread(target=purge)
    thread.start()
    waits = []
    with CalmClock() as clock:
        while thread.is_alive():
            began = clock.time()
            store.create(os.urandom(16), b"data", 600)
            waits.append(clock.time() - began)
    thread.join()
    assert sum(purged) == 20_000
    assert max(purged) == 1000
    assert max(waits) < 0.25
    assert all(store.load(b"live %d" % number) is not None for number in range(50))


# -- two keys of one number -------------------------------------------------------------------------------


def test_keys_whose_hashes_collide(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is refused like a live key, and nothing that is asked of it reaches the first one's row."""
    monkeypatch.setattr(sqlite_module, "_row_id", lambda key: 4711)
    version = store.create(b"first", b"of the first", 60)
    assert version is not None
    assert store.create(b"second", b"of the second", 60) is None
    assert store.load(b"second") is None
    assert store.replace(b"second", b"of the second", 60, version) == Gone()
    assert store.replace(b"second", b"of the second", 600, version) == Gone()
    assert store.touch(b"second", 60) is False
    assert store.delete(b"second") is False
    assert store.load(b"first") == Entry(b"of the first", version)


def test_keys_whose_hashes_collide_when_one_has_expired(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the row is the second one's, and the first is gone."""
    monkeypatch.setattr(sqlite_module, "_row_id", lambda key: 4711)
    first = store.create(b"first", b"of the first", 60)
    assert first is not None
    with contextlib.closing(sqlite3.connect(store.path)) as db, db:
        db.execute("UPDATE cloakroom_entries SET expires = 1")
    second = store.create(b"second", b"of the second", 60)
    assert second is not None
    assert store.load(b"first") is None
    assert store.replace(b"first", b"of the first", 60, first) == Gone()
    assert store.load(b"second") == Entry(b"of the second", second)


# -- clocks and interruptions -----------------------------------------------------------------------------


def test_a_clock_that_is_set_back_in_the_middle_of_a_replace(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that had expired before the clock was set back and is live after it is replaced, or is Gone: at once."""
    now = time.time()
    version = store.create(b"k", b"data", 60)
    assert version is not None
    times = iter([now + 3600])
    monkeypatch.setattr(time, "time", lambda: next(times, now))
    with CalmClock() as clock:
        began = clock.time()
        result = store.replace(b"k", b"new", 30, version)
        assert clock.time() - began < 0.2
    assert isinstance(result, Saved | Gone)


@pytest.mark.parametrize("ttl", [30, 3600])
def test_an_expiry_that_hardly_moves(store: SQLiteStore, ttl: int) -> None:
    """A write that would move the expiry by less than a second may leave it, but never by more."""
    version = store.create(b"k", b"data", ttl)
    assert version is not None
    for wanted in (ttl, ttl + 100, ttl + 1, max(1, ttl - 100)):
        before = time.time() * 1000
        saved = store.replace(b"k", b"data", wanted, version)
        assert isinstance(saved, Saved)
        after = time.time() * 1000
        version = saved.version
        with contextlib.closing(sqlite3.connect(store.path)) as db:
            (expires,) = db.execute("SELECT expires FROM cloakroom_entries").fetchone()
        # One millisecond for what is rounded.
        assert before - 1000 - 1 <= expires - wanted * 1000 <= after + 1000 + 1


class Interrupted(BaseException):
    """As KeyboardInterrupt, or gevent's Timeout."""


def test_an_interruption_leaves_no_connection_behind(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is interrupted in the middle of a statement gives its connection up; the store goes on."""
    store.create(b"k", b"data", 60)

    def interrupt(*_: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_module, "_fetch_one", interrupt)
        with pytest.raises(Interrupted):
            store.load(b"k")
    assert len(store._open_count) == len(store._idle) == 0
    assert store.load(b"k") is not None
    assert len(store._open_count) == len(store._idle) == 1


def test_an_interruption_of_a_wait_leaves_no_connection_behind(
    store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same while it waits for another writer."""
    store.create(b"k", b"data", 60)

    def interrupt(*_: object) -> None:
        raise Interrupted

    with writing(path), monkeypatch.context() as patch:
        patch.setattr(time, "sleep", interrupt)
        with pytest.raises(Interrupted):
            store.create(b"k2", b"data", 60)
    assert len(store._open_count) == len(store._idle) == 0
    assert isinstance(store.load(b"k"), Entry)


# -- opening by URL ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite://", "instance/sessions.sqlite3"),
        ("sqlite:///", "instance/sessions.sqlite3"),
        ("sqlite:///mine.db", "instance/mine.db"),
        ("sqlite:///sub/mine.db", "instance/sub/mine.db"),
        ("sqlite:///with%20space%3F.db", "instance/with space?.db"),
        ("sqlite:///mine.db?synchronous=full", "instance/mine.db"),
        ("sqlite:///{tmp}/elsewhere.db", "elsewhere.db"),
        ("sqlite:///{tmp}/elsewhere.db?synchronous=normal", "elsewhere.db"),
    ],
)
def test_urls_of_files(tmp_path: Path, url: str, expected: str) -> None:
    """Three slashes are relative to the instance folder, four are an absolute path; % escapes are undone."""
    store = open_store(url.format(tmp=tmp_path), StoreOptions(tmp_path / "instance", "", 1.0))
    store.create(b"k", b"data", 60)
    store.close()
    assert (tmp_path / expected).is_file()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://mine.db", "slashes"),
        ("sqlite://mine.db/x", "slashes"),
        ("sqlite:///mine.db?synchronous=off", "synchronous"),
        ("sqlite:///mine.db?syncronous=full", "syncronous"),
        ("sqlite:///mine.db?timeout=3", "timeout"),
        ("sqlite:///mine.db?nonsense", "nonsense"),
        ("sqlite:mine.db", "begins with"),
        ("mine.db", "begins with"),
        ("", "begins with"),
        ("postgresql://localhost/x", "begins with"),
    ],
)
def test_urls_of_nothing(tmp_path: Path, url: str, says: str) -> None:
    """A ValueError that says what is wrong, before anything is opened."""
    with pytest.raises(ValueError, match=says):
        open_store(url, StoreOptions(tmp_path, "", 1.0))
    assert list(tmp_path.iterdir()) == []


def test_synchronous_reaches_the_database(tmp_path: Path) -> None:
    """Each option does what it is named after."""
    for word, number in (("normal", 1), ("full", 2)):
        store = SQLiteStore(tmp_path / f"{word}.db", synchronous=word)
        store.load(b"k")
        assert store._idle[0].execute("PRAGMA synchronous").fetchone() == (number,)
        store.close()


def test_conflict_tells_of_the_entry(store: SQLiteStore) -> None:
    """Both ways of replacing, for short and for long lives, answer alike."""
    for ttl in (30, 600):
        key = b"%d" % ttl
        version = store.create(key, b"data", ttl)
        assert version is not None
        assert store.replace(key, b"new", ttl, b"no such") == Conflict(Entry(b"data", version))
        assert isinstance(store.replace(key, b"new", ttl, version), Saved)
        assert isinstance(store.replace(key, b"late", ttl, version), Conflict)
