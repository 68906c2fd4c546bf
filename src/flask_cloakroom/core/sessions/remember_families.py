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
import hmac
import logging
import random
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ...errors import StoreError
from ...secret import Secret
from ...stores.base import Conflict, Entry, Saved, Walks
from ..clock import CLOCK_SKEW, is_within
from ..entries import envelope
from ..entries.envelope import EnvelopeError, Header, Seal
from ..entries.tickets import mask_successor, public_id, unmask_successor
from ..values import codec
from .ending import bury, header_of, walked
from .owners import CLAIM_SLACK, NOTHING_BEGUN, Begun, Ownership, new_handle

if TYPE_CHECKING:
    from .repository import Repository

log = logging.getLogger("flask_cloakroom.sessions")

#: Seconds for which the token of before is good: as long as a request that was under way may last (gunicorn's limit).
OVERLAP_SECONDS: Final = 30
#: How often a family is begun anew because somebody read the index just then and took it for a dead one's. Whoever
#: revokes reads twice.
TRIES: Final = 4
#: Random bytes of the selector and of the secret. OWASP ASVS 5.0, 7.2.3, asks for 128 bits, which each has alone.
SELECTOR_BYTES: Final = 18
SECRET_BYTES: Final = 24

#: Seconds that a family may live without being extended: ten years. No cookie lives for more than 400 days.
LONGEST_LIFETIME: Final = 10 * 365 * 24 * 3600
#: Seconds for which it is known that a foreign credential was spent: longer than any browser keeps its cookie, which is
#: 400 days (RFC 6265bis, 5.6.3).
SPENT_SECONDS: Final = 401 * 24 * 3600
#: Seconds that a request waits for another one to begin the family of a foreign credential.
SPENDING_PATIENCE: Final = 1.0

_SELECTOR_LENGTH: Final = SELECTOR_BYTES * 4 // 3
_SECRET_LENGTH: Final = SECRET_BYTES * 4 // 3
#: A regular expression for what could be a token.
PATTERN: Final = rf"[A-Za-z0-9_-]{{{_SELECTOR_LENGTH}}}\.[A-Za-z0-9_-]{{{_SECRET_LENGTH}}}"


class Standing(Enum):
    """What a token is to its family."""

    CURRENT = "current"
    #: The one of a moment ago.
    PREVIOUS = "previous"
    #: The one before, when it is too late for a request that was under way, unless clocks differ.
    LATE = "late"
    #: Replaced long ago, or never one of it.
    OLD = "old"


@dataclass(frozen=True, slots=True)
class Family:
    """The remembered login of one device, as it was read or written."""

    selector: str
    key: bytes
    version: bytes
    #: ``renewed`` is when the present token was issued, ``seen`` when a token was last used.
    header: Header
    user_id: str
    #: Digest of the user's ``session_auth_hash()`` at the login; "" if there was none.
    #: None until the first use, if it began with a foreign credential.
    auth_hash: str | None
    #: Seconds that it lives from its beginning, or from when it was last extended.
    lifetime: int
    #: Digest of the present token.
    current: bytes
    #: Digest of the one before, b"" if there was none.
    previous: bytes = b""
    #: What that one leads to: the present secret and the session's ticket, for whose eyes it alone is.
    successor: bytes = b""

    def __repr__(self) -> str:
        return f"<Family {public_id(self.key)}>"

    def is_sound(self) -> bool:
        """Return whether the fields have the types and bounds that :meth:`Families.issue` gives them."""
        return (
            isinstance(self.user_id, str)
            and isinstance(self.auth_hash, str | None)
            and type(self.lifetime) is int
            and 0 < self.lifetime <= LONGEST_LIFETIME
            and all(isinstance(part, bytes) for part in (self.current, self.previous, self.successor))
            and Ownership.parse(self.header.owner) is not None
        )

    @property
    def owner(self) -> Ownership:
        """Whose it is, and the handle of the login."""
        found = Ownership.parse(self.header.owner)
        assert found is not None  # no family is written without
        return found


class Succession(NamedTuple):
    """What the use of a token leads to."""

    token: Secret
    #: The ticket of the session in which the login goes on; who comes first makes that session.
    ticket: Secret
    #: Whether this use was the first of the token.
    first: bool

    def __repr__(self) -> str:
        return f"<Succession first={self.first}>"


_STORED: Final = ("user_id", "auth_hash", "lifetime", "current", "previous", "successor")


