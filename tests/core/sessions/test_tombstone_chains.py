"""Tombstones that lead in a circle, or on and on: the search stops after a fixed number of steps."""

from __future__ import annotations

import time

import pytest

from flask_cloakroom.core.entries import envelope
from flask_cloakroom.core.entries.envelope import EntryKind, Header
from flask_cloakroom.core.entries.record import Absence, Record
from flask_cloakroom.core.entries.tickets import Tickets, mask_successor
from flask_cloakroom.core.sessions.ending import LONGEST_CHAIN, destination, end
from flask_cloakroom.core.sessions.repository import Repository
from flask_cloakroom.core.values import codec
from flask_cloakroom.errors import StoreError
from flask_cloakroom.stores.base import Entry
from flask_cloakroom.stores.memory import MemoryStore


class CountingStore(MemoryStore):
    loads = 0

    def load(self, key: bytes) -> Entry | None:
        self.loads += 1
        return super().load(key)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


@pytest.fixture
def repository(store: CountingStore) -> Repository:
    return Repository(store, Tickets("app"))


def store_tombstone(repository: Repository, ticket: str, successor: str, payload: bytes | None = None) -> bytes:
    """Store a renewal's mark that leads from one ticket to another."""
    key, now = repository.tickets.fingerprint(ticket), int(time.time())
    if payload is None:
        payload = repository.tickets.fingerprint(successor) + mask_successor(ticket, successor)
    data = envelope.pack(Header(now, now, now, kind=EntryKind.TOMBSTONE), payload, key)
    assert repository.store.create(key, data, 60) is not None
    return key


def chain(repository: Repository, length: int) -> tuple[list[str], list[bytes]]:
    tickets = [repository.tickets.issue() for _ in range(length + 1)]
    return tickets, [store_tombstone(repository, tickets[at], tickets[at + 1]) for at in range(length)]


class TestCircles:
    """Tombstones that lead in a circle end at no session."""

    @pytest.mark.parametrize("length", [1, 2, 7])
    def test_are_noticed(self, repository: Repository, store: CountingStore, length: int) -> None:
        """Every search stops after as many steps as the circle has."""
        tickets = [repository.tickets.issue() for _ in range(length)]
        keys = [store_tombstone(repository, ticket, tickets[(at + 1) % length]) for at, ticket in enumerate(tickets)]
        entry = store.load(keys[0])
        assert entry is not None
        store.loads = 0
        assert destination(repository, keys[0], entry)[1] is None
        assert store.loads < length
        assert end(repository, keys[0]) is False
        assert repository.load(tickets[0]) is Absence.UNKNOWN
        assert store.loads < 2 * length + 15

    def test_in_the_owner_index(self, repository: Repository) -> None:
        """A circle does not stop an operator from ending the user's other sessions."""
        name = repository.tickets.owner_name("ada")
        forged = repository.tickets.issue()
        key = store_tombstone(repository, forged, forged)
        assert repository.index.claim(name, key, 60)
        record = repository.create({"_user_id": codec.pack("ada")})
        assert [session.key for session in repository.owners.sessions(name)] == [record.key]
        assert repository.owners.end_all(name) == 1
        assert not isinstance(repository.load(record.ticket), Record)


class TestChains:
    """Chains of tombstones at and above the longest possible length."""

    def test_the_longest(self, repository: Repository) -> None:
        """The longest possible chain is followed to its end, and the session there is ended."""
        tickets, keys = chain(repository, LONGEST_CHAIN)
        record = repository.create_at(tickets[-1], {"n": codec.pack(1)})
        assert record is not None
        assert end(repository, keys[0]) is True
        assert not isinstance(repository.load(tickets[-1]), Record)

    def test_longer_ones(self, repository: Repository, store: CountingStore) -> None:
        """A longer chain is an error: the answer "the session has ended" could be wrong."""
        _, keys = chain(repository, LONGEST_CHAIN + 50)
        store.loads = 0
        with pytest.raises(StoreError, match="moved more than"):
            end(repository, keys[0])
        assert store.loads <= LONGEST_CHAIN + 2

    @pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 70, 5000])
    def test_payloads_of_any_length(self, repository: Repository, length: int) -> None:
        """A tombstone whose payload is too short for a key names no successor, so its session counts as ended."""
        ticket = repository.tickets.issue()
        key = store_tombstone(repository, ticket, "", bytes(length))
        assert end(repository, key) is False
        assert repository.load(ticket) in (Absence.SUPERSEDED, Absence.UNREADABLE)
