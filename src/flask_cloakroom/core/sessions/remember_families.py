"""Remember tokens in the store of the sessions: one token family for each device, which outlives the device's session.

A token is ``selector.secret``. The selector names the family and stays the same. Each use of a token makes a new
secret, and with it the next token. The store has only hashes of both. Parallel requests of one browser send the same
token. So for :data:`TOKEN_OVERLAP` seconds after its first use, the old token leads to the same next token and the same
session, and these requests share one login. If an old token is used later, the user and a thief may both have it, so
the family ends.

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

#: The number of tries to create a family. A try fails if another request blocks the family's store key, because it has
#: found the claim before the family was stored. A request that revokes a user's families does this up to twice.
TRIES: Final = 4
#: The time in seconds for which an entry in the store records that another package's remember cookie was exchanged. A
#: browser keeps the cookie for a shorter time, at most 400 days (RFC 6265bis, 5.6.3).
USED_SECONDS: Final = 401 * 24 * 3600
#: The longest time in seconds that a request waits while a parallel request exchanges the same cookie.
EXCHANGE_PATIENCE: Final = 1.0


def remember_index_key(name: str) -> bytes:
    """Return the ``owner`` for the store's claims of an owner's token families: a hash of the owner name, 16 bytes."""
    return hashlib.sha256(b"flask-cloakroom:remembered:" + name.encode()).digest()[:16]


class RememberFamilies:
    """Reads and writes the token families of one namespace. ``name`` is always a user's owner name.

    :meth:`.tickets.Tickets.owner_name` returns the owner name.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._index = OwnerIndex(namespace, remember_index_key)

    def issue(self, user_id: str, auth_hash: str, lifetime: int, login: NewLogin = UNDESCRIBED) -> Secret:
        """Create a token family and return its first token. Raises StoreError.

        ``auth_hash``: digest of the user's ``session_auth_hash()``. ``lifetime``: the lifetime in seconds.
        """
        for _ in range(TRIES):
            token = new_token()
            if self._create(token, user_id, auth_hash, lifetime, login):
                return token
        raise StoreError("The store refused each new remember token as if it existed already. Check the store's data.")

    def _create(self, token: str, user_id: str, auth_hash: str | None, lifetime: int, login: NewLogin) -> bool:
        """Store a new token family and return True. Return False if the store has an entry under its store key."""
        namespace = self._namespace
        selector = selector_of(token)
        owner = Ownership(namespace.tickets.owner_name(user_id), login.handle or new_handle(), login.note)
        now = namespace.now()
        header = Header(now, now, now, now + lifetime, owner=str(owner), kind=EntryKind.REMEMBER_FAMILY)
        key, current = namespace.tickets.family_key(selector), namespace.tickets.token_digest(token)
        family = Family(selector, key, b"", header, user_id, auth_hash, lifetime, current)
        began = time.monotonic()
        self._index.claim(owner.name, key, lifetime)
        if namespace.create_entry(key, self._pack(family), max(1, lifetime)) is None:
            return False
        if time.monotonic() - began > TOMBSTONE_SECONDS:
            # Another request may have revoked the family by a tombstone under this key, and the tombstone may have
            # expired before create().
            self._end(key, header)
            raise StoreError("The store took too long to store a remember token. Check the store's load.")
        return True

    def exchange(self, foreign: str, user_id: str, lifetime: int) -> Secret:
        """Exchange another package's remember cookie for a token family. Return the first token of the family.

        ``foreign``: the cookie's value. ``lifetime``: the lifetime of the family in seconds. The token is computed from
        the cookie, so parallel requests with this cookie get the same token. If the cookie was exchanged before, no
        family is created, and the token is valid only if its family still exists. Raises StoreError.
        """
        token = _token_for(foreign)
        if self._mark_used(token):
            if not self._create(token, user_id, None, lifetime, UNDESCRIBED):
                raise StoreError("The store refused a remember token as if it existed already. Check the store's data.")
            return token
        # The cookie was exchanged before. If a parallel request did that a moment ago, wait until its family is stored.
        deadline = time.monotonic() + EXCHANGE_PATIENCE
        while self.find(token) is None and time.monotonic() < deadline and self._was_just_used(token):
            time.sleep(random.uniform(0.005, 0.02))  # noqa: S311  no secret: it only spreads the tries
        return token

    def refuse(self, foreign: str) -> Secret:
        """Prevent any later exchange of another package's remember cookie. Return the cookie's token.

        If the cookie was exchanged before, the token is the first token of a family. Raises StoreError.
        """
        token = _token_for(foreign)
        self._mark_used(token)
        return token

    def _mark_used(self, token: str) -> bool:
        key = self._used_key(token)
        tombstone, _ = Tombstone.ended(self._namespace.now()).pack(key)
        return self._namespace.create_entry(key, tombstone, USED_SECONDS) is not None

    def _was_just_used(self, token: str) -> bool:
        key = self._used_key(token)
        entry = self._namespace.store.load(key)
        header = None if entry is None else header_of(key, entry)
        return header is not None and is_within(self._namespace.now() - header.created, TOKEN_OVERLAP)

    def _used_key(self, token: str) -> bytes:
        return self._namespace.tickets.family_key(f"spent:{token}")

    def find(self, token: str) -> tuple[Family, TokenStatus] | None:
        """Return a token's family and the token's status in it. Return None if the family does not exist.

        ``token``: a text that matches ``family.TOKEN_PATTERN``. Raises StoreError.
        """
        selector, tickets = selector_of(token), self._namespace.tickets
        key, digest = tickets.family_key(selector), tickets.token_digest(token)
        family = self._open(selector, key, self._namespace.store.load(key))
        return None if family is None else (family, family.status_of(digest, int(self._namespace.clock())))

    def use(self, family: Family, token: str, auth_hash: str) -> NextToken | None:
        """Use a token: replace it by the next token, which is returned with the ticket of a new session.

        If a parallel request has used the token a moment ago, return the same next token and ticket as in that request.
        Return None if the token is too old or the family has ended. ``auth_hash``: digest of the user's present
        ``session_auth_hash()``. Raises StoreError.
        """
        tickets, now = self._namespace.tickets, int(self._namespace.clock())
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
            result = self._namespace.replace_entry(family.key, self._pack(changed), seconds, family.version)
            if type(result) is Saved:
                return NextToken(next_token, ticket, True)
            if type(result) is not Conflict:
                return None
            # Another request wrote first: it has used the token, or has only extended the family. So try again.
            found = self._open(family.selector, family.key, result.entry)
            return None if found is None else self.use(found, token, auth_hash)
        next_one = family.next_token(token) if status is TokenStatus.PREVIOUS else None
        return next_one if next_one is not None and tickets.is_plausible(next_one.ticket) else None

    def renew(self, family: Family, auth_hash: str) -> Secret | None:
        """Store a new token and a new ``auth_hash`` in the family, so that its earlier tokens are refused from now on.

        Return the new token, or None if the family has ended. Raises StoreError and ContentionError.
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
                previous=current.current,  # so that a parallel request with this token does not end the family
                successor=b"",
            )
            return changed, self._pack(changed), max(1, current.header.deadline - now)

        reopen = partial(self._open, family.selector, family.key)
        return None if namespace.compare_and_set(family.key, family, renewed, reopen) is None else token

    def extend(self, family: Family) -> bool:
        """Extend the family, so that it ends one lifetime from now. Return True if the extended family was stored.

        Return False if another request has changed or ended the family meanwhile. Raises StoreError.
        """
        now = self._namespace.now()
        changed = replace(family, header=family.header._replace(seen=now, deadline=now + family.lifetime))
        self._index.claim(family.owner.name, family.key, family.lifetime)
        result = self._namespace.replace_entry(family.key, self._pack(changed), family.lifetime, family.version)
        return type(result) is Saved

    def is_alive(self, family: Family) -> bool:
        """Return True if the family has neither ended nor expired. Raises StoreError."""
        entry = self._namespace.store.load(family.key)
        header = None if entry is None else header_of(family.key, entry)
        if header is None or header.kind is not EntryKind.REMEMBER_FAMILY:
            return False
        return self._namespace.clock() < header.deadline

    # -- the end --------------------------------------------------------------------------------------------

    def end(self, family: Family) -> bool:
        """End a family, so that no token of it can log in any more. Return False if the family had ended before."""
        return self._end(family.key, family.header)

    def end_login(self, name: str, handle: str) -> bool:
        """End an owner's token family with this handle. Return False if the owner has no such family."""
        ended = [self._end(key, header) for key, header, owner in self._live_families(name) if owner.handle == handle]
        return any(ended)

    def end_all(self, name: str, *, except_for: str | None = None) -> int:
        """End an owner's token families, and return their number. ``except_for``: the handle of a family that stays."""
        families = list(self._live_families(name))
        return sum(self._end(key, header) for key, header, owner in families if owner.handle != except_for)

    def end_everybody(self) -> int:
        """End all token families of this namespace, and return their number. The store must have ``walk()``."""
        store: Any = self._namespace.store
        assert isinstance(store, Walks)
        ended = 0
        for key, _, header in walk_entries(store):
            if header is not None and header.kind is EntryKind.REMEMBER_FAMILY and self._index.is_in_namespace(header):
                ended += self._end(key, header)
        return ended

    def of(self, name: str) -> list[tuple[Header, Ownership]]:
        """Return the header and owner of each live family of this owner.

        The list is empty if the store has no owner index.
        """
        return [(header, owner) for _, header, owner in self._live_families(name)]

    def _live_families(self, name: str) -> Iterator[tuple[bytes, Header, Ownership]]:
        """Yield the store key, header and owner of each live family of an owner. Release the claims of ended families.

        Yield nothing if the store has no owner index.
        """
        if self._index.indexed_store is None:
            return
        store = self._namespace.store
        for claim in self._index.claims_of(name):
            entry = store.load(claim.key)
            if entry is None and not block_creation(self._namespace, claim.key):
                entry = store.load(claim.key)  # another request has created the entry a moment ago
            # block_creation() is called before the claim is released. Otherwise a slow login could still create its
            # family under this key, and the family would have no claim.
            header = None if entry is None else header_of(claim.key, entry)
            owner = None if header is None else Ownership.parse(header.owner)
            if header is None or owner is None or header.kind is not EntryKind.REMEMBER_FAMILY:
                self._index.release_claim(name, claim.key)
            elif self._namespace.now() >= header.deadline:
                self._end(claim.key, header)  # the family has expired; no parallel request may extend it any more
            elif owner.name == name:
                yield claim.key, header, owner

    def _end(self, key: bytes, header: Header) -> bool:
        deleted = self._namespace.store.delete(key)  # first the deletion, because a live family must have a claim
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
    """Return the token for another package's remember cookie. Without the cookie, nobody can compute the token."""
    digest = hashlib.sha512(b"flask-cloakroom:foreign:" + foreign.encode("utf-8", "surrogatepass")).digest()
    parts = digest[:SELECTOR_BYTES], digest[SELECTOR_BYTES : SELECTOR_BYTES + SECRET_BYTES]
    return make_token(*(base64.urlsafe_b64encode(part).decode() for part in parts))
