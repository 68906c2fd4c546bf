"""Read and write one application's entries in one store. A write is a compare-and-set."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from ...errors import ContentionError, SessionTooLargeError, StoreError
from ...first_use import tell
from ...secret import SecretBytes
from ...stores.base import Conflict, Entry, Gone, Saved, Store
from ..values import codec
from ..values.rebase import Values
from . import envelope
from .envelope import EntryKind, EnvelopeError, Header, Seal
from .lifetimes import Lifetimes
from .record import Absence, Record
from .tickets import Tickets, public_id
from .tombstone import TICKET_OVERLAP, Tombstone

log = logging.getLogger("flask_cloakroom.sessions")

#: The time in seconds for which a write is tried again after conflicts. After that it raises ContentionError. A request
#: that occupies a worker for a longer time does more harm than the answer 503.
COMMIT_PATIENCE: Final = 5.0
#: The longest wait between two tries of a write, in seconds: about the duration of one commit.
LONGEST_WAIT: Final = 0.01
#: The largest number of renewals that :meth:`Namespace.load` follows from an old ticket. SESSION_RENEW_EVERY is at
#: least a second, so a session cannot be renewed more often during the overlap.
_MOST_RENEWALS: Final = TICKET_OVERLAP
#: The member EntryKind.SESSION in a variable, because Python 3.11 takes long to find a member in an Enum.
_SESSION: Final = EntryKind.SESSION


class Versioned(Protocol):
    """An object that was read from an entry, such as a session or a token family."""

    @property
    def version(self) -> bytes | None:
        """The version of the entry, or None if the store has no such entry."""


V = TypeVar("V", bound=Versioned)


class Namespace:
    """Reads and writes the entries of one application in one store. One object serves all threads of a process."""

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
        """Set the settings of all entries. ``encrypt``: encrypt the payloads of entries (SESSION_ENCRYPTION).

        ``max_bytes``: the largest size of an entry. ``clock``: returns the present time in seconds since the epoch.
        """
        self.store = store
        self.tickets = tickets
        self.lifetimes = lifetimes
        #: True if the payloads of entries are encrypted (SESSION_ENCRYPTION).
        self.encrypts = encrypt
        self.max_bytes = max_bytes
        self.clock = clock

    # -- time -------------------------------------------------------------------------------------------------

    def now(self) -> int:
        """Return the present time in whole seconds since the epoch."""
        return int(self.clock())

    def now_ms(self) -> int:
        """Return the present time in milliseconds since the epoch."""
        return int(self.clock() * 1000)

    # -- reading ----------------------------------------------------------------------------------------------

    def load(self, ticket: str) -> Record | Absence:
        """Return the session of a ticket, or the reason why it has no session.

        If the session was renewed a moment ago, return the session of the new ticket. ``ticket``: a text with a
        ticket's form. Raises :class:`StoreError` if the store fails. Then it is unknown if the session exists, so the
        caller must not treat the visitor as logged out.
        """
        for _ in range(1 + _MOST_RENEWALS):
            key = self.tickets.fingerprint(ticket)
            entry = self.store.load(key)
            found: Record | Absence | str = Absence.UNKNOWN if entry is None else self.open(ticket, key, entry)
            if not isinstance(found, str):
                return found
            ticket = found
        # A session is renewed at most once a second. So an attacker with access to the store made so many renewals.
        return Absence.UNKNOWN

    def open(self, ticket: str, key: bytes, entry: Entry, *, was_read: bool = False) -> Record | Absence | str:
        """Return the session in an entry. Return the new ticket, a str, if the session was renewed a moment ago.

        Return an :class:`Absence` if the entry has no valid session. ``ticket``, ``key``: the entry's ticket and store
        key. ``was_read``: this request has read the session before; see :meth:`.Tombstone.absence`. Raises StoreError
        if the entry belongs to another store key.
        """
        try:
            header, payload, sealed = envelope.open_header(entry.data, key)
            if header.kind is not _SESSION:
                if header.kind is EntryKind.TOMBSTONE:
                    return self._follow(ticket, key, Tombstone.from_payload(header, payload), was_read)
                raise EnvelopeError("the entry is no session")
            if self.lifetimes.is_over(header, self.clock()):
                return Absence.UNKNOWN
            if sealed:
                payload = envelope.unseal(entry.data, payload, Seal(ticket, key))
            elif self.encrypts:
                raise EnvelopeError("the entry is not encrypted, although SESSION_ENCRYPTION is on")
            values = envelope.unpack_values(payload, codec.unpack_key)
        except (EnvelopeError, codec.CodecError) as error:
            tell(log.warning, "session %s cannot be read (%s). The visitor gets a new session.", public_id(key), error)
            return Absence.UNREADABLE
        return Record(ticket, key, entry.version, header, values)

    def _follow(self, ticket: str, key: bytes, tombstone: Tombstone, was_read: bool) -> Absence | str:
        """Return the successor's ticket, or the reason why the old ticket does not lead to the successor."""
        absence = tombstone.absence(self.clock(), was_read=was_read)
        if absence is Absence.REUSED:
            tell(
                log.warning,
                "session %s: a ticket that was renewed long ago came back. It may be a copy.",
                public_id(key),
            )
        if absence is not None:
            return absence
        successor = tombstone.ticket(ticket)
        return successor if self.tickets.is_plausible(successor) else Absence.UNREADABLE

    # -- writing ----------------------------------------------------------------------------------------------

    def pack(
        self, ticket: str, key: bytes, header: Header, values: Values, before: Record | None = None
    ) -> SecretBytes:
        """Return the bytes of a session's entry. ``before``: the session that these bytes replace; None for a new one.

        Raises SessionTooLargeError if the entry would be larger than ``max_bytes``. The values of ``before`` may have
        been too large already, under a higher limit. Then the error is raised only if the new values are larger.
        """
        seal = Seal(ticket, key) if self.encrypts else None
        data = envelope.pack(header, envelope.pack_values(values, codec.pack), key, seal_for=seal)
        if len(data) > self.max_bytes:
            largest = max(values, key=lambda name: len(values[name]))
            size = len(values[largest])
            # If SESSION_MAX_BYTES was lowered, a session that is too large can still be changed, but must not grow.
            if before is None or sum(map(len, values.values())) > sum(map(len, before.values.values())):
                raise SessionTooLargeError(len(data), self.max_bytes, largest, size)
        return data

    def replace(self, record: Record, header: Header, values: Values) -> Saved | Conflict | Gone:
        """Overwrite a session in the store with a new header and new values. Return the store's result.

        Nothing is written if the session in the store no longer has the version of ``record``. Raises StoreError and
        SessionTooLargeError.
        """
        data = self.pack(record.ticket, record.key, header, values, record)
        return self.replace_entry(record.key, data, self.lifetimes.remaining(header, self.clock()), record.version)

    def create_entry(self, key: bytes, data: bytes, ttl: int) -> bytes | None:
        """Store a new entry, like :meth:`.Store.create`. If the store fails, look up whether it has written.

        Raises StoreError if it has not written, or if that is unknown.
        """
        try:
            return self.store.create(key, data, ttl)
        except StoreError:
            version = self._look_up(key, data)
            if version is None:
                raise
            return version

    def replace_entry(self, key: bytes, data: bytes, ttl: int, version: bytes) -> Saved | Conflict | Gone:
        """Overwrite an entry, like :meth:`.Store.replace`. If the store fails, look up whether it has written.

        Raises StoreError if it has not written, or if that is unknown.
        """
        # A Conflict whose entry has the same bytes is the write of another request, and never an earlier try of this
        # call: RedisStore, which sends a command again, recognizes its own entry by the version.
        try:
            return self.store.replace(key, data, ttl, version)
        except StoreError:
            written = self._look_up(key, data)
            if written is None:
                raise
            return Saved(written)

    def _look_up(self, key: bytes, data: bytes) -> bytes | None:
        """Return the version of the entry under ``key`` if its bytes are ``data``, which this request tried to write.

        Return None if the entry has other bytes or does not exist. Return None also if the store fails again.
        """
        # No other write has the same bytes if an entry has a nonce (SESSION_ENCRYPTION), a random ticket, key or token:
        # the tombstone of a rotation, a token family, and a new session, whose store key is random. Without a nonce,
        # another request may have written the same values in the same second. Then the entry is as this request wants
        # it: a session that ended, or values that are equal. Only a sum then counts one of the two changes, and two
        # requests can get a lock that both asked for in the same millisecond.
        try:
            entry = self.store.load(key)
        except StoreError:
            return None  # the caller raises the error of the write
        return entry.version if entry is not None and entry.data == data else None

    def compare_and_set(
        self,
        key: bytes,
        found: V,
        work: Callable[[V], tuple[V, bytes, int] | None],
        reopen: Callable[[Entry | None], V | None],
    ) -> tuple[V, bytes] | None:
        """Overwrite an entry, and try again after each conflict. Return the new object and its version.

        ``found``: the object that the caller read under ``key``. ``work``: a function that is called for each try. It
        returns the new object, the bytes of its entry, and the seconds after which the entry expires. ``reopen``: a
        function that returns the object in the entry that another request wrote. If one of these functions returns
        None, this method writes nothing more and returns None.

        Raises StoreError, and ContentionError after :data:`COMMIT_PATIENCE` seconds.
        """
        deadline, conflicts = time.monotonic() + COMMIT_PATIENCE, 0
        current: V | None = found
        while current is not None and (wanted := work(current)) is not None:
            new, data, seconds = wanted
            entry: Entry | None
            if current.version is None:
                version = self.create_entry(key, data, seconds)
                if version is not None:
                    return new, version
                entry = self.store.load(key)
            else:
                result = self.replace_entry(key, data, seconds, current.version)
                if type(result) is Saved:
                    return new, result.version
                entry = result.entry if type(result) is Conflict else None
            current = reopen(entry)
            if time.monotonic() >= deadline:
                raise ContentionError(
                    f"Other requests changed a user's entry again and again for {COMMIT_PATIENCE:g} s, so this request "
                    "could not save it. Try the request again."
                )
            conflicts += 1
            if conflicts > 1:  # after the first conflict, a second try without a pause nearly always succeeds
                time.sleep(random.uniform(0, LONGEST_WAIT))  # noqa: S311  no secret: it only spreads the tries
        return None
