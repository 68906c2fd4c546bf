"""Check whether a session still exists, without its ticket, also after the request has ended."""

from __future__ import annotations

from ..entries import envelope
from ..entries.envelope import EntryKind, EnvelopeError, Header
from ..entries.ownership import Ownership
from ..entries.tickets import public_id
from ..entries.tombstone import Tombstone
from .ending import LONGEST_CHAIN
from .session_registry import SessionRegistry


class SessionWatch:
    """Follows a user's session by its store key. A check writes nothing and is no activity of the session.

    Several threads may use one object.
    """

    def __init__(self, registry: SessionRegistry, key: bytes, owner: Ownership, *, only_renewals: bool = False) -> None:
        """Watch the session under the store key ``key``. ``only_renewals``: a rotation counts as the session's end."""
        self._registry = registry
        self._namespace = registry.namespace
        self._key = key
        self._owner = owner
        self._only_renewals = only_renewals

    @property
    def sid(self) -> str:
        """The public id that the session had at the last check."""
        return public_id(self._key)

    def is_live(self) -> bool:
        """Return True if the session exists and its login is still the same. Return False otherwise.

        This takes one store command, and one more for each new ticket since the last check. The tombstone of a rotation
        expires after ``tombstone.TOMBSTONE_SECONDS``. After that, this method finds the session in the owner index, if
        the store has one. Raises StoreError.
        """
        key = self._key
        for _ in range(LONGEST_CHAIN):
            entry = self._namespace.store.load(key)
            if entry is None:
                break
            try:
                header, payload, _ = envelope.open_header(entry.data, key)
            except EnvelopeError:
                return False
            if header.kind is not EntryKind.TOMBSTONE:
                return self._is_same_login(key, header)
            tombstone = Tombstone.from_payload(header, payload)
            if not tombstone.successor or (self._only_renewals and not tombstone.masked_ticket):
                return False
            key, payload = tombstone.successor, b""  # if the next load fails, no error report may show the payload
        return self._is_in_index()

    def _is_same_login(self, key: bytes, header: Header) -> bool:
        owner = Ownership.parse(header.owner)
        is_over = self._namespace.lifetimes.is_over(header, self._namespace.clock())
        if is_over or owner is None or owner[:2] != self._owner[:2]:
            return False
        self._key = key
        return True

    def _is_in_index(self) -> bool:
        registry = self._registry
        if self._only_renewals or registry.index.indexed_store is None:
            return False
        found = (live for live in registry.sessions(self._owner.name) if live.owner.handle == self._owner.handle)
        session = next(found, None)
        return session is not None and self._is_same_login(session.key, session.header)
