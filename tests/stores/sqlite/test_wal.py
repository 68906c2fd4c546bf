"""SQLite's write-ahead log stays short, and a reader that keeps it long harms no one."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_cloakroom.stores.sqlite import wal
from flask_cloakroom.stores.sqlite.store import SQLiteStore
from flask_cloakroom.stores.sqlite.wal import WAL_BYTES
from support.clock import CalmClock
from support.stores import workers

spawning = multiprocessing.get_context("spawn")

#: How often each of two processes writes: together 60,000 entries of 3 KB, which are 250 MiB of WAL.
WRITES = 30_000
#: What the WAL stays under meanwhile. Mostly it is 20 to 50 MiB.
BOUND = 6 * WAL_BYTES
#: What a WAL above its limit is written with in a few dozen writes.
LARGE = b"x" * 300_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the file shall be."""
    return tmp_path / "s.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    """Return a store on it."""
    store = SQLiteStore(path, timeout=0.4)
    yield store
    store.close()


def size_of_wal(path: Path) -> int:
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except FileNotFoundError:
        return 0


@contextlib.contextmanager
def stuck_reader(path: Path) -> Iterator[None]:
    """Keep a read transaction open, as a process does that hangs in the middle of one."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM cloakroom_entries").fetchone()
        yield


def write_until_long(store: SQLiteStore) -> None:
    """Write until the WAL is over its limit."""
    for number in range(1000):
        assert store.create(b"long %d" % number, LARGE, 600) is not None
        if size_of_wal(store.path) > WAL_BYTES + 2 * len(LARGE):
            return
    raise AssertionError("it does not get long")


def write_a_little(store: SQLiteStore, mark: bytes) -> float:
    """Write until the store has looked at the WAL; return the longest write, in seconds."""
    longest = 0.0
    with CalmClock() as clock:
        for number in range(wal.WRITES_PER_CHECK):
            start = clock.time()
            assert store.create(b"%s %d" % (mark, number), b"data", 600) is not None
            longest = max(longest, clock.time() - start)
    return longest


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list that gets how each try to empty the WAL ends."""
    ends: list[bool] = []
    empty = wal._empty

    def noted(db: sqlite3.Connection, wait_ms: int) -> bool:
        ends.append(empty(db, wait_ms))
        return ends[-1]

    monkeypatch.setattr(wal, "_empty", noted)
    return ends


def test_it_stays_short_while_processes_write_without_a_pause(path: Path) -> None:
    """Two processes do nothing but write: the WAL does not grow without end, no write fails, and nothing is lost."""
    barrier, results = spawning.Barrier(3), spawning.Queue()
    started = [
        spawning.Process(target=workers.hammer, args=(str(path), number, WRITES, barrier, results))
        for number in range(2)
    ]
    for process in started:
        process.start()
    barrier.wait(60)
    written, longest, deadline = [], 0, time.monotonic() + 60
    while len(written) < len(started) and time.monotonic() < deadline:
        longest = max(longest, size_of_wal(path))
        with contextlib.suppress(queue.Empty):
            written.append(results.get(timeout=0.01))
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0, 0]

    assert longest < BOUND, f"the WAL grew to {longest >> 20} MiB"
    store = SQLiteStore(path)
    for versions in written:
        for key, version in versions.items():
            entry = store.load(key)
            assert entry is not None
            assert entry.version == version
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_reader_that_is_stuck_for_long(store: SQLiteStore, path: Path, tries: list[bool]) -> None:
    """It is not waited for, and tried for again now and then; with it gone the WAL is emptied."""
    store.create(b"first", b"data", 600)
    with stuck_reader(path):
        write_until_long(store)
        tries.clear()
        start = time.monotonic()
        longest = max(write_a_little(store, b"during %d" % number) for number in range(10))
        assert longest < 0.2
        assert len(tries) <= 1 + (time.monotonic() - start) / wal.RETRY_PAUSE
        time.sleep(wal.RETRY_PAUSE)
        write_a_little(store, b"after a pause")
        assert tries
        assert not any(tries)
        assert size_of_wal(path) > WAL_BYTES
    time.sleep(wal.RETRY_PAUSE)
    write_a_little(store, b"after it")
    assert tries[-1]
    assert size_of_wal(path) <= WAL_BYTES


def test_a_reader_that_has_just_begun(store: SQLiteStore, path: Path, tries: list[bool]) -> None:
    """Is waited for, briefly: who writes meanwhile waits no longer, and the WAL is emptied at a later try."""
    store.create(b"first", b"data", 600)
    with stuck_reader(path):
        write_until_long(store)
        time.sleep(wal.RETRY_PAUSE)
    with stuck_reader(path):
        tries.clear()
        longest = write_a_little(store, b"during")
        assert tries == [False]
        assert longest < 0.2
    time.sleep(wal.RETRY_PAUSE)
    write_a_little(store, b"after it")
    assert tries[-1]
    assert size_of_wal(path) <= WAL_BYTES


def test_who_gives_up_soon_is_not_made_to_wait_long(path: Path) -> None:
    """A store with a short timeout keeps others from writing for a part of it only."""
    assert wal.Wal(2.0)._block_ms == wal.LONGEST_BLOCK * 1000
    assert wal.Wal(0.04)._block_ms == 10
    assert wal.Wal(0.001)._block_ms == 0


def test_a_write_that_was_made_is_acknowledged_whatever_follows(
    store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error while the WAL is emptied, such as a full disk, is nothing to who wrote: it is tried again later."""
    tried = []

    def fail(db: sqlite3.Connection, wait_ms: int) -> bool:
        tried.append(db)
        raise sqlite3.OperationalError("database or disk is full")

    store.create(b"first", b"data", 600)
    with stuck_reader(path):
        write_until_long(store)
        time.sleep(wal.RETRY_PAUSE)
        with monkeypatch.context() as patch:
            patch.setattr(wal, "_empty", fail)
            start = time.monotonic()
            for number in range(2):
                write_a_little(store, b"during %d" % number)
            # The second look comes within the pause, unless these few writes took longer than it.
            assert 1 <= len(tried) <= 1 + (time.monotonic() - start) / wal.RETRY_PAUSE
    assert len(store._open_count) == len(store._idle)
    time.sleep(wal.RETRY_PAUSE)
    write_a_little(store, b"after it")
    assert size_of_wal(path) <= WAL_BYTES


def test_the_wal_of_a_file_behind_a_link(tmp_path: Path, path: Path, tries: list[bool]) -> None:
    """Lies beside the file itself, and is found there from whatever folder the process is in."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (tmp_path / "link.db").symlink_to(path)
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        store = SQLiteStore("link.db")
        store.create(b"first", b"data", 600)
        os.chdir(folder)
        with stuck_reader(path):
            for number in range(WAL_BYTES // len(LARGE) + wal.WRITES_PER_CHECK):
                assert store.create(b"long %d" % number, LARGE, 600) is not None
        assert tries
    finally:
        os.chdir(before)
    store.close()
