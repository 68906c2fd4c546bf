"""Sessions in a store, without Flask: load, commit, rotate, destroy, lock. For requests, workers and commands alike.

Every write is a compare-and-set against the version that was read. Where it fails, what stands there now decides:
another version is merged with, a mark of the end is obeyed.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Final

from ...errors import LockLostError, StoreError
from ...secret import Secret
from ...stores.base import Conflict, Purges, Saved, Store
from ..clock import CLOCK_SKEW
from ..entries.envelope import Header, Seal
from ..entries.lifetimes import Lifetimes
from ..entries.namespace import Namespace
from ..entries.ownership import Begun, Ownership
from ..entries.record import Committed, Record
from ..entries.tickets import Tickets
from ..entries.tombstone import MARK_SECONDS, Tombstone
from ..user_data.repository import UserData, UserDataSettings
from ..user_data.visitor import Carried, open_carried, pack_carried
from ..values.merge import Strategies
from ..values.rebase import Changes, Values
from .commit import Editor, Merger
from .ending import end_entry
from .lease import check_fence, take_lease
from .owner_index import OwnerIndex
from .remember_families import Families
from .session_registry import SessionLimit, SessionRegistry

log = logging.getLogger("flask_cloakroom.sessions")

#: One in so many created sessions pays for purging up to so many expired ones, where the store needs that. More are
#: purged than created, so the store shrinks to what is alive, and no request waits for more than one short batch.
PURGE_EVERY: Final = 32
PURGE_BATCH: Final = 100


class Repository(Namespace):
    """The sessions of one namespace in one store. One object serves all threads of a process."""

    def __init__(
        self,
        store: Store,
        tickets: Tickets,
        *,
        lifetimes: Lifetimes = Lifetimes(),  # noqa: B008  frozen
        strategies: Strategies | None = None,
        encrypt: bool = False,
        max_bytes: int = 1024 * 1024,
        limit: SessionLimit | None = None,
        user_data: UserDataSettings = UserDataSettings(),  # noqa: B008  frozen
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``strategies`` maps top-level keys to how they merge; ``max_bytes`` bounds one session's stored bytes.

        ``limit`` is how many sessions each user may have; None is no limit. ``user_data`` is of what belongs to users.
        """
        super().__init__(store, tickets, lifetimes=lifetimes, encrypt=encrypt, max_bytes=max_bytes, clock=clock)
        self.strategies = dict(strategies or {})
        #: Which sessions may belong to whom.
        self.index = OwnerIndex(self)
        #: What remembers a login when its session is over.
        self.families = Families(self, self.index)
        #: Users' sessions and logins; ``owners`` is another name of it.
        self.registry = self.owners = SessionRegistry(self, self.index, self.families, limit)
        #: What belongs to users and outlives their sessions.
        self.user_data = UserData(self, user_data)
        self._until_purge = random.randint(1, PURGE_EVERY)  # noqa: S311  so that workers take turns

    # -- writing ------------------------------------------------------------------------------------------

    def create(self, values: Values, *, permanent: bool = True, begun: Begun | None = None) -> Record:
        """Store a new session under a new ticket. ``begun``: see :meth:`.OwnerIndex.describe`.

        Raises SessionTooLargeError, SessionLimitError, StoreError.
        """
        record = self._create(self._first_header(values, permanent, begun), values)
        self._purge_sometimes()
        return record

    def create_at(
        self, ticket: str, values: Values, *, permanent: bool = True, begun: Begun | None = None
    ) -> Record | None:
        """Store a new session under this ticket; None if there is one, or was one a moment ago. Raises the same."""
        return self._create_at(Secret(ticket), self._first_header(values, permanent, begun), values, "")

    def _first_header(self, values: Values, permanent: bool, begun: Begun | None) -> Header:
        now = self.now()
        absolute = self.lifetimes.absolute
        deadline = 0 if absolute is None else now + absolute
        owner = self.index.describe(values, "", begun)
        return Header(now, now, now, deadline, permanent=permanent, owner=owner)

    def _create(self, header: Header, values: Values, moves: str = "") -> Record:
        for _ in range(2):  # once in 2**63 sessions a new ticket finds its place taken
            ticket = self.tickets.issue()
            record = self._create_at(ticket, header, values, moves)
            if record is not None:
                return record
            key = self.tickets.fingerprint(ticket)
            if header.owner and (entry := self.store.load(key)) and Tombstone.read(key, entry):
                # Ended before it began, as if a moment later: the next request finds that out.
                return Record(ticket, key, b"", header, values)
        raise StoreError("the store refuses every new session as if it were there already")

    def _create_at(self, ticket: str, header: Header, values: Values, moves: str) -> Record | None:
        key = self.tickets.fingerprint(ticket)
        data = self.pack(ticket, key, header, values)
        ttl = self.lifetimes.remaining(header, self.clock())
        owner = Ownership.parse(header.owner) if header.owner else None
        began = time.monotonic()
        if owner is not None:
            self.registry.admit(owner, key, ttl, moves)
        version = self.store.create(key, data, ttl)
        if version is None:
            if owner is not None and (entry := self.store.load(key)) and Tombstone.read(key, entry):
                # Ended before it began: by a limit, perhaps, that knew of no more than its claim.
                self.families.end_login(owner.name, owner.handle)
            return None
        record = Record(ticket, key, version, header, values)
        if owner is not None and time.monotonic() - began > MARK_SECONDS:
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
        merger = Merger(self, self.strategies, record, changes)
        if not record.header.turn_until:
            # The first try, which nearly always is the only one, on as short a way as there is.
            header = record.header
            if seen or release or permanent is not None:
                header = self._next_header(header, permanent, seen, release)
            if seen and header.owner:
                self._claim(header, record.key)
            values = merger.values
            data = self.pack(record.ticket, record.key, header, values, record)
            result = self.store.replace(
                record.key, data, self.lifetimes.remaining(header, self.clock()), record.version
            )
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
        return self._commit(Editor(self, self.strategies, record, edit), None, False)

    def _commit(self, merger: Merger, permanent: bool | None, seen: bool, fence: int | None = None) -> Committed | None:
        """Try until it is in. ``fence``, of a lock's holder, must still be the session's; then the lock is released."""
        while merger.ready():
            check_fence(merger.record, fence)
            base, header = merger.record, self._next_header(merger.header, permanent, seen, fence is not None)
            if seen and header.owner:
                self._claim(header, base.key)
            result = self.replace(base, header, merger.values)
            if type(result) is Saved:
                saved = Record(base.ticket, base.key, result.version, header, merger.values)
                return Committed(saved, merger.merged, merger.conflicts)
            if not merger.lose_to(result):
                break
        return None

    def _next_header(self, header: Header, permanent: bool | None, seen: bool, release: bool) -> Header:
        if seen:
            now = int(self.clock())
            # Another server's clock may be a little ahead of this one's.
            header = header._replace(seen=header.seen if 0 < header.seen - now <= CLOCK_SKEW else now)
        if permanent is not None:
            header = header._replace(permanent=permanent)
        if release:
            header = header._replace(lease_until=0)
        return header

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

        If its user changes, it is the new one's from here on, with ``begun`` (see :meth:`.OwnerIndex.describe`).
        Raises SessionLimitError if that is one too many; then nothing was written.

        ``fence``, of a lock's holder, must still be the session's; else LockLostError. The lock ends with the ticket.

        At a change of privilege the old ticket is dead at once, and its mark shows no way to the new session. At a
        renewal the mark leads there for :data:`OVERLAP_SECONDS`; of requests that renew at the same time one does, and
        the others commit to what it made.
        """
        made: Record | None = None
        merger = Merger(self, self.strategies, record, changes)
        while merger.ready():
            old = merger.record
            try:
                check_fence(old, fence)
            except LockLostError:
                if made is not None:
                    self.withdraw(made)
                raise
            owner = self.index.describe(merger.values, merger.header.owner, begun)
            header = self._next_header(merger.header, permanent, seen, not renewal)
            header = header._replace(renewed=self.now(), owner=owner)
            made = self._place(made, header, merger.values, old.header.owner, ticket)
            # The old entry decides: whoever replaces it first has ended or moved the session. Should the store fail
            # here, the new entry stays, because the mark that leads to it may have been written.
            if renewal:
                tombstone = Tombstone.renewed(self.now(), made.key, old.ticket, made.ticket)
            else:
                carried = pack_carried(old, header.owner, merger.values, encrypt=self.encrypts)
                tombstone = Tombstone.rotated(self.now(), made.key, carried)
            mark, ttl = tombstone.packed(old.key)
            result = self.store.replace(old.key, mark, ttl, old.version)
            if type(result) is Saved:
                self.index.release(old.header, old.key)
                return Committed(made, merger.merged, merger.conflicts)
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
        self.index.release(made.header, made.key)

    def _place(
        self, made: Record | None, header: Header, values: Values, moves: str, ticket: str | None = None
    ) -> Record:
        if made is None:
            at_ticket = None if ticket is None else self._create_at(ticket, header, values, moves)
            return at_ticket or self._create(header, values, moves)
        self._claim(header, made.key)
        result = self.replace(made, header, values)
        if type(result) is Saved:
            return Record(made.ticket, made.key, result.version, header, values)
        return self._create(header, values, moves)

    def carried_by(self, ticket: str) -> Carried | None:
        """Return what the mark of a ticket holds of its visitor's: :func:`.visitor.open_carried`. Raises StoreError."""
        key = self.tickets.fingerprint(ticket)
        entry = self.store.load(key)
        tombstone = None if entry is None else Tombstone.read(key, entry)
        if tombstone is None:
            return None
        return open_carried(Seal(ticket, key), tombstone.carried, encrypted=self.encrypts)

    def destroy(self, record: Record) -> bool:
        """End the session for good, whatever others are writing. False: it was gone already.

        If it has moved to another ticket since it was read, it ends there. A mark stays for :data:`MARK_SECONDS`, so
        that requests that began before do not begin a new session.
        """
        mark, ttl = Tombstone.ended(self.now()).packed(record.key)
        result = self.store.replace(record.key, mark, ttl, record.version)
        if type(result) is Conflict:
            return end_entry(self, record.key, result.entry)
        self.index.release(record.header, record.key)
        return type(result) is Saved

    def lock(self, record: Record, changes: Changes, *, timeout: float, lease: float) -> Committed | None:
        """Take the session's lock: :func:`.lease.take_lease`."""
        return take_lease(Merger(self, self.strategies, record, changes), timeout=timeout, lease=lease)

    # -- parts --------------------------------------------------------------------------------------------

    def _claim(self, header: Header, key: bytes) -> None:
        """Claim ``key`` for the owner whom the header names, for as long as the session may live."""
        owner = Ownership.parse(header.owner)
        if owner is not None:
            self.index.claim(owner.name, key, self.lifetimes.remaining(header, self.clock()))

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
