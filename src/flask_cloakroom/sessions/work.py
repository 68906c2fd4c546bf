"""One request's work on one session: find the session in the store, change it, and commit the changes.

:class:`SessionWork` has the state of this work. The lock, parallel logins, the merge at login and flash messages have
modules of their own, whose functions take a SessionWork. ``outcome.py`` saves all that a request changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from functools import partial
from threading import Lock
from typing import Any, ClassVar, Final, Protocol

from flask import Flask

from .. import signals
from ..cookies import Finder
from ..core.entries.ownership import NewLogin, Ownership
from ..core.entries.record import Absence, Committed, Record
from ..core.entries.tickets import public_id
from ..core.sessions.repository import Repository
from ..core.user_data.repository import UserCommit
from ..core.user_data.visitor import VISITOR_PREFIX
from ..core.values.flashes import ShownFlashes, with_expired_leases_back
from ..core.values.lazy import LazyDict
from ..core.values.own_keys import FLASH_LEASES, UNSHOWN_KEY, USER_KEY, VISITOR_ID_KEY
from ..core.values.rebase import Changes, Values
from ..errors import StoreError
from ..first_use import Reentered, StoreUse, tell
from ..secret import Secret, SecretBytes
from .outage import SessionUnavailable, WaitedTooLong
from .settings import SessionSettings

log = logging.getLogger("flask_cloakroom.sessions")

#: Held while a part of a session's state is made. A session that is not used needs no lock of its own.
_mutex: Final = Lock()

#: The key in ``app.extensions`` for a set of session keys, such as the key of the CSRF secret. Every rotation deletes
#: these session keys. Otherwise an attacker with the old ticket would know the CSRF secret after the login, too.
DELETED_AT_ROTATION: Final = "flask_cloakroom.sessions deleted at rotation"


class InterfaceParts(Protocol):
    """The attributes of the session interface that :class:`SessionWork` uses."""

    #: The application, which is the sender of signals.
    app: Flask
    settings: SessionSettings

    @property
    def repository(self) -> Repository:
        """The session repository, which reads and writes the sessions in the store."""

    @property
    def find_tickets(self) -> Finder:
        """A function that returns the possible tickets in the Cookie header of a WSGI request."""


class Companion(Protocol):
    """Data that is stored apart from the session and saved right before it, such as the user's data."""

    @property
    def has_changes(self) -> bool:
        """True if this request may have changed the data."""

    def check(self) -> None:
        """Raise the errors of :meth:`save` that do not come from the store. Write nothing."""

    def save(self) -> None:
        """Save this request's changes. Raises the same errors as :meth:`SessionWork.save`."""

    def rollback(self) -> None:
        """Discard this request's changes, because they cannot be saved. Undo the saves of this request."""


class Phase(Enum):
    """The state of a request's work on its session."""

    #: No code has used the session yet.
    NOT_OPENED = "not opened"
    #: A thread of the request loads the session.
    OPENING = "opening"
    #: The session is loaded, and the end of the request will save its changes.
    OPEN = "open"
    #: The store failed. Every use of the session raises SessionUnavailable, and nothing is saved.
    FAILED = "failed"
    #: The response was made, and the session was saved. Later changes are not saved.
    SAVED = "saved"
    #: The response was made without the session. The session may still be read.
    CLOSED = "closed"


