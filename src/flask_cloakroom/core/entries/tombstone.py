"""What stands in the place of a session that ended or moved to another ticket.

A tombstone's payload is empty if the session ended. If the session moved, the payload begins with the store's key of
its next entry, by which that can be ended and not be opened. After that key stands

- at a renewal: the next ticket, masked, so that only the old ticket reveals it;
- at a login, with the header's flag ``belongs``: an entry of its own with the visitor's data, which the login was about
  to merge into the user's.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ...secret import Secret, SecretBytes
from ...stores.base import Entry
from ..clock import CLOCK_SKEW, is_within
from . import envelope
from .envelope import EnvelopeError, Header
from .record import Absence
from .tickets import KEY_BYTES, mask_successor, unmask_successor

#: How long a mark stands in the place of a session that ended or changed its privileges: as long as a request that
#: was under way may last. 30 s is gunicorn's default limit for one.
MARK_SECONDS: Final = 30
#: For how long a renewed ticket leads to its successor: the parallel requests of one page.
OVERLAP_SECONDS: Final = 10
#: For how long the use of a renewed ticket is reported as a possible theft.
REPORT_SECONDS: Final = 3600
#: Seconds for which a login's mark keeps what its visitor brought, for a login that is tried again because nobody got
#: the answer to the first. Who is shown an error tries again at once; ten minutes are for those who look for help.
CARRY_SECONDS: Final = 600


class Tombstone(NamedTuple):
    """A tombstone as it was read, or as it is about to be written. Times are seconds since the epoch."""

    created: int
    #: The store's key of the entry that the session moved to; b"" if the session ended.
    successor: bytes = b""
    #: The next ticket, masked with the old one; b"" unless the session was renewed.
    masked_ticket: bytes = b""
    #: The visitor's data as an entry of its own; b"" unless a login was about to merge some.
    carried: bytes = b""

    @classmethod
    def ended(cls, now: int) -> Tombstone:
        """Return that of a session that ends: whoever has its ticket learns that, and nothing else."""
        return cls(now)

    @classmethod
    def rotated(cls, now: int, successor: bytes, carried: bytes = b"") -> Tombstone:
        """Return that of a session whose privileges change: its ticket shows no way to the next one."""
        return cls(now, successor, carried=carried)

    @classmethod
    def renewed(cls, now: int, successor: bytes, old_ticket: str, ticket: str) -> Tombstone:
        """Return that of a session that only gets another ticket: the old one leads there."""
        return cls(now, successor, mask_successor(old_ticket, ticket))

    @classmethod
    def opened(cls, header: Header, payload: bytes) -> Tombstone:
        """Return what :func:`.envelope.open_header` found, whose header is that of a tombstone.

        A payload that is shorter than a key is damaged, and leads nowhere.
        """
        key, rest = SecretBytes(payload[:KEY_BYTES]), SecretBytes(payload[KEY_BYTES:])
        key = key if len(key) == KEY_BYTES else SecretBytes()
        return cls(header.created, key, carried=rest) if header.belongs else cls(header.created, key, rest)

    @classmethod
    def read(cls, key: bytes, entry: Entry) -> Tombstone | None:
        """Return the tombstone that is stored under ``key``; None if that is something else, or cannot be read.

        Raises StoreError for the entry of another key.
        """
        try:
            header, payload, _ = envelope.open_header(entry.data, key)
        except EnvelopeError:
            return None
        return cls.opened(header, payload) if header.superseded else None

    def packed(self, key: bytes) -> tuple[SecretBytes, int]:
        """Return the entry to store under ``key``, and for how many seconds."""
        header = Header(self.created, self.created, self.created, superseded=True, belongs=bool(self.carried))
        seconds = CARRY_SECONDS if self.carried else REPORT_SECONDS if self.masked_ticket else MARK_SECONDS
        return envelope.pack(header, self.successor + self.masked_ticket + self.carried, key), seconds

    def ticket(self, old_ticket: str) -> Secret:
        """Return the next ticket after a renewal. With another ``old_ticket`` the result is noise."""
        return unmask_successor(old_ticket, self.masked_ticket)

    def absence(self, now: float, *, late: bool) -> Absence | None:
        """Return why there is no session for the old ticket by now; None: :meth:`ticket` leads to the session.

        ``late``: the request read the session before it was renewed, so it is led on for as long as the tombstone
        stands, and not only for :data:`OVERLAP_SECONDS`.
        """
        age = now - self.created
        if self.carried:
            return Absence.SUPERSEDED if is_within(age, MARK_SECONDS) else Absence.CARRIES
        if not self.masked_ticket:
            # A store that misses the mark's end, or a clock that was set back, must not keep the visitor out for ever.
            return Absence.SUPERSEDED if is_within(age, MARK_SECONDS + CLOCK_SKEW) else Absence.UNKNOWN
        if late or is_within(age, OVERLAP_SECONDS):
            return None
        return Absence.SUPERSEDED if is_within(age, MARK_SECONDS) else Absence.REUSED
