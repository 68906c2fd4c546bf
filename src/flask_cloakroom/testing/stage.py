"""A session repository on the store under test, with a clock that a test can set, and with forced interleavings."""

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
    """A session repository on the store under test. A test can run one request between two store calls of another."""

    def __init__(self, store: Store, *, idle: int = 3600) -> None:
        self.store = InterleavingStore(store)
        #: The Unix time in seconds by the clock of the session repository. The store has a clock of its own.
        self.now = time.time()
        self.tickets = Tickets("flask_cloakroom.testing")
        self.repository = Repository(self.store, self.tickets, lifetimes=Lifetimes(idle=idle), clock=lambda: self.now)

    def begin(self, **values: Any) -> Record:
        """Store a new session with ``values`` and return its record."""
        return self.repository.create(pack_dict(values))

    def read(self, record: Record) -> Record:
        """Return the record that a new request with the ticket of ``record`` reads. Fail if no session is found."""
        found = self.repository.load(record.ticket)
        assert isinstance(found, Record), f"the ticket has no session: {found}"
        return found

    def commit(self, record: Record, **values: Any) -> Committed | None:
        """Commit ``values`` as a request that read ``record``. Return None if the session has ended."""
        return self.repository.commit(record, pack_dict(values))

    def rotate(self, record: Record, *, renewal: bool, **values: Any) -> Committed | None:
        """Move the session to a new ticket as a request that read ``record``. Return None if the session has ended."""
        return self.repository.rotate(record, pack_dict(values), renewal=renewal)

    def values_seen(self, record: Record) -> dict[Any, Any] | Absence:
        """Return the values that a new request with the ticket of ``record`` reads.

        Return an :class:`Absence` if the ticket has no session.
        """
        found = self.repository.load(record.ticket)
        if isinstance(found, Absence):
            return found
        return {key: codec.unpack(value) for key, value in found.values.items()}

    def live_keys(self) -> set[bytes]:
        """Return the store keys of all live sessions that were created through :attr:`store`, without tombstones."""
        keys = {call.key for call in self.store.calls if call.verb == "create"}
        entries = {key: self.store.load(key) for key in keys}
        return {
            key
            for key, entry in entries.items()
            if entry is not None and envelope.open_header(entry.data, key)[0].kind is not EntryKind.TOMBSTONE
        }


def pack_dict(values: Mapping[Any, Any]) -> dict[Any, bytes]:
    """Return packed values, as the methods of the session repository need them."""
    return {key: codec.pack(value) for key, value in values.items()}
