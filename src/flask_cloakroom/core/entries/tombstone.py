"""The tombstone of a session that ended or moved to another ticket.

A tombstone's payload is empty if the session ended. If the session moved, the payload begins with the store key of the
successor. With this store key, code can end the successor but cannot open it. After the store key follows

- at a renewal: the next ticket, encrypted with the old ticket;
- at a login, if the header has the flag ``carries``: the bytes of another entry with the visitor's data. The login was
  about to merge these data into the user's data.
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

#: The lifetime in seconds of a tombstone of an ended or rotated session. The tombstone must exist until all requests
#: that began before have ended. gunicorn ends a request after 30 seconds by default.
TOMBSTONE_SECONDS: Final = 30
#: The time in seconds after a renewal for which the old ticket leads to the successor. This is enough for the parallel
#: requests of one page.
TICKET_OVERLAP: Final = 10
#: The time in seconds after a renewal for which the use of the old ticket is reported as a possible theft.
REPORT_SECONDS: Final = 3600
#: The lifetime in seconds of a login's tombstone with carried data. If the response of a login was lost, a second login
#: can merge the visitor's data during this time. Most users try again within seconds. Ten minutes are for users who
#: first ask for help.
CARRY_SECONDS: Final = 600


class Tombstone(NamedTuple):
    """The content of a tombstone that was read from the store or will be written to it."""

    #: The time at which the session ended or moved, in seconds since the epoch.
    created: int
    #: The store key of the successor, or b"" if the session ended.
    successor: bytes = b""
    #: The next ticket, encrypted with the old ticket, if the session was renewed. Otherwise b"".
    masked_ticket: bytes = b""
    #: The carried data, as the bytes of another entry, if a login was about to merge visitor data. Otherwise b"".
    carried: bytes = b""

    @classmethod
    def ended(cls, now: int) -> Tombstone:
        """Return the tombstone of a session that ends. ``now``: the present time in seconds since the epoch."""
        return cls(now)

    @classmethod
    def rotated(cls, now: int, successor: bytes, carried: bytes = b"") -> Tombstone:
        """Return the tombstone of a session that rotates. The old ticket does not lead to the new ticket."""
        return cls(now, successor, carried=carried)

    @classmethod
    def renewed(cls, now: int, successor: bytes, old_ticket: str, ticket: str) -> Tombstone:
        """Return the tombstone of a session that is renewed. The old ticket leads to the new ticket."""
        return cls(now, successor, mask_successor(old_ticket, ticket))

    @classmethod
    def from_payload(cls, header: Header, payload: bytes) -> Tombstone:
        """Return the tombstone with this header and payload.

        If the payload is shorter than a store key, it is damaged. Then the tombstone has no successor.
        """
        key, rest = SecretBytes(payload[:KEY_BYTES]), SecretBytes(payload[KEY_BYTES:])
        key = key if len(key) == KEY_BYTES else SecretBytes()
        return cls(header.created, key, carried=rest) if header.carries else cls(header.created, key, rest)

    @classmethod
    def read(cls, key: bytes, entry: Entry) -> Tombstone | None:
        """Return the tombstone in an entry. Return None if the entry is no tombstone or cannot be read.

        Raises StoreError if the entry belongs to another store key than ``key``.
        """
        try:
            header, payload, _ = envelope.open_header(entry.data, key)
        except EnvelopeError:
            return None
        return cls.from_payload(header, payload) if header.kind is EntryKind.TOMBSTONE else None

    def pack(self, key: bytes) -> tuple[SecretBytes, int]:
        """Return the bytes to store under ``key``, and the number of seconds after which this entry shall expire."""
        carries = bool(self.carried)
        header = Header(self.created, self.created, self.created, kind=EntryKind.TOMBSTONE, carries=carries)
        seconds = CARRY_SECONDS if carries else REPORT_SECONDS if self.masked_ticket else TOMBSTONE_SECONDS
        return envelope.pack(header, self.successor + self.masked_ticket + self.carried, key), seconds

    def ticket(self, old_ticket: str) -> Secret:
        """Return the ticket of the renewed session, decrypted. A wrong ``old_ticket`` yields random characters."""
        return unmask_successor(old_ticket, self.masked_ticket)

    def absence(self, now: float, *, was_read: bool) -> Absence | None:
        """Return the reason why the old ticket has no session. Return None if :meth:`ticket` gives its new ticket.

        ``now``: the present time in seconds since the epoch. ``was_read``: this request read the session before the
        renewal. Then the old ticket leads to the new ticket as long as the tombstone exists, and not only for
        :data:`TICKET_OVERLAP` seconds.
        """
        age = now - self.created
        if self.carried:
            return Absence.SUPERSEDED if is_within(age, TOMBSTONE_SECONDS) else Absence.CARRIES
        if not self.masked_ticket:
            # The store may delete an expired tombstone too late, or the clock was set back. Without this check the
            # visitor would get no session as long as the tombstone exists.
            return Absence.SUPERSEDED if is_within(age, TOMBSTONE_SECONDS + CLOCK_SKEW) else Absence.UNKNOWN
        if was_read or is_within(age, TICKET_OVERLAP):
            return None
        return Absence.SUPERSEDED if is_within(age, TOMBSTONE_SECONDS) else Absence.REUSED
