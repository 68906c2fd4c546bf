"""One application's entries in one store: packed and sealed, dated by one clock, compared and set."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from ...errors import ContentionError, SessionTooLargeError
from ...secret import SecretBytes
from ...stores.base import Conflict, Entry, Gone, Saved, Store
from ..values import codec
from ..values.rebase import Values
from . import envelope
from .envelope import EnvelopeError, Header, Seal
from .lifetimes import Lifetimes
from .record import Absence, Record
from .tickets import Tickets, public_id
from .tombstone import OVERLAP_SECONDS, Tombstone

log = logging.getLogger("flask_cloakroom.sessions")

#: How long a write keeps trying before it gives up with ContentionError; seconds. A request that holds a worker for
#: longer does more harm than one that answers 503.
PATIENCE: Final = 5.0
#: The longest wait between two tries, or between two looks at whether another's turn is over; seconds. About what a
#: commit takes.
LONGEST_WAIT: Final = 0.01
#: So many renewals fit into the overlap and are followed by one read: SESSION_RENEW_EVERY is at least a second.
_MOST_RENEWALS: Final = OVERLAP_SECONDS


class Versioned(Protocol):
    """Something as it was read from the store."""

    @property
    def version(self) -> bytes | None:
        """The entry's version; None if nothing is stored."""


V = TypeVar("V", bound=Versioned)