class Families:
    """Those of one repository."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def issue(self, user_id: str, auth_hash: str, lifetime: int, begun: Begun = NOTHING_BEGUN) -> Secret:
        """Begin a family and return its first token. ``lifetime`` in seconds. Raises StoreError."""
        for _ in range(TRIES):
            token = _joined(secrets.token_urlsafe(SELECTOR_BYTES), secrets.token_urlsafe(SECRET_BYTES))
            if self._begin(token, user_id, auth_hash, lifetime, begun):
                return token
        raise StoreError("the store refuses every new remember token as if it were there already")

    def _begin(self, token: str, user_id: str, auth_hash: str | None, lifetime: int, begun: Begun) -> bool:
        """Store a new family. False: something is there, be it the mark of who took its claim for a dead one's."""
        repository = self._repository
        selector = _selector_of(token)
        owner = Ownership(repository.tickets.owner_name(user_id), begun.handle or new_handle(), begun.note)
        now = self._now()
        header = Header(now, now, now, now + lifetime, owner=str(owner), remembers=True)
        key, current = repository.tickets.family_key(selector), repository.tickets.token_digest(token)
        family = Family(selector, key, b"", header, user_id, auth_hash, lifetime, current)
        _, patience = repository.mark(key)
        began = time.monotonic()
        self._claim(family)
        if repository.store.create(key, self._pack(family), self._remaining(family)) is None:
            return False
        if time.monotonic() - began > patience:
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
        now = self._now()
        key = self._spent_key(token)
        mark = envelope.pack(Header(now, now, now, superseded=True), b"", key)
        return self._repository.store.create(key, mark, SPENT_SECONDS) is not None

    def _was_spent_now(self, token: str) -> bool:
        key = self._spent_key(token)
        entry = self._repository.store.load(key)
        header = None if entry is None else header_of(key, entry)
        return header is not None and is_within(self._now() - header.created, OVERLAP_SECONDS)

    def _spent_key(self, token: str) -> bytes:
        return self._repository.tickets.family_key(f"spent:{token}")

    def find(self, token: str) -> tuple[Family, Standing] | None:
        """Return the family of a token of the right form, and what the token is to it. Raises StoreError."""
        selector = _selector_of(token)
        key = self._repository.tickets.family_key(selector)
        entry = self._repository.store.load(key)
        family = None if entry is None else self._open(selector, key, entry)
        return None if family is None else (family, self._standing(family, token))

    def use(self, family: Family, token: str, auth_hash: str) -> Succession | None:
        """Put the next token in the place of ``token``, or say what another request has put there.

        ``auth_hash`` is the digest of the user as they are now. None: the family has ended meanwhile.
        Raises StoreError.
        """
        repository = self._repository
        if self._standing(family, token) is Standing.CURRENT:
            secret, ticket = Secret(secrets.token_urlsafe(SECRET_BYTES)), repository.tickets.issue()
            following = _joined(family.selector, secret)
            now = self._now()
            made = replace(
                family,
                header=family.header._replace(renewed=now, seen=now),
                auth_hash=auth_hash,
                current=repository.tickets.token_digest(following),
                previous=family.current,
                successor=mask_successor(token, secret + ticket),
            )
            result = repository.store.replace(family.key, self._pack(made), self._remaining(made), family.version)
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
        hidden = unmask_successor(token, family.successor)
        secret, ticket = Secret(hidden[:_SECRET_LENGTH]), Secret(hidden[_SECRET_LENGTH:])
        if not self._repository.tickets.plausible(ticket):
            return None
        return Succession(_joined(family.selector, secret), ticket, False)

    def renew(self, family: Family, auth_hash: str) -> Secret | None:
        """Give the family another token and this digest; the one before is good for nothing. None: it has ended."""
        repository = self._repository
        current: Family | None = family
        while current is not None:
            token = _joined(family.selector, secrets.token_urlsafe(SECRET_BYTES))
            made = replace(
                current,
                header=current.header._replace(renewed=self._now()),
                auth_hash=auth_hash,
                current=repository.tickets.token_digest(token),
                previous=current.current,  # so that a request under way is refused, and is no alarm
                successor=b"",
            )
            result = repository.store.replace(family.key, self._pack(made), self._remaining(made), current.version)
            if type(result) is Saved:
                return token
            current = None
            if type(result) is Conflict:
                current = self._open(family.selector, family.key, result.entry)
        return None

    def extend(self, family: Family) -> bool:
        """Let the family live for its whole lifetime from now. False: it has changed or ended meanwhile."""
        now = self._now()
        made = replace(family, header=family.header._replace(seen=now, deadline=now + family.lifetime))
        self._claim(made)
        result = self._repository.store.replace(family.key, self._pack(made), self._remaining(made), family.version)
        return type(result) is Saved

    def stands(self, family: Family) -> bool:
        """Tell whether a family was not ended meanwhile."""
        entry = self._repository.store.load(family.key)
        return entry is not None and self._open(family.selector, family.key, entry) is not None

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
        store: Any = self._repository.store
        assert isinstance(store, Walks)
        ended = 0
        for key, _, header in walked(store):
            if header is not None and header.remembers and self._repository.owners.is_of_here(header):
                ended += self._end(key, header)
        return ended

    def of(self, name: str) -> list[tuple[Header, Ownership]]:
        """Return what is known of an owner's families."""
        return [(header, owner) for _, header, owner in self._of(name)]

    def _of(self, name: str) -> Iterator[tuple[bytes, Header, Ownership]]:
        """Yield an owner's live families, and forget the claims of those that are no more."""
        power = self._repository.owners.power
        if power is None:
            return
        for claim in power.owned(_indexed(name)):
            store = self._repository.store
            entry = store.load(claim.key)
            if entry is None and not bury(self._repository, claim.key):
                entry = store.load(claim.key)  # it has come this very moment
            # Else it may not come any more: it would be alive, and not in the index.
            header = None if entry is None else header_of(claim.key, entry)
            owner = None if header is None else Ownership.parse(header.owner)
            if header is None or owner is None or not header.remembers:
                power.release(_indexed(name), claim.key)
            elif self._now() >= header.deadline:
                self._end(claim.key, header)  # nor may a request that is under way lengthen its life
            elif owner.name == name:
                yield claim.key, header, owner

    def _end(self, key: bytes, header: Header) -> bool:
        # Deleted first: what is not in the index any more must not be alive.
        deleted = self._repository.store.delete(key)
        power, owner = self._repository.owners.power, Ownership.parse(header.owner)
        if power is not None and owner is not None:
            try:
                power.release(_indexed(owner.name), key)
            except StoreError as error:
                log.warning("the claim of an ended remember token was not released: %s", error)
        return deleted

    # -- parts ----------------------------------------------------------------------------------------------

    def _now(self) -> int:
        return self._repository.now_ms() // 1000

    def _remaining(self, family: Family) -> int:
        return max(1, family.header.deadline - self._now())

    def _claim(self, family: Family) -> None:
        power = self._repository.owners.power
        if power is not None:
            power.claim(_indexed(family.owner.name), family.key, self._remaining(family) + CLAIM_SLACK)

    def _standing(self, family: Family, token: str) -> Standing:
        digest = self._repository.tickets.token_digest(token)
        if hmac.compare_digest(digest, family.current):
            return Standing.CURRENT
        age = self._now() - family.header.renewed
        # An old token is no alarm before the clocks' difference has passed as well.
        is_recent = is_within(age, OVERLAP_SECONDS + CLOCK_SKEW)
        if not is_recent or not hmac.compare_digest(digest, family.previous):
            return Standing.OLD
        return Standing.PREVIOUS if age <= OVERLAP_SECONDS else Standing.LATE

    def _pack(self, family: Family) -> bytes:
        values = {name: codec.pack(_plain(getattr(family, name))) for name in _STORED}
        payload = envelope.pack_values(values, codec.pack)
        # The selector is in the token alone, and all tokens of a family have it.
        seal = Seal(family.selector, family.key) if self._repository.encrypts else None
        return envelope.pack(family.header, payload, family.key, seal_for=seal)

    def _open(self, selector: str, key: bytes, entry: Entry) -> Family | None:
        """Return what is stored; None if it can't be read, or if it is over, which a store may have missed."""
        try:
            header, payload, sealed = envelope.open_header(entry.data, key)
            if not header.remembers or self._now() >= header.deadline:
                return None
            if sealed:
                payload = envelope.unseal(entry.data, payload, Seal(selector, key))
            elif self._repository.encrypts:
                raise EnvelopeError("it is not sealed, and SESSION_ENCRYPTION is on")
            values = envelope.unpack_values(payload, codec.unpack_key)
            family = Family(selector, key, entry.version, header, *(codec.unpack(values[name]) for name in _STORED))
            if not family.is_sound():
                raise EnvelopeError("its fields are of the wrong types")
        except (EnvelopeError, codec.CodecError, KeyError) as error:
            log.warning("remembered login %s cannot be read (%s)", public_id(key), type(error).__name__)
            return None
        # It began, or was extended, when its deadline was a whole lifetime away.
        age = self._now() - header.deadline + family.lifetime
        return family if is_within(age, family.lifetime) else None


def _joined(selector: str, secret: str) -> Secret:
    return Secret(f"{selector}.{secret}")


def _selector_of(token: str) -> Secret:
    return Secret(token.partition(".")[0])


def _plain(value: Any) -> Any:
    """Return digests as the plain bytes that the codec takes."""
    return bytes(value) if isinstance(value, bytes) else value


def _token_of(foreign: str) -> Secret:
    """Return the token that stands for a foreign credential: nobody makes it who has not that."""
    digest = hashlib.sha512(b"flask-cloakroom:foreign:" + foreign.encode("utf-8", "surrogatepass")).digest()
    parts = digest[:SELECTOR_BYTES], digest[SELECTOR_BYTES : SELECTOR_BYTES + SECRET_BYTES]
    return _joined(*(base64.urlsafe_b64encode(part).decode() for part in parts))


def _indexed(name: str) -> bytes:
    """Return what the store calls an owner here: another name than where their sessions are noted."""
    return hashlib.sha256(b"flask-cloakroom:remembered:" + name.encode()).digest()[:16]
