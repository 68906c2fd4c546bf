"""A write whose request or answer is lost: the caller knows if it was done, and the visitor has a good ticket.

Each test runs a write again and again. Each time another one of its commands fails, in each of the ways of FAULTS.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from flask_cloakroom.core.entries.family import TokenStatus
from flask_cloakroom.core.entries.record import Committed, Record
from flask_cloakroom.core.entries.tickets import Tickets
from flask_cloakroom.core.sessions.ending import end
from flask_cloakroom.core.sessions.repository import Repository
from flask_cloakroom.core.values import codec
from flask_cloakroom.core.values.merge import STRATEGIES
from flask_cloakroom.errors import SessionTooLargeError, StoreError
from flask_cloakroom.stores.redis.store import RedisStore
from support.servers.special import CutAnswers, Proxy, VolatileRedisServer
from support.stores.faulty import FAULTS, Fault, FaultyStore, attempts
from support.stores.stored_sessions import live_sessions, values_of

VISITOR = {"n": codec.pack(1)}
ADA = {"_user_id": codec.pack("ada"), "n": codec.pack(1)}
TWO = {"n": codec.pack(2)}
LOGIN = {"_user_id": codec.pack("ada"), "n": codec.pack(2)}

#: Faults after which a failed write was surely not done: only one command fails, or no command is done any more.
CLEAR: tuple[Fault, ...] = ("request", "answer", "late", "down")


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest) -> Any:
    return request.param


WRITES: dict[str, Callable[[Repository, Record], Any]] = {
    "commit": lambda repository, record: repository.commit(record, TWO),
    "commit that counts as activity": lambda repository, record: repository.commit(record, TWO, seen=True),
    "edit": lambda repository, record: repository.edit(record, lambda values: TWO),
    "lock": lambda repository, record: repository.lock(record, TWO, timeout=1, lease=10),
}


@pytest.mark.promise(3)
@pytest.mark.parametrize("write", WRITES)
def test_a_session_in_place(repository: Repository, faulty: FaultyStore, fault: Fault, write: str) -> None:
    """An acknowledged write is stored, and one that failed is not. Only a store that stays down leaves it open."""
    for attempt in attempts(faulty, fault):
        record = repository.create(ADA)
        result = attempt.run(lambda record=record: WRITES[write](repository, record))
        values = values_of(repository, record.ticket)
        if isinstance(result, Committed):
            assert values["n"] == 2
            assert result.record.version == faulty.load(record.key).version
        else:
            assert isinstance(result, StoreError)
            assert values["n"] in ((1,) if fault in CLEAR else (1, 2))
        live_sessions(repository)


@pytest.mark.promise(3)
def test_an_answer_that_is_lost_while_another_request_writes(repository: Repository, faulty: FaultyStore) -> None:
    """It is unknown if the write was done, so the caller gets the error. Nothing of both requests is lost."""
    record = repository.create(VISITOR)

    def other() -> None:
        faulty.faults.clear()
        found = repository.load(record.ticket)
        assert isinstance(found, Record)
        assert repository.commit(found, {"m": codec.pack(3)}) is not None

    faulty.reset()
    faulty.faults[1] = "answer"
    faulty.before[2] = other
    with pytest.raises(StoreError, match="answer"):
        repository.commit(record, TWO)
    assert values_of(repository, record.ticket) == {"n": 2, "m": 3}


@pytest.mark.promise(3)
def test_equal_bytes_of_another_request_are_a_conflict(faulty: FaultyStore) -> None:
    """Two requests that write the same bytes in the same second are two writes: a sum counts both."""
    repository = Repository(faulty, Tickets("app"), strategies={"n": STRATEGIES["sum"]}, clock=lambda: 1e9)
    record = repository.create(VISITOR)
    assert repository.commit(record, TWO) is not None
    assert repository.commit(record, TWO) is not None
    assert values_of(repository, record.ticket) == {"n": 3}


@pytest.mark.promise(4)
def test_a_new_session(repository: Repository, faulty: FaultyStore, fault: Fault) -> None:
    """An acknowledged session is stored. Each session of a user that is stored has a claim, also after an error."""
    for attempt in attempts(faulty, fault):
        for key in live_sessions(repository):
            faulty.delete(key)
        result = attempt.run(lambda: repository.create(ADA))
        sessions = live_sessions(repository)
        if isinstance(result, Record):
            assert values_of(repository, result.ticket) == {"_user_id": "ada", "n": 1}
            assert sessions == {result.key}
        elif fault in CLEAR:
            assert not sessions


ENDS: dict[str, Callable[[Repository, Record], bool]] = {
    "destroy": lambda repository, record: repository.destroy(record),
    "destroy after a change": lambda repository, record: repository.destroy(replace(record, version=b"12345678")),
    "end by the store key": lambda repository, record: end(repository, record.key),
}


@pytest.mark.promise(4)
@pytest.mark.parametrize("way", ENDS)
def test_the_end_of_a_session(repository: Repository, faulty: FaultyStore, fault: Fault, way: str) -> None:
    """A session whose end was acknowledged has ended. An end that failed was not done, or is looked up."""
    for attempt in attempts(faulty, fault):
        record = repository.create(ADA)
        result = attempt.run(lambda record=record: ENDS[way](repository, record))
        if result is True:
            assert not isinstance(repository.load(record.ticket), Record)
        else:
            assert isinstance(result, StoreError)
            assert fault not in CLEAR or values_of(repository, record.ticket)["n"] == 1
        live_sessions(repository)


MOVES: dict[str, tuple[dict[str, bytes], Callable[[Repository, Record], Any]]] = {
    "login": (VISITOR, lambda repository, record: repository.rotate(record, LOGIN)),
    "rotation": (ADA, lambda repository, record: repository.rotate(record, TWO)),
    "renewal": (ADA, lambda repository, record: repository.rotate(record, TWO, renewal=True)),
}


@pytest.mark.promise(7)
@pytest.mark.parametrize("move", MOVES)
def test_a_session_that_moves(
    repository: Repository, faulty: FaultyStore, fault: Fault, move: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The visitor has one good ticket: the new one, which the caller knows, or after an error the old one."""
    before, rotate = MOVES[move]
    for attempt in attempts(faulty, fault):
        for key in live_sessions(repository):
            faulty.delete(key)
        old = repository.create(before)
        caplog.clear()
        result = attempt.run(lambda old=old: rotate(repository, old))
        sessions = live_sessions(repository)
        if isinstance(result, Committed):
            new = result.record.ticket
            assert values_of(repository, new)["n"] == 2
            if result.acknowledged:
                assert sessions == {result.record.key}
                found = repository.load(old.ticket)
                assert found.ticket == new if move == "renewal" else not isinstance(found, Record)
            else:
                assert fault in ("down", "answer, then down")
                [line] = [line for line in caplog.records if "unknown" in line.message]
                assert line.levelno == logging.WARNING
                assert old.sid in line.message
                assert result.record.sid in line.message
                assert new not in caplog.text
                assert old.ticket not in caplog.text
        else:
            assert isinstance(result, StoreError)
            assert values_of(repository, old.ticket)["n"] == 1
            if fault in ("request", "answer", "late"):
                assert sessions == {old.key}, "the unused successor stays"


