"""Writes of a user's data: a lost request or answer, and a write that is taken back.

Each test runs a write again and again. Each time another one of its commands fails, in each of the ways of FAULTS.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flask_cloakroom.core.sessions.repository import Repository
from flask_cloakroom.core.user_data.repository import UserCommit, UserData
from flask_cloakroom.core.user_data.visitor import VisitorData, new_visitor_id
from flask_cloakroom.core.values import codec
from flask_cloakroom.errors import SessionTooLargeError, StoreError
from support.stores.faulty import FAULTS, Fault, FaultyStore, attempts

BEFORE = {"n": codec.pack(1), "cart": codec.pack(["a"]), "deleted": codec.pack(7)}
CHANGES = {"n": codec.pack(2), "cart": codec.pack(["a", "b"]), "new": codec.pack({"x": 1}), "deleted": None}
#: The values after each kind of write.
AFTER: dict[str, dict[str, Any]] = {
    "commit": {"n": 2, "cart": ["a", "b"], "new": {"x": 1}},
    "merge": {"n": 1, "cart": ["a", "c"], "deleted": 7, "wish": 1},
}
#: Faults after which a failed write was surely not done.
CLEAR: tuple[Fault, ...] = ("request", "answer", "late", "down")


@pytest.fixture
def user_data(repository: Repository) -> UserData:
    return repository.user_data


@pytest.fixture
def names(repository: Repository) -> Iterator[str]:
    """Return the names of users who have no data yet."""
    return (repository.tickets.owner_name(str(number)) for number in itertools.count())


def values_of(user_data: UserData, name: str) -> dict[Any, Any]:
    return {key: codec.unpack(value) for key, value in user_data.load(name).values.items()}


def filled(user_data: UserData, name: str) -> str:
    """Store the values BEFORE for a user."""
    assert user_data.commit(user_data.load(name), BEFORE) is not None
    return name


def visitor() -> VisitorData:
    return VisitorData(new_visitor_id(), {"cart": codec.pack(["c"]), "wish": codec.pack(1)})


def writer(user_data: UserData, name: str, kind: str) -> Callable[[], UserCommit | None]:
    """Return a function that writes, and that does the same write when it is called again."""
    if kind == "merge":
        data = visitor()
        return lambda: user_data.merge(name, data)
    base = user_data.load(name)
    return lambda: user_data.commit(base, CHANGES)


@pytest.mark.promise(3)
@pytest.mark.parametrize("kind", AFTER)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_write(user_data: UserData, faulty: FaultyStore, names: Iterator[str], fault: Fault, kind: str) -> None:
    """An acknowledged write is stored. One that failed is not, unless the store stays down: then it may be stored."""
    for attempt in attempts(faulty, fault):
        name = filled(user_data, next(names))
        write = writer(user_data, name, kind)
        result = attempt.run(write)
        before = {"n": 1, "cart": ["a"], "deleted": 7}
        if isinstance(result, StoreError):
            assert values_of(user_data, name) in ([before] if fault in CLEAR else [before, AFTER[kind]])
            if kind == "commit" and fault not in CLEAR:
                continue  # a second try would append to the list once more
            write()
        assert values_of(user_data, name) == AFTER[kind]


@pytest.mark.promise(3)
@pytest.mark.parametrize("kind", AFTER)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("is_first", [False, True])
def test_a_write_that_is_taken_back(
    user_data: UserData,
    faulty: FaultyStore,
    names: Iterator[str],
    fault: Fault,
    kind: str,
    is_first: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If the answer is True, the data is as it was, and the same write can be made again. Else a warning says so."""
    for attempt in attempts(faulty, fault):
        name = next(names) if is_first else filled(user_data, next(names))
        before = values_of(user_data, name)
        write = writer(user_data, name, kind)
        committed = write()
        assert committed is not None
        after = values_of(user_data, name)
        caplog.clear()
        if attempt.run(lambda committed=committed: user_data.take_back(committed)):
            assert values_of(user_data, name) == before
            assert user_data.undoable(user_data.load(name)) is None
            assert write() is not None
            assert values_of(user_data, name) == after
        else:
            assert [line.levelno for line in caplog.records] == [logging.WARNING]
            assert name not in caplog.text
            assert values_of(user_data, name) in (before, after)


@pytest.mark.promise(3)
@pytest.mark.parametrize("kind", AFTER)
def test_changes_of_other_requests_stay(
    user_data: UserData, faulty: FaultyStore, names: Iterator[str], kind: str
) -> None:
    """Whenever another request writes, its changes stay, and those that are taken back go."""
    for attempt in attempts(faulty):
        name = filled(user_data, next(names))
        committed = writer(user_data, name, kind)()
        assert committed is not None

        def other(name: str = name) -> None:
            base = user_data.load(name)
            cart = [*codec.unpack(base.values["cart"]), "z"]
            assert user_data.commit(base, {"cart": codec.pack(cart), "other": codec.pack(3)}) is not None
            assert user_data.merge(name, VisitorData("another", {"theirs": codec.pack(4)})) is not None

        assert attempt.run(lambda committed=committed: user_data.take_back(committed), other) is True
        expected: dict[str, Any] = {"n": 1, "cart": ["a"], "deleted": 7}
        if attempt.number <= attempt.commands:
            expected = {"n": 1, "cart": ["a", "z"], "deleted": 7, "other": 3, "theirs": 4}
            assert "another" in user_data.load(name).merge_log.merged
        assert values_of(user_data, name) == expected


@pytest.mark.promise(4)
@pytest.mark.parametrize("kind", AFTER)
def test_deleted_data_stays_deleted(user_data: UserData, faulty: FaultyStore, names: Iterator[str], kind: str) -> None:
    """Whenever the data is deleted, the taking back brings nothing back."""
    for attempt in attempts(faulty):
        name = filled(user_data, next(names))
        committed = writer(user_data, name, kind)()
        assert committed is not None
        was_deleted: list[bool] = []

        def delete(name: str = name, was_deleted: list[bool] = was_deleted) -> None:
            was_deleted.append(user_data.delete(name))

        assert attempt.run(lambda committed=committed: user_data.take_back(committed), delete) is True
        assert values_of(user_data, name) == ({} if was_deleted else {"n": 1, "cart": ["a"], "deleted": 7})


@pytest.mark.promise(4)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_deletion(user_data: UserData, faulty: FaultyStore, names: Iterator[str], fault: Fault) -> None:
    """An acknowledged deletion is done. One that failed is not done, unless the store stays down."""
    for attempt in attempts(faulty, fault):
        name = filled(user_data, next(names))
        result = attempt.run(lambda name=name: user_data.delete(name))
        if result is True:
            assert values_of(user_data, name) == {}
        else:
            assert isinstance(result, StoreError)
            assert fault not in CLEAR or values_of(user_data, name) == {"n": 1, "cart": ["a"], "deleted": 7}


def test_the_check_of_the_size(
    repository: Repository, user_data: UserData, faulty: FaultyStore, names: Iterator[str]
) -> None:
    """check() raises the error of the write for the same number of bytes, and sends no command."""
    repository.max_bytes = 1000
    errors = set()
    for size in range(700, 1000):
        base = user_data.load(filled(user_data, next(names)))
        changes = {"k": codec.pack("k" * size)}
        faulty.reset()
        found = []
        for call in (user_data.check, user_data.commit):
            try:
                call(base, changes)
                found.append(0)
            except SessionTooLargeError as error:
                found.append(error.size)
            if call == user_data.check:
                assert faulty.count == 0
        assert found[0] == found[1]
        errors.add(found[0] == 0)
    assert errors == {True, False}
