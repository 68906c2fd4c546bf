"""Remember tokens in the store of the sessions: one token family for each device, which outlives the device's session.

A token is ``selector.secret``. The selector names the family and stays the same. Each use of a token makes a new
secret, and with it the next token. The store has only hashes of both. Parallel requests of one browser send the same
token. So for :data:`TOKEN_OVERLAP` seconds after its first use, the old token leads to the same next token and the same
session, and these requests share one login. If an old token is used later, the user and a thief may both have it, so
the family ends.

The response to a use may be lost. Then the browser has neither the next token nor the ticket of the session that came
with it, and sends the old token again. So the store records whether one of the two was shown: the use of the next token
is in its family, and the first request with the ticket stores a mark of its own. If none was shown, the old token makes
another successor, at most :data:`MOST_REPEATS` times. The successor before is worth nothing from then on.

Each change is one compare-and-set of one entry. A family that has ended is never created again.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from ...errors import StoreError
from ...first_use import tell
from ...secret import Secret, SecretBytes
from ...stores.base import Conflict, Entry, Saved, Walks
from ..clock import is_within
from ..entries.envelope import EntryKind, Header
from ..entries.family import (
    LONGEST_LIFETIME,
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
from ..entries.tickets import KEY_BYTES
from ..entries.tombstone import TOMBSTONE_SECONDS, Tombstone
from ..values import codec, own_keys
from ..values.own_keys import UNSHOWN_KEY
from .ending import block_creation, header_of, walk_entries
from .owner_index import OwnerIndex
from .retries import Retries

log = logging.getLogger("flask_cloakroom.sessions")

R = TypeVar("R")

#: The number of tries to create a family. A try fails if another request blocks the family's store key, because it has
#: found the claim before the family was stored. A request that revokes a user's families does this up to twice.
TRIES: Final = 4
#: The time in seconds for which an entry in the store records that another package's remember cookie was exchanged. A
#: browser keeps the cookie for a shorter time, at most 400 days (RFC 6265bis, 5.6.3).
USED_SECONDS: Final = 401 * 24 * 3600
#: The longest time in seconds that a request waits while a parallel request exchanges the same cookie.
EXCHANGE_PATIENCE: Final = 1.0
#: The number of families whose end is tried again after the store has failed. Each one needs about 200 bytes. More
#: logins than that do not fail between two logins that succeed, because then the store is down for all of them.
MOST_RETRIES: Final = 1000
#: A value as long as each value under the session key UNSHOWN_KEY, for the size of a session before it is made.
UNSHOWN_SAMPLE: Final = SecretBytes(codec.pack([bytes(KEY_BYTES).hex(), 2**32 - 1]))


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
        self._retries = Retries(MOST_RETRIES)

    def issue(self, user_id: str, auth_hash: str, lifetime: int, login: NewLogin = UNDESCRIBED) -> Secret:
        """Create a token family and return its first token. Raises StoreError.

        ``auth_hash``: digest of the user's ``session_auth_hash()``. ``lifetime``: the lifetime in seconds.
        """
        self._retries.run()
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
        if self._retries.waiting:
            self._retries.run()
        selector, tickets = selector_of(token), self._namespace.tickets
        key, digest = tickets.family_key(selector), tickets.token_digest(token)
        family = self._open(selector, key, self._namespace.store.load(key))
        return None if family is None else (family, self._status_of(family, digest, self._namespace.now()))

    def use(self, family: Family, token: str, auth_hash: str) -> NextToken | None:
        """Use a token: replace it by the next token, which is returned with the ticket of a new session.

        If a parallel request has used the token a moment ago, return the same next token and ticket as in that request.
        If the next token was never shown, replace it by another one, which is a repeat. Return None if the token is too
        old or the family has ended. ``auth_hash``: digest of the user's present ``session_auth_hash()``. Raises
        StoreError.
        """
        namespace, tickets = self._namespace, self._namespace.tickets
        now, digest = namespace.now(), tickets.token_digest(token)
        status = self._status_of(family, digest, now)
        if status is TokenStatus.PREVIOUS:
            shared = family.next_token(token)
            return self._with_mark(family, shared) if tickets.is_plausible(shared.ticket) else None
        if status is not TokenStatus.CURRENT and status is not TokenStatus.UNSHOWN:
            return None
        last = family.next_token(token) if status is TokenStatus.UNSHOWN else None
        earlier = () if last is None else (last.ticket, *last.earlier)
        made = NextToken(new_token(family.selector), tickets.issue(), True, earlier)
        changed = family.replaced_by(token, digest, made, tickets.token_digest(made.token), now=now)
        changed = replace(changed, auth_hash=auth_hash)
        seconds = max(1, family.header.deadline - now)
        result = namespace.replace_entry(family.key, self._pack(changed), seconds, family.version)
        if type(result) is Saved:
            if status is TokenStatus.CURRENT and family.previous:
                # The token before the used token is old from now on, shown or not. Without the deletion, each visit of
                # a user would leave a mark in the store until the family ends.
                namespace.store.delete(self._shown_key(family))
            return self._with_mark(changed, made)
        if type(result) is not Conflict:
            return None
        # Another request wrote first: it has used the token, or has only extended the family. So try again.
        found = self._open(family.selector, family.key, result.entry)
        return None if found is None else self.use(found, token, auth_hash)

    def _status_of(self, family: Family, digest: bytes, now: int) -> TokenStatus:
        return family.status_of(digest, now, partial(self._is_marked, family))

    # -- shown successors -----------------------------------------------------------------------------------

    def mark_shown(self, packed: bytes) -> None:
        """Record that a browser has shown the ticket of a session that began with a remember token.

        ``packed``: the session's packed value under the key UNSHOWN_KEY. Takes one store command, and does nothing if
        the mark exists already. Raises StoreError.
        """
        try:
            key, deadline = _mark_in(packed)
        except codec.CodecError as error:
            tell(log.warning, "a session's note about its remember token cannot be read and is ignored: %s", error)
            return
        now = self._namespace.now()
        if now < deadline:
            tombstone, _ = Tombstone.ended(now).pack(key)
            self._namespace.store.create(key, tombstone, min(deadline - now, LONGEST_LIFETIME))

    def _with_mark(self, family: Family, found: NextToken) -> NextToken:
        """Return ``found`` with the value that lets the first request with its ticket call :meth:`mark_shown`."""
        if family.shown:
            return found
        value = SecretBytes(codec.pack([self._shown_key(family).hex(), family.header.deadline]))
        return found._replace(unshown=value)

    def _is_marked(self, family: Family) -> bool:
        return self._namespace.store.load(self._shown_key(family)) is not None

    def _shown_key(self, family: Family) -> SecretBytes:
        return self._namespace.tickets.family_key(f"shown:{family.selector}:{family.current.hex()}")

    # -- other changes --------------------------------------------------------------------------------------

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
                repeats=0,
                shown=True,  # the new token replaces a token that a browser has just shown
            )
            return changed, self._pack(changed), max(1, current.header.deadline - now)

        reopen = partial(self._open, family.selector, family.key)
        return None if namespace.compare_and_set(family.key, family, renewed, reopen) is None else token

    def extend(self, family: Family) -> bool:
        """Extend the family, so that it ends one lifetime from now. Return True if the extended family was stored.

        Return False if another request has changed or ended the family meanwhile. Raises StoreError.
        """
        now = self._namespace.now()
        # Only a browser with the current token extends it. A mark with the same meaning may expire before the family.
        header = family.header._replace(seen=now, deadline=now + family.lifetime)
        changed = replace(family, header=header, shown=True)
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

    def end_or_retry(self, end: Callable[[], R]) -> R | None:
        """Call ``end``, which ends a family, and return its result. If the store fails, return None.

        Then call it again before families are issued or listed the next time. For a family whose end must not fail the
        request, such as one whose token was never sent. This process forgets the calls when it ends, and keeps the last
        :data:`MOST_RETRIES` of them.
        """
        try:
            return end()
        except StoreError as error:
            tell(log.warning, "a remembered login was not ended. A later request tries again: %s", error)
            self._retries.waiting.append(end)
            return None

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
        self._retries.run()
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


def _mark_in(packed: bytes) -> tuple[SecretBytes, int]:
    """Return the mark's store key and deadline in the packed value of UNSHOWN_KEY. Raises CodecError."""
    key, deadline = own_keys.unpack(UNSHOWN_KEY, packed)
    return SecretBytes(bytes.fromhex(key)), deadline


def _token_for(foreign: str) -> Secret:
    """Return the token for another package's remember cookie. Without the cookie, nobody can compute the token."""
    digest = hashlib.sha512(b"flask-cloakroom:foreign:" + foreign.encode("utf-8", "surrogatepass")).digest()
    parts = digest[:SELECTOR_BYTES], digest[SELECTOR_BYTES : SELECTOR_BYTES + SECRET_BYTES]
    return make_token(*(base64.urlsafe_b64encode(part).decode() for part in parts))
