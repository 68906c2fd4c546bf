"""Sessions in a store, without Flask: load, commit, rotate, destroy and lock. For requests, workers and commands.

Each write is a compare-and-set against the version that was read. If another request wrote first, its version is merged
with the changes. If the session has ended, the changes are dropped.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Final

from ...errors import StoreError
from ...secret import Secret
from ...stores.base import Conflict, Gone, Purges, Saved, Store
from ..clock import CLOCK_SKEW
from ..entries.envelope import Header, Seal
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
from .ending import end_entry
from .lease import lock_lost, take_lease
from .owner_index import OwnerIndex
from .remember_families import RememberFamilies
from .session_registry import SessionLimit, SessionRegistry

log = logging.getLogger("flask_cloakroom.sessions")

#: After so many new sessions, one request purges expired ones, if the store does not delete these by itself.
PURGE_EVERY: Final = 32
#: The most entries of one purge. More are purged than created, so the store shrinks to the live entries. A single batch
#: delays its request only a little.
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
        """Set the limits and rules.

        ``strategies``: a merge strategy for each top-level key that needs one. ``max_bytes``: the most bytes of one
        session. ``limit``: how many sessions each user may have; None: no limit. ``clock``: returns seconds since the
        epoch.
        """
        super().__init__(store, tickets, lifetimes=lifetimes, encrypt=encrypt, max_bytes=max_bytes, clock=clock)
        self.strategies = dict(strategies or {})
        #: The claims of users' sessions.
        self.index = OwnerIndex(self)
        #: The token families of remembered logins.
        self.families = RememberFamilies(self)
        #: Users' sessions and logins. ``owners`` is another name of it.
        self.registry = self.owners = SessionRegistry(self, self.index, self.families, limit)
        #: Users' data, which outlives their sessions.
        self.user_data = UserData(self, user_data)
        self._until_purge = random.randint(1, PURGE_EVERY)  # noqa: S311  so that not all workers purge at once

    # -- writing ------------------------------------------------------------------------------------------

    def create(self, values: Values, *, permanent: bool = True, login: NewLogin | None = None) -> Record:
        """Store a new session under a new ticket. ``login``: see :meth:`.OwnerIndex.owner_for`.

        Raises SessionTooLargeError, SessionLimitError, StoreError.
        """
        record = self._create(self._first_header(values, permanent, login), values)
        self._purge_sometimes()
        return record

    def create_at(
        self, ticket: str, values: Values, *, permanent: bool = True, login: NewLogin | None = None
    ) -> Record | None:
        """Store a new session under this ticket. None: there is a session, or there was one a moment ago.

        Raises SessionTooLargeError, SessionLimitError, StoreError.
        """
        key = self.tickets.fingerprint(ticket)
        return self._create_at(Secret(ticket), key, self._first_header(values, permanent, login), values, "")

    def _first_header(self, values: Values, permanent: bool, login: NewLogin | None) -> Header:
        now, absolute = int(self.clock()), self.lifetimes.absolute
        deadline = 0 if absolute is None else now + absolute
        return Header(now, now, now, deadline, permanent=permanent, owner=self.index.owner_for(values, "", login))

    def _create(self, header: Header, values: Values, old_owner: str = "") -> Record:
        """Store a session under a new ticket. ``old_owner``: see :meth:`.SessionRegistry.admit`."""
        for _ in range(2):  # two tickets are never equal, but another request may have blocked the first one's key
            ticket = self.tickets.issue()
            key = self.tickets.fingerprint(ticket)
            record = self._create_at(ticket, key, header, values, old_owner)
            if record is not None:
                return record
            if header.owner and (entry := self.store.load(key)) and Tombstone.read(key, entry):
                # Another request ended the session by its claim. The browser gets the ticket, as if the session had
                # ended a moment later, and its next request has no session.
                return Record(ticket, key, b"", header, values)
        raise StoreError("the store refused each new session as if it existed already. Check the store's data")

    def _create_at(self, ticket: str, key: bytes, header: Header, values: Values, old_owner: str) -> Record | None:
        data = self.pack(ticket, key, header, values)
        ttl = self.lifetimes.remaining(header, self.clock())
        owner = Ownership.parse(header.owner) if header.owner else None
        began = time.monotonic()
        if owner is not None:
            self.registry.admit(owner, key, ttl, old_owner)
        version = self.store.create(key, data, ttl)
        if version is None:
            if owner is not None and (entry := self.store.load(key)) and Tombstone.read(key, entry):
                # A limit may have ended the session by its claim, without its handle. Otherwise the remember token
                # would begin the session again.
                self.families.end_login(owner.name, owner.handle)
            return None
        record = Record(ticket, key, version, header, values)
        if owner is not None and time.monotonic() - began > TOMBSTONE_SECONDS:
            # A tombstone that blocked this key may have expired meanwhile, so the session may have been revoked.
            self.delete_unused(record)
            raise StoreError("the store took too long to create a session. Check the store's load")
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
        """Write ``changes`` over the stored session, and merge them with the changes of other requests.

        ``changes``: each key with its packed value, or with None to delete it. ``permanent``: the new kind of cookie.
        ``seen``: this request counts as activity. ``release``: release the lock. None: the session has ended, and
        nothing was written.

        Raises SessionTooLargeError, LockLostError (with ``release``), ContentionError, StoreError.
        """
        result: Saved | Conflict | Gone | None = None
        if not record.header.turn_until:
            # The first try, as fast as possible, because it nearly always succeeds.
            header, values = record.header, apply_changes(record.values, changes)
            if seen or release or permanent is not None:
                header = self._next_header(header, permanent, seen, release)
            if seen and header.owner:
                self._claim(header, record.key)
            data = self.pack(record.ticket, record.key, header, values, record)
            ttl = self.lifetimes.remaining(header, self.clock())
            result = self.store.replace(record.key, data, ttl, record.version)
            if type(result) is Saved:
                return Committed(Record(record.ticket, record.key, result.version, header, values), False, ())
        commit = Commit(self, self.strategies, record, changes)
        if result is not None and not commit.rebase_on(result):
            return None
        return self._retry(commit, permanent, seen, record.header.fence if release else None)

    def edit(self, record: Record, edit: Callable[[Values], Changes]) -> Committed | None:
        """Write the changes that ``edit`` makes from the stored values. No other write comes in between.

        ``edit``: called for each try. ``merged`` of the result: whether other requests have written since ``record``
        was read. None: the session has ended. Raises SessionTooLargeError, ContentionError, StoreError.
        """
        return self._retry(Edit(self, self.strategies, record, edit), None, False)

    def _retry(self, commit: Commit, permanent: bool | None, seen: bool, fence: int | None = None) -> Committed | None:
        """Write until it succeeds. ``fence``: the caller's lock, which is checked and released; None: no lock."""
        while commit.await_turn():
            if fence is not None and commit.record.header.fence != fence:
                raise lock_lost()
            header = self._next_header(commit.header, permanent, seen, fence is not None)
            if seen and header.owner:
                self._claim(header, commit.record.key)
            result = self.replace(commit.record, header, commit.values)
            if type(result) is Saved:
                return commit.committed(result.version, header)
            if not commit.rebase_on(result):
                break
        return None

    def _next_header(self, header: Header, permanent: bool | None, seen: bool, release: bool) -> Header:
        if seen:
            now = int(self.clock())
            # Another server's clock may be a little ahead. The time of the last activity must not go back.
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
        """Move the session, with ``changes``, to a new ticket. None: the session has ended.

        A rotation makes the old ticket invalid at once. With ``renewal``, the old ticket leads to the new one for
        :data:`.TICKET_OVERLAP` seconds. If several requests renew at once, one of them makes the new ticket, and the
        others commit to that session.

        ``permanent``, ``seen``: see :meth:`commit`. ``fence``: the caller's lock; the successor has no lock.
        ``login``: see :meth:`.OwnerIndex.owner_for`. ``ticket``: the new ticket, if it has no session yet.

        Raises SessionLimitError if the session's new user has too many sessions, and LockLostError if another request
        has taken the lock. Then the session stays as it was. Raises also SessionTooLargeError, ContentionError and
        StoreError.
        """
        new: Record | None = None
        commit = Commit(self, self.strategies, record, changes)
        while commit.await_turn():
            old, header = commit.record, commit.header
            if fence is not None and header.fence != fence:
                if new is not None:
                    self.delete_unused(new)
                raise lock_lost()
            owner = self.index.owner_for(commit.values, header.owner, login)
            header = self._next_header(header, permanent, seen, not renewal)
            header = header._replace(renewed=int(self.clock()), owner=owner)
            new = self._store_successor(new, header, commit.values, old.header.owner, ticket)
            now = int(self.clock())
            # The request that replaces the old entry first wins. If the store fails here, the new entry stays, because
            # the tombstone that leads to it may be written.
            if renewal:
                tombstone = Tombstone.renewed(now, new.key, old.ticket, new.ticket)
            else:
                has_data = VISITOR_ID_KEY in commit.values
                carried = pack_carried(old, owner, commit.values, encrypt=self.encrypts) if has_data else b""
                tombstone = Tombstone.rotated(now, new.key, carried)
            data, ttl = tombstone.pack(old.key)
            result = self.store.replace(old.key, data, ttl, old.version)
            if type(result) is Saved:
                self.index.release(old.header, old.key)
                return Committed(new, commit.merged, commit.conflicts)
            if not commit.rebase_on(result):
                break
            if renewal and commit.record.ticket != record.ticket:
                self.delete_unused(new)
                return self._retry(commit, permanent, seen)
        if new is not None:
            self.delete_unused(new)
        return None

    def delete_unused(self, new: Record) -> None:
        """Delete a session that was just created, and whose ticket no browser has."""
        try:
            self.store.delete(new.key)
        except StoreError as error:
            log.warning("the unused session %s was not deleted and will expire: %s", new.sid, error)
            return
        self.index.release(new.header, new.key)

    def _store_successor(
        self, new: Record | None, header: Header, values: Values, old_owner: str, ticket: str | None = None
    ) -> Record:
        """Store the session at its new ticket. ``new``: the result of the last try."""
        if new is None:
            at_ticket = None
            if ticket is not None:
                at_ticket = self._create_at(ticket, self.tickets.fingerprint(ticket), header, values, old_owner)
            return at_ticket or self._create(header, values, old_owner)
        self._claim(header, new.key)
        result = self.replace(new, header, values)
        if type(result) is Saved:
            return Record(new.ticket, new.key, result.version, header, values)
        return self._create(header, values, old_owner)

    def carried_by(self, ticket: str) -> Carried | None:
        """Return the carried data of a ticket's tombstone. See :func:`.visitor.open_carried`. Raises StoreError."""
        key = self.tickets.fingerprint(ticket)
        entry = self.store.load(key)
        tombstone = None if entry is None else Tombstone.read(key, entry)
        if tombstone is None:
            return None
        return open_carried(Seal(ticket, key), tombstone.carried, encrypted=self.encrypts)

    def destroy(self, record: Record) -> bool:
        """End the session, whatever other requests write. False: it had ended before.

        If the session has moved since it was read, its successor ends. A tombstone stays for
        :data:`.TOMBSTONE_SECONDS`, so that requests that began before do not begin a new session.
        """
        tombstone, ttl = Tombstone.ended(int(self.clock())).pack(record.key)
        result = self.store.replace(record.key, tombstone, ttl, record.version)
        if type(result) is Conflict:
            return end_entry(self, record.key, result.entry)
        self.index.release(record.header, record.key)
        return type(result) is Saved

    def lock(self, record: Record, changes: Changes, *, timeout: float, lease: float) -> Committed | None:
        """Take the session's lock. See :func:`.lease.take_lease`."""
        return take_lease(Commit(self, self.strategies, record, changes), timeout=timeout, lease=lease)

    # -- parts --------------------------------------------------------------------------------------------

    def _claim(self, header: Header, key: bytes) -> None:
        """Claim ``key`` for the header's owner, for as long as the session may live."""
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
            # The new session is stored, so its request must not fail.
            log.warning("expired sessions were not purged: %s", error)
