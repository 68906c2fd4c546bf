"""One family of remember tokens: its entry in the store, and the status of each token in it."""

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
from .envelope import EntryKind, EnvelopeError, Header, Seal
from .ownership import Ownership
from .tickets import public_id, unmask_successor

log = logging.getLogger("flask_cloakroom.sessions")

#: Seconds after its replacement in which a token is still accepted. It must outlast the requests that began before.
#: gunicorn ends a request after 30 seconds by default.
TOKEN_OVERLAP: Final = 30
#: Random bytes of a token's selector and of its secret: 144 and 192 bits. OWASP ASVS 5.0, 7.2.3, asks for 128.
SELECTOR_BYTES: Final = 18
SECRET_BYTES: Final = 24

#: The longest lifetime of a family, in seconds: ten years. Browsers keep a cookie for at most 400 days.
LONGEST_LIFETIME: Final = 10 * 365 * 24 * 3600

_SELECTOR_LENGTH: Final = SELECTOR_BYTES * 4 // 3
_SECRET_LENGTH: Final = SECRET_BYTES * 4 // 3
#: A regular expression for a token.
TOKEN_PATTERN: Final = rf"[A-Za-z0-9_-]{{{_SELECTOR_LENGTH}}}\.[A-Za-z0-9_-]{{{_SECRET_LENGTH}}}"


class TokenStatus(Enum):
    """The status of a token in its family."""

    #: The newest token.
    CURRENT = "current"
    #: The token before. It was replaced less than :data:`TOKEN_OVERLAP` seconds ago.
    PREVIOUS = "previous"
    #: The token before. Its time is over, but perhaps only because two servers' clocks differ. So it is refused without
    #: an alarm.
    LATE = "late"
    #: Replaced long ago, or never a token of this family.
    OLD = "old"


_STORED: Final = ("user_id", "auth_hash", "lifetime", "current", "previous", "successor")
_stored_in: Final = itemgetter(*_STORED)


@dataclass(frozen=True, slots=True)
class Family:
    """A token family as it was read or written: the remembered login of one device."""

    selector: str
    key: bytes
    version: bytes
    #: ``renewed``: when the current token was issued. ``seen``: when a token was last used. Seconds since the epoch.
    header: Header
    user_id: str
    #: Digest of the user's ``session_auth_hash()`` at the login; "" if the user has none. None until the first use of a
    #: family that began with another package's cookie.
    auth_hash: str | None
    #: Seconds from the login, or from the last extension, to the deadline.
    lifetime: int
    #: Digest of the current token.
    current: bytes
    #: Digest of the token before; b"" if there was none.
    previous: bytes = b""
    #: The current token's secret and the session's ticket, encrypted with the previous token, so that only its holder
    #: can read them.
    successor: bytes = b""

    def __repr__(self) -> str:
        return f"<Family {public_id(self.key)}>"

    def is_valid(self) -> bool:
        """Return whether all fields have the types and bounds that this package writes."""
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
        """The family's owner and login."""
        found = Ownership.parse(self.header.owner)
        assert found is not None  # each family is written with its owner
        return found

    def status_of(self, digest: bytes, now: int) -> TokenStatus:
        """Return the status of the token with this digest. ``now``: seconds since the epoch."""
        if hmac.compare_digest(digest, self.current):
            return TokenStatus.CURRENT
        age = now - self.header.renewed
        is_recent = is_within(age, TOKEN_OVERLAP + CLOCK_SKEW)
        if not is_recent or not hmac.compare_digest(digest, self.previous):
            return TokenStatus.OLD
        return TokenStatus.PREVIOUS if age <= TOKEN_OVERLAP else TokenStatus.LATE

    def next_token(self, token: str) -> NextToken:
        """Return the token and session that replaced the previous token. A wrong ``token`` yields random characters."""
        plain = unmask_successor(token, self.successor)
        secret, ticket = Secret(plain[:_SECRET_LENGTH]), Secret(plain[_SECRET_LENGTH:])
        return NextToken(make_token(self.selector, secret), ticket, False)

    def pack(self, *, encrypt: bool) -> SecretBytes:
        """Return the bytes to store under the family's key. ``encrypt``: encrypt the payload with the selector."""
        digests = map(bytes, (self.current, self.previous, self.successor))  # the codec takes plain bytes only
        packed = map(codec.pack, (self.user_id, self.auth_hash, self.lifetime, *digests))
        payload = envelope.pack_values(dict(zip(_STORED, packed, strict=True)), codec.pack)
        # The selector is a part of every token of the family, and the store does not have it.
        seal = Seal(self.selector, self.key) if encrypt else None
        return envelope.pack(self.header, payload, self.key, seal_for=seal)

    @classmethod
    def read(cls, selector: str, key: bytes, entry: Entry, *, encrypted: bool, now: int) -> Family | None:
        """Return the family in an entry; None if it cannot be read, or if it has expired and the store missed that.

        ``encrypted``: refuse an entry that is not encrypted. ``now``: seconds since the epoch.
        """
        try:
            header, payload, sealed = envelope.open_header(entry.data, key)
            if header.kind is not EntryKind.REMEMBER_FAMILY or now >= header.deadline:
                return None
            if sealed:
                payload = envelope.unseal(entry.data, payload, Seal(selector, key))
            elif encrypted:
                raise EnvelopeError("it is not encrypted, and SESSION_ENCRYPTION is on")
            values = envelope.unpack_values(payload, codec.unpack_key)
            family = cls(selector, key, entry.version, header, *map(codec.unpack, _stored_in(values)))
            if not family.is_valid():
                raise EnvelopeError("its fields are of the wrong types")
        except (EnvelopeError, codec.CodecError, KeyError) as error:
            log.warning("remembered login %s cannot be read (%s)", public_id(key), type(error).__name__)
            return None
        # The family began, or was extended, one lifetime before its deadline. If that time is in the future, the clock
        # was set back.
        return family if is_within(now - header.deadline + family.lifetime, family.lifetime) else None


class NextToken(NamedTuple):
    """The result of the use of a token."""

    token: Secret
    #: The ticket of the session that the login continues in. The first request that comes creates this session.
    ticket: Secret
    #: Whether this was the first use of the token.
    first: bool

    def __repr__(self) -> str:
        return f"<NextToken first={self.first}>"


def new_token(selector: str = "") -> Secret:
    """Return a token with a new secret: of a new family, or of the family with this ``selector``."""
    return make_token(selector or secrets.token_urlsafe(SELECTOR_BYTES), secrets.token_urlsafe(SECRET_BYTES))


def make_token(selector: str, secret: str) -> Secret:
    """Return the token with this selector and secret."""
    return Secret(f"{selector}.{secret}")


def selector_of(token: str) -> Secret:
    """Return the selector of a token's family."""
    return Secret(token.partition(".")[0])
