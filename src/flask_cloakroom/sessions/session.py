"""What ``flask.session`` is: a dict that comes from the store when it is first touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from flask.sessions import SessionMixin

from ..core.values.own_keys import FLASHES
from .concurrent_login import adopt
from .flashes import take
from .lock import lock
from .merge_at_login import claim_left, conclude, settle
from .work import SessionWork


class ServerSession(SessionWork, SessionMixin):
    """The visitor's session, used like a dict. Nothing is read before the first use, no value before its own.

    What a view changes, also deep inside a value, is found at the end of the request and saved without being
    announced. Requests that run at the same time are merged, key by key.
    """

    def __repr__(self) -> str:
        # Never the contents: what is printed is logged.
        if not self.is_opened:
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
        self.opened()
        self._reset({})
        self.taken = None  # messages that were taken end with what they were in
        self.cleared = self.pending = True

    @property
    def permanent(self) -> bool:
        """Whether the cookie outlives the browser window (SESSION_PERMANENT is what it begins with)."""
        if self._permanent is not None:
            return self._permanent
        record = self.record
        return self.interface.settings.permanent if record is None else record.header.permanent

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self._permanent = bool(value)
        self.pending = True

    @property
    def new(self) -> bool:  # type: ignore[override]  # a plain attribute in the mixin
        """True if nothing was stored for this visitor when the session was first touched."""
        self.opened()
        return not self._found

    @property
    def modified(self) -> bool:
        """Whether there is something to save. Need not be set; True makes the session be written all the same."""
        return self._forced or self.cleared or (self.is_opened and bool(self.changes()))

    @modified.setter
    def modified(self, value: bool) -> None:
        self._forced = bool(value)
        self.pending = self.pending or self._forced

    @property
    def sid(self) -> str | None:
        """The session's public id, as in the logs; it opens nothing. None while nothing is stored."""
        record = self.record
        return None if record is None else record.sid

    @property
    def created(self) -> datetime | None:
        """When the session began, in UTC. None while nothing is stored."""
        record = self.record
        return None if record is None else datetime.fromtimestamp(record.header.created, UTC)

    @property
    def last_seen(self) -> datetime | None:
        """The last activity, in UTC, as exact as SESSION_REFRESH_AFTER. None while nothing is stored."""
        record = self.record
        return None if record is None else datetime.fromtimestamp(record.header.seen, UTC)

    @property
    def passive(self) -> bool:
        """True if this request does not count as activity, as for a page that polls. Set it in the view."""
        return self._passive

    @passive.setter
    def passive(self, value: bool) -> None:
        self._passive = bool(value)

    def destroy(self) -> None:
        """End the session in the store, at once: no request that is still running brings it back.

        What is put into the session afterwards is a new one. Raises SessionUnavailable (503) when the
        store is down: then the session was not ended.
        """
        self.opened()
        if self.is_merge_pending:
            with self.outage():
                settle(self)
        super().destroy()

    def join(self, ticket: str, contents: Mapping[str, Any], *, first: bool) -> bool:
        """Go on as the session of this ticket, for a login that parallel requests make: :func:`.adopt`."""
        return adopt(self, ticket, contents, first=first)

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

    def save_changes(self) -> None:
        """Commit the changes, and merge a visitor's data of earlier logins before it, and of this login after it.

        Raises SessionUnavailable, SessionValueError, SessionTooLargeError.
        """
        if self.is_merge_pending and not self.failed:
            with self.outage():
                settle(self)
        self.commit(before_create=claim_left)
        if self.is_merge_pending and not self.failed:
            conclude(self)
