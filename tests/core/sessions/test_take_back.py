"""A saved write of a session is taken back, because a later write of the same request has failed.

Each write is taken back again and again. Each time another command of the taking back fails, in each of the ways of
FAULTS, or another request writes right before that command.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest

from flask_cloakroom.core.entries.record import Absence, Committed, Record
from flask_cloakroom.core.sessions.repository import Repository
from flask_cloakroom.core.values import codec
from flask_cloakroom.errors import SessionTooLargeError
from support.stores.faulty import FAULTS, Fault, FaultyStore, attempts
from support.stores.stored_sessions import live_sessions, values_of

VISITOR = {"n": codec.pack(1), "list": codec.pack(["a"]), "deleted": codec.pack(7)}
ADA = {"_user_id": codec.pack("ada"), **VISITOR}
CHANGES = {"n": codec.pack(2), "list": codec.pack(["a", "b"]), "new": codec.pack({"x": 1}), "deleted": None}
LOGIN = {"_user_id": codec.pack("ada"), **CHANGES}

#: Each write with the values before it.
WRITES: dict[str, tuple[dict[str, bytes], Callable[[Repository, Record], Committed | None]]] = {
    "commit": (ADA, lambda repository, record: repository.commit(record, CHANGES, permanent=False, seen=True)),
    "edit": (ADA, lambda repository, record: repository.edit(record, lambda values: CHANGES)),
    "login": (VISITOR, lambda repository, record: repository.rotate(record, LOGIN)),
    "rotation": (ADA, lambda repository, record: repository.rotate(record, CHANGES)),
    "renewal": (ADA, lambda repository, record: repository.rotate(record, CHANGES, renewal=True)),
}


def write(repository: Repository, name: str) -> tuple[Record, Committed]:
    """Return a new session as it was before a write, and the result of the write."""
    values, work = WRITES[name]
    for key in live_sessions(repository):
        repository.store.delete(key)
    old = repository.create(values)
    committed = work(repository, old)
    assert committed is not None
    return old, committed


def unpacked(values: dict[str, bytes]) -> dict[str, Any]:
    return {key: codec.unpack(value) for key, value in values.items()}


def good_tickets(repository: Repository, *records: Record) -> list[str]:
    return [record.ticket for record in records if isinstance(repository.load(record.ticket), Record)]


@pytest.mark.promise(3)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", WRITES)
def test_with_a_failing_store(
    repository: Repository, faulty: FaultyStore, fault: Fault, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """If the answer is True, the session is as it was. Otherwise a warning says so, and the visitor has a ticket."""
    for attempt in attempts(faulty, fault):
        faulty.reset()
        old, committed = write(repository, name)
        caplog.clear()
        taken_back = attempt.run(lambda committed=committed: repository.take_back(committed))
        sessions = live_sessions(repository)
        if taken_back:
            assert values_of(repository, old.ticket) == unpacked(WRITES[name][0])
            found = repository.load(old.ticket)
            assert isinstance(found, Record)
            assert found.header == old.header
            assert sessions == {old.key}
        else:
            assert good_tickets(repository, old, committed.record)
            assert [line.levelno for line in caplog.records] == [logging.WARNING]
            assert old.ticket not in caplog.text
            assert committed.record.ticket not in caplog.text


@pytest.mark.parametrize("fault", FAULTS)
def test_a_new_session(repository: Repository, faulty: FaultyStore, fault: Fault) -> None:
    """It is deleted. If that fails, the answer is False, or the claim of the deleted session stays for a while."""
    for attempt in attempts(faulty, fault):
        record = repository.create(ADA)
        committed = Committed(record, False, ())
        taken_back = attempt.run(lambda committed=committed: repository.take_back(committed))
        assert isinstance(repository.load(record.ticket), Record) is False or taken_back is False
        live_sessions(repository)


class TestOtherRequests:
    """Other requests between the write and each command of its taking back."""

    @pytest.mark.promise(4)
    @pytest.mark.parametrize("name", WRITES)
    def test_an_ended_session_stays_ended(self, repository: Repository, faulty: FaultyStore, name: str) -> None:
        """Whenever the user's sessions are ended, none of them comes back."""
        ada = repository.tickets.owner_name("ada")
        for attempt in attempts(faulty):
            old, committed = write(repository, name)
            ended: list[int] = []

            def end(ended: list[int] = ended) -> None:
                ended.append(repository.registry.end_all(ada))

            assert attempt.run(lambda committed=committed: repository.take_back(committed), end) is True
            if ended:
                tickets = good_tickets(repository, old, committed.record)
                # If the login was taken back before, the user has no session any more, and the visitor keeps theirs.
                assert tickets == ([old.ticket] if name == "login" and ended == [0] else [])
            live_sessions(repository)

    @pytest.mark.promise(4)
    @pytest.mark.parametrize("name", WRITES)
    def test_a_logout_in_a_parallel_request(self, repository: Repository, faulty: FaultyStore, name: str) -> None:
        """A request that read the session before the write, or after it, ends the session for good."""
        for which in ("before", "after"):
            for attempt in attempts(faulty):
                old, committed = write(repository, name)
                record = old if which == "before" else committed.record
                ended: list[bool] = []

                def end(record: Record = record, ended: list[bool] = ended) -> None:
                    ended.append(repository.destroy(record))

                attempt.run(lambda committed=committed: repository.take_back(committed), end)
                if ended == [True]:
                    assert good_tickets(repository, old, committed.record) == []
                live_sessions(repository)

    @pytest.mark.promise(3)
    @pytest.mark.parametrize("name", ["commit", "edit", "rotation", "renewal"])
    @pytest.mark.parametrize("reads", ["before the write", "after the write", "late"])
    def test_their_changes_stay(self, repository: Repository, faulty: FaultyStore, name: str, reads: str) -> None:
        """A parallel request loses none of its changes, and the changes that were taken back are gone."""
        other = {"other": codec.pack(3), "list": codec.pack(["a", "c"])}
        for attempt in attempts(faulty):
            old, committed = write(repository, name)
            saved: list[Committed] = []
            read = {"before the write": old, "after the write": committed.record, "late": None}[reads]

            def commit(read: Record | None = read, saved: list[Committed] = saved) -> None:
                record = read or repository.load(old.ticket)  # noqa: B023  called at once
                if not isinstance(record, Record):
                    assert name == "rotation"
                    return
                changes = dict(other)
                if "b" in codec.unpack(record.values["list"]):
                    changes["list"] = codec.pack(["a", "b", "c"])
                result = repository.commit(record, changes)
                if result is not None:
                    saved.append(result)

            taken_back = attempt.run(lambda committed=committed: repository.take_back(committed), commit)
            assert taken_back is True
            if saved:
                # The request sends the ticket of its result.
                values = values_of(repository, saved[0].record.ticket)
                assert values == {**unpacked(ADA), "other": 3, "list": ["a", "c"]}, attempt.number
            elif attempt.number <= attempt.commands:
                assert name == "rotation", "the changes of the other request are lost"
            assert len(live_sessions(repository)) == 1

    def test_a_session_that_was_renewed_again(self, repository: Repository) -> None:
        """The changes are undone in the session of the newest ticket."""
        _, committed = write(repository, "renewal")
        again = repository.rotate(committed.record, {"other": codec.pack(3)}, renewal=True)
        assert again is not None
        assert repository.take_back(committed) is True
        assert values_of(repository, again.record.ticket) == {**unpacked(ADA), "other": 3}
        assert live_sessions(repository) == {again.record.key}

    def test_a_later_value_wins(self, repository: Repository) -> None:
        """A value that another request set after the write stays, also under a key that the write has made."""
        _, committed = write(repository, "commit")
        later = {"n": codec.pack(5), "new": codec.pack({"x": 1, "y": 2}), "list": None, "deleted": codec.pack(8)}
        assert repository.commit(committed.record, later) is not None
        assert repository.take_back(committed) is True
        values = {"_user_id": "ada", "n": 5, "new": {"y": 2}, "deleted": 8}
        assert values_of(repository, committed.record.ticket) == values

    def test_removed_members_come_back(self, repository: Repository) -> None:
        """Members of a list that the write removed are there again, beside those that another request added."""
        record = repository.create({"list": codec.pack(["a", "b", "c"])})
        committed = repository.commit(record, {"list": codec.pack(["a", "c"])})
        assert committed is not None
        assert repository.commit(committed.record, {"list": codec.pack(["a", "c", "d"])}) is not None
        assert repository.take_back(committed) is True
        assert values_of(repository, record.ticket) == {"list": ["a", "b", "c", "d"]}

    @pytest.mark.promise(4)
    @pytest.mark.parametrize("name", ["login", "rotation", "renewal"])
    @pytest.mark.parametrize("fault", FAULTS)
    def test_and_a_failing_store(self, repository: Repository, faulty: FaultyStore, name: str, fault: Fault) -> None:
        """If the new ticket's session was ended or changed before, the old ticket stays invalid, whatever fails."""
        for is_ended in (True, False):
            for attempt in attempts(faulty, fault):
                old, committed = write(repository, name)
                if is_ended:
                    assert repository.destroy(committed.record)
                else:
                    assert repository.commit(committed.record, {"other": codec.pack(3)}) is not None
                attempt.run(lambda committed=committed: repository.take_back(committed))
                found = repository.load(old.ticket)
                assert not isinstance(found, Record) or (name == "renewal" and not is_ended)
                assert live_sessions(repository) == (set() if is_ended else {committed.record.key})


