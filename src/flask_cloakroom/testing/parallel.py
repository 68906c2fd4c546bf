"""Tests with real threads and forked children on one store. The assertions are true in any order of the calls."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from typing import Any, Final

import pytest

from ..stores.base import Entry, Saved, Store
from .base import ContractBase, new_key
from .verbs import create_entry

THREADS: Final = 8
#: The seconds after which a test fails because its thread or child has not ended.
TIMEOUT: Final = 30.0


def run_in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run ``work(0)`` to ``work(count - 1)`` in threads that start at the same time, and return their results.

    If a thread raises an error, raise the error here.
    """
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            barrier.wait(TIMEOUT)
            results[number] = work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    return results


def run_in_child(work: Callable[[], object]) -> int:
    """Run ``work`` in a forked child, and return the child's process id for :func:`child_succeeded`.

    The child is killed after :data:`TIMEOUT` seconds.
    """
    with warnings.catch_warnings():
        # Python 3.12 and later warn of a fork in a process with threads. These tests do it on purpose.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(TIMEOUT))
        work()
        status = 0
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        # With sys.exit() the child would run the end of pytest and other code of the parent.
        os._exit(status)


def child_succeeded(child: int) -> bool:
    """Wait for a child of :func:`run_in_child`, and return True if its work raised no error."""
    return os.waitpid(child, 0)[1] == 0


def append_until_saved(store: Store, key: bytes, mark: bytes) -> None:
    """Append the line ``mark`` to an entry as a commit does: load, replace, and try again after a conflict."""
    while True:
        entry = store.load(key)
        assert entry is not None
        if isinstance(store.replace(key, entry.data + mark + b"\n", 60, entry.version), Saved):
            return


class ParallelContract(ContractBase):
    """The tests that every call is atomic, can be made in several threads, and works in a forked child."""

    def test_of_parallel_creates_one_wins(self, store: Store) -> None:
        """If many threads create the same store key at the same time, one gets a version, and its data is stored."""
        for _ in range(10):
            key = new_key()
            versions = run_in_threads(
                THREADS,
                lambda number, key=key: store.create(key, b"%d" % number, 60),  # type: ignore[misc]
            )
            winners = [number for number, version in enumerate(versions) if version is not None]
            assert len(winners) == 1
            assert store.load(key) == Entry(b"%d" % winners[0], versions[winners[0]])

    def test_of_parallel_replaces_of_one_version_one_wins(self, store: Store) -> None:
        """If many threads replace the same version at the same time, one gets Saved, and its data is stored."""
        for _ in range(10):
            key, read = create_entry(store)
            results = run_in_threads(
                THREADS,
                lambda number, key=key, read=read: store.replace(key, b"%d" % number, 60, read),  # type: ignore[misc]
            )
            saved = [(number, result) for number, result in enumerate(results) if isinstance(result, Saved)]
            assert len(saved) == 1
            number, result = saved[0]
            assert store.load(key) == Entry(b"%d" % number, result.version)

    def test_parallel_changes_lose_nothing(self, store: Store) -> None:
        """If threads load and replace one entry, and try again after each conflict, the store loses no change."""
        key, _ = create_entry(store, b"")

        def work(number: int) -> None:
            for turn in range(10):
                append_until_saved(store, key, b"%d.%d" % (number, turn))

        run_in_threads(THREADS, work)
        entry = store.load(key)
        assert entry is not None
        assert sorted(entry.data.split()) == sorted(
            b"%d.%d" % (number, turn) for number in range(THREADS) for turn in range(10)
        )

    def test_answers_are_not_crossed(self, store: Store) -> None:
        """A thread gets the answer to its own call, and never the answer to another thread's call."""

        def work(number: int) -> None:
            for turn in range(20):
                data = b"%d.%d " % (number, turn) * (number * 50 + 1)
                key, version = create_entry(store, data)
                assert store.load(key) == Entry(data, version)
                saved = store.replace(key, data[::-1], 60, version)
                assert isinstance(saved, Saved)
                assert store.load(key) == Entry(data[::-1], saved.version)
                assert store.delete(key) is True
                assert store.load(key) is None

        run_in_threads(THREADS, work)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    def test_a_forked_child_goes_on_with_the_store(self, store: Store) -> None:
        """A store that was used before a fork works in the child and the parent at the same time."""
        before, version = create_entry(store, b"before")

        def in_the_child() -> None:
            assert store.load(before) == Entry(b"before", version)
            for number in range(20):
                key, its_version = create_entry(store, b"child %d" % number)
                assert store.load(key) == Entry(b"child %d" % number, its_version)

        children = [run_in_child(in_the_child) for _ in range(2)]
        for number in range(20):
            key, its_version = create_entry(store, b"parent %d" % number)
            assert store.load(key) == Entry(b"parent %d" % number, its_version)
        assert [child_succeeded(child) for child in children] == [True, True]
        assert store.load(before) == Entry(b"before", version)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    def test_a_fork_in_the_middle_of_a_call_harms_nobody(self, store: Store) -> None:
        """The store works in a forked child even if other threads of the parent were using the store at the fork."""
        create_entry(store)
        done = threading.Event()

        def work(number: int) -> None:
            if number:
                while not done.is_set():
                    key, version = create_entry(store, b"%d" % number)
                    assert store.load(key) == Entry(b"%d" % number, version)
                return
            try:
                for _ in range(5):
                    assert child_succeeded(run_in_child(lambda: create_entry(store, b"child")))
            finally:
                done.set()

        run_in_threads(3, work)
