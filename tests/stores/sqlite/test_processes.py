"""Several processes use one SQLite file, and some of them are killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from flask_cloakroom.stores.sqlite.store import SQLiteStore
from flask_cloakroom.testing.parallel import run_in_child
from support.stores import workers

spawning = multiprocessing.get_context("spawn")


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    """Four processes open a new file at the same moment, and change one entry: each link knows the one before it.

    The chain has every link of every process once, and each was written over exactly the version that it names.
    """
    path, processes, turns = tmp_path / "s.db", 4, 40
    barrier, results = spawning.Barrier(processes), spawning.Queue()
    started = [
        spawning.Process(target=workers.write_chain, args=(str(path), number, turns, barrier, results))
        for number in range(processes)
    ]
    for process in started:
        process.start()
    links = [link for _ in started for link in results.get(timeout=60)[1]]
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0] * processes

    store = SQLiteStore(path)
    entry = store.load(workers.CHAIN)
    assert entry is not None
    lines = [line.split(b"<") for line in entry.data.splitlines()]
    assert len(lines) == len(links) == processes * turns
    wrote = {own: (before, after) for own, before, after in links}
    assert len({after for _, after in wrote.values()}) == processes * turns, "a version was used twice"
    present = entry.version
    for own, before in reversed(lines):
        assert wrote[own] == (bytes.fromhex(before.decode()), present), "a link was written over another one's work"
        present = wrote[own][0]
    for number in range(processes):
        assert store.load(b"%d.%d" % (number, turns - 1)) is not None
        assert store.load(b"%d.%d" % (number, turns - 2)) is None
    store.close()


def test_a_process_that_ends_takes_nothing_with_it(tmp_path: Path) -> None:
    """Other processes come and go while this one has several connections open: all go on with the same file.

    A process that gave up its locks by accident (it opened and closed the file once more by itself) does not count
    for the others. The last of them to close would then delete the WAL that this one still writes to.
    """
    path = tmp_path / "s.db"
    store = SQLiteStore(path)
    store.create(b"before", b"data", 600)
    # Two connections, as two threads would have opened them.
    second = store._open()
    store._return(second)
    for turn in range(2):
        process = spawning.Process(target=workers.use_and_leave, args=(str(path), b"theirs %d" % turn))
        process.start()
        process.join(60)
        assert process.exitcode == 0
        assert store.load(b"theirs %d" % turn) is not None, "we don't see what they wrote"
        assert store.create(b"ours %d" % turn, b"acknowledged", 600) is not None
    store.close()
    again = SQLiteStore(path)
    for key in (b"before", b"theirs 0", b"theirs 1", b"ours 0", b"ours 1"):
        assert again.load(key) is not None, "what was acknowledged is lost"
    again.close()


def killed_in_the_middle(path: Path, offset: int, synchronous: str, after: float) -> list[tuple[int, int]]:
    """Let a process write, kill it, and return what it acknowledged before: number and write of each."""
    hear, acknowledge = os.pipe()
    child = run_in_child(lambda: workers.write_until_killed(str(path), acknowledge, offset, synchronous))
    os.close(acknowledge)
    with os.fdopen(hear, "rb") as lines:
        first = lines.readline()
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
        heard = (first + lines.read()).decode()
    os.waitpid(child, 0)
    # A line is one write to a pipe, which is atomic.
    return [(int(number), int(write)) for number, write in (line.split() for line in heard.splitlines())]


def check_what_was_acknowledged(path: Path, acknowledged: dict[int, int]) -> None:
    store = SQLiteStore(path)
    for number, write in acknowledged.items():
        entry = store.load(workers.key_of(number))
        assert entry is not None, "an acknowledged session is lost"
        # The write after the last acknowledged one may be there, but whole.
        assert entry.data in {workers.data_of(number, later) for later in range(write, 3)}
    walked = sum(1 for _ in store.walk())
    assert len(acknowledged) <= walked
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA quick_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("synchronous", ["normal", "full"])
def test_killed_in_the_middle_of_writing(tmp_path: Path, synchronous: str) -> None:
    """Whenever the process is killed, every session that was acknowledged is readable, whole and right."""
    _kill_rounds(tmp_path / "s.db", synchronous, rounds=6)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_killed_in_the_middle_of_writing_many_times(tmp_path: Path) -> None:
    """The same, three hundred times on one file."""
    _kill_rounds(tmp_path / "s.db", "normal", rounds=300)


def _kill_rounds(path: Path, synchronous: str, rounds: int) -> None:
    acknowledged: dict[int, int] = {}
    for turn in range(rounds):
        latest = dict(killed_in_the_middle(path, turn * 1_000_000, synchronous, random.uniform(0, 0.08)))
        check_what_was_acknowledged(path, latest)
        acknowledged |= latest
    check_what_was_acknowledged(path, acknowledged)
    assert len(acknowledged) > rounds
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_killed_while_another_process_goes_on(tmp_path: Path) -> None:
    """The lock of a process that is killed is nobody's: who shares the file writes on, and sees what it wrote."""
    path = tmp_path / "s.db"
    store = SQLiteStore(path, timeout=1.0)
    store.create(b"ours", b"data", 600)
    for turn in range(3):
        acknowledged = killed_in_the_middle(path, turn * 1_000_000, "normal", random.uniform(0, 0.05))
        assert store.create(b"ours %d" % turn, b"data", 600) is not None
        for number, _ in acknowledged:
            assert store.load(workers.key_of(number)) is not None
    store.close()