def test_a_login_whose_new_ticket_is_in_use(repository: Repository, caplog: pytest.LogCaptureFixture) -> None:
    """The login stays, because another request has continued it: the old ticket stays dead."""
    old, committed = write(repository, "login")
    assert repository.commit(committed.record, {"other": codec.pack(3)}) is not None
    assert repository.take_back(committed) is False
    assert "another request uses its new ticket" in caplog.text
    assert values_of(repository, committed.record.ticket)["other"] == 3
    assert repository.load(old.ticket) is Absence.SUPERSEDED


def test_a_move_that_was_not_acknowledged(repository: Repository, faulty: FaultyStore) -> None:
    """It is taken back, whether its tombstone was written, was not written, or is written in the middle of that."""
    for fault, repetition in itertools.product(FAULTS, ("request", "answer")):
        for name in ("login", "rotation", "renewal"):
            for attempt in attempts(faulty):
                values, work = WRITES[name]
                for key in live_sessions(repository):
                    faulty.delete(key)
                old = repository.create(values)
                faulty.reset()
                # The third command writes the tombstone. The write that finds out whether it was written is lost.
                faulty.faults = {3: fault, 4: repetition}
                committed = work(repository, old)
                assert committed is not None
                assert committed.acknowledged is False
                land = faulty.put_off()
                faulty.reset()
                live_sessions(repository)
                assert attempt.run(lambda committed=committed: repository.take_back(committed), land) is True
                land()
                assert values_of(repository, old.ticket) == unpacked(values)
                assert live_sessions(repository) == {old.key}


