"""Sessions on a store under test, with a clock that a test moves and a way to step in between two calls."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..core.entries import envelope
from ..core.entries.envelope import EntryKind
from ..core.entries.lifetimes import Lifetimes
from ..core.entries.record import Absence, Committed, Record
from ..core.entries.tickets import Tickets
from ..core.sessions.repository import Repository
from ..core.values import codec
from ..stores.base import Store
from .interleaving import InterleavingStore


class Stage:
    """A repository on the store under test: requests act on it, and each can step in between another's calls."""

    def __init__(self, store: Store, *, idle: int = 3600) -> None:
        self.store = InterleavingStore(store)
        #: Seconds since the epoch, as the repository sees it. The store has a clock of its own.
        self.now = time.time()
        self.tickets = Tickets("flask_cloakroom.testing")
        self.repository = Repository(self.store, self.tickets, lifetimes=Lifetimes(idle=idle), clock=lambda: self.now)

    def begin(self, **values: Any) -> Record:
        """Store a new session."""
        return self.repository.create(packed(values))

    def read(self, record: Record) -> Record:
        """Return what a request that begins now, with the ticket of ``record``, works on."""
        found = self.repository.load(record.ticket)
        assert isinstance(found, Record), f"there is no session: {found}"
        return found

    def commit(self, record: Record, **values: Any) -> Committed | None:
        """End a request: save ``values`` over what ``record`` was read as."""
        return self.repository.commit(record, packed(values))

    def rotate(self, record: Record, *, renewal: bool, **values: Any) -> Committed | None:
        """End a request that moves the session to a new ticket."""
        return self.repository.rotate(record, packed(values), renewal=renewal)

    def shown(self, record: Record) -> dict[Any, Any] | Absence:
        """Return what a new request with the ticket of ``record`` sees."""
        found = self.repository.load(record.ticket)
        if isinstance(found, Absence):
            return found
        return {key: codec.unpack(value) for key, value in found.values.items()}

    def living(self) -> set[bytes]:
        """Return the store's keys of all sessions that were created here and are still sessions, not marks."""
        keys = {call.key for call in self.store.calls if call.verb == "create"}
        entries = {key: self.store.load(key) for key in keys}
        return {
            key
            for key, entry in entries.items()
            if entry is not None and envelope.open_header(entry.data, key)[0].kind is not EntryKind.TOMBSTONE
        }


def packed(values: Mapping[Any, Any]) -> dict[Any, bytes]:
    """Return values as the repository takes them."""
    return {key: codec.pack(value) for key, value in values.items()}
