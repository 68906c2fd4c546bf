"""Entries of an earlier version, which did not name their keys: each kind is read and rewritten from frozen bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_cloakroom.core.entries import envelope
from flask_cloakroom.core.entries.family import TokenStatus
from flask_cloakroom.core.entries.record import Absence, Record
from flask_cloakroom.core.entries.tickets import Tickets
from flask_cloakroom.core.sessions.ending import destination
from flask_cloakroom.core.sessions.repository import Repository
from flask_cloakroom.core.user_data.repository import UserDataSettings
from flask_cloakroom.core.values import codec
from flask_cloakroom.errors import StoreError
from flask_cloakroom.stores.memory import MemoryStore

FROZEN: dict[str, Any] = json.loads(Path(__file__).with_name("entries_without_keys.json").read_text(encoding="utf-8"))
NOW: int = FROZEN["now"]
KINDS = ("plain", "sealed")


class Stored:
    """A repository over the frozen entries, at the moment when they were written."""

    def __init__(self, kind: str) -> None:
        self.frozen = FROZEN[kind]
        self.store = MemoryStore(clock=lambda: NOW)
        for key, data in self.frozen["entries"].items():
            self.store.create(bytes.fromhex(key), bytes.fromhex(data), 3600)
        secrets = (FROZEN["secret"].encode(),)
        self.repository = Repository(
            self.store,
            Tickets(FROZEN["namespace"]),
            encrypt=kind == "sealed",
            clock=lambda: NOW,
            user_data=UserDataSettings(secrets=secrets),
        )
        self.name = self.repository.tickets.owner_name("ada")

    def load(self, name: str) -> Record | Absence:
        return self.repository.load(self.frozen[name])

    def record(self, name: str) -> Record:
        found = self.load(name)
        assert isinstance(found, Record)
        return found

    def names_its_key(self, key: bytes) -> bool:
        entry = self.store.load(key)
        assert entry is not None
        envelope.open_header(entry.data, key)
        try:
            envelope.open_header(entry.data, bytes(32))
        except StoreError:
            return True
        return False


@pytest.fixture(params=KINDS)
def stored(request: pytest.FixtureRequest) -> Stored:
    return Stored(request.param)


def values_of(record: Record) -> dict[Any, Any]:
    return {key: codec.unpack(packed) for key, packed in record.values.items()}


class TestReading:
    """Everything is what it was."""

    def test_sessions(self, stored: Stored) -> None:
        """With values, a user, and keys of other types."""
        found = stored.record("session")
        assert values_of(found) == {"cart": {"items": [("tea", 2)]}, "_user_id": "ada", 1: "one"}
        assert found.header.owner.startswith(stored.name)

    def test_tombstones_of_endings(self, stored: Stored) -> None:
        """A session that ended stays ended."""
        assert stored.load("ended") is Absence.SUPERSEDED

    def test_tombstones_of_rotations(self, stored: Stored) -> None:
        """The old ticket opens nothing, and who ends the session by its old key ends it where it is now."""
        assert stored.load("rotated") is Absence.SUPERSEDED
        key = stored.repository.tickets.fingerprint(stored.frozen["rotated"])
        entry = stored.store.load(key)
        assert entry is not None
        assert destination(stored.repository, key, entry)[0] == stored.record("rotated_to").key
        assert values_of(stored.record("rotated_to")) == {"a": 1, "b": 2}

    def test_tombstones_of_logins(self, stored: Stored) -> None:
        """They still hold the visitor's data for the next login of the same user."""
        carried = stored.repository.carried_by(stored.frozen["left"])
        assert carried is not None
        assert (carried.owner, carried.data.visitor_id) == (stored.name, "visitor-1")
        assert codec.unpack(carried.data.values["cart"]) == {"tea": 1}
        assert stored.load("left") is Absence.SUPERSEDED

    def test_tombstones_of_renewals(self, stored: Stored) -> None:
        """They lead to the successor."""
        assert stored.record("renewed").ticket == stored.frozen["renewed_to"]

    def test_remember_tokens(self, stored: Stored) -> None:
        """The current token, and the one before that leads to the same next token and session."""
        families, frozen = stored.repository.families, stored.frozen
        current, before = families.find(frozen["token"]), families.find(frozen["token_before"])
        assert current is not None
        assert before is not None
        assert (current[1], before[1]) == (TokenStatus.CURRENT, TokenStatus.PREVIOUS)
        assert (current[0].user_id, current[0].auth_hash, current[0].lifetime) == ("ada", "digest", 3600)
        followed = families.use(before[0], frozen["token_before"], "digest")
        assert followed is not None
        assert (followed.token, followed.ticket, followed.first) == (frozen["token"], frozen["token_session"], False)

    def test_spent_credentials(self, stored: Stored) -> None:
        """A foreign credential that was spent begins no family."""
        before = len(list(stored.store.walk()))
        stored.repository.families.refuse(stored.frozen["spent"])
        assert len(list(stored.store.walk())) == before

    def test_user_data(self, stored: Stored) -> None:
        """With the ids of what was merged, and the merge that can be undone."""
        held = stored.repository.user_data.load(stored.name)
        assert {key: codec.unpack(packed) for key, packed in held.values.items()} == {"cart": {"pen": 3}}
        assert dict(held.merge_log.merged) == {"visitor-0": NOW}
        assert stored.repository.user_data.undo(stored.name) is not None


REWRITES: dict[str, Callable[[Stored], bytes]] = {}


def rewrite(work: Callable[[Stored], bytes]) -> Callable[[Stored], bytes]:
    REWRITES[work.__name__] = work
    return work


@rewrite
def session(stored: Stored) -> bytes:
    record = stored.record("session")
    assert stored.repository.commit(record, {"n": codec.pack(1)}) is not None
    return record.key


@rewrite
def tombstone(stored: Stored) -> bytes:
    record = stored.record("session")
    stored.repository.destroy(record)
    return record.key


@rewrite
def family(stored: Stored) -> bytes:
    found = stored.repository.families.find(stored.frozen["token"])
    assert found is not None
    assert stored.repository.families.use(found[0], stored.frozen["token"], "digest") is not None
    return found[0].key


@rewrite
def user_data(stored: Stored) -> bytes:
    data = stored.repository.user_data
    assert data.commit(data.load(stored.name), {"n": codec.pack(1)}) is not None
    return stored.repository.tickets.user_key(stored.name)


class TestRewriting:
    """The next write lets the entry name its key."""

    @pytest.mark.parametrize("work", REWRITES.values(), ids=REWRITES)
    def test_each_kind(self, stored: Stored, work: Callable[[Stored], bytes]) -> None:
        """Before, the entry was read under whatever key it was the answer for; after, under its own alone."""
        keys = [key for key, _ in stored.store.walk()]
        assert not any(map(stored.names_its_key, keys))
        assert stored.names_its_key(work(stored))