class SessionWork(StoreUse, LazyDict):
    """The state of one request's work on its session, and the commit. The subclass ServerSession is for views."""

    # These are class attributes, so that a request that does not use its session sets none of them.
    #: True if the session must be saved even without a changed key, for example because a view set ``permanent``.
    save_requested = False
    #: True if the next commit must move the session to a new ticket.
    rotation_requested = False
    #: True after ``clear()``. The next commit ends the stored session, and saves the keys that were set after
    #: ``clear()`` as a new session.
    cleared = False
    #: The number of ``session.lock()`` blocks that threads of this request are in. The first one gets the lock.
    lock_holders = 0
    #: True if the store failed: see :attr:`Phase.FAILED`.
    failed = False
    #: The reason why the store has no session for the browser's ticket. None if the store has a session for the ticket,
    #: or if the request has no ticket.
    absence: Absence | None = None
    #: The device note and handle of a login that this request makes. They are stored with the session's next ticket.
    new_login: NewLogin | None = None
    #: The companions of the session, by name: data that is saved right before the session.
    companions: MutableMapping[str, Companion] | None = None
    #: The flash messages that this response shows.
    shown_flashes: ShownFlashes | None = None
    #: The ticket for the response's cookie. "" deletes the browser's cookie. None sends no cookie.
    response_ticket: str | None = None
    #: The sessions of user kinds that this request uses. They are saved together with this session.
    kind_works: Sequence[SessionWork] = ()
    #: The session of the application's own users, if this is the session of a user kind.
    main_work: SessionWork | None = None
    #: The functions of merge_at_login.py. The subclass sets them, because this module cannot import merge_at_login.py.
    merge_before_commit: ClassVar[Callable[[SessionWork], None]]
    merge_after_commit: ClassVar[Callable[[SessionWork], None]]
    merge_carried: ClassVar[Callable[[SessionWork, Changes], None]]
    #: Functions to call after this request's changes were saved for good. For example, a login then revokes old tokens.
    after_save: Sequence[Callable[[], object]] = ()
    _record: Record | None = None
    _permanent: bool | None = None  # session.permanent, if this request set it
    _forces_write = False  # session.modified was set to True
    _is_restarted = False  # destroy() or clear() ended the session, so keys that are set later become a new session
    _passive = False
    _was_stored = False  # the store had the session when this request loaded it
    # The saves of this request, the oldest first, and its merges of visitor data. A later save that fails undoes them.
    _saves: Sequence[Committed] = ()
    _merges: Sequence[UserCommit] = ()
    # The ticket for the cookie after a save that is not undone.
    _saved_ticket: str | None = None
    #: The packed value under UNSHOWN_KEY of the session whose ticket came with this request, until it is saved.
    _unshown: bytes | None = None

    def __init__(self, interface: InterfaceParts, environ: Mapping[str, Any]) -> None:
        self.interface = interface
        self._environ = environ

    # -- state ----------------------------------------------------------------------------------------------

    @property
    def repository(self) -> Repository:
        """The session repository, which reads and writes the sessions in the store."""
        return self.interface.repository

    @property
    def record(self) -> Record | None:
        """The stored session as this request last read or wrote it, loaded now if necessary.

        None if the store has no session for this request.
        """
        if not self.is_opened:
            self._open()
        return self._record

    @property
    def last_record(self) -> Record | None:
        """The stored session as this request last read or wrote it, also after the store failed. Loads nothing."""
        return self._record

    @property
    def owner(self) -> Ownership | None:
        """The owner of the stored session, which is loaded now if necessary. None without a user or stored session."""
        record = self.record
        return None if record is None else Ownership.parse(record.header.owner)

    @property
    def stored_values(self) -> Values:
        """The packed values of the session, as this request read or last saved them. Load the session before.

        The request's changes are the differences from these values.
        """
        return self._base

    @property
    def superseded(self) -> bool:
        """True if a login or logout of the browser ended or moved the session after the browser sent this request.

        A new session of this request would undo that login or logout, so this request must not create a session.
        """
        if not self.is_opened:
            self._open()
        return self.absence is Absence.SUPERSEDED

    @property
    def is_merge_pending(self) -> bool:
        """True if the stored session belongs to a user and has visitor data that is not in the user's data yet."""
        record = self._record
        return record is not None and record.header.owner != "" and VISITOR_ID_KEY in record.values

    def has_touched(self, key: Any) -> bool:
        """Return True if this request may have changed ``key``: it set or deleted the key, or read a mutable value."""
        return self.is_opened and key in self._touched

    def request_tickets(self) -> list[Secret]:
        """Return the possible tickets in the request's Cookie header."""
        return self.interface.find_tickets(self._environ)

    @property
    def phase(self) -> Phase:
        """The state of the work."""
        if self.failed:
            return Phase.FAILED
        if self.closed:
            return Phase.SAVED if self.is_opened else Phase.CLOSED
        if self.is_opened:
            return Phase.OPEN
        return Phase.OPENING if self.present_run is not None else Phase.NOT_OPENED

    @property
    def holds_lock(self) -> bool:
        """True while this request has the session's lock."""
        return self.lock_holders > 0

    @property
    def can_send_cookies(self) -> bool:
        """True if a response of this request is still to come that can set the session cookie."""
        return self.phase not in (Phase.FAILED, Phase.SAVED, Phase.CLOSED)

    @property
    def is_used(self) -> bool:
        """True if the end of the request may have something to save, or must report a failure."""
        return self.is_opened or self.save_requested or self.failed or bool(self.companions)

    def companion(self, name: str, make: Callable[[], Companion]) -> Companion:
        """Return the companion with this name. The first call for a name makes the companion with ``make``."""
        with _mutex:
            if self.companions is None:
                self.companions = {}
        if name not in self.companions:
            self.companions.setdefault(name, make())  # atomic: all threads get one object
        return self.companions[name]

    def works_of_request(self) -> list[SessionWork]:
        """Return all sessions of this request: those of user kinds, and the session of the application's own users."""
        main = self if self.main_work is None else self.main_work  # an empty session is false
        return [*main.kind_works, main]

    def add_kind(self, work: SessionWork) -> None:
        """Save the session ``work`` of a user kind together with this session, the application's own."""
        work.main_work, work.failed, work.closed = self, self.failed, self.closed
        self.kind_works = [*self.kind_works, work]

    # -- open -----------------------------------------------------------------------------------------------

    def _open(self) -> dict[Any, Any]:
        """Load the session of the request's ticket and return the dict of values. Raises SessionUnavailable.

        Another thread that loads the session already gets SESSION_STORE_TIMEOUT seconds for that.
        """
        if self.failed:
            raise SessionUnavailable
        try:
            self.run_alone(self._load, self.interface.settings.timeout)
        except Reentered:
            return {}
        except TimeoutError:
            text = "another thread of this request has not loaded the session yet, so this thread gets a 503"
            self.call_inside(log.error, text)
            raise WaitedTooLong from None
        return self._data

    def _load(self) -> None:
        if self.failed:
            raise SessionUnavailable
        if self.is_opened:
            return
        self.accessed = True
        try:
            record = self._find() if "HTTP_COOKIE" in self._environ else None
            if record is not None and FLASH_LEASES in record.values:
                record = self._put_expired_flashes_back(record)
        except StoreError as error:
            raise self._unavailable(error) from error
        self._record, self._was_stored = record, record is not None
        if record is not None and UNSHOWN_KEY in record.values:
            self._unshown = SecretBytes(record.values[UNSHOWN_KEY])
        self._reset({} if record is None else record.values)

    def _find(self) -> Record | None:
        """Return the session of the first of the request's tickets that has a session. Otherwise set :attr:`absence`.

        Raises StoreError.
        """
        repository = self.interface.repository
        if repository.take_backs.waiting:
            repository.take_backs.run()
        for ticket in self.interface.find_tickets(self._environ):
            found = repository.load(ticket)
            if isinstance(found, Record):
                if found.ticket != ticket:
                    # A parallel request renewed the ticket a moment ago. The browser may not get the response of that
                    # request, so send the new ticket with this response too.
                    self.response_ticket = found.ticket
                return found
            self._remember_absence(ticket, found)
        if self.absence is None and self.interface.settings.cookie.values(self._environ):
            self._reject("malformed", None)
        return None

    def _put_expired_flashes_back(self, record: Record) -> Record:
        """Return the session, with the flash messages of expired leases back in the list. Raises StoreError."""
        repository = self.interface.repository
        edit = partial(with_expired_leases_back, now_ms=repository.now_ms())
        committed = repository.edit(record, edit) if edit(record.values) else None
        # None means that the session ended after the load. The commit of this request will notice the end.
        return record if committed is None else committed.record

    def _remember_absence(self, ticket: str, absence: Absence) -> None:
        """Set :attr:`absence` for a ticket without a session, and send session_reused or session_rejected."""
        sid = public_id(self.interface.repository.tickets.fingerprint(ticket))
        if absence is Absence.REUSED:
            self.send(signals.session_reused, sid=sid)
        elif absence is not Absence.SUPERSEDED:
            self._reject("unknown" if absence is Absence.CARRIES else absence.value, sid)
        if self.absence is not Absence.SUPERSEDED:
            self.absence = absence

    def _reject(self, reason: str, sid: str | None) -> None:
        if sid is not None:
            tell(log.info, "session %s: the ticket was refused (%s)", sid, reason)
        self.send(signals.session_rejected, reason=reason, sid=sid)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Turn a StoreError in the ``with`` block into SessionUnavailable (503), and save nothing more.

        After an earlier failure, raise SessionUnavailable without running the block.
        """
        if self.failed:
            raise SessionUnavailable
        try:
            yield
        except StoreError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: StoreError) -> SessionUnavailable:
        tell(log.error, "the session store failed, so this request gets a 503: %s", error)
        self.fail()
        return SessionUnavailable()

    def fail(self) -> None:
        """Save none of this request's changes, and turn its response into a 503 that sets no session cookie.

        From now on, every use of a session in this request raises SessionUnavailable and does not ask the store.
        """
        for work in self.works_of_request():
            work.failed, work.is_opened = True, False

    # -- change ---------------------------------------------------------------------------------------------

    def rotate(self) -> None:
        """Give the session a new ticket with this response, and the same values. Call it when privileges change.

        The old ticket is invalid as soon as the response is made. A request that still sends the old ticket sees an
        empty session, and its changes are not saved.
        """
        self.rotation_requested = self.save_requested = True
        for key in self.interface.app.extensions.get(DELETED_AT_ROTATION, ()):
            with suppress(KeyError):
                del self[key]

    def continue_from(self, record: Record, sent: Changes) -> None:
        """Use ``record``, a newer record of the same session, which this request has made with the changes ``sent``."""
        if self._record is None or record.ticket != self._record.ticket:
            self.response_ticket = record.ticket  # this request created the session, or another one renewed its ticket
        self._record = record
        self._rebase_on(record.values, sent)

    def start_over_from(self, record: Record, changes: Changes, values: Values, *, was_stored: bool = True) -> None:
        """Use ``record``, another session, as if the browser had sent its ticket, but with ``values``.

        ``changes``: this request's changes, of which ``values`` has those that stay. ``was_stored``: False if this
        request has just stored ``record``.
        """
        self._record, self.absence, self.response_ticket = record, None, record.ticket
        self._was_stored = self._was_stored or was_stored
        self.rotation_requested = self.cleared = False
        self._rebase_on(record.values, changes, values)

    def reload_keys(self, record: Record, keys: Collection[Any]) -> None:
        """Use ``record``, a newer record with other values for ``keys``. Discard this request's changes of ``keys``."""
        if self._saves and self._saves[-1].record is self._record:
            self._saves = [*self._saves[:-1], self._saves[-1]._replace(record=record)]
        self._record = record
        self._reload_keys(record.values, keys)

    def drop(self, key: Any) -> None:
        """Let the commit delete ``key``, without the log line of ``del session[key]`` after the response was made."""
        self._data.pop(key, None)
        self._touched.setdefault(key, None)

    def forget_changes(self) -> None:
        """Discard this request's changes, so that the session has its stored values again."""
        self._reset({} if self._record is None else self._record.values)

    # -- save -----------------------------------------------------------------------------------------------

    @property
    def has_changes(self) -> bool:
        """True if :meth:`save` may write."""
        record = self._record
        return bool(
            self.save_requested
            or self.response_ticket is not None  # also "", which deletes the cookie
            or self._unshown is not None
            or (self.is_opened and self._touched)
            or (record is not None and (self.is_merge_pending or True in self._due(record)))
        )

    def check(self) -> None:
        """Raise SessionValueError or SessionTooLargeError if the changes cannot be saved. Write nothing."""
        changes = self.changes() if self.is_opened else {}
        if changes:
            record, rotates = None if self.cleared else self._record, self.rotation_requested or USER_KEY in changes
            self.interface.repository.check_size(record, changes, rotates=rotates, login=self.new_login)

    def save(self) -> None:
        """Save this request's changes. Without changes, write only if a refresh or a renewal is due.

        Visitor data of an earlier login is merged before the commit, and visitor data of this login after the commit.
        Raises SessionUnavailable, SessionValueError, SessionTooLargeError, SessionLimitError.
        """
        if self.failed:
            raise SessionUnavailable
        record = self._record
        if self._unshown is not None and record is not None:
            self._mark_shown(record, self._unshown)
        if self.is_merge_pending:
            self.merge_before_commit()
        self._commit()
        if self.is_merge_pending:
            self.merge_after_commit()

    def _mark_shown(self, record: Record, packed: bytes) -> None:
        """Record that the browser has the session that a remember token began, as its ticket came with this request.

        ``packed``: the value under UNSHOWN_KEY, which this request's commit deletes. Raises SessionUnavailable.
        """
        with self.outage():
            self.repository.families.mark_shown(packed)
        self._unshown = None
        if record.values.get(UNSHOWN_KEY) == packed:  # otherwise this request has gone on in another session
            self.drop(UNSHOWN_KEY)

    def _due(self, record: Record) -> tuple[bool, bool]:
        """Return whether a refresh of the stored session is due, and whether a renewal of its ticket is due."""
        repository = self.interface.repository
        return repository.lifetimes.due(record.header, repository.clock())

    def save_now(self, *, provisional: bool = False) -> None:
        """Save this request's changes in this call, for code that must know that the changes are stored.

        The end of the request saves later changes as usual. ``provisional``: undo this save if that later save fails.
        Raises the same errors as :meth:`save`.
        """
        self.run_alone(self.save)
        if not provisional:
            self.make_saves_final()

    def make_saves_final(self) -> None:
        """Let a rollback undo none of the saves until now, and call the functions that wait for the save.

        From now on the response sends the saved ticket, also if the response is an error.
        """
        if self._saves or self._merges:
            self._saves = self._merges = ()
        self._saved_ticket = self.response_ticket
        while self.after_save:
            function, *self.after_save = self.after_save
            function()

    @property
    def _is_last_save(self) -> bool:
        """True if no other save of this request can follow, so that this one need not be undone."""
        return self.closed and not (self.companions or self.kind_works or self.main_work)

    def note_save(self, committed: Committed) -> None:
        """Let :meth:`rollback` undo a save of this request."""
        saves, before = self._saves, committed.before
        last = saves[-1] if saves else None
        if last and before and (before.key, before.version) == (last.record.key, last.record.version):
            # One undo for both saves. An undo of the second save alone would write a new version of the session, and
            # the undo of the first save would take this version for another request's.
            saves, committed = saves[:-1], committed._replace(before=last.before)
        self._saves = [*saves, committed]

    def note_merge(self, merged: UserCommit) -> None:
        """Let :meth:`rollback` undo a merge of visitor data that this request's login has made."""
        self._merges = [*self._merges, merged]

    def _commit(self) -> None:
        if not self.is_opened:
            if not self.save_requested or (not self.rotation_requested and not self.request_tickets()):
                return  # the view did nothing, or only set session.permanent, and the browser has no session
            self._load()
        changes = self.changes()
        try:
            if self._record is None:
                self._commit_new(changes)
            elif self.cleared:
                self._commit_cleared(self._record, changes)
            else:
                self.commit_stored(self._record, changes)
        except StoreError as error:
            raise self._unavailable(error) from error

    def _commit_new(self, changes: Changes) -> None:
        if not changes:
            return
        # Many login views call clear() first. Without self.cleared here, a second click on "Sign in" would do nothing.
        is_restarted = self._is_restarted or self.rotation_requested or self.cleared
        if self.absence is Absence.SUPERSEDED and not is_restarted:
            # The browser has logged in or out after it sent this request. A new cookie would undo the login or logout.
            self.discard("superseded")
            return
        if self.absence is not None:
            self.merge_carried(changes)
        self._saved_as_new(self.create(changes), changes)

    def create(self, changes: Changes, ticket: str | None = None) -> Record | None:
        """Store the values in ``changes`` as a new session and return its record.

        The session gets ``ticket``, or a random ticket if ``ticket`` is None. Return None if the store has an entry for
        ``ticket`` already. Raises SessionTooLargeError, SessionLimitError, StoreError.
        """
        repository, settings = self.interface.repository, self.interface.settings
        permanent = settings.permanent if self._permanent is None else self._permanent
        values = {key: packed for key, packed in changes.items() if packed is not None}
        if ticket is None:
            return repository.create(values, permanent=permanent, login=self.new_login)
        return repository.create_at(ticket, values, permanent=permanent, login=self.new_login)

    def _commit_cleared(self, old: Record, changes: Changes) -> None:
        """End the stored session after ``clear()``. Save the keys that were set after ``clear()`` as a new session."""
        made = self.create(changes) if changes else None  # before the end of the old session, because it can fail
        try:
            self._end(old)
        except StoreError:
            if made is not None:
                self.interface.repository.delete_unused(made)
            raise
        self._is_restarted = True
        self._saved_as_new(made, changes)

    def _end(self, record: Record) -> None:
        ended = self.interface.repository.destroy(record)
        self._saves = self._merges = ()  # the session cannot come back, and its visitor data is only in the user's data
        if ended:
            self.response_ticket = ""
            self.send(signals.session_destroyed, record)
        else:
            # Another request ended the session, or the session expired. The browser may have a newer cookie by now.
            self.response_ticket = None

    def commit_stored(self, record: Record, changes: Changes) -> None:
        """Commit ``changes`` to a stored session. Rotate the session if its user changes. Renew it if that is due.

        Raises SessionTooLargeError, SessionLimitError, StoreError.
        """
        repository = self.interface.repository
        refresh_due, renewal_due = self._due(record)
        permanent = None if self._permanent == record.header.permanent else self._permanent
        committed: Committed | None
        privilege: bool | None = None  # True after a rotation, False after a renewal
        writes = bool(changes) or self._forces_write or permanent is not None
        is_activity = not self._passive and (writes or self.interface.settings.refresh_each_request)
        refreshes = self._forces_write or (is_activity and refresh_due)
        if self.rotation_requested or renewal_due or USER_KEY in changes:
            privilege, self.rotation_requested = self.rotation_requested or USER_KEY in changes, False
            committed = repository.rotate(
                record,
                changes,
                permanent=permanent,
                seen=privilege or refreshes,
                renewal=not privilege,
                login=self.new_login,
                fence=record.header.fence if self.holds_lock else None,
            )
            if committed is not None:
                self.response_ticket = committed.record.ticket
        elif writes or refreshes:
            committed = repository.commit(record, changes, permanent=permanent, seen=refreshes)
            # Send the cookie again if the cookie's lifetime or ticket changes.
            if committed and (refreshes or permanent is not None or committed.record.ticket != record.ticket):
                self.response_ticket = committed.record.ticket
        else:
            self._check_response_ticket()
            return
        if committed is None and self._is_double_login(record, changes):
            # The browser dropped the other request's response, as for the first click of a double click on "Sign in".
            self._record, self.absence, self.rotation_requested = None, Absence.SUPERSEDED, True
            self._commit_new(changes)
            return
        if committed is None:
            self.discard("gone")
            return
        self._saved(committed.record, changes)
        if not self._is_last_save:
            self.note_save(committed)
        if privilege is not None and signals.session_rotated.receivers:
            reason = "privilege" if privilege else "renewal"
            self.send(signals.session_rotated, committed.record, old_sid=record.sid, reason=reason)
        if committed.conflicts:
            self.send_conflicts(committed)

    def _is_double_login(self, record: Record, changes: Changes) -> bool:
        """Return whether this request logs a user in whom a parallel request of the browser has just logged in.

        ``record`` is the session before both logins. Raises StoreError.
        """
        if changes.get(USER_KEY) is None:
            return False
        repository = self.interface.repository
        owner = repository.owner_of_successor(record.key)
        return owner is not None and owner.name == repository.tickets.owner_name(str(self[USER_KEY]))

    def _check_response_ticket(self) -> None:
        """Send the present ticket, or no cookie, from a request that came with a renewed ticket and commits nothing.

        A login or logout may have ended the session while this request ran. A cookie with the ticket that the request
        read at its start would then undo the login or logout.
        """
        if self.response_ticket:
            found = self.interface.repository.load(self.response_ticket)
            self.response_ticket = found.ticket if isinstance(found, Record) else None

    def _saved_as_new(self, record: Record | None, sent: Changes) -> None:
        self._saved(record, sent)
        if record is not None:
            self.note_save(Committed(record, False, ()))
            self.response_ticket = record.ticket
            self.send(signals.session_created, record)

    def _saved(self, record: Record | None, sent: Changes) -> None:
        """Find later changes by comparison with ``record``, which contains the changes of parallel requests too.

        With the old record, a second save would delete the values that the parallel requests added.
        """
        self._record = record
        values = {} if record is None else record.values
        if self.closed:  # there are no later changes, so spend no time on them
            self._base, self._touched = values, {}
        else:
            self._rebase_on(values, sent)
        self.save_requested = self._forces_write = self.rotation_requested = self.cleared = False

    def send_conflicts(self, committed: Committed) -> None:
        """Send the signal ``session_conflict`` for each conflict of a commit."""
        for conflict in committed.conflicts:
            self.send(signals.session_conflict, committed.record, **conflict.signal_arguments())

    def discard(self, reason: str) -> None:
        """Discard this request's changes, because the session has ended or moved.

        Log a warning and send the signal ``session_discarded`` with ``reason``. The response sets no session cookie,
        because the browser may have a newer cookie.
        """
        keys = tuple(self.changes())
        sid = None if self._record is None else self._record.sid
        if keys:
            tell(log.warning, "session %s: changes to %d keys were not saved (%s)", sid, len(keys), reason)
            self.send(signals.session_discarded, sid=sid, keys=keys, reason=reason)
        self._record, self.absence, self.response_ticket = None, Absence.SUPERSEDED, None
        self.after_save = ()
        self._reset({})

    def rollback(self) -> None:
        """Discard this request's changes and the companions' changes, because the commit failed.

        Undo the saves that this request made before, newest first. The stored session is then as it was before.
        """
        for companion in (self.companions or {}).values():
            companion.rollback()
        saves, merges = self._saves, self._merges
        self._saves = self._merges = self.after_save = ()
        taken_back = [self.repository.take_back(saved) for saved in reversed(saves)]
        if saves and all(taken_back):  # otherwise the visitor data may be in the user's data only
            for merged in reversed(merges):
                self.repository.user_data.take_back(merged)
        if saves and not self.failed:
            # The store has other versions and tickets now than this request knows, so load the session again.
            self._record = self.absence = None
            self.is_opened = False
        elif self.is_opened:
            self.forget_changes()
        self._forces_write = self.rotation_requested = self.cleared = self.save_requested = False
        self._permanent, self.response_ticket = None, self._saved_ticket
        self.new_login = None

    def send(self, signal: Any, record: Record | None = None, **arguments: Any) -> None:
        """Send a signal with the application as sender. With ``record``, add its public id as the argument ``sid``.

        While the session is loaded or saved, the signal is postponed: see :func:`.first_use.tell`.
        """
        if signal.receivers:
            if record is not None:
                arguments["sid"] = record.sid
            tell(signal.send, self.interface.app, **arguments)

    def _place_of(self, key: Any) -> str:
        if isinstance(key, str) and key.startswith(VISITOR_PREFIX):
            return f"user_session[{key.removeprefix(VISITOR_PREFIX)!r}]"
        return super()._place_of(key)
