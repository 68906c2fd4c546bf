"""Make tickets for the session cookie, and compute store keys and owner names. No ticket is ever stored or logged."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Final

from ...secret import Secret, SecretBytes

#: Length of a ticket in random bytes, by default. It gives 256 bits. OWASP ASVS 5.0, 7.2.3, asks for at least 128 bits.
TICKET_BYTES: Final = 32
#: The smallest value of SESSION_ID_LENGTH: 128 bits, as OWASP ASVS 5.0, 7.2.3 asks for.
MIN_TICKET_BYTES: Final = 16
#: The largest value of SESSION_ID_LENGTH. A store key has only 32 bytes, so a longer ticket would not be safer.
MAX_TICKET_BYTES: Final = 64

#: Length of a store key in bytes. Each store key is a SHA-256 hash.
KEY_BYTES: Final = 32


class Tickets:
    """Makes tickets, store keys and owner names for one namespace."""

    def __init__(self, namespace: str, length: int = TICKET_BYTES, *, kind: str = "") -> None:
        """Set the namespace and the length of tickets.

        ``namespace``: a text that is different for each application that uses the store. ``length``: the length of a
        ticket in random bytes, from 16 to 64. ``kind``: the name of a user kind, of letters, digits and "_"; "" for the
        default realm.

        Raises ValueError for a ``length`` outside of these limits, and for a NUL character in ``namespace``.
        """
        if not MIN_TICKET_BYTES <= length <= MAX_TICKET_BYTES:
            raise ValueError(f"the length is {length}. Give a length from {MIN_TICKET_BYTES} to {MAX_TICKET_BYTES}.")
        if "\0" in namespace:
            raise ValueError("the namespace contains a NUL character. Remove this character.")
        self._length = length
        # Without the NUL, namespace "ab" with ticket "c" would have the store key of namespace "a" with ticket "bc".
        named = b":" + namespace.encode() + b"\0"
        if kind:  # "-of-kind" is before the colon, so that no namespace can make the same prefix as a user kind
            named = b"-of-kind" + named + kind.encode() + b"\0"
        self._namespace = namespace
        self._prefix = b"flask-cloakroom:ticket" + named
        self._owner_prefix = b"flask-cloakroom:owner" + named
        self._family_prefix = b"flask-cloakroom:family" + named
        self._token_prefix = b"flask-cloakroom:remember-token" + named
        self._user_prefix = b"flask-cloakroom:user-data" + named
        #: The beginning of all owner names in this namespace. It shows which namespace an entry belongs to. Two
        #: namespaces have the same beginning with a probability of 2**-64.
        self.owner_tag = hashlib.sha256(self._owner_prefix).hexdigest()[:16]
        #: A regular expression for tickets of this length.
        self.pattern = rf"[A-Za-z0-9_-]{{{-(-length * 4 // 3)}}}"
        self._matches = re.compile(self.pattern).fullmatch

    def of_kind(self, kind: str) -> Tickets:
        """Return a new object for another user kind in the same namespace. A ticket is valid for one kind only."""
        return Tickets(self._namespace, self._length, kind=kind)

    def issue(self) -> Secret:
        """Return a new ticket."""
        return Secret(secrets.token_urlsafe(self._length))

    def is_plausible(self, text: str) -> bool:
        """Return True if ``text`` has the form of a ticket. The store is not used, so the session may not exist."""
        return self._matches(text) is not None

    def fingerprint(self, ticket: str) -> SecretBytes:
        """Return the store key of a ticket's session: 32 bytes. The ticket cannot be computed from the store key."""
        return SecretBytes(hashlib.sha256(self._prefix + ticket.encode()).digest())

    def family_key(self, selector: str) -> SecretBytes:
        """Return the store key of a token family: 32 bytes. No token can be computed from the store key."""
        return SecretBytes(hashlib.sha256(self._family_prefix + selector.encode()).digest())

    def token_digest(self, token: str) -> SecretBytes:
        """Return the digest of a remember token, which the entry of its family contains: 32 bytes."""
        return SecretBytes(hashlib.sha256(self._token_prefix + token.encode()).digest())

    def user_key(self, name: str) -> SecretBytes:
        """Return the store key of a user's data: 32 bytes. ``name``: the user's :meth:`owner_name`."""
        return SecretBytes(hashlib.sha256(self._user_prefix + name.encode()).digest())

    def owner_name(self, user_id: str) -> str:
        """Return the name of a user in the store: :attr:`owner_tag` and 32 hexadecimal digits.

        The store has this hash and not the user id. The name is no secret, because everybody who knows the user id and
        the namespace can compute it.
        """
        digest = hashlib.sha256(self._owner_prefix + user_id.encode("utf-8", "surrogatepass")).hexdigest()
        return self.owner_tag + digest[:32]


def sealing_key(ticket: str) -> SecretBytes:
    """Return the secret key that encrypts the payload of a ticket's session: 32 bytes, computed from the ticket."""
    return SecretBytes(hmac.digest(ticket.encode(), b"flask-cloakroom:payload", "sha256"))


def mask_successor(old: str, ticket: str) -> SecretBytes:
    """Return ``ticket`` encrypted with the old ticket, so that only a browser with the old ticket can read it.

    The encryption is a one-time pad. It is safe, because each old ticket encrypts only one new ticket.
    """
    return SecretBytes(_xor(ticket.encode(), _pad(old, len(ticket))))


def unmask_successor(old: str, masked: bytes) -> Secret:
    """Return the ticket that :func:`mask_successor` encrypted. A wrong ``old`` yields random characters."""
    return Secret(_xor(masked, _pad(old, len(masked))).decode("latin-1"))


def public_id(fingerprint: bytes) -> str:
    """Return the public id of the entry with this store key: 16 hexadecimal digits for logs and pages."""
    return hashlib.sha256(b"flask-cloakroom:public:" + fingerprint).hexdigest()[:16]


def _pad(old: str, length: int) -> bytes:
    return hashlib.shake_256(b"flask-cloakroom:successor\0" + old.encode()).digest(length)


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left) ^ int.from_bytes(right)).to_bytes(len(left))
