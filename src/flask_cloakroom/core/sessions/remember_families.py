"""Remember tokens in the session's store: one token family for each device, which outlives the device's session.

A token is ``selector.secret``. The selector finds the family and stays the same. The secret is valid once, and its use
makes the next secret. The store has only hashes of both. Parallel requests may bring the same token. For
:data:`TOKEN_OVERLAP` seconds the old token leads to the same next token and the same session as its first use, so that
these requests share one login. A later use of an old token means that two parties have the token, so the family ends.

Each change is one compare-and-set of one entry. A family that has ended is never created again.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import random
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Final

from ...errors import StoreError
from ...secret import Secret
from ...stores.base import Conflict, Entry, Saved, Walks
from ..clock import is_within
from ..entries.envelope import EntryKind, Header
from ..entries.family import (
    SECRET_BYTES,
    SELECTOR_BYTES,
    TOKEN_OVERLAP,
    Family,
    NextToken,
    TokenStatus,
    make_token,
    new_token,
    selector_of,
)
from ..entries.namespace import Namespace
from ..entries.ownership import UNDESCRIBED, NewLogin, Ownership, new_handle
from ..entries.tickets import mask_successor
from ..entries.tombstone import TOMBSTONE_SECONDS, Tombstone
from .ending import block_creation, header_of, walk_entries
from .owner_index import OwnerIndex

log = logging.getLogger("flask_cloakroom.sessions")

#: How often a new family is tried again. Another request may block the family's key, because it reads the claim while
#: the family is not stored yet. A request that revokes reads the claims twice.
TRIES: Final = 4
#: Seconds for which the store knows that another package's cookie was used: longer than a browser keeps the cookie,
#: which is 400 days (RFC 6265bis, 5.6.3).
USED_SECONDS: Final = 401 * 24 * 3600
#: Seconds that a request waits until a parallel request has exchanged the same cookie.
EXCHANGE_PATIENCE: Final = 1.0


def remember_index_key(name: str) -> bytes:
    """Return the name under which the store lists an owner's token families. It does not show the owner's name."""
    return hashlib.sha256(b"flask-cloakroom:remembered:" + name.encode()).digest()[:16]


class RememberFamilies:
    """The token families of one namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._index = OwnerIndex(namespace, remember_index_key)

    def issue(self, user_id: str, auth_hash: str, lifetime: int, login: NewLogin = UNDESCRIBED) -> Secret:
        """Create a family and return its first token. ``lifetime``: seconds. Raises StoreError."""
        for _ in range(TRIES):
            token = new_token()
            if self._create(token, user_id, auth_hash, lifetime, login):
                return token
        raise StoreError("the store refused each new remember token as if it existed already. Check the store's data")

    def _create(self, token: str, user_id: str, auth_hash: str | None, lifetime: int, login: NewLogin) -> bool:
        """Store a new family. False: its key is used or blocked."""
        namespace = self._namespace
        selector = selector_of(token)
        owner = Ownership(namespace.tickets.owner_name(user_id), login.handle or new_handle(), login.note)
        now = namespace.now()
        header = Header(now, now, now, now + lifetime, owner=str(owner), kind=EntryKind.REMEMBER_FAMILY)
        key, current = namespace.tickets.family_key(selector), namespace.tickets.token_digest(token)
        family = Family(selector, key, b"", header, user_id, auth_hash, lifetime, current)
        began = time.monotonic()
        self._index.claim(owner.name, key, lifetime)
        if namespace.store.create(key, self._pack(family), max(1, lifetime)) is None:
            return False
        if time.monotonic() - began > TOMBSTONE_SECONDS:
            # A tombstone that blocked this key may have expired meanwhile, so the family may have been revoked.
            self._end(key, header)
            raise StoreError("the store took too long to store a remember token. Check the store's load")
        return True

    def exchange(self, foreign: str, user_id: str, lifetime: int) -> Secret:
        """Create a family for another package's cookie, unless the cookie was used before. Return its first token.

        The token is computed from the cookie, so each request with this cookie finds the same family. ``lifetime``:
        seconds. Raises StoreError.
        """
        token = _token_for(foreign)
        if self._mark_used(token):
            if not self._create(token, user_id, None, lifetime, UNDESCRIBED):
                raise StoreError("the store refused a remember token as if it existed already. Check the store's data")
            return token
        # A parallel request may have marked the cookie a moment ago, and be about to create the family.
        deadline = time.monotonic() + EXCHANGE_PATIENCE
        while self.find(token) is None and time.monotonic() < deadline and self._was_just_used(token):
            time.sleep(random.uniform(0.005, 0.02))  # noqa: S311  no secret: it only spreads the tries
        return token

    def refuse(self, foreign: str) -> Secret:
        """Prevent any later exchange of another package's cookie. Return the token that it was exchanged for, if ever.

        Raises StoreError.
        """
        token = _token_for(foreign)
        self._mark_used(token)
        return token

    def _mark_used(self, token: str) -> bool:
        key = self._used_key(token)
        tombstone, _ = Tombstone.ended(self._namespace.now()).pack(key)
        return self._namespace.store.create(key, tombstone, USED_SECONDS) is not None

    def _was_just_used(self, token: str) -> bool:
        key = self._used_key(token)
        entry = self._namespace.store.load(key)
        header = None if entry is None else header_of(key, entry)
        return header is not None and is_within(self._namespace.now() - header.created, TOKEN_OVERLAP)

    def _used_key(self, token: str) -> bytes:
        return self._namespace.tickets.family_key(f"spent:{token}")

    def find(self, token: str) -> tuple[Family, TokenStatus] | None:
        """Return the token's family, and the token's status in it; None if there is no family. Raises StoreError.

        ``token``: a text that matches ``family.TOKEN_PATTERN``.
        """
        selector, tickets = selector_of(token), self._namespace.tickets
        key, digest = tickets.family_key(selector), tickets.token_digest(token)
        family = self._open(selector, key, self._namespace.store.load(key))
        return None if family is None else (family, family.status_of(digest, int(self._namespace.clock())))

    def use(self, family: Family, token: str, auth_hash: str) -> NextToken | None:
        """Replace ``token`` by the next token. Return that one, or the one that a parallel request has made.

        ``auth_hash``: digest of the user's present ``session_auth_hash()``. None: the family has ended meanwhile.
        Raises StoreError.
        """
        store, tickets, now = self._namespace.store, self._namespace.tickets, int(self._namespace.clock())
        digest = tickets.token_digest(token)
        status = family.status_of(digest, now)
        if status is TokenStatus.CURRENT:
            secret = Secret(secrets.token_urlsafe(SECRET_BYTES))
            next_token = make_token(family.selector, secret)
            ticket = tickets.issue()
            changed = replace(
                family,
                header=family.header._replace(renewed=now, seen=now),
                auth_hash=auth_hash,
                current=tickets.token_digest(next_token),
                previous=family.current,
                successor=mask_successor(token, secret + ticket),
            )
            seconds = max(1, family.header.deadline - now)
            result = store.replace(family.key, self._pack(changed), seconds, family.version)
            if type(result) is Saved:
                return NextToken(next_token, ticket, True)
            if type(result) is not Conflict:
                return None
            # The other request has used the token, or has only extended the family.
            found = self._open(family.selector, family.key, result.entry)
            return None if found is None else self.use(found, token, auth_hash)
        next_one = family.next_token(token) if status is TokenStatus.PREVIOUS else None
        return next_one if next_one is not None and tickets.is_plausible(next_one.ticket) else None

    def renew(self, family: Family, auth_hash: str) -> Secret | None:
        """Give the family a new token and a new ``auth_hash``. No earlier token is accepted any more.

        Returns the new token; None if the family has ended. Raises StoreError and ContentionError.
        """
        namespace = self._namespace
        token = new_token(family.selector)

        def renewed(current: Family) -> tuple[Family, bytes, int]:
            now = namespace.now()
            changed = replace(
                current,
                header=current.header._replace(renewed=now),
                auth_hash=auth_hash,
                current=namespace.tickets.token_digest(token),
                previous=current.current,  # so that a parallel request is refused without an alarm
                successor=b"",
            )
            return changed, self._pack(changed), max(1, current.header.deadline - now)

        reopen = partial(self._open, family.selector, family.key)
        return None if namespace.compare_and_set(family.key, family, renewed, reopen) is None else token

    def extend(self, family: Family) -> bool:
        """Let the family live for its whole lifetime from now. False: it has changed or ended meanwhile."""
        now = self._namespace.now()
        changed = replace(family, header=family.header._replace(seen=now, deadline=now + family.lifetime))
        self._index.claim(family.owner.name, family.key, family.lifetime)
        result = self._namespace.store.replace(family.key, self._pack(changed), family.lifetime, family.version)
        return type(result) is Saved

    def is_alive(self, family: Family) -> bool:
        """Return whether the family still exists. Raises StoreError."""
        entry = self._namespace.store.load(family.key)
        header = None if entry is None else header_of(family.key, entry)
        if header is None or header.kind is not EntryKind.REMEMBER_FAMILY:
            return False
        return self._namespace.clock() < header.deadline

    # -- the end --------------------------------------------------------------------------------------------

    def end(self, family: Family) -> bool:
        """End a family, so that none of its tokens begins a session any more. False: it had ended before."""
        return self._end(family.key, family.header)

    def end_login(self, name: str, handle: str) -> bool:
        """End an owner's family with this handle. False: there is none."""
        ended = [self._end(key, header) for key, header, owner in self._live_families(name) if owner.handle == handle]
        return any(ended)

    def end_all(self, name: str, *, except_for: str | None = None) -> int:
        """End an owner's families. Return how many ended. ``except_for``: the handle of a login that stays."""
        families = list(self._live_families(name))
        return sum(self._end(key, header) for key, header, owner in families if owner.handle != except_for)

    def end_everybody(self) -> int:
        """End all families of this namespace. Return how many ended. The store must be one that can be walked."""
        store: Any = self._namespace.store
        assert isinstance(store, Walks)
        ended = 0
        for key, _, header in walk_entries(store):
            if header is not None and header.kind is EntryKind.REMEMBER_FAMILY and self._index.is_in_namespace(header):
                ended += self._end(key, header)
        return ended

    def of(self, name: str) -> list[tuple[Header, Ownership]]:
        """Return the headers and owners of an owner's families. Empty if the store has no owner index."""
        return [(header, owner) for _, header, owner in self._live_families(name)]

    def _live_families(self, name: str) -> Iterator[tuple[bytes, Header, Ownership]]:
        """Yield an owner's live families, and release the claims of ended ones."""
        if self._index.indexed_store is None:
            return
        store = self._namespace.store
        for claim in self._index.claims_of(name):
            entry = store.load(claim.key)
            if entry is None and not block_creation(self._namespace, claim.key):
                entry = store.load(claim.key)  # another request created it just now
            # Without the block, a slow login could still create its family there, and the index would not list it.
            header = None if entry is None else header_of(claim.key, entry)
            owner = None if header is None else Ownership.parse(header.owner)
            if header is None or owner is None or header.kind is not EntryKind.REMEMBER_FAMILY:
                self._index.release_claim(name, claim.key)
            elif self._namespace.now() >= header.deadline:
                self._end(claim.key, header)  # so that no parallel request extends it
            elif owner.name == name:
                yield claim.key, header, owner

    def _end(self, key: bytes, header: Header) -> bool:
        deleted = self._namespace.store.delete(key)  # before the release, because a live family must have a claim
        self._index.release(header, key)
        return deleted

    # -- parts ----------------------------------------------------------------------------------------------

    def _pack(self, family: Family) -> bytes:
        return family.pack(encrypt=self._namespace.encrypts)

    def _open(self, selector: str, key: bytes, entry: Entry | None) -> Family | None:
        if entry is None:
            return None
        namespace = self._namespace
        return Family.read(selector, key, entry, encrypted=namespace.encrypts, now=int(namespace.clock()))


def _token_for(foreign: str) -> Secret:
    """Return the token for another package's cookie. Only the holder of the cookie can compute it."""
    digest = hashlib.sha512(b"flask-cloakroom:foreign:" + foreign.encode("utf-8", "surrogatepass")).digest()
    parts = digest[:SELECTOR_BYTES], digest[SELECTOR_BYTES : SELECTOR_BYTES + SECRET_BYTES]
    return make_token(*(base64.urlsafe_b64encode(part).decode() for part in parts))
