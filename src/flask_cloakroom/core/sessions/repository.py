"""Sessions in a store, without Flask: load, commit, rotate, destroy, lock. For requests, workers and commands alike.

Every write is a compare-and-set against the version that was read. Where it fails, what stands there now decides:
another version is merged with, a mark of the end is obeyed.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from ...errors import LockLostError, SessionTooLargeError, StoreError
from ...secret import Secret, SecretBytes, hidden
from ...stores.base import Conflict, Entry, Gone, Purges, Saved, Store
from ..clock import CLOCK_SKEW, is_within
from ..entries import envelope
from ..entries.envelope import EnvelopeError, Header, Seal
from ..entries.record import Absence, Committed, Lifetimes, Record
from ..entries.tickets import KEY_BYTES, Tickets, mask_successor, public_id, unmask_successor
from ..user_data.repository import UserData, UserDataSettings
from ..user_data.visitor import LEFT_SECONDS, Left, open_left, pack_left
from ..values import codec
from ..values.merge import Strategy
from ..values.rebase import Changes, Values
from .commit import Editor, Merger
from .ending import end_entry, successor_in
from .lease import check_fence, take_lease
from .owners import Begun, OwnerIndex, Ownership, SessionLimit
from .remember_families import Families

log = logging.getLogger("flask_cloakroom.sessions")


#: How long a mark stands in the place of a session that ended or changed its privileges: as long as a request that
#: was under way may last. 30 s is gunicorn's default limit for one.
MARK_SECONDS: Final = 30
#: For how long a renewed ticket leads to its successor: the parallel requests of one page.
OVERLAP_SECONDS: Final = 10
#: So many renewals fit into that time and are followed by one read: SESSION_RENEW_EVERY is at least a second.
_MOST_RENEWALS: Final = OVERLAP_SECONDS
#: For how long the use of a renewed ticket is reported as a possible theft.
REPORT_SECONDS: Final = 3600

#: One in so many created sessions pays for purging up to so many expired ones, where the store needs that. More are
#: purged than created, so the store shrinks to what is alive, and no request waits for more than one short batch.
PURGE_EVERY: Final = 32
PURGE_BATCH: Final = 100


class Repository:
    """The sessions of one namespace in one store. One object serves all threads of a process."""

    def __init__(
        self,
        store: Store,
        tickets: Tickets,
        *,
        lifetimes: Lifetimes = Lifetimes(),  # noqa: B008  frozen
        strategies: Mapping[Any, Strategy] | None = None,
        encrypt: bool = False,
        max_bytes: int = 1024 * 1024,
        limit: SessionLimit | None = None,
        user_data: UserDataSettings = UserDataSettings(),  # noqa: B008  frozen
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``strategies`` maps top-level keys to how they merge; ``max_bytes`` bounds one session's stored bytes.

        ``limit`` is how many sessions each user may have; None is no limit. ``user_data`` is of what belongs to users.
        """
        self.store = store
        self.tickets = tickets
        self.lifetimes = lifetimes
        self.strategies = dict(strategies or {})
        #: Whether what is stored is sealed (SESSION_ENCRYPTION).
        self.encrypts = encrypt
        self.max_bytes = max_bytes
        self._clock = clock
        #: Which sessions belong to whom.
        self.owners = OwnerIndex(self, limit)
        #: What remembers a login when its session is over.
        self.families = Families(self)
        #: What belongs to users and outlives their sessions.
        self.user_data = UserData(self, user_data)
        self._until_purge = random.randint(1, PURGE_EVERY)  # noqa: S311  so that workers take turns

    # -- reading ------------------------------------------------------------------------------------------

    def load(self, ticket: str) -> Record | Absence:
        """Return the session of a plausible ticket, following a renewal that happened a moment ago.

        Raises :class:`StoreError` when the store is down: then nothing is known, least of all that nobody is
        logged in.
        """
        found = self._load(ticket)
        links = 0
        while isinstance(found, str):
            # A successor may have been renewed in its turn, at most once a second; a longer chain is a forged one.
            links += 1
            found = self._load(found) if links <= _MOST_RENEWALS else Absence.UNKNOWN
        return found

    def _load(self, ticket: str) -> Record | Absence | str:
        key = self.tickets.fingerprint(ticket)
        entry = self.store.load(key)
        return Absence.UNKNOWN if entry is None else self.open(ticket, key, entry)

    def open(self, ticket: str, key: bytes, entry: Entry, *, late: bool = False) -> Record | Absence | str:
        """Return the session in ``entry``, why there is none, or the ticket of its successor.

        ``late``: the session was read before, so a renewal's mark leads on for as long as it stands, and not only for
        the overlap.
        """
        try:
            header, payload, sealed = envelope.open_header(entry.data, key)
            if header.superseded:
                age = self._clock() - header.created
                if header.belongs:
                    return Absence.SUPERSEDED if is_within(age, MARK_SECONDS) else Absence.LEFT
                return self._follow(ticket, key, age, payload, late)
            if header.belongs or header.remembers:
                raise EnvelopeError("it is no session")
            if self.is_over(header):
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

    def _follow(self, ticket: str, key: bytes, age: float, payload: bytes, late: bool) -> Absence | str:
        """Return where the mark under ``key`` leads, which is ``age`` seconds old."""
        masked = payload[KEY_BYTES:]
        if not masked:
            # A store that misses the mark's end, or a clock that was set back, must not keep the visitor out for ever.
            return Absence.SUPERSEDED if is_within(age, MARK_SECONDS + CLOCK_SKEW) else Absence.UNKNOWN
        if late or is_within(age, OVERLAP_SECONDS):
            successor = unmask_successor(ticket, masked)
            return successor if self.tickets.plausible(successor) else Absence.UNREADABLE
        if is_within(age, MARK_SECONDS):
            return Absence.SUPERSEDED
        log.warning("session %s: a ticket that was renewed long ago came back; it may be a copy", public_id(key))
        return Absence.REUSED

    def now_ms(self) -> int:
        """Return the time in milliseconds since the epoch."""
        return int(self._clock() * 1000)

    def is_over(self, header: Header) -> bool:
        """Check the deadlines here too, so that a store that loses an expiry cannot lengthen a session.

        A session that was last seen in the future stays, because a clock that was set back must not log everybody out;
        :meth:`due` has that time written anew. One that began in the future is over if there is an absolute lifetime,
        because nobody knows how much of that has passed.
        """
        now = int(self._clock())
        if now > header.seen + self.lifetimes.idle or (header.deadline and now > header.deadline):
            return True
        return self.lifetimes.absolute is not None and not is_within(now - header.created, self.lifetimes.absolute)

    def due(self, record: Record) -> tuple[bool, bool]:
        """Tell whether "last seen" should be written anew, and whether the ticket should be renewed."""
        header, lifetimes = record.header, self.lifetimes
        now = self._clock()
        unseen, age, every = now - header.seen, now - header.renewed, lifetimes.renew_every
        # A time in the future is written anew as well, or it would stay there until the clock has reached it.
        stale = unseen >= lifetimes.refresh_after or unseen < -CLOCK_SKEW
        return stale, every is not None and (age >= every or age < -CLOCK_SKEW)

    def remaining(self, header: Header) -> int:
        """Return for how many whole seconds, rounded up, the session may still live; at least 1."""
        idle = self.lifetimes.idle
        left = header.seen + idle + 1 - int(self._clock())
        if header.deadline:
            left -= max(0, header.seen + idle - header.deadline)
        return idle if left > idle else max(1, left)

    # -- writing ------------------------------------------------------------------------------------------

    def create(self, values: Mapping[Any, bytes], *, permanent: bool = True, begun: Begun | None = None) -> Record:
        """Store a new session under a new ticket. ``begun``: see :meth:`.owners.OwnerIndex.describe`.

        Raises SessionTooLargeError, SessionLimitError, StoreError.
        """
        values = hidden(values)
        record = self._create(self._first_header(values, permanent, begun), values)
        self._purge_sometimes()
        return record

    def create_at(
        self, ticket: str, values: Mapping[Any, bytes], *, permanent: bool = True, begun: Begun | None = None
    ) -> Record | None:
        """Store a new session under this ticket; None if there is one, or was one a moment ago. Raises the same."""
        values = hidden(values)
        return self._create_at(Secret(ticket), self._first_header(values, permanent, begun), values, "")

    def _first_header(self, values: Mapping[Any, bytes], permanent: bool, begun: Begun | None) -> Header:
        now = int(self._clock())
        absolute = self.lifetimes.absolute
        deadline = 0 if absolute is None else now + absolute
        owner = self.owners.describe(dict(values), "", begun)
        return Header(now, now, now, deadline, permanent=permanent, owner=owner)

    def _create(self, header: Header, values: Values, moves: str = "") -> Record:
        for _ in range(2):  # once in 2**63 sessions a new ticket finds its place taken
            ticket = self.tickets.issue()
            record = self._create_at(ticket, header, values, moves)
            if record is not None:
                return record
            key = self.tickets.fingerprint(ticket)
            if header.owner and (entry := self.store.load(key)) and successor_in(key, entry) is not None:
                # Ended before it began, as if a moment later: the next request finds that out.
                return Record(ticket, key, b"", header, values)
        raise StoreError("the store refuses every new session as if it were there already")

    def _create_at(self, ticket: str, header: Header, values: Values, moves: str) -> Record | None:
        key = self.tickets.fingerprint(ticket)
        data = self._pack(ticket, key, header, values)
        began = time.monotonic()
        if header.owner:
            self.owners.admit(header, key, moves)
        version = self.store.create(key, data, self.remaining(header))
        if version is None:
            owner = Ownership.parse(header.owner)
            if owner is not None and (entry := self.store.load(key)) and successor_in(key, entry) is not None:
                # Ended before it began: by a limit, perhaps, that knew of no more than its claim.
                self.families.end_login(owner.name, owner.handle)
            return None
        record = Record(ticket, key, version, header, values)
        if header.owner and time.monotonic() - began > MARK_SECONDS:
            # By now the mark of somebody who wanted to end it may have gone again.
            self.withdraw(record)
            raise StoreError("the store took too long to begin a session")
        return record

    def commit(
        self,
        record: Record,
        changes: Changes,
        *,
        permanent: bool | None = None,
        seen: bool = False,
        release: bool = False,
    ) -> Committed | None:
        """Write ``changes`` over what is stored now, merging with what others wrote since ``record`` was read.

        ``seen`` writes "last seen" anew, ``permanent`` the kind of cookie, ``release`` gives a lock back. None
        means that the session is gone, and that nothing was written.

        Raises SessionTooLargeError, LockLostError (with ``release``), ContentionError, StoreError.
        """
        merger = Merger(self, record, changes)
        if not record.header.turn_until:
            # The first try, which nearly always is the only one, on as short a way as there is.
            header = record.header
            if seen or release or permanent is not None:
                header = self._next_header(header, permanent, seen, release)
            if seen and header.owner:
                self.owners.keep(header, record.key)
            values = merger.values
            data = self._pack(record.ticket, record.key, header, values, record)
            result = self.store.replace(record.key, data, self.remaining(header), record.version)
            if type(result) is Saved:
                return Committed(Record(record.ticket, record.key, result.version, header, values), False, ())
            if not merger.lose_to(result):
                return None
        return self._commit(merger, permanent, seen, record.header.fence if release else None)

    def edit(self, record: Record, edit: Callable[[Values], Changes]) -> Committed | None:
        """Write what ``edit`` makes of the values that are stored now: a read and a write that nothing comes between.

        ``edit`` is called again for each try. ``merged`` of the answer says that others had written since ``record``
        was read. None: the session is gone. Raises SessionTooLargeError, ContentionError, StoreError.
        """
        return self._commit(Editor(self, record, edit), None, False)

    def _commit(self, merger: Merger, permanent: bool | None, seen: bool, fence: int | None = None) -> Committed | None:
        """Try until it is in. ``fence``, of a lock's holder, must still be the session's; then the lock is released."""
        while merger.ready():
            check_fence(merger.record, fence)
            base, header = merger.record, self._next_header(merger.header, permanent, seen, fence is not None)
            if seen and header.owner:
                self.owners.keep(header, base.key)
            result = self.replace(base, header, merger.values)
            if type(result) is Saved:
                saved = Record(base.ticket, base.key, result.version, header, merger.values)
                return Committed(saved, merger.merged, merger.contested)
            if not merger.lose_to(result):
                break
        return None

    def _next_header(self, header: Header, permanent: bool | None, seen: bool, release: bool) -> Header:
        if seen:
            now = int(self._clock())
            # Another server's clock may be a little ahead of this one's.
            header = header._replace(seen=header.seen if 0 < header.seen - now <= CLOCK_SKEW else now)
        if permanent is not None:
            header = header._replace(permanent=permanent)
        if release:
            header = header._replace(lease_until=0)
        return header

    def replace(self, record: Record, header: Header, values: Values) -> Saved | Conflict | Gone:
        """Write over exactly ``record``, or say what is there now."""
        data = self._pack(record.ticket, record.key, header, values, record)
        return self.store.replace(record.key, data, self.remaining(header), record.version)

    def rotate(
        self,
        record: Record,
        changes: Changes,
        *,
        permanent: bool | None = None,
        seen: bool = True,
        renewal: bool = False,
        fence: int | None = None,
        begun: Begun | None = None,
        ticket: str | None = None,
    ) -> Committed | None:
        """Move the session, with ``changes``, to a new ticket: to ``ticket``, if nothing is there. None: it is gone,
        and so is the new one.

        If its user changes, it is the new one's from here on, with ``begun`` (see :meth:`.owners.OwnerIndex.describe`).
        Raises SessionLimitError if that is one too many; then nothing was written.

        ``fence``, of a lock's holder, must still be the session's; else LockLostError. The lock ends with the ticket.

        At a change of privilege the old ticket is dead at once, and its mark shows no way to the new session. At a
        renewal the mark leads there for :data:`OVERLAP_SECONDS`; of requests that renew at the same time one does, and
        the others commit to what it made.
        """
        made: Record | None = None
        merger = Merger(self, record, changes)
        while merger.ready():
            old = merger.record
            try:
                check_fence(old, fence)
            except LockLostError:
                if made is not None:
                    self.withdraw(made)
                raise
            owner = self.owners.describe(merger.values, merger.header.owner, begun)
            header = self._next_header(merger.header, permanent, seen, not renewal)
            header = header._replace(renewed=int(self._clock()), owner=owner)
            made = self._place(made, header, merger.values, old.header.owner, ticket)
            # The old entry decides: whoever replaces it first has ended or moved the session. Should the store fail
            # here, the new entry stays, because the mark that leads to it may have been written.
            left = b"" if renewal else pack_left(old, header.owner, merger.values, encrypt=self.encrypts)
            mark, ttl = self.mark(old.key, made, old.ticket if renewal else None, left)
            result = self.store.replace(old.key, mark, ttl, old.version)
            if type(result) is Saved:
                self.owners.release(old.header, old.key)
                return Committed(made, merger.merged, merger.contested)
            if not merger.lose_to(result):
                break
            if renewal and merger.record.ticket != record.ticket:
                self.withdraw(made)
                return self._commit(merger, permanent, seen)
        if made is not None:
            self.withdraw(made)
        return None

    def withdraw(self, made: Record) -> None:
        """Delete what was created a moment ago and whose ticket nobody has got."""
        try:
            self.store.delete(made.key)
        except StoreError as error:
            # Nobody has its ticket, so it can only expire.
            log.warning("session %s could not be withdrawn: %s", made.sid, error)
            return
        self.owners.release(made.header, made.key)

    def _place(
        self, made: Record | None, header: Header, values: Values, moves: str, ticket: str | None = None
    ) -> Record:
        if made is None:
            at_ticket = None if ticket is None else self._create_at(ticket, header, values, moves)
            return at_ticket or self._create(header, values, moves)
        self.owners.keep(header, made.key)
        result = self.replace(made, header, values)
        if type(result) is Saved:
            return Record(made.ticket, made.key, result.version, header, values)
        return self._create(header, values, moves)

    def left_by(self, ticket: str) -> Left | None:
        """Return what the mark of a ticket holds of its visitor's: :func:`.visitor.open_left`. Raises StoreError."""
        key = self.tickets.fingerprint(ticket)
        entry = self.store.load(key)
        return None if entry is None else open_left(Seal(ticket, key), entry.data, encrypted=self.encrypts)

    def mark(
        self, key: bytes, successor: Record | None = None, old_ticket: str | None = None, left: bytes = b""
    ) -> tuple[bytes, int]:
        """Return what stands under ``key``, in a session's place, from now on, and for how many seconds.

        It holds the key of the successor, by which that can be ended and not be opened, and at a renewal its ticket,
        which only the old one reveals; else ``left``, what the visitor is about to bring to their account.
        """
        now = int(self._clock())
        header = Header(now, now, now, superseded=True)
        if successor is None:
            return envelope.pack(header, b"", key), MARK_SECONDS
        if old_ticket is None:
            header = header._replace(belongs=bool(left))
            return envelope.pack(header, successor.key + left, key), LEFT_SECONDS if left else MARK_SECONDS
        payload = successor.key + mask_successor(old_ticket, successor.ticket)
        return envelope.pack(header, payload, key), REPORT_SECONDS

    def destroy(self, record: Record) -> bool:
        """End the session for good, whatever others are writing. False: it was gone already.

        If it has moved to another ticket since it was read, it ends there. A mark stays for :data:`MARK_SECONDS`, so
        that requests that began before do not begin a new session.
        """
        mark, ttl = self.mark(record.key)
        result = self.store.replace(record.key, mark, ttl, record.version)
        if type(result) is Conflict:
            return end_entry(self, record.key, result.entry)
        self.owners.release(record.header, record.key)
        return type(result) is Saved

    def lock(self, record: Record, changes: Changes, *, timeout: float, lease: float) -> Committed | None:
        """Take the session's lock: :func:`.lease.take_lease`."""
        return take_lease(self, record, changes, timeout=timeout, lease=lease)

    # -- parts --------------------------------------------------------------------------------------------

    def _pack(
        self, ticket: str, key: bytes, header: Header, values: Values, before: Record | None = None
    ) -> SecretBytes:
        seal = Seal(ticket, key) if self.encrypts else None
        data = envelope.pack(header, envelope.pack_values(values, codec.pack), key, seal_for=seal)
        if len(data) > self.max_bytes:
            largest = max(values, key=lambda name: len(values[name]))
            size = len(values[largest])
            # One that was stored when the limit was higher can still be read, be used and shrink.
            if before is None or sum(map(len, values.values())) > sum(map(len, before.values.values())):
                raise SessionTooLargeError(len(data), self.max_bytes, largest, size)
        return data

    def _purge_sometimes(self) -> None:
        self._until_purge -= 1
        if self._until_purge > 0 or not isinstance(self.store, Purges):
            return
        self._until_purge = PURGE_EVERY
        try:
            self.store.purge(PURGE_BATCH)
        except StoreError as error:
            # The session is stored; that old ones were not cleared away is no reason to fail its request.
            log.warning("expired sessions were not purged: %s", error)
