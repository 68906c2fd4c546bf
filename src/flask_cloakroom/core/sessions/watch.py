"""Whether a session is still there, asked again and again without its ticket: for what outlives the request."""

from __future__ import annotations

from ..entries import envelope
from ..entries.envelope import EnvelopeError, Header
from ..entries.ownership import Ownership
from ..entries.tickets import public_id
from ..entries.tombstone import Tombstone
from .ending import LONGEST_CHAIN
from .session_registry import SessionRegistry


class Trail:
    """Follows a user's session by its store's key. It reads, and never counts as activity. Safe between threads."""

    def __init__(self, registry: SessionRegistry, key: bytes, owner: Ownership, *, only_renewals: bool = False) -> None:
        """``only_renewals``: a session whose privileges change is another one from then on."""
        self._registry = registry
        self._namespace = registry.namespace
        self._key = key
        self._owner = owner
        self._only_renewals = only_renewals

    @property
    def sid(self) -> str:
        """The public id that the session had when it was last looked at."""
        return public_id(self._key)

    def is_live(self) -> bool:
        """Tell whether the session is there and its owner is still logged in by it. Raises StoreError.

        One store command; one more for each time that its id changed since the last call. After a change of privilege
        the way to it is lost in ``tombstone.MARK_SECONDS``; then the owner index shows it, if the store has one.
        """
        key = self._key
        # After so many the index is asked.
        for _ in range(LONGEST_CHAIN):
            entry = self._namespace.store.load(key)
            if entry is None:
                break
            try:
                header, payload, _ = envelope.open_header(entry.data, key)
            except EnvelopeError:
                return False
            if not header.superseded:
                return self._is_mine(key, header)
            tombstone = Tombstone.opened(header, payload)
            if not tombstone.successor or (self._only_renewals and not tombstone.masked_ticket):
                return False
            key, payload = tombstone.successor, b""  # nothing plain is left while the store is asked
        return self._is_in_index()

    def _is_mine(self, key: bytes, header: Header) -> bool:
        owner = Ownership.parse(header.owner)
        if self._namespace.is_over(header) or owner is None or owner[:2] != self._owner[:2]:
            return False
        self._key = key
        return True

    def _is_in_index(self) -> bool:
        registry = self._registry
        if self._only_renewals or not registry.is_kept:
            return False
        found = (one for one in registry.sessions(self._owner.name) if one.owner.handle == self._owner.handle)
        session = next(found, None)
        return session is not None and self._is_mine(session.key, session.header)
