"""One request's work on one session: find it in the store, change it, and commit the changes.

:class:`SessionWork` holds the state of that work. The modules beside this one take a SessionWork: the lock, parallel
logins, the merge of a visitor's data, and flash messages. None of them knows what a view sees of the session.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, Protocol

from flask import Flask

from .. import signals
from ..cookies import Finder
from ..core.entries.ownership import Begun, Ownership
from ..core.entries.record import Absence, Committed, Record
from ..core.entries.tickets import public_id
from ..core.sessions.repository import Repository
from ..core.user_data.visitor import VISITOR_PREFIX
from ..core.values.flashes import ShownFlashes, with_expired_leases_back
from ..core.values.lazy import LazyDict
from ..core.values.own_keys import FLASH_LEASES, USER_KEY, VISITOR_ID_KEY
from ..core.values.rebase import Changes, Values
from ..errors import StoreError
from ..secret import Secret
from .outage import SessionUnavailable
from .settings import SessionSettings

log = logging.getLogger("flask_cloakroom.sessions")

#: Where an application keeps a set of keys whose values belong to one id of the session, and not to the next one.
KEYS_OF_ONE_ID: Final = "flask_cloakroom.sessions keys of one id"


class Host(Protocol):
    """What a session needs of the session interface that opened it."""

    #: The application, which signals name as their sender.
    app: Flask
    settings: SessionSettings

    @property
    def repository(self) -> Repository:
        """The sessions in the store."""

    @property
    def find_tickets(self) -> Finder:
        """A function that lists what could be tickets in the Cookie header of a WSGI request."""


class Companion(Protocol):
    """Something that is kept apart from the session and saved right before it."""

    def save(self) -> None:
        """Save what the request did to it. Raises what saving a session raises."""

    def abandon(self) -> None:
        """Forget what could not be saved."""


class SessionWork(LazyDict):
    """What one request does to one session. The subclass says what happens before and after a commit."""

    # Class attributes, so that a request that leaves its session alone sets none of them.
    #: Something below, or the data as a whole, was set and must be looked at in the end.
    pending = False
    #: The session moves to another ticket at the next commit.
    rotating = False
    #: ``clear()`` was called: what is stored ends at the commit, and what was set since begins another session.
    cleared = False
    #: This request holds the session's lock.
    locked = False
    #: The store failed: the response will be a 503, whatever the view makes of it.
    failed = False
    #: Why there is no stored session for the ticket that the browser sent.
    absence: Absence | None = None
    #: What the list of a user's sessions shows of this one, if it is saved with a new id.
    begun: Begun | None = None
    #: By name, what is saved with the session, because the same request changed it.
    companions: MutableMapping[str, Companion] | None = None
    #: The flash messages that this response shows.
    taken: ShownFlashes | None = None
    #: Where the session moves at its next rotation; None for a new ticket.
    destination: str | None = None
    #: The ticket that the response shall set, "" to delete the cookie, None to leave it alone.
    cookie: str | None = None
    _record: Record | None = None
    _permanent: bool | None = None
    _forced = False
    _restarted = False  # destroyed or cleared in this request: what comes now is a new session
    _passive = False
    _found = False

    def __init__(self, interface: Host, environ: Mapping[str, Any]) -> None:
        self.interface = interface
        self._environ = environ

    def save_changes(self) -> None:
        """Save what :meth:`save` found to be unsaved: :meth:`commit`, and what belongs before and after it.

        The subclass says what that is.
        """
        raise NotImplementedError

    # -- what is known --------------------------------------------------------------------------------------

    @property
    def repository(self) -> Repository:
        """The sessions in the store."""
        return self.interface.repository

    @property
    def record(self) -> Record | None:
        """The stored session as this request knows it; None while nothing is stored. Opens the session."""
        if not self.is_opened:
            self._open()
        return self._record

    @property
    def owner(self) -> Ownership | None:
        """Whose the stored session is. Opens the session."""
        record = self.record
        return None if record is None else Ownership.parse(record.header.owner)

    @property
    def stored(self) -> Values:
        """The packed values that this request's changes are compared with. The session must be opened."""
        return self._base

    @property
    def superseded(self) -> bool:
        """True if the cookie's session was ended or got a new id a moment ago, by a login or logout.

        Then this request is older than that, and must not begin anything on its own account.
        """
        if not self.is_opened:
            self._open()
        return self.absence is Absence.SUPERSEDED

    @property
    def is_merge_pending(self) -> bool:
        """Whether the stored session is a user's and holds a visitor's data that is still to be merged into theirs."""
        record = self._record
        return record is not None and record.header.owner != "" and VISITOR_ID_KEY in record.values

    def has_touched(self, key: Any) -> bool:
        """Tell whether this request set or deleted ``key``, or read a value there that it may change in place."""
        return self.is_opened and key in self._touched

    def brought_tickets(self) -> list[Secret]:
        """Return the tickets that the browser sent, as many as are tried."""
        return self.interface.find_tickets(self._environ)

    # -- opening --------------------------------------------------------------------------------------------

    def _open(self) -> dict[Any, Any]:
        """Read the cookie, ask the store, and be a dict from now on."""
        self.accessed = True
        try:
            record = self._find() if "HTTP_COOKIE" in self._environ else None
            if record is not None and FLASH_LEASES in record.values:
                record = self._recover(record)
        except StoreError as error:
            self._reset({})  # opened, so that the answer is a 503 whatever the view makes of it
            raise self._unavailable(error) from error
        if record is None:
            return self._reset({})
        self._record = record
        self._found = True
        return self._reset(record.values)

    def _find(self) -> Record | None:
        for ticket in self.interface.find_tickets(self._environ):
            found = self.interface.repository.load(ticket)
            if isinstance(found, Record):
                if found.ticket != ticket:
                    # Renewed a moment ago by a parallel request: end on the same new ticket.
                    self.cookie = found.ticket
                return found
            self._note(ticket, found)
        if self.absence is None and self.interface.settings.cookie.values(self._environ):
            self._reject("malformed", None)
        return None

    def _recover(self, record: Record) -> Record:
        """Return the session with the flash messages back whose response never came. Raises StoreError."""
        repository = self.interface.repository
        edit = partial(with_expired_leases_back, now_ms=repository.now_ms())
        committed = repository.edit(record, edit) if edit(record.values) else None
        return record if committed is None else committed.record  # a session that is over is found out at the end

    def _note(self, ticket: str, absence: Absence) -> None:
        """Remember and tell why there is no session for a ticket."""
        sid = public_id(self.interface.repository.tickets.fingerprint(ticket))
        if absence is Absence.REUSED:
            self.send(signals.session_reused, sid=sid)
        elif absence is not Absence.SUPERSEDED:
            self._reject("unknown" if absence is Absence.CARRIES else absence.value, sid)
        if self.absence is not Absence.SUPERSEDED:
            self.absence = absence

    def _reject(self, reason: str, sid: str | None) -> None:
        if sid is not None:
            log.info("session %s: its ticket was refused (%s)", sid, reason)
        self.send(signals.session_rejected, reason=reason, sid=sid)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Make a page without its session a 503, and make sure that this request writes nothing any more."""
        try:
            yield
        except StoreError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: StoreError) -> SessionUnavailable:
        log.error("the session store failed: %s", error)
        self.failed = True
        return SessionUnavailable()

    # -- changing -------------------------------------------------------------------------------------------

    def describe(self, begun: Begun) -> None:
        """Say what the list of a user's sessions shows of this one, if it is saved with a new id. For logins."""
        self.begun = begun

    def rotate(self) -> None:
        """Give the session a new id with this response; its contents stay. For every change of privilege.

        The old id is dead from the moment that the response is made. Requests that still carry it see an
        empty session, and what they write is dropped.
        """
        self.rotating = self.pending = True
        for key in self.interface.app.extensions.get(KEYS_OF_ONE_ID, ()):
            with suppress(KeyError):
                del self[key]

    def destroy(self) -> None:
        """End the session in the store, at once: no request that is still running brings it back.

        What is put into the session afterwards is a new one. Raises SessionUnavailable (503) when the
        store is down: then the session was not ended.
        """
        record, self._record = self.record, None
        self._reset({})
        self.taken = None
        self.cleared = False
        self._restarted = True
        if record is not None:
            with self.outage():
                self._end(record)

    def _end(self, record: Record) -> None:
        if self.interface.repository.destroy(record):
            self.cookie = ""
            self.send(signals.session_destroyed, record)
        else:
            # Another request has ended it, or it has expired. The cookie may be that of a later login by now.
            self.cookie = None

    def give_up(self) -> None:
        """Save nothing of what this request did or does, and let its answer be a 503 that sets no cookie of ours."""
        self.opened()
        self.failed = True

    # -- going on from what is stored -----------------------------------------------------------------------

    def continue_from(self, record: Record) -> None:
        """Go on in the same request from what is stored now. Objects that the view holds stay where values did."""
        if self._record is None or record.ticket != self._record.ticket:
            self.cookie = record.ticket  # it is new, or another request renewed it meanwhile
        self._record = record
        self._reset_keeping_objects(record.values)

    def switch_to(self, record: Record) -> None:
        """Go on as another session, as if the browser had sent its ticket and this request had changed nothing."""
        self._record, self.absence, self.cookie, self._found = record, None, record.ticket, True
        self.rotating = self.cleared = False
        self._reset(record.values)

    def restate(self, record: Record, keys: Collection[Any]) -> None:
        """Go on from a record that has other values under ``keys``; forget this request's changes there."""
        self._record = record
        self._reload_keys(record.values, keys)

    def forget_changes(self) -> None:
        """Forget what this request changed of the contents since they were read."""
        self._reset({} if self._record is None else self._record.values)

    # -- saving ---------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Save what this request did. Raises SessionUnavailable, SessionValueError, SessionTooLargeError."""
        record = self._record
        if (
            self.pending
            or self.cookie
            or (self.is_opened and self._touched)
            or (record is not None and (self.is_merge_pending or True in self.interface.repository.due(record)))
        ):
            self.save_changes()

    def save_now(self) -> None:
        """Save what this request did so far, and what it does later at its end. For what must not fail then.

        Raises what saving raises: SessionUnavailable, SessionValueError, SessionTooLargeError, SessionLimitError.
        """
        self.save()
        if self._record is not None:
            self._reset_keeping_objects(self._record.values)

    def commit(self, before_create: Callable[[SessionWork, Changes], None]) -> None:
        """Commit this request's changes, if there are any. Raises what :meth:`save` raises.

        ``before_create``: called with this object and the changes before they are stored as a new session.
        """
        if not self.is_opened:
            if not self.rotating and not self.brought_tickets():
                return  # session.permanent was set, and there is no session that it could be said of
            self._open()
        if self.failed:
            return
        changes = self.changes()
        try:
            if self._record is None:
                self._commit_new(changes, before_create)
            elif self.cleared:
                self._commit_cleared(self._record, changes)
            else:
                self.commit_stored(self._record, changes)
        except StoreError as error:
            raise self._unavailable(error) from error

    def _commit_new(self, changes: Changes, before_create: Callable[[SessionWork, Changes], None]) -> None:
        if not changes:
            return
        # clear() too, because it is how many a login view begins: the second click on the button logs in as well.
        restarted = self._restarted or self.rotating or self.cleared
        if self.absence is Absence.SUPERSEDED and not restarted:
            # Whatever this request believes to know is out of date. Its cookie would undo the login or logout.
            self.discard("superseded")
            return
        if self.absence is not None:
            before_create(self, changes)
        self._saved_anew(self._create(changes))

    def _create(self, changes: Changes) -> Record:
        return self.interface.repository.create(
            _values_of(changes), permanent=self._begins_permanent(), begun=self.begun
        )

    def create_at(self, ticket: str) -> bool:
        """Store what this request holds as a new session under a ticket, and go on there. False: one is there already.

        Nothing may be stored of the session yet. Raises SessionTooLargeError, SessionLimitError, StoreError.
        """
        repository, permanent = self.interface.repository, self._begins_permanent()
        made = repository.create_at(ticket, _values_of(self.changes()), permanent=permanent, begun=self.begun)
        if made is None:
            return False
        self.continue_from(made)
        self.send(signals.session_created, made)
        return True

    def _begins_permanent(self) -> bool:
        return self.interface.settings.permanent if self._permanent is None else self._permanent

    def _commit_cleared(self, old: Record, changes: Changes) -> None:
        """``clear()``: the stored session ends, and what was set since, if anything, is the beginning of another."""
        made = self._create(changes) if changes else None  # first, because should it fail the old one stays
        try:
            self._end(old)
        except StoreError:
            if made is not None:
                self.interface.repository.withdraw(made)
            raise
        self._restarted = True
        self._saved_anew(made)

    def commit_stored(self, record: Record, changes: Changes) -> None:
        """Commit ``changes`` over a stored session: move it to a new ticket if its user changes or that is due."""
        repository = self.interface.repository
        stale, renew = repository.due(record)
        permanent = None if self._permanent == record.header.permanent else self._permanent
        committed: Committed | None
        privilege: bool | None = None
        writes = bool(changes) or self._forced or permanent is not None
        counts = not self._passive and (writes or self.interface.settings.refresh_each_request)
        seen = self._forced or (counts and stale)
        if self.rotating or renew or USER_KEY in changes:
            privilege, self.rotating = self.rotating or USER_KEY in changes, False
            committed = repository.rotate(
                record,
                changes,
                permanent=permanent,
                seen=privilege or seen,
                renewal=not privilege,
                begun=self.begun,
                ticket=self.destination,
                fence=record.header.fence if self.locked else None,
            )
            if committed is not None:
                self.cookie = committed.record.ticket
        elif writes or seen:
            committed = repository.commit(record, changes, permanent=permanent, seen=seen)
            # The cookie lives on with the session, and says the same of being permanent and of the ticket.
            if committed and (seen or permanent is not None or committed.record.ticket != record.ticket):
                self.cookie = committed.record.ticket
        else:
            self._check_followed()
            return
        if committed is None:
            self.discard("gone")
            return
        self._saved(committed.record)
        # Only now: a receiver may fail, and what it fails at is saved.
        if privilege is not None:
            reason = "privilege" if privilege else "renewal"
            self.send(signals.session_rotated, committed.record, old_sid=record.sid, reason=reason)
        if committed.conflicts:
            self.report(committed)

    def _check_followed(self) -> None:
        """A response must not set a cookie to where the session was when the request began, if it is elsewhere now.

        The request carried a ticket that had just been renewed, and it may have taken long: by now a login or a logout
        may have ended what it found. What commits something finds that out by itself.
        """
        if self.cookie:
            found = self.interface.repository.load(self.cookie)
            self.cookie = found.ticket if isinstance(found, Record) else None

    def _saved_anew(self, made: Record | None) -> None:
        self._saved(made)
        if made is not None:
            self.cookie = made.ticket
            self.send(signals.session_created, made)

    def _saved(self, record: Record | None) -> None:
        """All is saved. Were it saved once more, what others changed must not look like our deletions."""
        self._record = record
        self._base = {} if record is None else record.values
        self._touched = {}
        self.pending = self._forced = self.rotating = self.cleared = False

    def report(self, committed: Committed) -> None:
        """Send a signal for each conflict that a commit decided."""
        for conflict in committed.conflicts:
            self.send(signals.session_conflict, committed.record, **conflict.signal_arguments())

    def discard(self, reason: str) -> None:
        """Drop what this request wrote, because the session is over; say so; leave the cookie to its successor."""
        keys = tuple(self.changes())
        sid = None if self._record is None else self._record.sid
        if keys:
            log.warning("session %s: changes to %d keys were dropped (%s)", sid, len(keys), reason)
            self.send(signals.session_discarded, sid=sid, keys=keys, reason=reason)
        self._record, self.absence, self.cookie = None, Absence.SUPERSEDED, None
        self._reset({})

    def abandon(self) -> None:
        """Nothing of this request can be saved; what was stored before stays. Flask makes another response."""
        self.forget_changes()
        self._forced = self.rotating = self.cleared = self.pending = False
        self._permanent = self.cookie = None
        for companion in (self.companions or {}).values():
            companion.abandon()

    def send(self, signal: Any, record: Record | None = None, **arguments: Any) -> None:
        """Send a signal in the application's name. With a ``record``, the session's public id is its ``sid``."""
        if signal.receivers:
            if record is not None:
                arguments["sid"] = record.sid
            signal.send(self.interface.app, **arguments)

    def _place_of(self, key: Any) -> str:
        if isinstance(key, str) and key.startswith(VISITOR_PREFIX):
            return f"user_session[{key.removeprefix(VISITOR_PREFIX)!r}]"
        return super()._place_of(key)


def _values_of(changes: Changes) -> Values:
    return {key: packed for key, packed in changes.items() if packed is not None}