def test_a_move_whose_merge_fails(repository: Repository, faulty: FaultyStore) -> None:
    """A rotation that fails after its first try, here because the session has become too large, leaves no successor."""
    repository.max_bytes = 1000
    old = repository.create(ADA)
    faulty.reset()

    def other() -> None:
        assert repository.commit(old, {"m": codec.pack("m" * 800)}) is not None

    # Before the tombstone's write, which follows the claim and the creation of the successor.
    faulty.before[3] = other
    with pytest.raises(SessionTooLargeError):
        repository.rotate(old, {"k": codec.pack("k" * 500)})
    faulty.reset()
    assert live_sessions(repository) == {old.key}


@pytest.mark.promise(9)
def test_token_families(repository: Repository, faulty: FaultyStore, fault: Fault) -> None:
    """An acknowledged token is stored. A token whose use failed is still good, unless the store stays down."""
    families = repository.families
    for attempt in attempts(faulty, fault):
        token = attempt.run(lambda: families.issue("ada", "hash", 1000))
        assert isinstance(token, StoreError) or families.find(token) is not None
    for attempt in attempts(faulty, fault):
        token = families.issue("ada", "hash", 1000)
        found = families.find(token)
        assert found is not None
        result = attempt.run(lambda found=found, token=token: families.use(found[0], token, "hash"))
        now = families.find(token)
        assert now is not None
        if isinstance(result, StoreError):
            assert now[1] is TokenStatus.CURRENT or fault not in CLEAR
        else:
            assert now[1] is TokenStatus.PREVIOUS
            assert families.find(result.token) == (now[0], TokenStatus.CURRENT)


def test_on_a_connection_that_breaks(own_server: VolatileRedisServer) -> None:
    """Redis has done the write, and the answers to both tries of it are lost: the commit is found and acknowledged."""
    proxy = Proxy(own_server.port)
    store = RedisStore(proxy.url, timeout=5.0)
    try:
        repository = Repository(store, Tickets("app"))
        record = repository.create(VISITOR)
        warm_up = repository.commit(record, {})
        assert warm_up is not None
        left = CutAnswers(2)

        def cut_writes(number: int, answer: bytes) -> bytes | None:
            return left(number, answer) if b"\r\nEVALSHA\r\n" in proxy.sent[number] else answer

        proxy.on_answer = cut_writes
        committed = repository.commit(warm_up.record, TWO)
        assert left.left == 0
        assert committed is not None
        assert values_of(repository, record.ticket) == {"n": 2}
        assert repository.commit(committed.record, {"m": codec.pack(3)}) is not None
    finally:
        store.close()
        proxy.close()
