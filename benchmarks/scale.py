"""SQLite with very many sessions: what a read costs there, and what a purge costs those who write meanwhile.

Both work on the package's own store, through its own calls.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tools import say

if TYPE_CHECKING:
    from flask_cloakroom.stores.sqlite import SQLiteStore

#: Bytes of one entry's data: about what the measured session takes.
SIZE = 300

#: Seconds: long enough that no entry of a measurement expires during it.
LONG = 86_400

READS = 200


@dataclass(frozen=True)
class ReadScale:
    """Microseconds of ``load`` with random keys, medians of interleaved blocks."""

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
    """The longest single call of a process that writes all the time, in milliseconds."""

    expired: int
    purge_seconds: float
    #: One for each repetition: with the purge going on, and for as long without one.
    longest_ms: list[float]
    longest_alone_ms: list[float]
    #: 99.9th percentile of the calls during the purge, the median of the repetitions.
    p999_ms: float


def _key(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def _open(path: Path) -> SQLiteStore:
    from flask_cloakroom.stores.sqlite import SQLiteStore

    return SQLiteStore(path)


def _fill(store: SQLiteStore, first: int, count: int, ttl: int) -> float:
    """Create entries one by one; return the microseconds each took."""
    data = random.randbytes(SIZE)
    start = time.perf_counter()
    for number in range(first, first + count):
        if store.create(_key(number), data, ttl) is None:
            raise RuntimeError("an entry was there before")
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
            raise RuntimeError("a stored entry was not found")
    return median(times) / 1000


def purge(folder: Path, expired: int, repeats: int, live: int = 20_000) -> PurgeWait:
    """Measure what purging ``expired`` rows costs a writer in another process, beside ``live`` other rows.

    The rows are purged as ``flask sessions purge`` does it.
    """
    from flask_cloakroom.cli import purge_all

    with_purge, alone, p999, seconds = [], [], [], []
    for number in range(repeats):
        path = folder / f"purge-{number}.sqlite"
        store = _open(path)
        say(f"purge {number + 1} of {repeats}: storing {expired:,} rows that expire at once")
        _fill(store, 0, live, LONG)
        _fill(store, live, expired, 1)
        time.sleep(1.1)
        with _writer(path) as calls:
            start = time.perf_counter()
            removed = purge_all(store)
            seconds.append(time.perf_counter() - start)
        if removed != expired:
            raise RuntimeError(f"{removed} rows were purged instead of {expired}")
        with_purge.append(max(calls))
        p999.append(sorted(calls)[len(calls) * 999 // 1000])
        with _writer(path) as calls:
            time.sleep(seconds[-1])
        alone.append(max(calls))
        store.close()
    return PurgeWait(expired, median(seconds), with_purge, alone, median(p999))


class _writer:
    """A process that creates and replaces entries without a pause until the block ends.

    The list that the block gets is filled when it ends: milliseconds of each call.
    """

    def __init__(self, path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop, self._ready = context.Event(), context.Event()
        self._results, theirs = context.Pipe(duplex=False)
        arguments = (path, self._ready, self._stop, theirs)
        self._process = context.Process(target=_write_until, args=arguments, daemon=True)
        self._calls: list[float] = []

    def __enter__(self) -> list[float]:
        self._process.start()
        if not self._ready.wait(30):
            raise TimeoutError("the writing process did not begin")
        return self._calls

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        if self._results.poll(30):
            self._calls.extend(self._results.recv())
        self._process.join(30)
        if self._process.is_alive():
            self._process.kill()


def _write_until(path: Path, ready: Event, stop: Event, results: Connection) -> None:
    store = _open(path)
    calls = []
    ready.set()
    for duration in _writes(store):
        calls.append(duration)
        if stop.is_set():
            break
    results.send(calls)


def _writes(store: SQLiteStore) -> Iterator[float]:
    """Create an entry, replace it, and so on; yield the milliseconds of each call."""
    data = random.randbytes(SIZE)
    clock = time.perf_counter
    while True:
        key = random.randbytes(32)
        start = clock()
        version = store.create(key, data, LONG)
        created = clock()
        yield (created - start) * 1e3
        assert version is not None
        start = clock()
        store.replace(key, data, LONG, version)
        yield (clock() - start) * 1e3
