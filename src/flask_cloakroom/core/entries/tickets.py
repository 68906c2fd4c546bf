"""The ticket: what the cookie holds, and what is derived from it. Nothing here is ever logged or stored as it is."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Final

from ...secret import Secret, SecretBytes

#: Random bytes in a ticket. OWASP ASVS 5.0, 7.2.3 asks for 128 bits; 256 leave no need to think about it again.
TICKET_BYTES: Final = 32
#: The least that SESSION_ID_LENGTH may ask for: those 128 bits.
MIN_TICKET_BYTES: Final = 16
#: The most; a longer one adds nothing to SHA-256's 256 bits but bytes on the wire.
MAX_TICKET_BYTES: Final = 64

#: Length of the store's key, a SHA-256.
KEY_BYTES: Final = 32


class Tickets:
    """Issues and reads the tickets of one namespace."""

    def __init__(self, namespace: str, length: int = TICKET_BYTES, *, kind: str = "") -> None:
        """``namespace`` keeps applications on one store apart; ``length`` is in random bytes.

        ``kind`` keeps the sessions of one application apart that it has side by side: letters, digits and "_". Raises
        ValueError for a length outside 16 to 64, or a namespace with a NUL in it.
        """
        if not MIN_TICKET_BYTES <= length <= MAX_TICKET_BYTES:
            raise ValueError(f"must be from {MIN_TICKET_BYTES} to {MAX_TICKET_BYTES}, not {length}")
        if "\0" in namespace:
            raise ValueError("must not contain a NUL character")
        self._length = length
        # The NUL ends the namespace, so that no namespace and ticket can be read as another pair.
        named = b":" + namespace.encode() + b"\0"
        if kind:  # before the colon, where no namespace can stand
            named = b"-of-kind" + named + kind.encode() + b"\0"
        self._namespace = namespace
        self._prefix = b"flask-cloakroom:ticket" + named
        self._owner_prefix = b"flask-cloakroom:owner" + named
        self._family_prefix = b"flask-cloakroom:family" + named
        self._token_prefix = b"flask-cloakroom:remember-token" + named
        self._user_prefix = b"flask-cloakroom:user-data" + named
        #: What the names of all owners in this namespace begin with, and others with odds of 2**-64.
        self.owner_tag = hashlib.sha256(self._owner_prefix).hexdigest()[:16]
        #: A regular expression for what could be one of ours.
        self.pattern = rf"[A-Za-z0-9_-]{{{-(-length * 4 // 3)}}}"
        self._matches = re.compile(self.pattern).fullmatch

    def of_kind(self, kind: str) -> Tickets:
        """Return those of another kind of session in the same namespace: neither's are worth anything as the other."""
        return Tickets(self._namespace, self._length, kind=kind)

    def issue(self) -> Secret:
        """Return a new ticket."""
        return Secret(secrets.token_urlsafe(self._length))

    def plausible(self, text: str) -> bool:
        """Tell whether ``text`` could be one of ours, without asking the store."""
        return self._matches(text) is not None

    def fingerprint(self, ticket: str) -> SecretBytes:
        """Return the store's key for ``ticket``: 32 bytes from which it can't be found again."""
        return SecretBytes(hashlib.sha256(self._prefix + ticket.encode()).digest())

    def family_key(self, selector: str) -> SecretBytes:
        """Return the store's key for a family of remember tokens: 32 bytes from which no token can be made."""
        return SecretBytes(hashlib.sha256(self._family_prefix + selector.encode()).digest())

    def token_digest(self, token: str) -> SecretBytes:
        """Return what is kept of a remember token: 32 bytes."""
        return SecretBytes(hashlib.sha256(self._token_prefix + token.encode()).digest())

    def user_key(self, name: str) -> SecretBytes:
        """Return the store's key for what belongs to the user of this :meth:`owner_name`: 32 bytes.

        No ticket leads there, because what a ticket's key is made of begins differently.
        """
        return SecretBytes(hashlib.sha256(self._user_prefix + name.encode()).digest())

    def owner_name(self, user_id: str) -> str:
        """Return what stands for a user in the store: :attr:`owner_tag` and 32 hexadecimal digits.

        Who knows a user's id and the namespace can compute it: it keeps ids out of what is stored, and is no secret.
        """
        digest = hashlib.sha256(self._owner_prefix + user_id.encode("utf-8", "surrogatepass")).hexdigest()
        return self.owner_tag + digest[:32]


def sealing_key(ticket: str) -> SecretBytes:
    """Return the 32-byte key that seals the payload of this ticket's session. Only the ticket yields it."""
    return SecretBytes(hmac.digest(ticket.encode(), b"flask-cloakroom:payload", "sha256"))


def mask_successor(old: str, ticket: str) -> SecretBytes:
    """Hide ``ticket`` so that only who holds ``old`` can read it; the same call on the result reveals it.

    A one-time pad: an old ticket has one successor, so its pad hides one text, ever.
    """
    return SecretBytes(_xor(ticket.encode(), _pad(old, len(ticket))))


def unmask_successor(old: str, masked: bytes) -> Secret:
    """Undo :func:`mask_successor`. With the wrong ``old`` the result is noise, which no store knows."""
    return Secret(_xor(masked, _pad(old, len(masked))).decode("latin-1"))


def public_id(fingerprint: bytes) -> str:
    """Return the name of a session for logs and pages: 16 hexadecimal digits, from which nothing can be opened."""
    return hashlib.sha256(b"flask-cloakroom:public:" + fingerprint).hexdigest()[:16]


def _pad(old: str, length: int) -> bytes:
    return hashlib.shake_256(b"flask-cloakroom:successor\0" + old.encode()).digest(length)


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left) ^ int.from_bytes(right)).to_bytes(len(left))
