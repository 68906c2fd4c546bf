"""The ticket in the session cookie, and the keys and names in the store. No ticket is ever stored or logged."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Final

from ...secret import Secret, SecretBytes

#: Random bytes of a ticket: 256 bits. OWASP ASVS 5.0, 7.2.3, asks for 128.
TICKET_BYTES: Final = 32
#: The smallest value of SESSION_ID_LENGTH: the 128 bits of OWASP ASVS 5.0, 7.2.3.
MIN_TICKET_BYTES: Final = 16
#: The largest value of SESSION_ID_LENGTH. The store's key is a SHA-256 of the ticket, so more bytes add no strength.
MAX_TICKET_BYTES: Final = 64

#: Length of a key in the store: a SHA-256.
KEY_BYTES: Final = 32


class Tickets:
    """Makes tickets, keys and owner names for one namespace."""

    def __init__(self, namespace: str, length: int = TICKET_BYTES, *, kind: str = "") -> None:
        """Raise ValueError if ``length`` is not from 16 to 64, or if ``namespace`` contains a NUL character.

        ``namespace``: separates the applications that share a store. ``length``: random bytes of a ticket. ``kind``:
        separates the user kinds of one application; letters, digits and "_".
        """
        if not MIN_TICKET_BYTES <= length <= MAX_TICKET_BYTES:
            raise ValueError(f"must be from {MIN_TICKET_BYTES} to {MAX_TICKET_BYTES}, not {length}")
        if "\0" in namespace:
            raise ValueError("must not contain a NUL character")
        self._length = length
        # Without the NUL, namespace "ab" with ticket "c" would get the same key as namespace "a" with ticket "bc".
        named = b":" + namespace.encode() + b"\0"
        if kind:  # before the colon, because a namespace only stands after the colon
            named = b"-of-kind" + named + kind.encode() + b"\0"
        self._namespace = namespace
        self._prefix = b"flask-cloakroom:ticket" + named
        self._owner_prefix = b"flask-cloakroom:owner" + named
        self._family_prefix = b"flask-cloakroom:family" + named
        self._token_prefix = b"flask-cloakroom:remember-token" + named
        self._user_prefix = b"flask-cloakroom:user-data" + named
        #: The beginning of all owner names in this namespace. Another namespace has the same one with a probability
        #: of 2**-64.
        self.owner_tag = hashlib.sha256(self._owner_prefix).hexdigest()[:16]
        #: A regular expression for tickets of this length.
        self.pattern = rf"[A-Za-z0-9_-]{{{-(-length * 4 // 3)}}}"
        self._matches = re.compile(self.pattern).fullmatch

    def of_kind(self, kind: str) -> Tickets:
        """Return the tickets of another user kind in the same namespace. No ticket of one kind works for another."""
        return Tickets(self._namespace, self._length, kind=kind)

    def issue(self) -> Secret:
        """Return a new ticket."""
        return Secret(secrets.token_urlsafe(self._length))

    def is_plausible(self, text: str) -> bool:
        """Return whether ``text`` has the form of a ticket, without asking the store."""
        return self._matches(text) is not None

    def fingerprint(self, ticket: str) -> SecretBytes:
        """Return the key of a ticket's session in the store: 32 bytes. The ticket cannot be computed from the key."""
        return SecretBytes(hashlib.sha256(self._prefix + ticket.encode()).digest())

    def family_key(self, selector: str) -> SecretBytes:
        """Return the key of a token family in the store: 32 bytes. No token can be computed from the key."""
        return SecretBytes(hashlib.sha256(self._family_prefix + selector.encode()).digest())

    def token_digest(self, token: str) -> SecretBytes:
        """Return the stored digest of a remember token: 32 bytes."""
        return SecretBytes(hashlib.sha256(self._token_prefix + token.encode()).digest())

    def user_key(self, name: str) -> SecretBytes:
        """Return the key of a user's data in the store: 32 bytes. ``name``: the user's :meth:`owner_name`."""
        return SecretBytes(hashlib.sha256(self._user_prefix + name.encode()).digest())

    def owner_name(self, user_id: str) -> str:
        """Return the name of a user in the store: :attr:`owner_tag` and 32 hexadecimal digits.

        The name keeps user ids out of the store. It is no secret: anybody can compute it from the user id and the
        namespace.
        """
        digest = hashlib.sha256(self._owner_prefix + user_id.encode("utf-8", "surrogatepass")).hexdigest()
        return self.owner_tag + digest[:32]


def sealing_key(ticket: str) -> SecretBytes:
    """Return the 32-byte key that encrypts the payload of a ticket's session. Only the ticket yields this key."""
    return SecretBytes(hmac.digest(ticket.encode(), b"flask-cloakroom:payload", "sha256"))


def mask_successor(old: str, ticket: str) -> SecretBytes:
    """Return ``ticket`` encrypted with the old ticket, so that only the holder of ``old`` can read it.

    The encryption is a one-time pad. It is safe because an old ticket has only one successor.
    """
    return SecretBytes(_xor(ticket.encode(), _pad(old, len(ticket))))


def unmask_successor(old: str, masked: bytes) -> Secret:
    """Return the ticket that :func:`mask_successor` encrypted. A wrong ``old`` yields random characters."""
    return Secret(_xor(masked, _pad(old, len(masked))).decode("latin-1"))


def public_id(fingerprint: bytes) -> str:
    """Return a session's public id for logs and pages: 16 hexadecimal digits. It opens nothing."""
    return hashlib.sha256(b"flask-cloakroom:public:" + fingerprint).hexdigest()[:16]


def _pad(old: str, length: int) -> bytes:
    return hashlib.shake_256(b"flask-cloakroom:successor\0" + old.encode()).digest(length)


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left) ^ int.from_bytes(right)).to_bytes(len(left))
