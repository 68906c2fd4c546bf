"""One token family: its entry in the store, and the status of each of its remember tokens."""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from operator import itemgetter
from typing import Final, NamedTuple

from ...first_use import tell
from ...secret import Secret, SecretBytes
from ...stores.base import Entry
from ..clock import CLOCK_SKEW, is_within
from ..values import codec
from . import envelope
from .envelope import EntryKind, EnvelopeError, Header, Seal
from .ownership import Ownership
from .tickets import mask_successor, public_id, unmask_successor

log = logging.getLogger("flask_cloakroom.sessions")

#: The time in seconds for which a token is still accepted after a new token has replaced it. A request that began with
#: the old token must be able to finish. gunicorn ends a request after 30 seconds by default.
TOKEN_OVERLAP: Final = 30
#: The number of times that a token may make another successor, because no browser has shown the successor before. One
#: lost response is usual on a bad line, and two in a row are rare. A third one is more likely a thief's doing.
MOST_REPEATS: Final = 2
#: Length in bytes of the two random parts of a token, the selector and the secret. They have 144 and 192 bits. OWASP
#: ASVS 5.0, 7.2.3, asks for at least 128 bits.
SELECTOR_BYTES: Final = 18
SECRET_BYTES: Final = 24

#: The longest lifetime of a token family, in seconds: ten years. A stored family with a longer lifetime is damaged.
LONGEST_LIFETIME: Final = 10 * 365 * 24 * 3600

_SELECTOR_LENGTH: Final = SELECTOR_BYTES * 4 // 3
_SECRET_LENGTH: Final = SECRET_BYTES * 4 // 3
#: A regular expression that matches each remember token: the selector, a full stop, and the secret.
TOKEN_PATTERN: Final = rf"[A-Za-z0-9_-]{{{_SELECTOR_LENGTH}}}\.[A-Za-z0-9_-]{{{_SECRET_LENGTH}}}"


class TokenStatus(Enum):
    """The status of a token in its family."""

    #: The newest token of the family.
    CURRENT = "current"
    #: The token before the newest token. It was replaced at most :data:`TOKEN_OVERLAP` seconds ago and is accepted.
    PREVIOUS = "previous"
    #: The token before the newest token, replaced more than :data:`TOKEN_OVERLAP` seconds ago. No browser has shown the
    #: newest token or the ticket of its session, so the response with both was lost. The use makes another successor.
    UNSHOWN = "unshown"
    #: The token before the newest token, replaced a little more than :data:`TOKEN_OVERLAP` seconds ago. Perhaps it is
    #: late only because two servers' clocks differ. So it is refused, but the family does not end.
    LATE = "late"
    #: A token that was replaced long ago, or that was never a token of this family. Its use ends the family.
    OLD = "old"


_STORED: Final = ("user_id", "auth_hash", "lifetime", "current", "previous", "successor", "repeats", "shown")
#: The packed values of the fields that an entry of an earlier version lacks. That version did not record whether a
#: successor was shown, so the successor counts as shown.
_LACKING: Final = {"repeats": codec.pack(0), "shown": codec.pack(True)}
_stored_in: Final = itemgetter(*_STORED)


