"""One family of remember tokens, as it lies in the store, and what a token is to it."""

from __future__ import annotations

import hmac
import logging
import secrets
from dataclasses import dataclass
from enum import Enum
from operator import itemgetter
from typing import Final, NamedTuple

from ...secret import Secret, SecretBytes
from ...stores.base import Entry
from ..clock import CLOCK_SKEW, is_within
from ..values import codec
from . import envelope
from .envelope import EnvelopeError, Header, Seal
from .ownership import Ownership
from .tickets import public_id, unmask_successor

log = logging.getLogger("flask_cloakroom.sessions")

#: Seconds for which the token of before is good: as long as a request that was under way may last (gunicorn's limit).
OVERLAP_SECONDS: Final = 30
#: Random bytes of the selector and of the secret. OWASP ASVS 5.0, 7.2.3, asks for 128 bits, which each has alone.
SELECTOR_BYTES: Final = 18
SECRET_BYTES: Final = 24

#: Seconds that a family may live without being extended: ten years. No cookie lives for more than 400 days.
LONGEST_LIFETIME: Final = 10 * 365 * 24 * 3600

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


_STORED: Final = ("user_id", "auth_hash", "lifetime", "current", "previous", "successor")
_stored_in: Final = itemgetter(*_STORED)


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
        """Return whether the fields have the types and bounds that :meth:`.Families.issue` gives them."""
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

    def standing(self, digest: bytes, now: int) -> Standing:
        """Return what the token with this digest is to the family at this time, in seconds since the epoch."""
        if hmac.compare_digest(digest, self.current):
            return Standing.CURRENT
        age = now - self.header.renewed
        # An old token is no alarm before the clocks' difference has passed as well.
        is_recent = is_within(age, OVERLAP_SECONDS + CLOCK_SKEW)
        if not is_recent or not hmac.compare_digest(digest, self.previous):
            return Standing.OLD
        return Standing.PREVIOUS if age <= OVERLAP_SECONDS else Standing.LATE

    def succession(self, token: str) -> Succession:
        """Return what the previous token leads to. With another ``token`` the result is noise."""
        hidden = unmask_successor(token, self.successor)
        secret, ticket = Secret(hidden[:_SECRET_LENGTH]), Secret(hidden[_SECRET_LENGTH:])
        return Succession(joined(self.selector, secret), ticket, False)

    def packed(self, *, encrypt: bool) -> SecretBytes:
        """Return the entry to store under ``key``."""
        digests = map(bytes, (self.current, self.previous, self.successor))  # the codec takes plain bytes only
        packed = map(codec.pack, (self.user_id, self.auth_hash, self.lifetime, *digests))
        payload = envelope.pack_values(dict(zip(_STORED, packed, strict=True)), codec.pack)
        # The selector is in the token alone, and all tokens of a family have it.
        seal = Seal(self.selector, self.key) if encrypt else None
        return envelope.pack(self.header, payload, self.key, seal_for=seal)

    @classmethod
    def read(cls, selector: str, key: bytes, entry: Entry, *, encrypted: bool, now: int) -> Family | None:
        """Return what is stored; None if it can't be read, or if it is over, which a store may have missed.

        ``encrypted``: only if it is sealed with the selector.
        """
        try:
            header, payload, sealed = envelope.open_header(entry.data, key)
            if not header.remembers or now >= header.deadline:
                return None
            if sealed:
                payload = envelope.unseal(entry.data, payload, Seal(selector, key))
            elif encrypted:
                raise EnvelopeError("it is not sealed, and SESSION_ENCRYPTION is on")
            values = envelope.unpack_values(payload, codec.unpack_key)
            family = cls(selector, key, entry.version, header, *map(codec.unpack, _stored_in(values)))
            if not family.is_sound():
                raise EnvelopeError("its fields are of the wrong types")
        except (EnvelopeError, codec.CodecError, KeyError) as error:
            log.warning("remembered login %s cannot be read (%s)", public_id(key), type(error).__name__)
            return None
        # It began, or was extended, when its deadline was a whole lifetime away.
        return family if is_within(now - header.deadline + family.lifetime, family.lifetime) else None


class Succession(NamedTuple):
    """What the use of a token leads to."""

    token: Secret
    #: The ticket of the session in which the login goes on; who comes first makes that session.
    ticket: Secret
    #: Whether this use was the first of the token.
    first: bool

    def __repr__(self) -> str:
        return f"<Succession first={self.first}>"


def new_token(selector: str = "") -> Secret:
    """Return a token with a new secret, of a new family unless its selector is given."""
    return joined(selector or secrets.token_urlsafe(SELECTOR_BYTES), secrets.token_urlsafe(SECRET_BYTES))


def joined(selector: str, secret: str) -> Secret:
    """Return the token of a family's selector and a secret."""
    return Secret(f"{selector}.{secret}")


def selector_of(token: str) -> Secret:
    """Return the selector of a token's family."""
    return Secret(token.partition(".")[0])