@pytest.mark.parametrize("kind", ["create", "commit", "rotate"])
def test_the_check_of_the_size(repository: Repository, faulty: FaultyStore, kind: str) -> None:
    """check_size() raises the error of the write for the same number of bytes, and sends no command."""
    checks: dict[str, Callable[[Any], None]] = {
        "create": lambda changes: repository.check_size(None, changes),
        "commit": lambda changes: repository.check_size(record, changes),
        "rotate": lambda changes: repository.check_size(record, changes, rotates=True),
    }
    writes: dict[str, Callable[[Any], object]] = {
        "create": lambda changes: repository.create(changes),
        "commit": lambda changes: repository.commit(record, changes),
        "rotate": lambda changes: repository.rotate(record, changes),
    }
    repository.max_bytes = 1000
    errors = set()
    for size in range(700, 1000):
        record = repository.create(VISITOR)
        changes = {**ADA, "k": codec.pack("k" * size)}
        faulty.reset()
        try:
            checks[kind](changes)
            expected = None
        except SessionTooLargeError as error:
            expected = error.size
        assert faulty.count == 0
        try:
            writes[kind](changes)
            found = None
        except SessionTooLargeError as error:
            found = error.size
        assert found == expected
        errors.add(found is None)
    assert errors == {True, False}