@dataclass(frozen=True, slots=True)
class Family:
    """A token family as this request has read or written it. It is the remembered login of one device."""

    selector: str
    key: bytes
    version: bytes
    #: In this header, ``renewed`` is the time at which the current token was issued, and ``seen`` is the time at which
    #: a token was last used. Both are in seconds since the epoch.
    header: Header
    user_id: str
    #: The digest of the user's ``session_auth_hash()`` at the login, or "" if the user's class has no such method. None
    #: if the family was made from another package's cookie and none of its tokens was used yet.
    auth_hash: str | None
    #: The lifetime in seconds: from the login, or from the last extension, to ``header.deadline``.
    lifetime: int
    #: The digest of the current token.
    current: bytes
    #: The digest of the token before the current token; b"" if the current token is the first one.
    previous: bytes = b""
    #: The current token's secret and its session's ticket, encrypted with the previous token, so that only a browser
    #: with the previous token can read them. After a repeat, the tickets of the earlier sessions follow.
    successor: bytes = b""
    #: The number of times that the previous token has made another successor.
    repeats: int = 0
    #: True if the current token or its session was shown. If it is False, a mark in the store may still say the same.
    shown: bool = False

    def __repr__(self) -> str:
        return f"<Family {public_id(self.key)}>"

    def is_valid(self) -> bool:
        """Return True if all fields have the types and limits that this package writes. Return False for other data."""
        return (
            isinstance(self.user_id, str)
            and isinstance(self.auth_hash, str | None)
            and type(self.lifetime) is int
            and 0 < self.lifetime <= LONGEST_LIFETIME
            and all(isinstance(part, bytes) for part in (self.current, self.previous, self.successor))
            and type(self.repeats) is int
            and 0 <= self.repeats <= MOST_REPEATS
            and type(self.shown) is bool
            and Ownership.parse(self.header.owner) is not None
        )

    @property
    def owner(self) -> Ownership:
        """The owner of the family, and the login that the family remembers."""
        found = Ownership.parse(self.header.owner)
        assert found is not None  # is_valid() has checked the owner
        return found

    def status_of(self, digest: bytes, now: int, is_marked: Callable[[], bool]) -> TokenStatus:
        """Return the status of the token with this digest. ``now``: the present time in seconds since the epoch.

        ``is_marked``: a function that returns True if the store has a shown successor's mark. It is called only
        for the previous token, more than :data:`TOKEN_OVERLAP` seconds after its use.
        """
        if hmac.compare_digest(digest, self.current):
            return TokenStatus.CURRENT
        age = now - self.header.renewed
        if not hmac.compare_digest(digest, self.previous) or age < -CLOCK_SKEW:
            return TokenStatus.OLD
        if age <= TOKEN_OVERLAP:
            return TokenStatus.PREVIOUS
        if self.shown or is_marked():
            return TokenStatus.LATE if age <= TOKEN_OVERLAP + CLOCK_SKEW else TokenStatus.OLD
        return TokenStatus.UNSHOWN if self.repeats < MOST_REPEATS else TokenStatus.OLD

    def replaced_by(self, token: str, digest: bytes, new: NextToken, new_digest: bytes, *, now: int) -> Family:
        """Return the family after the use of ``token``, its current token or, at a repeat, its previous token.

        ``digest``, ``new_digest``: the digests of ``token`` and of the new token.
        """
        repeats = self.repeats + 1 if new.earlier else 0
        secret = new.token.partition(".")[2]
        return replace(
            self,
            header=self.header._replace(renewed=now, seen=now),
            current=new_digest,
            previous=digest,
            successor=mask_successor(_pad_name(token, repeats), "".join((secret, new.ticket, *new.earlier))),
            repeats=repeats,
            shown=False,
        )

    def next_token(self, token: str) -> NextToken:
        """Return the current token and its session's ticket, decrypted with the previous token.

        ``token``: the previous token. Any other token yields random characters.
        """
        plain, count = unmask_successor(_pad_name(token, self.repeats), self.successor), self.repeats + 1
        secret, rest = Secret(plain[:_SECRET_LENGTH]), Secret(plain[_SECRET_LENGTH:])
        size = len(rest) // count
        ticket, *earlier = [Secret(rest[size * place : size * (place + 1)]) for place in range(count)]
        return NextToken(make_token(self.selector, secret), ticket, False, tuple(earlier))

    def pack(self, *, encrypt: bool) -> SecretBytes:
        """Return the bytes of the family's entry. ``encrypt``: encrypt the payload with the selector."""
        digests = map(bytes, (self.current, self.previous, self.successor))  # the codec refuses SecretBytes
        fields = (self.user_id, self.auth_hash, self.lifetime, *digests, self.repeats, self.shown)
        packed = map(codec.pack, fields)
        payload = envelope.pack_values(dict(zip(_STORED, packed, strict=True)), codec.pack)
        # The selector is a suitable secret: every token of the family contains it, but the store has only its hash.
        seal = Seal(self.selector, self.key) if encrypt else None
        return envelope.pack(self.header, payload, self.key, seal_for=seal)

    @classmethod
    def read(cls, selector: str, key: bytes, entry: Entry, *, encrypted: bool, now: int) -> Family | None:
        """Return the token family in an entry. Return None if the family cannot be read or has expired.

        The method checks the expiry again, because a store's clock may be wrong. ``encrypted``: return None also for an
        entry that is not encrypted. ``now``: the present time in seconds since the epoch.
        """
        try:
            header, payload, sealed = envelope.open_header(entry.data, key)
            if header.kind is not EntryKind.REMEMBER_FAMILY or now >= header.deadline:
                return None
            if sealed:
                payload = envelope.unseal(entry.data, payload, Seal(selector, key))
            elif encrypted:
                raise EnvelopeError("the entry is not encrypted, although SESSION_ENCRYPTION is on")
            values = envelope.unpack_values(payload, codec.unpack_key)
            family = cls(selector, key, entry.version, header, *map(codec.unpack, _stored_in({**_LACKING, **values})))
            if not family.is_valid():
                raise EnvelopeError("the token family has fields of the wrong types")
        except (EnvelopeError, codec.CodecError, KeyError) as error:
            tell(
                log.warning,
                "remembered login %s cannot be read, so it is over (%s)",
                public_id(key),
                type(error).__name__,
            )
            return None
        # The family began, or was extended, one lifetime before its deadline. If this time is in the future, the clock
        # was set back. Then the family counts as expired, because it could otherwise live too long.
        return family if is_within(now - header.deadline + family.lifetime, family.lifetime) else None


class NextToken(NamedTuple):
    """The result of the use of a token: the next token for the browser, and the ticket of a new session."""

    token: Secret
    #: The ticket of the session that all requests with the used token share. The first of these requests creates it.
    ticket: Secret
    #: True if the token was not used before this use. False for the use by a parallel request.
    first: bool
    #: The tickets of the sessions that earlier uses of the token led to, and that no browser has shown. The newest
    #: ticket comes first. Empty except after a repeat.
    earlier: tuple[Secret, ...] = ()
    #: The packed value of the session key ``own_keys.UNSHOWN_KEY``, or None if the successor counts as shown.
    unshown: SecretBytes | None = None

    def __repr__(self) -> str:
        return f"<NextToken first={self.first}>"


def new_token(selector: str = "") -> Secret:
    """Return a token with a new secret. ``selector``: the selector of an existing family; "" makes a new selector."""
    return make_token(selector or secrets.token_urlsafe(SELECTOR_BYTES), secrets.token_urlsafe(SECRET_BYTES))


def make_token(selector: str, secret: str) -> Secret:
    """Return the token with this selector and secret."""
    return Secret(f"{selector}.{secret}")


def _pad_name(token: str, repeats: int) -> Secret:
    """Return the text that encrypts a successor. Each successor needs another text, as the pad may be used only once.

    Without a repeat, the text is the token itself, as in earlier versions.
    """
    return Secret(f"{token}:{repeats}" if repeats else token)


def selector_of(token: str) -> Secret:
    """Return the selector in a token. It names the token's family."""
    return Secret(token.partition(".")[0])
