"""SQLite with very many sessions: the cost of a read, and the cost of a purge for other writers.

Both are measured on the package's own store, with the store's own calls.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tools import say

if TYPE_CHECKING:
    from flask_cloakroom.stores.sqlite.store import SQLiteStore

#: Bytes of an entry's data: about the size of the measured session.
SIZE = 300

#: Seconds. No entry of a measurement expires in this time.
LONG = 86_400

READS = 200

#: Seconds of purging, and seconds of rest after it.
TURN = 1.0


@dataclass(frozen=True)
class ReadScale:
    """Microseconds of ``load`` with random keys: medians of interleaved blocks."""

    few: int
    many: int
    few_us: float
    many_us: float
    fill_us: float

    @property
    def ratio(self) -> float:
        return self.many_us / self.few_us


@dataclass(frozen=True)
class PurgeWait:
    """The longest single call of a process that writes all the time, in milliseconds.

    Purging and rest take turns, so that the disk and other programs affect both.
    """

    expired: int
    purge_seconds: float
    #: The longest call of each turn.
    longest_ms: list[float]
    longest_at_rest_ms: list[float]
    #: 99.9th percentile of all calls.
    p999_ms: float
    p999_at_rest_ms: float


def _key(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def _open(path: Path) -> SQLiteStore:
    from flask_cloakroom.stores.sqlite.store import SQLiteStore

    return SQLiteStore(path)


def _fill(store: SQLiteStore, first: int, count: int, ttl: int) -> float:
    """Create entries one by one, and return the microseconds of one."""
    data = random.randbytes(SIZE)
    start = time.perf_counter()
    for number in range(first, first + count):
        if store.create(_key(number), data, ttl) is None:
            raise RuntimeError("there is an entry already. Start with an empty store.")
    return (time.perf_counter() - start) / count * 1e6


def reads(folder: Path, many: int, rounds: int, few: int = 1000) -> ReadScale:
    """Compare a read among ``many`` sessions with one among ``few``."""
    stores = {}
    for count in (few, many):
        stores[count] = _open(folder / f"{count}.sqlite")
        say(f"filling a SQLite store with {count:,} sessions")
        fill_us = _fill(stores[count], 0, count, LONG)
    samples: dict[int, list[float]] = {few: [], many: []}
    for _ in range(rounds):
        for count, store in stores.items():
            samples[count].append(_read_block(store, count))
    for store in stores.values():
        store.close()
    return ReadScale(few, many, median(samples[few]), median(samples[many]), fill_us)


def _read_block(store: SQLiteStore, count: int) -> float:
    times = []
    for _ in range(READS):
        key = _key(random.randrange(count))
        start = time.perf_counter_ns()
        entry = store.load(key)
        times.append(time.perf_counter_ns() - start)
        if entry is None:
            raise RuntimeError("a stored entry was not found. Check the store.")
    return median(times) / 1000


def purge(folder: Path, expired: int, live: int = 20_000) -> PurgeWait:
    """Measure what purging ``expired`` rows costs a writer in another process, with ``live`` other rows in the store.

    The rows are purged as by ``flask sessions purge``.
    """
    from flask_cloakroom.cli.session_commands import purge_all

    path = folder / "purge.sqlite"
    store = _open(path)
    say(f"storing {expired:,} rows that expire at once, to purge them")
    _fill(store, 0, live, LONG)
    _fill(store, live, expired, 1)
    time.sleep(1.1)
    removed = 0
    turns: list[tuple[float, float]] = []  # start and end of each turn of purging
    with _writer(path) as calls:
        time.sleep(TURN)
        while removed < expired:
            start = time.perf_counter()
            found = purge_all(_ForOneTurn(store))
            if not found:
                raise RuntimeError(f"only {removed} of {expired} expired rows could be purged")
            removed += found
            turns.append((start, time.perf_counter()))
            time.sleep(TURN)
    store.close()
    rests = [(end, end + TURN) for _, end in turns]
    at_work, at_rest = (_by_turn(calls, spans) for spans in (turns, rests))
    return PurgeWait(
        expired=expired,
        purge_seconds=sum(end - start for start, end in turns),
        longest_ms=[max(turn) for turn in at_work],
        longest_at_rest_ms=[max(turn) for turn in at_rest],
        p999_ms=_percentile_999(at_work),
        p999_at_rest_ms=_percentile_999(at_rest),
    )


class _ForOneTurn:
    """The store. When the turn is over, it has nothing more to purge."""

    def __init__(self, store: SQLiteStore) -> None:
        self._store = store
        self._end = time.perf_counter() + TURN

    def purge(self, limit: int) -> int:
        return self._store.purge(limit) if time.perf_counter() < self._end else 0


def _by_turn(calls: list[tuple[float, float]], turns: list[tuple[float, float]]) -> list[list[float]]:
    """Return the milliseconds of the calls that ran during each turn."""
    return [[(ended - began) * 1e3 for began, ended in calls if began < end and ended > start] for start, end in turns]


def _percentile_999(turns: list[list[float]]) -> float:
    every = sorted(duration for turn in turns for duration in turn)
    return every[len(every) * 999 // 1000]


class _writer:
    """A process that creates and replaces entries without a pause until the block ends.

    The block gets a list, which is filled at its end: start and end of each call, by ``time.perf_counter``. All
    processes of a machine share this clock.
    """

    def __init__(self, path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop, self._ready = context.Event(), context.Event()
        self._results, theirs = context.Pipe(duplex=False)
        arguments = (path, self._ready, self._stop, theirs)
        self._process = context.Process(target=_write_until, args=arguments, daemon=True)
        self._calls: list[tuple[float, float]] = []

    def __enter__(self) -> list[tuple[float, float]]:
        self._process.start()
        if not self._ready.wait(30):
            raise TimeoutError("the writing process did not start within 30 s. Try again on a quiet machine.")
        return self._calls

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        if self._results.poll(30):
            self._calls.extend(self._results.recv())
        self._process.join(30)
        if self._process.is_alive():
            self._process.kill()


def _write_until(path: Path, ready: Event, stop: Event, results: Connection) -> None:
    """Create an entry and replace it, again and again."""
    store = _open(path)
    data = random.randbytes(SIZE)
    clock = time.perf_counter
    calls = []
    ready.set()
    while not stop.is_set():
        key = random.randbytes(32)
        start = clock()
        version = store.create(key, data, LONG)
        created = clock()
        store.replace(key, data, LONG, version or b"")
        calls += [(start, created), (created, clock())]
    results.send(calls)
