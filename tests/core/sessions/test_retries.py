"""Ends of requests that wait because the store was down: they are done once it is back, each one once."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from flask_cloakroom.core.entries.record import Record
from flask_cloakroom.core.sessions.repository import Repository
from flask_cloakroom.core.sessions.retries import Retries
from flask_cloakroom.core.values import codec
from flask_cloakroom.errors import StoreError
from flask_cloakroom.testing.parallel import run_in_threads
from support.clock import TEST_TIMEOUT
from support.stores.faulty import FaultyStore


def test_many_families(repository: Repository, faulty: FaultyStore) -> None:
    """The end of a family looks the family up, and each look-up retries. So many families must not recurse."""
    families = repository.families
    tokens = [families.issue(f"user {number}", "", 600) for number in range(300)]

    def end(token: str) -> None:
        found = families.find(token)
        assert found is not None
        families.end(found[0])

    faulty.reset()
    faulty.faults = dict.fromkeys(range(1, 1000), "request")
    for token in tokens:
        families.end_or_retry(lambda token=token: end(token))  # type: ignore[misc]
    faulty.reset()
    families.issue("somebody else", "", 600)
    assert [token for token in tokens if families.find(token) is not None] == []


def test_a_store_that_fails_again(caplog: pytest.LogCaptureFixture) -> None:
    """The function waits for the next time, and those behind it too. A warning says so."""
    retries, calls, is_down = Retries(10), [], [True]

    def work(name: str) -> None:
        calls.append(name)
        if is_down[0]:
            raise StoreError("down")

    retries.waiting.extend([lambda: work("first"), lambda: work("second")])
    retries.run()
    assert calls == ["first"]
    assert [line.levelno for line in caplog.records] == [logging.WARNING]
    is_down[0] = False
    retries.run()
    assert sorted(calls) == ["first", "first", "second"]
    retries.run()
    assert len(calls) == 3


def test_an_error_of_the_application(caplog: pytest.LogCaptureFixture) -> None:
    """An error of a receiver is logged. It does not fail the other request, and the other functions are called."""
    retries, calls = Retries(10), []

    def receiver_that_fails() -> None:
        raise KeyError("a receiver of the application")

    retries.waiting.extend([receiver_that_fails, lambda: calls.append("second")])
    retries.run()
    assert calls == ["second"]
    assert [line.levelno for line in caplog.records] == [logging.ERROR]
    assert not retries.waiting


def test_threads_at_once() -> None:
    """While a thread calls the functions, the others go on with their requests."""
    retries, calls, inside, leave = Retries(10), [], threading.Event(), threading.Event()

    def slow() -> None:
        calls.append("slow")
        inside.set()
        assert leave.wait(TEST_TIMEOUT)

    def work(number: int) -> Any:
        if number == 0:
            return retries.run()
        assert inside.wait(TEST_TIMEOUT)
        retries.run()
        return leave.set()

    retries.waiting.append(slow)
    run_in_threads(2, work)
    assert calls == ["slow"]


@pytest.mark.promise(3)
def test_a_login_that_could_not_be_undone(repository: Repository, faulty: FaultyStore) -> None:
    """The session goes back to its old ticket before the next request looks for it, and the new ticket is dead."""
    old = repository.create({"theme": codec.pack("dark")})
    committed = repository.rotate(old, {"_user_id": codec.pack("ada")})
    assert committed is not None
    faulty.reset()
    faulty.faults = {1: "down"}
    assert not repository.take_back(committed)
    faulty.reset()
    assert not isinstance(repository.load(old.ticket), Record)
    repository.take_backs.run()
    found = repository.load(old.ticket)
    assert isinstance(found, Record)
    assert found.values == old.values
    assert not isinstance(repository.load(committed.record.ticket), Record)
    assert not repository.take_backs.waiting
