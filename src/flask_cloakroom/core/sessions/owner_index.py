"""The owner index: claims in the store that say which keys may belong to a user.

A key is claimed before its entry is created there, and released after the entry has ended. So the index may contain too
many keys, and never too few. A crash in between leaves a claim without an entry. The next reader releases such a claim,
or it expires. No caller trusts a claim: the entry's own header says who its owner is.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from typing import Any, Final

from ...errors import CloakroomError, StoreError
from ...stores.base import Claim, Owners
from ..clock import CLOCK_SKEW
from ..entries.envelope import Header
from ..entries.namespace import Namespace
from ..entries.ownership import UNDESCRIBED, NewLogin, Ownership, new_handle, user_id_in
from ..values.rebase import Values

log = logging.getLogger("flask_cloakroom.sessions")

#: Seconds by which a claim outlives its entry, because clocks differ and a commit takes time.
CLAIM_SLACK: Final = CLOCK_SKEW


def sessions_index_key(name: str) -> bytes:
    """Return the name under which the store lists an owner's sessions. It does not show the owner's name."""
    return hashlib.sha256(b"flask-cloakroom:index:" + name.encode()).digest()[:16]


class OwnerIndex:
    """The claims of one namespace: of its sessions, or of its token families. Empty if the store has no owner index."""

    def __init__(self, namespace: Namespace, index_key: Callable[[str], bytes] = sessions_index_key) -> None:
        """Use the claims under ``index_key(name)`` for the owner of this name."""
        self._namespace = namespace
        self._index_key = index_key

    @property
    def indexed_store(self) -> Owners | None:
        """The store, if it has an owner index."""
        store: Any = self._namespace.store
        return store if isinstance(store, Owners) else None

    def require(self) -> Owners:
        """Return the store. Raises CloakroomError if it has no owner index."""
        store = self.indexed_store
        if store is None:
            raise CloakroomError(
                f"{self._namespace.store} cannot list the sessions of a user, because it lacks the methods claim(), "
                "release() and owned() of flask_cloakroom.stores.Owners. Use SQLite, Redis or Valkey instead"
            )
        return store

    def owner_for(self, values: Values, before: str = "", login: NewLogin | None = None) -> str:
        """Return the header's owner for a session with these values.

        ``before``: the header's owner until now. ``login``: the login that begins with this write. With None, a session
        of the same user keeps its handle and device note.
        """
        user_id = user_id_in(values)
        if user_id is None:
            return ""
        name = self._namespace.tickets.owner_name(str(user_id))
        old = Ownership.parse(before) if before else None
        if old is not None and old.name == name:
            return str(old if login is None else old._replace(note=login.note, handle=login.handle or old.handle))
        login = login or UNDESCRIBED
        return str(Ownership(name, login.handle or new_handle(), login.note))

    def is_in_namespace(self, header: Header) -> bool:
        """Return whether an entry has an owner in this namespace. Other namespaces may use the same store."""
        return header.owner.startswith(self._namespace.tickets.owner_tag)

    def claim(self, name: str, key: bytes, seconds: int, most: int | None = None) -> bool:
        """Claim ``key`` for an owner, before a write that creates an entry there or makes it live longer.

        ``seconds``: how long the entry may live. Returns False, and claims nothing, if the owner has ``most`` other
        claims. Raises StoreError.
        """
        store = self.indexed_store
        return store is None or store.claim(self._index_key(name), key, seconds + CLAIM_SLACK, most)

    def release(self, header: Header, key: bytes) -> None:
        """Release the claim of an entry that has ended or moved. A failure of the store is only logged."""
        owner = Ownership.parse(header.owner) if header.owner else None
        if owner is not None:
            self.release_claim(owner.name, key)

    def release_claim(self, name: str, key: bytes) -> None:
        """Release an owner's claim of ``key``. A failure of the store is only logged."""
        store = self.indexed_store
        if store is not None:
            try:
                store.release(self._index_key(name), key)
            except StoreError as error:
                log.warning("the claim of an ended session or remember token was not released: %s", error)

    def claims_of(self, name: str) -> list[Claim]:
        """Return an owner's claims. Raises StoreError, and CloakroomError if the store has no owner index."""
        return self.require().owned(self._index_key(name))
