"""What lets a login outlive its session: a family of remember tokens, one for each device, in the session's store.

A token is ``selector.secret``. The selector finds the family and stays; the secret is good once, and its use makes the
next. Only hashes of both are stored. A request under way may come with the token of a moment ago: for
:data:`OVERLAP_SECONDS` that leads to the same next token and to the same session as the first did, so that any number
of them make one login. After that the use of an old token means that two parties hold the family: it ends.

Every change is one compare-and-set of the one record, and a family that was ended is never created again.
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
from ..entries.envelope import Header
from ..entries.family import (
    OVERLAP_SECONDS,
    SECRET_BYTES,
    SELECTOR_BYTES,
    Family,
    Standing,
    Succession,
    joined,
    new_token,
    selector_of,
)
from ..entries.namespace import Namespace
from ..entries.ownership import NOTHING_BEGUN, Begun, Ownership, new_handle
from ..entries.tickets import mask_successor
from ..entries.tombstone import MARK_SECONDS, Tombstone
from .ending import bury, header_of, walked
from .owner_index import CLAIM_SLACK, OwnerIndex

log = logging.getLogger("flask_cloakroom.sessions")

#: How often a family is begun anew because somebody read the index just then and took it for a dead one's. Whoever
#: revokes reads twice.
TRIES: Final = 4
#: Seconds for which it is known that a foreign credential was spent: longer than any browser keeps its cookie, which is
#: 400 days (RFC 6265bis, 5.6.3).
SPENT_SECONDS: Final = 401 * 24 * 3600
#: Seconds that a request waits for another one to begin the family of a foreign credential.
SPENDING_PATIENCE: Final = 1.0


class Families:
    """Those of one namespace."""

    def __init__(self, namespace: Namespace, index: OwnerIndex) -> None:
        self._namespace = namespace
        self._index = index

    def issue(self, user_id: str, auth_hash: str, lifetime: int, begun: Begun = NOTHING_BEGUN) -> Secret:
        """Begin a family and return its first token. ``lifetime`` in seconds. Raises StoreError."""
        for _ in range(TRIES):
            token = new_token()
            if self._begin(token, user_id, auth_hash, lifetime, begun):
                return token
        raise StoreError("the store refuses every new remember token as if it were there already")

    def _begin(self, token: str, user_id: str, auth_hash: str | None, lifetime: int, begun: Begun) -> bool:
        """Store a new family. False: something is there, be it the mark of who took its claim for a dead one's."""
        namespace = self._namespace
        selector = selector_of(token)
        owner = Ownership(namespace.tickets.owner_name(user_id), begun.handle or new_handle(), begun.note)
        now = namespace.now()
        header = Header(now, now, now, now + lifetime, owner=str(owner), remembers=True)
        key, current = namespace.tickets.family_key(selector), namespace.tickets.token_digest(token)
        family = Family(selector, key, b"", header, user_id, auth_hash, lifetime, current)
        began = time.monotonic()
        self._claim(family)
        if namespace.store.create(key, self._pack(family), self._remaining(family)) is None:
            return False
        if time.monotonic() - began > MARK_SECONDS:
            # By now such a mark may have gone again.
            self._end(key, header)
            raise StoreError("the store took too long to remember a login")
        return True

    def begin_with(self, foreign: str, user_id: str, lifetime: int) -> Secret:
        """Begin a family with a credential that others issued, unless that was spent. Return its first token.

        That token is made of the credential, so that each request that brings this finds the same family. Raises
        StoreError.
        """
        token = _token_of(foreign)
        if self._spend(token):
            if not self._begin(token, user_id, None, lifetime, NOTHING_BEGUN):
                raise StoreError("the store refuses a remember token as if it were there already")
            return token
        # Another request may have spent it a moment ago, and be about to begin the family.
        deadline = time.monotonic() + SPENDING_PATIENCE
        while self.find(token) is None and time.monotonic() < deadline and self._was_spent_now(token):
            time.sleep(random.uniform(0.005, 0.02))  # noqa: S311  spreads the tries, hides nothing
        return token

    def spend(self, foreign: str) -> Secret:
        """Never begin a family with this credential. Return the token of one that was begun."""
        token = _token_of(foreign)
        self._spend(token)
        return token

    def _spend(self, token: str) -> bool:
        key = self._spent_key(token)
        tombstone, _ = Tombstone.ended(self._namespace.now()).packed(key)
        return self._namespace.store.create(key, tombstone, SPENT_SECONDS) is not None

    def _was_spent_now(self, token: str) -> bool:
        key = self._spent_key(token)
        entry = self._namespace.store.load(key)
        header = None if entry is None else header_of(key, entry)
        return header is not None and is_within(self._namespace.now() - header.created, OVERLAP_SECONDS)

    def _spent_key(self, token: str) -> bytes:
        return self._namespace.tickets.family_key(f"spent:{token}")

    def find(self, token: str) -> tuple[Family, Standing] | None:
        """Return the family of a token of the right form, and what the token is to it. Raises StoreError."""
        selector = selector_of(token)
        key = self._namespace.tickets.family_key(selector)
        family = self._open(selector, key, self._namespace.store.load(key))
        return None if family is None else (family, self._standing(family, token))

    def use(self, family: Family, token: str, auth_hash: str) -> Succession | None:
        """Put the next token in the place of ``token``, or say what another request has put there.

        ``auth_hash`` is the digest of the user as they are now. None: the family has ended meanwhile.
        Raises StoreError.
        """
        namespace = self._namespace
        if self._standing(family, token) is Standing.CURRENT:
            secret, ticket = Secret(secrets.token_urlsafe(SECRET_BYTES)), namespace.tickets.issue()
            following = joined(family.selector, secret)
            now = namespace.now()
            made = replace(
                family,
                header=family.header._replace(renewed=now, seen=now),
                auth_hash=auth_hash,
                current=namespace.tickets.token_digest(following),
                previous=family.current,
                successor=mask_successor(token, secret + ticket),
            )
            result = namespace.store.replace(family.key, self._pack(made), self._remaining(made), family.version)
            if type(result) is Saved:
                return Succession(following, ticket, True)
            if type(result) is not Conflict:
                return None
            found = self._open(family.selector, family.key, result.entry)
            if found is None:
                return None
            if self._standing(found, token) is Standing.CURRENT:
                return self.use(found, token, auth_hash)  # only its life was extended
            family = found
        return self._follow(family, token)

    def _follow(self, family: Family, token: str) -> Succession | None:
        if self._standing(family, token) is not Standing.PREVIOUS:
            return None
        found = family.succession(token)
        return found if self._namespace.tickets.plausible(found.ticket) else None

    def renew(self, family: Family, auth_hash: str) -> Secret | None:
        """Give the family another token and this digest; the one before is good for nothing. None: it has ended."""
        namespace = self._namespace
        token = new_token(family.selector)

        def renewed(current: Family) -> tuple[Family, bytes, int]:
            made = replace(
                current,
                header=current.header._replace(renewed=namespace.now()),
                auth_hash=auth_hash,
                current=namespace.tickets.token_digest(token),
                previous=current.current,  # so that a request under way is refused, and is no alarm
                successor=b"",
            )
            return made, self._pack(made), self._remaining(made)

        reopen = partial(self._open, family.selector, family.key)
        return None if namespace.compare_and_set(family.key, family, renewed, reopen) is None else token

    def extend(self, family: Family) -> bool:
        """Let the family live for its whole lifetime from now. False: it has changed or ended meanwhile."""
        now = self._namespace.now()
        made = replace(family, header=family.header._replace(seen=now, deadline=now + family.lifetime))
        self._claim(made)
        result = self._namespace.store.replace(family.key, self._pack(made), self._remaining(made), family.version)
        return type(result) is Saved

    def stands(self, family: Family) -> bool:
        """Tell whether a family was not ended meanwhile."""
        return self._open(family.selector, family.key, self._namespace.store.load(family.key)) is not None

    # -- the end --------------------------------------------------------------------------------------------

    def end(self, family: Family) -> bool:
        """End a family: none of its tokens begins a session any more. False: it had ended."""
        return self._end(family.key, family.header)

    def end_login(self, name: str, handle: str) -> bool:
        """End the family of an owner that has this handle. False: there is none."""
        ended = [self._end(key, header) for key, header, owner in self._of(name) if owner.handle == handle]
        return any(ended)

    def end_all(self, name: str, *, spare: str | None = None) -> int:
        """End an owner's families, but for the one with the handle ``spare``; return how many."""
        return sum(self._end(key, header) for key, header, owner in list(self._of(name)) if owner.handle != spare)

    def end_everybody(self) -> int:
        """End all families in the store, which must be one that can be walked; return how many."""
        store: Any = self._namespace.store
        assert isinstance(store, Walks)
        ended = 0
        for key, _, header in walked(store):
            if header is not None and header.remembers and self._index.is_of_here(header):
                ended += self._end(key, header)
        return ended

    def of(self, name: str) -> list[tuple[Header, Ownership]]:
        """Return what is known of an owner's families."""
        return [(header, owner) for _, header, owner in self._of(name)]

    def _of(self, name: str) -> Iterator[tuple[bytes, Header, Ownership]]:
        """Yield an owner's live families, and forget the claims of those that are no more."""
        power, store = self._index.power, self._namespace.store
        if power is None:
            return
        for claim in power.owned(remember_index_key(name)):
            entry = store.load(claim.key)
            if entry is None and not bury(self._namespace, claim.key):
                entry = store.load(claim.key)  # it has come this very moment
            # Else it may not come any more: it would be alive, and not in the index.
            header = None if entry is None else header_of(claim.key, entry)
            owner = None if header is None else Ownership.parse(header.owner)
            if header is None or owner is None or not header.remembers:
                power.release(remember_index_key(name), claim.key)
            elif self._namespace.now() >= header.deadline:
                self._end(claim.key, header)  # nor may a request that is under way lengthen its life
            elif owner.name == name:
                yield claim.key, header, owner

    def _end(self, key: bytes, header: Header) -> bool:
        # Deleted first: what is not in the index any more must not be alive.
        deleted = self._namespace.store.delete(key)
        power, owner = self._index.power, Ownership.parse(header.owner)
        if power is not None and owner is not None:
            try:
                power.release(remember_index_key(owner.name), key)
            except StoreError as error:
                log.warning("the claim of an ended remember token was not released: %s", error)
        return deleted

    # -- parts ----------------------------------------------------------------------------------------------

    def _remaining(self, family: Family) -> int:
        return max(1, family.header.deadline - self._namespace.now())

    def _claim(self, family: Family) -> None:
        power = self._index.power
        if power is not None:
            power.claim(remember_index_key(family.owner.name), family.key, self._remaining(family) + CLAIM_SLACK)

    def _standing(self, family: Family, token: str) -> Standing:
        return family.standing(self._namespace.tickets.token_digest(token), self._namespace.now())

    def _pack(self, family: Family) -> bytes:
        return family.packed(encrypt=self._namespace.encrypts)

    def _open(self, selector: str, key: bytes, entry: Entry | None) -> Family | None:
        if entry is None:
            return None
        namespace = self._namespace
        return Family.read(selector, key, entry, encrypted=namespace.encrypts, now=namespace.now())


def _token_of(foreign: str) -> Secret:
    """Return the token that stands for a foreign credential: nobody makes it who has not that."""
    digest = hashlib.sha512(b"flask-cloakroom:foreign:" + foreign.encode("utf-8", "surrogatepass")).digest()
    parts = digest[:SELECTOR_BYTES], digest[SELECTOR_BYTES : SELECTOR_BYTES + SECRET_BYTES]
    return joined(*(base64.urlsafe_b64encode(part).decode() for part in parts))


def remember_index_key(name: str) -> bytes:
    """Return what the store calls an owner here: another name than where their sessions are noted."""
    return hashlib.sha256(b"flask-cloakroom:remembered:" + name.encode()).digest()[:16]