class Namespace:
    """The entries of one application in one store. One object serves all threads of a process."""

    def __init__(
        self,
        store: Store,
        tickets: Tickets,
        *,
        lifetimes: Lifetimes = Lifetimes(),  # noqa: B008  frozen
        encrypt: bool = False,
        max_bytes: int = 1024 * 1024,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``max_bytes`` bounds one entry's stored bytes. ``clock`` returns seconds since the epoch."""
        self.store = store
        self.tickets = tickets
        self.lifetimes = lifetimes
        #: Whether what is stored is sealed (SESSION_ENCRYPTION).
        self.encrypts = encrypt
        self.max_bytes = max_bytes
        self.clock = clock

    # -- time -------------------------------------------------------------------------------------------------

    def now(self) -> int:
        """Return the time in whole seconds since the epoch."""
        return int(self.clock())

    def now_ms(self) -> int:
        """Return the time in milliseconds since the epoch."""
        return int(self.clock() * 1000)

    def is_over(self, header: Header) -> bool:
        """Tell whether a session is over now: :meth:`.Lifetimes.is_over`."""
        return self.lifetimes.is_over(header, self.clock())

    def due(self, record: Record) -> tuple[bool, bool]:
        """Tell what of a session is to be written anew now: :meth:`.Lifetimes.due`."""
        return self.lifetimes.due(record.header, self.clock())

    def remaining(self, header: Header) -> int:
        """Return for how many seconds from now a session may still live: :meth:`.Lifetimes.remaining`."""
        return self.lifetimes.remaining(header, self.clock())

    # -- reading ----------------------------------------------------------------------------------------------

    def load(self, ticket: str) -> Record | Absence:
        """Return the session of a plausible ticket, following a renewal that happened a moment ago.

        Raises :class:`StoreError` when the store is down: then nothing is known, least of all that nobody is
        logged in.
        """
        for _ in range(1 + _MOST_RENEWALS):
            key = self.tickets.fingerprint(ticket)
            entry = self.store.load(key)
            found: Record | Absence | str = Absence.UNKNOWN if entry is None else self.open(ticket, key, entry)
            if not isinstance(found, str):
                return found
            ticket = found
        # A successor may have been renewed in its turn, at most once a second; a longer chain is a forged one.
        return Absence.UNKNOWN

    def open(self, ticket: str, key: bytes, entry: Entry, *, late: bool = False) -> Record | Absence | str:
        """Return the session in ``entry``, why there is none, or the ticket of its successor.

        ``late``: the session was read before, so a renewal's mark leads on for as long as it stands, and not only for
        the overlap.
        """
        try:
            header, payload, sealed = envelope.open_header(entry.data, key)
            if header.superseded:
                return self._follow(ticket, key, Tombstone.opened(header, payload), late)
            if header.belongs or header.remembers:
                raise EnvelopeError("it is no session")
            if self.lifetimes.is_over(header, self.clock()):
                return Absence.UNKNOWN
            if sealed:
                payload = envelope.unseal(entry.data, payload, Seal(ticket, key))
            elif self.encrypts:
                raise EnvelopeError("it is not sealed, and SESSION_ENCRYPTION is on")
            values = envelope.unpack_values(payload, codec.unpack_key)
        except (EnvelopeError, codec.CodecError) as error:
            log.warning("session %s cannot be read (%s); the visitor gets a new one", public_id(key), error)
            return Absence.UNREADABLE
        return Record(ticket, key, entry.version, header, values)

    def _follow(self, ticket: str, key: bytes, tombstone: Tombstone, late: bool) -> Absence | str:
        """Return where the tombstone under ``key`` leads by now."""
        absence = tombstone.absence(self.clock(), late=late)
        if absence is Absence.REUSED:
            log.warning("session %s: a ticket that was renewed long ago came back; it may be a copy", public_id(key))
        if absence is not None:
            return absence
        successor = tombstone.ticket(ticket)
        return successor if self.tickets.plausible(successor) else Absence.UNREADABLE

    # -- writing ----------------------------------------------------------------------------------------------

    def pack(
        self, ticket: str, key: bytes, header: Header, values: Values, before: Record | None = None
    ) -> SecretBytes:
        """Return a session as the bytes to store. ``before`` is the session as it is stored already.

        Raises SessionTooLargeError.
        """
        seal = Seal(ticket, key) if self.encrypts else None
        data = envelope.pack(header, envelope.pack_values(values, codec.pack), key, seal_for=seal)
        if len(data) > self.max_bytes:
            largest = max(values, key=lambda name: len(values[name]))
            size = len(values[largest])
            # One that was stored when the limit was higher can still be read, be used and shrink.
            if before is None or sum(map(len, values.values())) > sum(map(len, before.values.values())):
                raise SessionTooLargeError(len(data), self.max_bytes, largest, size)
        return data

    def replace(self, record: Record, header: Header, values: Values) -> Saved | Conflict | Gone:
        """Write over exactly ``record``, or say what is there now."""
        data = self.pack(record.ticket, record.key, header, values, record)
        ttl = self.lifetimes.remaining(header, self.clock())
        return self.store.replace(record.key, data, ttl, record.version)

    def compare_and_set(
        self,
        key: bytes,
        found: V,
        work: Callable[[V], tuple[V, bytes, int] | None],
        reopen: Callable[[Entry | None], V | None],
    ) -> tuple[V, bytes] | None:
        """Write what ``work`` makes of the entry under ``key``, which was read as ``found``; try until it is stored.

        ``work`` returns what is to be stored, as an object and as bytes, and for how many seconds; it is called again
        for what ``reopen`` makes of another's write. Returns that object and the version that was written; None as soon
        as either returns None. Raises StoreError, and ContentionError after :data:`PATIENCE` seconds.
        """
        deadline, losses = time.monotonic() + PATIENCE, 0
        current: V | None = found
        while current is not None and (wanted := work(current)) is not None:
            made, data, seconds = wanted
            entry: Entry | None
            if current.version is None:
                version = self.store.create(key, data, seconds)
                if version is not None:
                    return made, version
                entry = self.store.load(key)
            else:
                result = self.store.replace(key, data, seconds, current.version)
                if type(result) is Saved:
                    return made, result.version
                entry = result.entry if type(result) is Conflict else None
            current = reopen(entry)
            if time.monotonic() >= deadline:
                raise ContentionError(f"for {PATIENCE:g} s each try to save a user's entry met another one's change")
            losses += 1
            if losses > 1:  # the first race costs nothing but another try
                time.sleep(random.uniform(0, LONGEST_WAIT))  # noqa: S311  spreads the tries, hides nothing
        return None
