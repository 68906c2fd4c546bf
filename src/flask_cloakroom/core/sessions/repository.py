"""Sessions in a store, without Flask: load, commit, rotate, destroy and lock. For requests, workers and commands.

Each write is a compare-and-set: it succeeds only if the session in the store still has the version that was read. If
another request wrote first, the values of both requests are merged. If the session has ended, nothing is written.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from ...errors import StoreError
from ...first_use import tell
from ...secret import Secret
from ...stores.base import Conflict, Gone, Purges, Saved, Store
from ..clock import CLOCK_SKEW
from ..entries.envelope import EntryKind, Header, Seal
from ..entries.lifetimes import Lifetimes
from ..entries.namespace import Namespace
from ..entries.ownership import NewLogin, Ownership
from ..entries.record import Committed, Record
from ..entries.tickets import Tickets
from ..entries.tombstone import TOMBSTONE_SECONDS, Tombstone
from ..user_data.repository import UserData, UserDataSettings
from ..user_data.visitor import Carried, open_carried, pack_carried
from ..values.merge import Strategies
from ..values.own_keys import VISITOR_ID_KEY
from ..values.rebase import Changes, Values, apply_changes
from .commit import Commit, Edit
from .ending import destination, end_entry
from .lease import lock_lost, take_lease
from .owner_index import OwnerIndex
from .remember_families import RememberFamilies
from .retries import Retries
from .session_registry import SessionLimit, SessionRegistry
from .take_back import NOT_TAKEN_BACK, delete_unused, take_back

log = logging.getLogger("flask_cloakroom.sessions")

#: The number of new sessions between two purges, in each process. It counts only for a store with a method ``purge()``.
PURGE_EVERY: Final = 32
#: The largest number of entries that one purge deletes. It is more than PURGE_EVERY, so expired entries are deleted
#: faster than new sessions are created. It is small, so that the purge delays its request only a little.
PURGE_BATCH: Final = 100
#: The number of writes that wait to be taken back after the store has failed. Each one holds the values of a session,
#: which are nearly always less than 10 kB. Only a request that saves twice has such a write, and few of them can fail.
MOST_TAKE_BACKS: Final = 100


class Repository(Namespace):
    """Reads and writes the sessions of one namespace in one store. One object serves all threads of a process."""

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
        """Set the settings of all sessions.

        ``strategies``: merge strategies, each for one session key. ``encrypt``: encrypt the payloads of entries.
        ``max_bytes``: the largest size of a session's entry. ``limit``: the number of sessions that each user may have,
        or None for no limit. ``clock``: returns the present time in seconds since the epoch.
        """
        super().__init__(store, tickets, lifetimes=lifetimes, encrypt=encrypt, max_bytes=max_bytes, clock=clock)
        self.strategies = dict(strategies or {})
        #: The claims of users' sessions.
        self.index = OwnerIndex(self)
        #: The token families of remembered logins.
        self.families = RememberFamilies(self)
        #: Users' sessions and logins. ``owners`` is a second name of the same object.
        self.registry = self.owners = SessionRegistry(self, self.index, self.families, limit)
        #: User data, which outlives the users' sessions.
        self.user_data = UserData(self, user_data)
        #: The writes that could not be taken back. A request takes them back before it loads its session, because the
        #: browser has only the old ticket of a session that must go back to its old ticket.
        self.take_backs = Retries(MOST_TAKE_BACKS)
        self._until_purge = random.randint(1, PURGE_EVERY)  # noqa: S311  no secret: it only spreads the purges

    # -- writing ------------------------------------------------------------------------------------------

    def create(self, values: Values, *, permanent: bool = True, login: NewLogin | None = None) -> Record:
        """Store a new session with a new ticket, and return the session.

        ``permanent``: the session is a permanent session. ``login``: see :meth:`.OwnerIndex.owner_for`. Raises
        SessionTooLargeError, SessionLimitError and StoreError.
        """
        record = self._create(self._first_header(values, permanent, login), values)
        self._purge_sometimes()
        return record

    def create_at(
        self, ticket: str, values: Values, *, permanent: bool = True, login: NewLogin | None = None
    ) -> Record | None:
        """Store a new session with the ticket ``ticket``, and return the session.

        Return None, and store nothing, if this ticket has a session or had a session a moment ago. Raises
        SessionTooLargeError, SessionLimitError and StoreError.
        """
        key = self.tickets.fingerprint(ticket)
        return self._create_at(Secret(ticket), key, self._first_header(values, permanent, login), values, "")

    def _first_header(self, values: Values, permanent: bool, login: NewLogin | None) -> Header:
        now, absolute = int(self.clock()), self.lifetimes.absolute
        deadline = 0 if absolute is None else now + absolute
        return Header(now, now, now, deadline, permanent=permanent, owner=self.index.owner_for(values, "", login))

    def _create(self, header: Header, values: Values, old_owner: str = "") -> Record:
        """Store a session with a new ticket, and return it. ``old_owner``: see :meth:`.SessionRegistry.admit`."""
        for _ in range(2):  # the first try fails if another request has blocked the store key of the new ticket
            ticket = self.tickets.issue()
            key = self.tickets.fingerprint(ticket)
            record = self._create_at(ticket, key, header, values, old_owner)
            if record is not None:
                return record
            if header.owner and (entry := self.store.load(key)) and Tombstone.read(key, entry):
                # Another request found the claim and ended the session before it was stored. The browser gets the
                # ticket, but its next request has no session, as if the session had ended a moment after this call.
                return Record(ticket, key, b"", header, values)
        raise StoreError("The store refused each new session as if it existed already. Check the store's data.")

    def _create_at(self, ticket: str, key: bytes, header: Header, values: Values, old_owner: str) -> Record | None:
        data = self.pack(ticket, key, header, values)
        ttl = self.lifetimes.remaining(header, self.clock())
        owner = Ownership.parse(header.owner) if header.owner else None
        began = time.monotonic()
        if owner is not None:
            self.registry.admit(owner, key, ttl, old_owner)
        version = self.create_entry(key, data, ttl)
        if version is None:
            if owner is not None and (entry := self.store.load(key)) and Tombstone.read(key, entry):
                # A session limit may have ended this session by its claim, which does not contain the handle. So the
                # token family still exists. It must end too, because its token would log the browser in again.
                self.families.end_login(owner.name, owner.handle)
            return None
        record = Record(ticket, key, version, header, values)
        if owner is not None and time.monotonic() - began > TOMBSTONE_SECONDS:
            # Another request may have ended the session by a tombstone under this key, and the tombstone may have
            # expired before create().
            self.delete_unused(record)
            raise StoreError("The store took too long to create a session. Check the store's load.")
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
        """Write ``changes`` to the session in the store, merged with the changes of other requests.

        Return None, and write nothing, if the session has ended. ``changes``: each changed session key with its packed
        value, or with None to delete the key. ``permanent``: True or False makes the session a permanent session or
        not, and None changes nothing. ``seen``: this request counts as activity. ``release``: release the session's
        lock in the same write.

        Raises SessionTooLargeError, LockLostError (with ``release``), ContentionError and StoreError.
        """
        result: Saved | Conflict | Gone | None = None
        if not record.header.turn_until:
            # The first try. It nearly always succeeds, so it does without an object of the class Commit to save time.
            header, values = record.header, apply_changes(record.values, changes)
            if seen or release or permanent is not None:
                header = self._next_header(header, permanent, seen, release)
            if seen and header.owner:
                self._claim(header, record.key)
            data = self.pack(record.ticket, record.key, header, values, record)
            ttl = self.lifetimes.remaining(header, self.clock())
            result = self.replace_entry(record.key, data, ttl, record.version)
            if type(result) is Saved:
                return Committed(Record(record.ticket, record.key, result.version, header, values), False, (), record)
        commit = Commit(self, self.strategies, record, changes)
        if result is not None and not commit.rebase_on(result):
            return None
        return self._retry(commit, permanent, seen, record.header.fence if release else None)

    def edit(self, record: Record, edit: Callable[[Values], Changes]) -> Committed | None:
        """Call ``edit`` with the values in the store, and write the changes that it returns.

        If another request writes between the call and the write, ``edit`` is called again with the new values. In the
        result, ``merged`` is True if other requests have written after ``record`` was read. Return None if the session
        has ended. Raises SessionTooLargeError, ContentionError and StoreError.
        """
        return self._retry(Edit(self, self.strategies, record, edit), None, False)

    def _retry(self, commit: Commit, permanent: bool | None, seen: bool, fence: int | None = None) -> Committed | None:
        """Try the write of a commit until it succeeds. Return None if the session has ended.

        ``fence``: the fence of the caller's lock, which is checked and then released. None: the caller has no lock.
        """

        def next_header() -> Header:
            if fence is not None and commit.record.header.fence != fence:
                raise lock_lost()
            header = self._next_header(commit.header, permanent, seen, fence is not None)
            if seen and header.owner:
                self._claim(header, commit.record.key)
            return header

        return commit.save(next_header)

    def _next_header(self, header: Header, permanent: bool | None, seen: bool, release: bool) -> Header:
        if seen:
            now = int(self.clock())
            # If the stored time is a little in the future, another server's clock is ahead of this server's clock. The
            # time is left as it is, because the time of the last activity must never become earlier.
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
        login: NewLogin | None = None,
        ticket: str | None = None,
    ) -> Committed | None:
        """Move the session, with ``changes``, to a new ticket. Return None if the session has ended.

        A rotation makes the old ticket invalid immediately. With ``renewal``, the old ticket leads to the new ticket
        for :data:`.TICKET_OVERLAP` seconds. If several requests renew the session at the same time, one of them makes
        the new ticket, and the others write their changes to the session of this ticket.

        ``permanent``, ``seen``: see :meth:`commit`. ``fence``: the fence of the caller's lock, or None without a lock;
        the successor has no lock. ``login``: see :meth:`.OwnerIndex.owner_for`. ``ticket``: the new ticket, or None
        for a random one. If this ticket has or had a session already, change nothing and return None.

        If the store fails after the new ticket has its session, the result has ``acknowledged=False``: the caller must
        send the new ticket, because the old ticket may be invalid.

        Raises SessionLimitError if the session's new user has too many sessions, and LockLostError if another request
        has taken the lock. Raises also SessionTooLargeError, ContentionError and StoreError. After each of these
        errors, the session is as it was, with its old ticket.
        """
        new: Record | None = None
        commit = Commit(self, self.strategies, record, changes)
        was_renewed = False
        try:
            while commit.await_turn():
                old, header = commit.record, commit.header
                if fence is not None and header.fence != fence:
                    raise lock_lost()
                owner = self.index.owner_for(commit.values, header.owner, login)
                header = self._next_header(header, permanent, seen, not renewal)
                header = header._replace(renewed=int(self.clock()), owner=owner)
                new = self._store_successor(new, header, commit.values, old.header.owner, ticket)
                if new is None:
                    return None
                # The request that first replaces the old entry by a tombstone decides the new ticket.
                result = self._store_tombstone(old, new, renewal)
                if result is None:
                    return Committed(new, commit.merged, commit.conflicts, old, acknowledged=False)
                if type(result) is Saved:
                    self.index.release(old.header, old.key)
                    return Committed(new, commit.merged, commit.conflicts, old)
                if not commit.rebase_on(result):
                    break
                was_renewed = renewal and commit.record.ticket != record.ticket
                if was_renewed:
                    break
        except Exception:
            if new is not None:
                self.delete_unused(new)
            raise
        if new is not None:
            self.delete_unused(new)
        return self._retry(commit, permanent, seen) if was_renewed else None

    def _store_tombstone(self, old: Record, new: Record, renewal: bool) -> Saved | Conflict | Gone | None:
        """Replace the entry of a session that moves from ``old`` to ``new`` by a tombstone. Return the store's result.

        Return None if it is unknown whether the store has written. Raises StoreError if it has not, and never will.
        """
        now = int(self.clock())
        if renewal:
            tombstone = Tombstone.renewed(now, new.key, old.ticket, new.ticket)
        else:
            has_data = VISITOR_ID_KEY in new.values
            carried = pack_carried(old, new.header.owner, new.values, encrypt=self.encrypts) if has_data else b""
            tombstone = Tombstone.rotated(now, new.key, carried)
        data, ttl = tombstone.pack(old.key)
        try:
            return self.store.replace(old.key, data, ttl, old.version)
        except StoreError:
            # Write the old entry again, and do not only look it up: a command whose answer was late may still wait in
            # the server. After this write the old entry has a new version, so that such a command cannot succeed.
            again = self.pack(old.ticket, old.key, old.header, old.values, old)
            ttl_of_old = self.lifetimes.remaining(old.header, now)
            try:
                result = self.store.replace(old.key, again, ttl_of_old, old.version)
            except StoreError as error:
                tell(
                    log.warning,
                    "session %s has moved to session %s, but it is unknown if its old ticket has become invalid: %s",
                    *(old.sid, new.sid, error),
                )
                return None
            if type(result) is Saved:
                raise
            if type(result) is Conflict and result.entry.data == data:
                return Saved(result.entry.version)
            return result

    def take_back(self, committed: Committed) -> bool:
        """Take back a saved write, because a later write of the same request has failed. Return True.

        A new session is deleted, a changed session gets its old values, and a session that moved goes back to its old
        ticket. Later changes of other requests stay, and a session that has ended meanwhile stays ended. Return False,
        and log a warning, if the store fails or another request uses the new ticket already. Then the write stays, or a
        part of it. If the store has failed, :attr:`take_backs` tries again. ``committed``: the result of the write. For
        a new session, ``Committed(record, False, ())``.
        """
        try:
            return take_back(self, self.strategies, committed)
        except StoreError as error:
            tell(log.warning, NOT_TAKEN_BACK, committed.record.sid, error)
            self.take_backs.waiting.append(partial(take_back, self, self.strategies, committed))
            return False

    def check_size(
        self, record: Record | None, changes: Changes, *, rotates: bool = False, login: NewLogin | None = None
    ) -> None:
        """Raise SessionTooLargeError if :meth:`commit` would raise it for these changes. Write nothing.

        ``record``: None for the check of :meth:`create`. ``rotates``: check for :meth:`rotate`. ``login``: see
        :meth:`.OwnerIndex.owner_for`.
        """
        values = apply_changes({} if record is None else record.values, changes)
        if record is not None and not rotates:
            self.pack(record.ticket, record.key, record.header, values, record)
            return
        header = self._first_header(values, True, login) if record is None else record.header
        if record is not None:
            header = header._replace(owner=self.index.owner_for(values, header.owner, login))
        ticket = self.tickets.issue()
        self.pack(ticket, self.tickets.fingerprint(ticket), header, values)

    def delete_unused(self, new: Record) -> bool:
        """Delete a session that was created a moment ago, and whose ticket no browser has. Return True.

        If the store fails, only log a warning, and return False.
        """
        return delete_unused(self, new)

    def _store_successor(
        self, new: Record | None, header: Header, values: Values, old_owner: str, ticket: str | None = None
    ) -> Record | None:
        """Store the session with its new ticket, and return it. Return None if ``ticket`` has or had a session already.

        ``new``: the session that the try before has stored, or None at the first try. ``ticket``: see :meth:`rotate`.
        """
        if new is None:
            if ticket is None:
                return self._create(header, values, old_owner)
            return self._create_at(Secret(ticket), self.tickets.fingerprint(ticket), header, values, old_owner)
        self._claim(header, new.key)
        result = self.replace(new, header, values)
        if type(result) is Saved:
            return Record(new.ticket, new.key, result.version, header, values)
        return self._create(header, values, old_owner)

    def carried_by(self, ticket: str) -> Carried | None:
        """Return the carried data of a ticket's tombstone. Return None if the ticket has no readable carried data.

        Raises StoreError.
        """
        key = self.tickets.fingerprint(ticket)
        entry = self.store.load(key)
        tombstone = None if entry is None else Tombstone.read(key, entry)
        if tombstone is None:
            return None
        return open_carried(Seal(ticket, key), tombstone.carried, encrypted=self.encrypts)

    def owner_of_successor(self, key: bytes) -> Ownership | None:
        """Return the owner of the session that moved away from this store key; None if that session has ended.

        Raises StoreError.
        """
        entry = self.store.load(key)
        header = None if entry is None else destination(self, key, entry).header
        return None if header is None or header.kind is not EntryKind.SESSION else Ownership.parse(header.owner)

    def destroy(self, record: Record) -> bool:
        """End the session, even if other requests write it at the same time. Return False if it had ended before.

        If the session has moved after it was read, its successor ends. A tombstone is stored for
        :data:`.TOMBSTONE_SECONDS`, so that requests that began before do not create a new session. Raises StoreError.
        """
        tombstone, ttl = Tombstone.ended(int(self.clock())).pack(record.key)
        result = self.replace_entry(record.key, tombstone, ttl, record.version)
        if type(result) is Conflict:
            return end_entry(self, record.key, result.entry)
        self.index.release(record.header, record.key)
        return type(result) is Saved

    def lock(self, record: Record, changes: Changes, *, timeout: float, lease: float) -> Committed | None:
        """Take the session's lock, and save ``changes``. See :func:`.lease.take_lease` for arguments and errors."""
        return take_lease(Commit(self, self.strategies, record, changes), timeout=timeout, lease=lease)

    # -- parts --------------------------------------------------------------------------------------------

    def _claim(self, header: Header, key: bytes) -> None:
        """Claim the store key for the owner in ``header``, for the time that the session may live."""
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
            # The error must not leave this method, because the new session is already stored.
            tell(log.warning, "expired sessions were not purged. The next purge tries again: %s", error)
