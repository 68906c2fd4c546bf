"""Each kind of tombstone comes out of the store as it went in, in one frozen format."""

from __future__ import annotations

import pytest

from flask_cloakroom.core.entries import envelope, namespace
from flask_cloakroom.core.entries.envelope import EntryKind, Header
from flask_cloakroom.core.entries.namespace import Namespace
from flask_cloakroom.core.entries.tickets import Tickets
from flask_cloakroom.core.entries.tombstone import (
    CARRY_SECONDS,
    REPORT_SECONDS,
    TOMBSTONE_SECONDS,
    Tombstone,
)
from flask_cloakroom.core.user_data.repository import UserData, UserDataSettings, UserRecord
from flask_cloakroom.errors import ContentionError, StoreError
from flask_cloakroom.stores.base import Conflict, Entry, Gone, Saved
from flask_cloakroom.stores.memory import MemoryStore

NOW = 1_800_000_000
TICKETS = Tickets("app")
OLD, NEW = "o" * 43, "n" * 43
KEY, NEXT = TICKETS.fingerprint(OLD), TICKETS.fingerprint(NEW)

KINDS = {
    "ended": (Tombstone.ended(NOW), TOMBSTONE_SECONDS, b""),
    "rotated": (Tombstone.rotated(NOW, NEXT), TOMBSTONE_SECONDS, NEXT),
    "with data": (Tombstone.rotated(NOW, NEXT, b"data"), CARRY_SECONDS, NEXT + b"data"),
    "renewed": (
        Tombstone.renewed(NOW, NEXT, OLD, NEW),
        REPORT_SECONDS,
        # Frozen: tickets that were renewed by one version of this package are followed by the next.
        NEXT + bytes.fromhex("d5e7d68222208e4ce3b374413caae23b825a1009ab1b48140888c0662efaf65a269f92987387dac82db105"),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
class TestEachKind:
    def test_is_read_as_it_was_written(self, kind: str) -> None:
        """And stands for as long as it is needed."""
        tombstone, seconds, _ = KINDS[kind]
        data, ttl = tombstone.pack(KEY)
        assert Tombstone.read(KEY, Entry(data, b"1")) == tombstone
        assert ttl == seconds

    def test_lies_in_the_store_as_before(self, kind: str) -> None:
        """The next key, and after that what the kind adds."""
        tombstone, _, payload = KINDS[kind]
        header, found, sealed = envelope.open_header(tombstone.pack(KEY)[0], KEY)
        assert (found, sealed) == (payload, False)
        assert header == Header(NOW, NOW, NOW, kind=EntryKind.TOMBSTONE, carries=kind == "with data")

    def test_shows_nothing(self, kind: str) -> None:
        """Error reporters show neither the next key nor what follows it."""
        found = Tombstone.read(KEY, Entry(KINDS[kind][0].pack(KEY)[0], b"1"))
        assert found is not None
        assert all(f"{part!r}" == "<secret>" for part in found[1:] if part)


def test_a_renewed_ticket_leads_to_the_next() -> None:
    """Whoever has another ticket gets noise."""
    tombstone = KINDS["renewed"][0]
    assert tombstone.ticket(OLD) == NEW
    assert tombstone.ticket("x" * 43) != NEW


def test_what_is_no_tombstone() -> None:
    """A session and garbage are none; the entry of another key is an error."""
    session = envelope.pack(Header(NOW, NOW, NOW), b"", KEY)
    assert Tombstone.read(KEY, Entry(session, b"1")) is None
    assert Tombstone.read(KEY, Entry(b"noise", b"1")) is None
    with pytest.raises(StoreError, match="another key"):
        Tombstone.read(NEXT, Entry(KINDS["ended"][0].pack(KEY)[0], b"1"))


class BusyStore(MemoryStore):
    """Somebody else's write always comes first."""

    def replace(self, key: bytes, data: bytes, ttl: int, expected: bytes) -> Saved | Conflict | Gone:
        entry = self.load(key)
        assert entry is not None
        super().replace(key, entry.data, ttl, entry.version)
        return super().replace(key, data, ttl, expected)


class TestCompareAndSet:
    """The loop for entries that belong to users."""

    def test_gives_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An error, and nothing was written, if others write for all the time that a request may take."""
        monkeypatch.setattr(namespace, "COMMIT_PATIENCE", 0.05)
        data = UserData(Namespace(BusyStore(), TICKETS), UserDataSettings())
        first = data.commit(data.load("ada"), {"x": b"\x01"})
        assert first is not None
        with pytest.raises(ContentionError):
            data.commit(first.record, {"x": b"\x02"})
        assert data.load("ada").values == {"x": b"\x01"}

    def test_begins_anew_with_what_is_stored(self) -> None:
        """One that was created meanwhile is read and changed, and not written over."""
        data = UserData(Namespace(MemoryStore(), TICKETS), UserDataSettings())
        nothing: UserRecord = data.load("ada")
        assert data.commit(nothing, {"x": b"\x01"}) is not None
        assert data.commit(nothing, {"y": b"\x02"}) is not None
        assert data.load("ada").values == {"x": b"\x01", "y": b"\x02"}
