"""What ``flask.session`` is: a dict that comes from the store when it is first touched."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from flask.sessions import SessionMixin

from .. import signals
from ..core.entries.record import Absence, Committed, Record
from ..core.entries.tickets import public_id
from ..core.sessions.owners import Begun, Ownership
from ..core.user_data.visitor import PREFIX
from ..core.values.lazy import LazyDict
from ..core.values.own_keys import FLASHES, TAKEN, USER_KEY
from ..core.values.rebase import Changes
from ..errors import StoreError
from ..secret import Secret
from .concurrent_login import adopt
from .flashes import Taken, recovered, take
from .lock import lock
from .merge_at_login import claim_left, conclude, is_owed, settle
from .outage import SessionUnavailable

if TYPE_CHECKING:
    from ..core.sessions.repository import Repository
    from .interface import ServerSessionInterface

log = logging.getLogger("flask_cloakroom.sessions")

#: So many cookies of the session's name are tried, when a browser sends several (of another path or domain, which
#: would hide ours for ever). Each costs a store command, so a flood of them must not.
MAX_COOKIES: Final = 3

#: Where an application keeps a set of keys whose values belong to one id of the session, and not to the next one.
KEYS_OF_ONE_ID: Final = "flask_cloakroom.sessions keys of one id"


class Companion(Protocol):
    """Something that is kept apart from the session and saved right before it."""

    def save(self) -> None:
        """Save what the request did to it. Raises what saving a session raises."""

    def abandon(self) -> None:
        """Forget what could not be saved."""


class ServerSession(LazyDict, SessionMixin):
    """The visitor's session, used like a dict. Nothing is read before the first use, no value before its own.

    What a view changes, also deep inside a value, is found at the end of the request and saved without being
    announced. Requests that run at the same time are merged, key by key.
    """

    # Class attributes, so that a request that leaves its session alone sets none of them.
    _record: Record | None = None
    _absence: Absence | None = None
    _permanent: bool | None = None
    _pending = False  # something below, or the data as a whole, was set and must be looked at in the end
    _forced = False
    _rotating = False
    _cleared = False
    _restarted = False  # destroyed or cleared in this request: what comes now is a new session
    _locked = False
    _failed = False  # the store did: the response will be a 503, whatever the view makes of it
    _passive = False
    _found = False
    _login: Begun | None = None
    #: By name, what is saved with the session, because the same request changed it.
    companions: MutableMapping[str, Companion] | None = None
    #: The flash messages that this response shows.
    _taken: Taken | None = None
    #: Where the session moves at its next rotation; None for a new ticket.
    _destination: str | None = None
    #: The ticket that the response shall set, "" to delete the cookie, None to leave it alone.
    _cookie: str | None = None

    def __init__(self, interface: ServerSessionInterface, environ: Mapping[str, Any]) -> None:
        self._interface = interface
        self._environ = environ

    def __repr__(self) -> str:
        # Never the contents: what is printed is logged.
        if self._data is None:
            return "<ServerSession not opened>"
        return f"<ServerSession {self.sid or 'new'} keys={len(self._data)}>"

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove ``key`` and return its value, or ``default``; KeyError without one. As a dict does.

        With it Flask takes the flash messages to be shown; those are removed in the store at once. A HEAD request
        shows none, so it gets an empty list and the messages stay for the page that is seen.
        """
        if key == FLASHES and key in self:
            return [] if self._environ.get("REQUEST_METHOD") == "HEAD" else take(self)
        return super().pop(key, *default)

    def clear(self) -> None:
        """Empty the session and end it: what is stored afterwards is a new session with a new id."""
        self._opened()
        self._begin({})
        self._taken = None  # messages that were taken end with what they were in
        self._cleared = self._pending = True

    @property
    def permanent(self) -> bool:
        """Whether the cookie outlives the browser window (SESSION_PERMANENT is what it begins with)."""
        if self._permanent is not None:
            return self._permanent
        self._opened()
        return self._interface.settings.permanent if self._record is None else self._record.header.permanent

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self._permanent = bool(value)
        self._pending = True

    @property
    def new(self) -> bool:  # type: ignore[override]  # a plain attribute in the mixin
        """True if nothing was stored for this visitor when the session was first touched."""
        self._opened()
        return not self._found

    @property
    def modified(self) -> bool:
        """Whether there is something to save. Need not be set; True makes the session be written all the same."""
        return self._forced or self._cleared or (self._data is not None and bool(self._changes()))

    @modified.setter
    def modified(self, value: bool) -> None:
        self._forced = bool(value)
        self._pending = self._pending or self._forced

    @property
    def sid(self) -> str | None:
        """The session's public id, as in the logs; it opens nothing. None while nothing is stored."""
        self._opened()
        return None if self._record is None else self._record.sid

    @property
    def created(self) -> datetime | None:
        """When the session began, in UTC. None while nothing is stored."""
        self._opened()
        return None if self._record is None else datetime.fromtimestamp(self._record.header.created, UTC)

    @property
    def last_seen(self) -> datetime | None:
        """The last activity, in UTC, as exact as SESSION_REFRESH_AFTER. None while nothing is stored."""
        self._opened()
        return None if self._record is None else datetime.fromtimestamp(self._record.header.seen, UTC)

    @property
    def passive(self) -> bool:
        """True if this request does not count as activity, as for a page that polls. Set it in the view."""
        return self._passive

    @passive.setter
    def passive(self, value: bool) -> None:
        self._passive = bool(value)

    @property
    def superseded(self) -> bool:
        """True if the cookie's session was ended or got a new id a moment ago, by a login or logout.

        Then this request is older than that, and must not begin anything on its own account.
        """
        self._opened()
        return self._absence is Absence.SUPERSEDED

    def rotate(self) -> None:
        """Give the session a new id with this response; its contents stay. For every change of privilege.

        The old id is dead from the moment that the response is made. Requests that still carry it see an
        empty session, and what they write is dropped.
        """
        self._rotating = self._pending = True
        for key in self._interface.app.extensions.get(KEYS_OF_ONE_ID, ()):
            self.pop(key, None)

    def describe(self, login: Begun) -> None:
        """Say what the list of a user's sessions shows of this one, if it is saved with a new id. For logins."""
        self._login = login

    def save_now(self) -> None:
        """Save what this request did so far, and what it does later at its end. For what must not fail then.

        Raises what saving raises: SessionUnavailable, SessionValueError, SessionTooLargeError, SessionLimitError.
        """
        self._save()
        if self._record is not None:
            self._rebase(self._record.values)

    def adopt(self, ticket: str, contents: Mapping[str, Any], *, first: bool) -> bool:
        """Go on as the session of this ticket, for a login that parallel requests make: :func:`.adoption.adopt`."""
        return adopt(self, ticket, contents, first=first)

    def give_up(self) -> None:
        """Save nothing of what this request did or does, and let its answer be a 503 that sets no cookie of ours."""
        self._opened()
        self._failed = True

    def destroy(self) -> None:
        """End the session in the store, at once: no request that is still running brings it back.

        What is put into the session afterwards is a new one. Raises SessionUnavailable (503) when the
        store is down: then the session was not ended.
        """
        self._opened()
        if is_owed(self._record):
            with self._outage():
                settle(self)
        record, self._record = self._record, None
        self._begin({})
        self._taken = None
        self._cleared = False
        self._restarted = True
        if record is not None:
            with self._outage():
                self._end(record)

    def _end(self, record: Record) -> None:
        if self._interface.repository.destroy(record):
            self._cookie = ""
            self._send(signals.session_destroyed, sid=record.sid)
        else:
            # Another request has ended it, or it has expired. The cookie may be that of a later login by now.
            self._cookie = None

    # -- for the other parts of this package ----------------------------------------------------------------

    @property
    def interface(self) -> ServerSessionInterface:
        """The session interface that opened this session."""
        return self._interface

    @property
    def repository(self) -> Repository:
        """The sessions in the store."""
        return self._interface.repository

    @property
    def record(self) -> Record | None:
        """The stored session as this request knows it. Opens the session."""
        self._opened()
        return self._record

    @property
    def owner(self) -> Ownership | None:
        """The owner in the stored session's header. Opens the session."""
        record = self.record
        return None if record is None else Ownership.parse(record.header.owner)

    @property
    def is_merge_pending(self) -> bool:
        """Whether the stored session is a user's and holds a visitor's data that is still to be merged into theirs."""
        return is_owed(self._record)

    def has_touched(self, key: Any) -> bool:
        """Tell whether this request set or deleted ``key``, or read a value there that it may change in place."""
        return self.is_opened and key in self._touched

    def outage(self) -> AbstractContextManager[None]:
        """Return a context manager that raises SessionUnavailable (503) for a StoreError, and lets nothing be saved."""
        return self._outage()

    def join(self, ticket: str, contents: Mapping[str, Any], *, first: bool) -> bool:
        """Go on as the session of this ticket: :meth:`adopt`."""
        return self.adopt(ticket, contents, first=first)

    # -- the lock -----------------------------------------------------------------------------------------

    @contextmanager
    def lock(self, *, timeout: float = 10.0, lease: float = 30.0) -> Iterator[None]:
        """Keep other requests that lock this session out until the block is left; then save and let them in.

        For what cannot be merged, as a balance that must not fall below zero. Read values inside the block: those
        that were read before may be old. Changes are saved when it is left, also by an exception, as a session's
        always are. ``timeout``: seconds to wait for the lock. ``lease``: seconds, a day at most, after which another
        request may take it, should this one never come back. A session that isn't stored yet has nobody to keep out.

        Raises LockTimeoutError; LockLostError if the session has ended, or at the end of the block if the lease ran
        out and somebody took the lock; ValueError for a time that is none.
        """
        with lock(self, timeout, lease):
            yield

    # -- opening ------------------------------------------------------------------------------------------

    def _open(self) -> dict[Any, Any]:
        """Read the cookie, ask the store, and be a dict from now on."""
        self.accessed = True
        record = self._find() if "HTTP_COOKIE" in self._environ else None
        if record is None:
            return self._begin({})
        if TAKEN in record.values:
            record = self._recover(record)
        self._record = record
        self._found = True
        return self._begin(record.values)

    def _recover(self, record: Record) -> Record:
        try:
            return recovered(self._interface.repository, record)
        except StoreError as error:
            self._begin({})  # opened, so that the answer is a 503 whatever the view makes of it
            raise self._unavailable(error) from error

    def _find(self) -> Record | None:
        repository = self._interface.repository
        for ticket in self._interface.find_tickets(self._environ)[:MAX_COOKIES]:
            try:
                found = repository.load(ticket)
            except StoreError as error:
                self._begin({})
                raise self._unavailable(error) from error
            if isinstance(found, Record):
                if found.ticket != ticket:
                    # Renewed a moment ago by a parallel request: end on the same new ticket.
                    self._cookie = found.ticket
                return found
            self._note(ticket, found)
        if self._absence is None and self._interface.settings.cookie.values(self._environ):
            self._reject("malformed", None)
        return None

    def _brings_ticket(self) -> bool:
        return bool(self._brought_tickets())

    def _brought_tickets(self) -> list[Secret]:
        return self._interface.find_tickets(self._environ)[:MAX_COOKIES]

    def _note(self, ticket: str, absence: Absence) -> None:
        """Remember and tell why there is no session for a ticket."""
        sid = public_id(self._interface.repository.tickets.fingerprint(ticket))
        if absence is Absence.REUSED:
            self._send(signals.session_reused, sid=sid)
        elif absence is not Absence.SUPERSEDED:
            self._reject("unknown" if absence is Absence.LEFT else absence.value, sid)
        if self._absence is not Absence.SUPERSEDED:
            self._absence = absence

    @contextmanager
    def _outage(self) -> Iterator[None]:
        """Make a page without its session a 503, and make sure that this request writes nothing any more."""
        try:
            yield
        except StoreError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: StoreError) -> SessionUnavailable:
        log.error("the session store failed: %s", error)
        self._failed = True
        return SessionUnavailable()

    # -- saving -------------------------------------------------------------------------------------------

    def _save(self) -> None:
        """Save what this request did. Raises SessionUnavailable, SessionValueError, SessionTooLargeError."""
        if is_owed(self._record) and not self._failed:
            with self._outage():
                settle(self)
        self._commit()
        if is_owed(self._record) and not self._failed:
            conclude(self)

    def _commit(self) -> None:
        record = self._record
        stale, renew = (False, False) if record is None else self._interface.repository.due(record)
        if not (self._pending or self._touched or stale or renew):
            if self._cookie and record is not None:
                self._check_followed()
            return
        if self._data is None and not self._rotating and not self._brings_ticket():
            return  # session.permanent was set, and there is no session that it could be said of
        self._opened()
        if self._failed:
            return
        changes = self._changes()
        try:
            if self._record is None:
                self._commit_new(changes)
            elif self._cleared:
                self._commit_cleared(self._record, changes)
            else:
                self._rotating = self._rotating or USER_KEY in changes
                self._commit_stored(self._record, changes, stale, renew)
        except StoreError as error:
            raise self._unavailable(error) from error

    def _commit_new(self, changes: Changes) -> None:
        if not changes:
            return
        # clear() too, because it is how many a login view begins: the second click on the button logs in as well.
        restarted = self._restarted or self._rotating or self._cleared
        if self._absence is Absence.SUPERSEDED and not restarted:
            # Whatever this request believes to know is out of date. Its cookie would undo the login or logout.
            self._discard("superseded")
            return
        claim_left(self, changes)
        self._settle(self._create(changes))
        assert self._record is not None
        self._cookie = self._record.ticket
        self._send(signals.session_created, sid=self._record.sid)

    def _create(self, changes: Changes) -> Record:
        values = {key: packed for key, packed in changes.items() if packed is not None}
        permanent = self._interface.settings.permanent if self._permanent is None else self._permanent
        return self._interface.repository.create(values, permanent=permanent, begun=self._login)

    def _commit_cleared(self, old: Record, changes: Changes) -> None:
        """``clear()``: the stored session ends, and what was set since, if anything, is the beginning of another."""
        made = self._create(changes) if changes else None  # first, because should it fail the old one stays
        try:
            self._end(old)
        except StoreError:
            if made is not None:
                self._interface.repository.withdraw(made)
            raise
        self._restarted = True
        self._settle(made)
        if made is not None:
            self._cookie = made.ticket
            self._send(signals.session_created, sid=made.sid)

    def _check_followed(self) -> None:
        """A response must not set a cookie to where the session was when the request began, if it is elsewhere now.

        The request carried a ticket that had just been renewed, and it may have taken long: by now a login or a logout
        may have ended what it found. What commits something finds that out by itself.
        """
        assert self._cookie is not None
        try:
            found = self._interface.repository.load(self._cookie)
        except StoreError as error:
            raise self._unavailable(error) from error
        self._cookie = found.ticket if isinstance(found, Record) else None

    def _commit_stored(self, record: Record, changes: Changes, stale: bool, renew: bool) -> None:
        repository = self._interface.repository
        permanent = None if self._permanent == record.header.permanent else self._permanent
        committed: Committed | None
        privilege: bool | None = None
        writes = bool(changes) or self._forced or permanent is not None
        counts = not self._passive and (writes or self._interface.settings.refresh_each_request)
        seen = self._forced or (counts and stale)
        if self._rotating or renew:
            privilege, self._rotating = self._rotating, False
            committed = repository.rotate(
                record,
                changes,
                permanent=permanent,
                seen=privilege or seen,
                renewal=not privilege,
                begun=self._login,
                ticket=self._destination,
                fence=record.header.fence if self._locked else None,
            )
            if committed is not None:
                self._cookie = committed.record.ticket
        else:
            if not writes and not seen:
                return
            committed = repository.commit(record, changes, permanent=permanent, seen=seen)
            # The cookie lives on with the session, and says the same of being permanent and of the ticket.
            if committed and (seen or permanent is not None or committed.record.ticket != record.ticket):
                self._cookie = committed.record.ticket
        if committed is None:
            self._discard("gone")
            return
        self._settle(committed.record)
        # Only now: a receiver may fail, and what it fails at is saved.
        if privilege is not None:
            reason = "privilege" if privilege else "renewal"
            self._send(signals.session_rotated, sid=committed.record.sid, old_sid=record.sid, reason=reason)
        if committed.contested:
            self._report(committed)

    def _settle(self, record: Record | None) -> None:
        """All is saved. Were it saved once more, what others changed must not look like our deletions."""
        self._record = record
        self._base = {} if record is None else record.values
        self._touched = {}
        self._pending = self._forced = self._rotating = self._cleared = False

    def _report(self, committed: Committed) -> None:
        for key, clash in committed.contested:
            self._send(signals.session_conflict, key=key, sid=committed.record.sid, **clash.told())

    def _discard(self, reason: str) -> None:
        """Drop what this request wrote, because the session is over; say so; leave the cookie to its successor."""
        keys = tuple(self._changes())
        sid = None if self._record is None else self._record.sid
        if keys:
            log.warning("session %s: changes to %d keys were dropped (%s)", sid, len(keys), reason)
            self._send(signals.session_discarded, sid=sid, keys=keys, reason=reason)
        self._record, self._absence, self._cookie = None, Absence.SUPERSEDED, None
        self._begin({})

    def _abandon(self) -> None:
        """Nothing of this request can be saved; what was stored before stays. Flask makes another response."""
        self._begin({} if self._record is None else self._record.values)
        self._forced = self._rotating = self._cleared = self._pending = False
        self._permanent = self._cookie = None
        for companion in (self.companions or {}).values():
            companion.abandon()

    def _place_of(self, key: Any) -> str:
        if isinstance(key, str) and key.startswith(PREFIX):
            return f"user_session[{key.removeprefix(PREFIX)!r}]"
        return super()._place_of(key)

    def _send(self, signal: Any, **arguments: Any) -> None:
        """Send a signal from the application, if anybody hears it."""
        if signal.receivers:
            signal.send(self._interface.app, **arguments)

    send = _send

    def _reject(self, reason: str, sid: str | None) -> None:
        if sid is not None:
            log.info("session %s: its ticket was refused (%s)", sid, reason)
        self._send(signals.session_rejected, reason=reason, sid=sid)
