"""Which keys may belong to a user: the owner index, kept so that it may hold too much and never too little.

A session's key is claimed for its owner before the session is created or moved there, and released after it has ended.
Whatever crashes in between leaves a claim without a session, which is pruned by whoever reads it, or expires. What a
claim says is never believed: the session's own header decides.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any, Final

from ...errors import CloakroomError, StoreError
from ...stores.base import Claim, Owners
from ..clock import CLOCK_SKEW
from ..entries.envelope import Header
from ..entries.namespace import Namespace
from ..entries.ownership import NOTHING_BEGUN, Begun, Ownership, new_handle, user_id_in
from ..values.rebase import Values

log = logging.getLogger("flask_cloakroom.sessions")

#: Seconds that a claim outlives its session, because clocks differ and a commit takes time.
CLAIM_SLACK: Final = CLOCK_SKEW


class OwnerIndex:
    """The index of one namespace. Where the store has no such power nothing is noted, and nothing can be listed."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    @property
    def power(self) -> Owners | None:
        """The store's, if it has it."""
        store: Any = self._namespace.store
        return store if isinstance(store, Owners) else None

    @property
    def is_kept(self) -> bool:
        """Whether the store can tell which sessions belong to a user."""
        return self.power is not None

    def require(self) -> Owners:
        """Return the store's power. Raises CloakroomError if it has none."""
        power = self.power
        if power is None:
            raise CloakroomError(
                f"{self._namespace.store} cannot tell which sessions belong to a user: it has none of claim(), "
                "release() and owned() (flask_cloakroom.stores.Owners). SQLite, Redis and Valkey have them."
            )
        return power

    def describe(self, values: Values, before: str = "", begun: Begun | None = None) -> str:
        """Return what the header has to say, for a session with these values that said ``before`` until now.

        ``begun`` is of a login that begins with this; None: what it said, if the owner is the same.
        """
        user_id = user_id_in(values)
        if user_id is None:
            return ""
        name = self._namespace.tickets.owner_name(str(user_id))
        was = Ownership.parse(before) if before else None
        if was is not None and was.name == name:
            return str(was if begun is None else was._replace(note=begun.note, handle=begun.handle or was.handle))
        begun = begun or NOTHING_BEGUN
        return str(Ownership(name, begun.handle or new_handle(), begun.note))

    def is_of_here(self, header: Header) -> bool:
        """Tell whether a session has an owner, and one of this namespace: others may be in the same store."""
        return header.owner.startswith(self._namespace.tickets.owner_tag)

    def claim(self, name: str, key: bytes, seconds: int, most: int | None = None) -> bool:
        """Claim ``key`` for the owner of this name, before a write that creates a session or lengthens its life.

        ``seconds``: how long the session may live. False: the owner has ``most`` other claims already; then nothing
        was claimed. Raises StoreError.
        """
        power = self.power
        return power is None or power.claim(sessions_index_key(name), key, seconds + CLAIM_SLACK, most)

    def release(self, header: Header, key: bytes) -> None:
        """Forget ``key``, whose session has ended or moved. That the store fails is only logged: it may hold more."""
        owner = Ownership.parse(header.owner) if header.owner else None
        if owner is not None:
            self.forget(owner.name, key)

    def forget(self, name: str, key: bytes) -> None:
        """Do the same for the owner of this name."""
        power = self.power
        if power is None:
            return
        try:
            power.release(sessions_index_key(name), key)
        except StoreError as error:
            log.warning("the claim of an ended session was not released: %s", error)

    def owned(self, name: str) -> list[Claim]:
        """Return an owner's claims. Raises StoreError, and CloakroomError if the store has no index."""
        return self.require().owned(sessions_index_key(name))


def sessions_index_key(name: str) -> bytes:
    """Return what the store calls an owner here: not what a handle shows of them."""
    return hashlib.sha256(b"flask-cloakroom:index:" + name.encode()).digest()[:16]
