"""The tombstone of a session that ended or moved to another ticket.

A tombstone's payload is empty if the session ended. If the session moved, the payload begins with the key of its
successor. That key is enough to end the successor, and it does not open the successor. After the key follows

- at a renewal: the next ticket, encrypted with the old one;
- at a login, with the header's flag ``carries``: an entry of its own with the visitor's data, which the login was about
  to merge into the user's data.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ...secret import Secret, SecretBytes
from ...stores.base import Entry
from ..clock import CLOCK_SKEW, is_within
from . import envelope
from .envelope import EntryKind, EnvelopeError, Header
from .record import Absence
from .tickets import KEY_BYTES, mask_successor, unmask_successor

#: Seconds that a tombstone of an ended or rotated session stays. It must outlast the requests that began before.
#: gunicorn ends a request after 30 seconds by default.
TOMBSTONE_SECONDS: Final = 30
#: Seconds after a renewal in which the old ticket leads to the successor: enough for one page's parallel requests.
TICKET_OVERLAP: Final = 10
#: Seconds after a renewal in which a use of the old ticket is reported as a possible theft.
REPORT_SECONDS: Final = 3600
#: Seconds that a login's tombstone keeps the visitor's data, so that a second login can merge the data if the response
#: of the first one got lost. A user who sees an error page tries again at once. Ten minutes are for users who first
#: look for help.
CARRY_SECONDS: Final = 600


class Tombstone(NamedTuple):
    """A tombstone as it was read, or as it will be written."""

    #: When the session ended or moved, in seconds since the epoch.
    created: int
    #: The key of the entry to which the session moved; b"" if the session ended.
    successor: bytes = b""
    #: The next ticket, encrypted with the old one; b"" unless the session was renewed.
    masked_ticket: bytes = b""
    #: The visitor's data as an entry of its own; b"" unless a login was about to merge some.
    carried: bytes = b""

    @classmethod
    def ended(cls, now: int) -> Tombstone:
        """Return the tombstone of a session that ends."""
        return cls(now)

    @classmethod
    def rotated(cls, now: int, successor: bytes, carried: bytes = b"") -> Tombstone:
        """Return the tombstone of a session that rotates. The old ticket does not lead to the new one."""
        return cls(now, successor, carried=carried)

    @classmethod
    def renewed(cls, now: int, successor: bytes, old_ticket: str, ticket: str) -> Tombstone:
        """Return the tombstone of a session that is renewed. The old ticket leads to the new one."""
        return cls(now, successor, mask_successor(old_ticket, ticket))

    @classmethod
    def from_payload(cls, header: Header, payload: bytes) -> Tombstone:
        """Return the tombstone with this header and payload. A payload shorter than a key is damaged: no successor."""
        key, rest = SecretBytes(payload[:KEY_BYTES]), SecretBytes(payload[KEY_BYTES:])
        key = key if len(key) == KEY_BYTES else SecretBytes()
        return cls(header.created, key, carried=rest) if header.carries else cls(header.created, key, rest)

    @classmethod
    def read(cls, key: bytes, entry: Entry) -> Tombstone | None:
        """Return the tombstone in an entry; None if the entry is something else, or cannot be read.

        Raises StoreError if the entry is stored under another key than ``key``.
        """
        try:
            header, payload, _ = envelope.open_header(entry.data, key)
        except EnvelopeError:
            return None
        return cls.from_payload(header, payload) if header.kind is EntryKind.TOMBSTONE else None

    def pack(self, key: bytes) -> tuple[SecretBytes, int]:
        """Return the bytes to store under ``key``, and for how many seconds."""
        carries = bool(self.carried)
        header = Header(self.created, self.created, self.created, kind=EntryKind.TOMBSTONE, carries=carries)
        seconds = CARRY_SECONDS if carries else REPORT_SECONDS if self.masked_ticket else TOMBSTONE_SECONDS
        return envelope.pack(header, self.successor + self.masked_ticket + self.carried, key), seconds

    def ticket(self, old_ticket: str) -> Secret:
        """Return the next ticket after a renewal. A wrong ``old_ticket`` yields random characters."""
        return unmask_successor(old_ticket, self.masked_ticket)

    def absence(self, now: float, *, was_read: bool) -> Absence | None:
        """Return why the old ticket has no session at the time ``now``; None if :meth:`ticket` leads to the session.

        ``was_read``: the request read the session before the renewal. Then the old ticket leads to the new one for as
        long as the tombstone exists, and not only for :data:`TICKET_OVERLAP` seconds.
        """
        age = now - self.created
        if self.carried:
            return Absence.SUPERSEDED if is_within(age, TOMBSTONE_SECONDS) else Absence.CARRIES
        if not self.masked_ticket:
            # The store may miss the expiry, or the clock was set back. Without this check the visitor would get no
            # session for as long as the tombstone exists.
            return Absence.SUPERSEDED if is_within(age, TOMBSTONE_SECONDS + CLOCK_SKEW) else Absence.UNKNOWN
        if was_read or is_within(age, TICKET_OVERLAP):
            return None
        return Absence.SUPERSEDED if is_within(age, TOMBSTONE_SECONDS) else Absence.REUSED
