"""The owner index: claims in the store. A claim says that a store key may belong to a user.

A store key is claimed before its entry is created, and its claim is released after the entry has ended. So each live
entry has a claim, but a claim may have no entry, for example after a crash between both steps. The next listing of the
user's sessions releases such a claim, or it expires. A claim alone proves nothing: the header of the entry names its
owner.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from typing import Any, Final

from ...errors import CloakroomError, StoreError
from ...first_use import tell
from ...stores.base import Claim, Owners
from ..clock import CLOCK_SKEW
from ..entries.envelope import Header
from ..entries.namespace import Namespace
from ..entries.ownership import UNDESCRIBED, NewLogin, Ownership, new_handle, user_id_in
from ..values.rebase import Values

log = logging.getLogger("flask_cloakroom.sessions")

#: The time in seconds by which a claim lives longer than its entry, because servers' clocks differ and a commit takes
#: time.
CLAIM_SLACK: Final = CLOCK_SKEW


def sessions_index_key(name: str) -> bytes:
    """Return the ``owner`` for the store's claims of an owner's sessions: a hash of the owner name, 16 bytes."""
    return hashlib.sha256(b"flask-cloakroom:index:" + name.encode()).digest()[:16]


class OwnerIndex:
    """The claims of one namespace, either of all sessions or of all token families.

    If the store has no owner index, claims are not stored, and listing them raises CloakroomError.
    """

    def __init__(self, namespace: Namespace, index_key: Callable[[str], bytes] = sessions_index_key) -> None:
        """Use the store's claims under ``index_key(name)``. ``name``: an owner name of :meth:`.Tickets.owner_name`."""
        self._namespace = namespace
        self._index_key = index_key

    @property
    def indexed_store(self) -> Owners | None:
        """The store if it has an owner index, otherwise None."""
        store: Any = self._namespace.store
        return store if isinstance(store, Owners) else None

    def require(self) -> Owners:
        """Return the store if it has an owner index. Otherwise raise CloakroomError."""
        store = self.indexed_store
        if store is None:
            raise CloakroomError(
                f"{self._namespace.store} cannot list the sessions of a user, because it lacks the methods claim(), "
                "release() and owned() of flask_cloakroom.stores.Owners. Use SQLite, Redis or Valkey instead."
            )
        return store

    def owner_for(self, values: Values, before: str = "", login: NewLogin | None = None) -> str:
        """Return the text that names the owner in the header of a session with these values; "" without a user.

        ``before``: this text in the session's header until now. ``login``: the login that begins with the next write.
        If it is None and the user is the same as before, the handle and the device note stay the same.
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
        """Return True if an entry's owner belongs to this namespace. Other namespaces may use the same store."""
        return header.owner.startswith(self._namespace.tickets.owner_tag)

    def claim(self, name: str, key: bytes, seconds: int, most: int | None = None) -> bool:
        """Claim a store key for an owner, before the caller creates the entry or extends its life. Return True.

        ``seconds``: the longest time for which the entry may live. ``most``: return False, and claim nothing, if the
        owner already has so many claims of other keys. Raises StoreError.
        """
        store = self.indexed_store
        return store is None or store.claim(self._index_key(name), key, seconds + CLAIM_SLACK, most)

    def release(self, header: Header, key: bytes) -> None:
        """Release the claim of an entry that has ended or moved. If the store fails, only log a warning."""
        owner = Ownership.parse(header.owner) if header.owner else None
        if owner is not None:
            self.release_claim(owner.name, key)

    def release_claim(self, name: str, key: bytes) -> None:
        """Release an owner's claim of a store key. If the store fails, only log a warning."""
        store = self.indexed_store
        if store is not None:
            try:
                store.release(self._index_key(name), key)
            except StoreError as error:
                tell(log.warning, "the claim of an ended session or token family stays until it expires: %s", error)

    def claims_of(self, name: str) -> list[Claim]:
        """Return an owner's claims. Raises StoreError, and CloakroomError if the store has no owner index."""
        return self.require().owned(self._index_key(name))
