"""Whether a session is still there, asked again and again without its ticket: for what outlives the request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..entries import envelope
from ..entries.envelope import EnvelopeError, Header
from ..entries.tickets import KEY_BYTES, public_id
from .ending import LONGEST_CHAIN, successor_key
from .owners import Ownership

if TYPE_CHECKING:
    from .repository import Repository


class Trail:
    """Follows a user's session by its store's key. It reads, and never counts as activity. Safe between threads."""

    def __init__(self, repository: Repository, key: bytes, owner: Ownership, *, only_renewals: bool = False) -> None:
        """``only_renewals``: a session whose privileges change is another one from then on."""
        self._repository = repository
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
        the way to it is lost in ``repository.MARK_SECONDS``; then the owner index shows it, if the store has one.
        """
        key = self._key
        # After so many the index is asked.
        for _ in range(LONGEST_CHAIN):
            entry = self._repository.store.load(key)
            if entry is None:
                break
            try:
                header, payload, _ = envelope.open_header(entry.data, key)
            except EnvelopeError:
                return False
            if not header.superseded:
                return self._is_mine(key, header)
            is_renewal = len(payload) > KEY_BYTES and not header.belongs
            successor = successor_key(payload)
            if not successor or (self._only_renewals and not is_renewal):
                return False
            key, payload = successor, b""  # nothing plain is left while the store is asked
        return self._is_in_index()

    def _is_mine(self, key: bytes, header: Header) -> bool:
        owner = Ownership.parse(header.owner)
        if self._repository.is_over(header) or owner is None or owner[:2] != self._owner[:2]:
            return False
        self._key = key
        return True

    def _is_in_index(self) -> bool:
        owners = self._repository.owners
        if self._only_renewals or not owners.is_kept:
            return False
        found = (one for one in owners.sessions(self._owner.name) if one.owner.handle == self._owner.handle)
        session = next(found, None)
        return session is not None and self._is_mine(session.key, session.header)
