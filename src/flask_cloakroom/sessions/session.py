"""``flask.session`` as a view uses it: a dict that is loaded from the store at the first use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from flask.sessions import SessionMixin

from ..core.values.own_keys import FLASHES
from . import merge_at_login
from .flashes import take
from .lock import lock
from .work import SessionWork


class ServerSession(SessionWork, SessionMixin):
    """The session of one request, used like a dict. It is loaded at the first use, and each value at its first read.

    At the end of the request all changes are found and saved, also those inside a list or dict. Nothing must be set for
    that. The changes of parallel requests are merged, key by key.
    """

    merge_before_commit = merge_at_login.merge_before_commit
    merge_after_commit = merge_at_login.merge_after_commit
    merge_carried = merge_at_login.merge_carried

    def __repr__(self) -> str:
        # Without the values, because a repr is often logged.
        if not self.is_opened:
            return "<ServerSession not opened>"
        return f"<ServerSession {self.sid or 'new'} keys={len(self._data)}>"

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove ``key`` and return its value, or ``default``. Raises KeyError if the key is missing without a default.

        Flask calls this for the flash messages that it shows. They are removed from the store at once, so that no other
        response shows them. A HEAD request gets an empty list and leaves them stored, because nobody sees its response.
        """
        if key == FLASHES and key in self:
            return [] if self._environ.get("REQUEST_METHOD") == "HEAD" else take(self)
        return super().pop(key, *default)

    def clear(self) -> None:
        """Remove all keys and end the session with this response. Keys that are set afterwards become a new session."""
        self.opened()
        self._reset({})
        self.shown_flashes = None  # these messages end with the old session
        self.cleared = self.save_requested = True

    @property
    def permanent(self) -> bool:
        """Whether the cookie outlives the browser window. A new session has the value of SESSION_PERMANENT."""
        if self._permanent is not None:
            return self._permanent
        record = self.record
        return self.interface.settings.permanent if record is None else record.header.permanent

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self._permanent = bool(value)
        self.save_requested = True

    @property
    def new(self) -> bool:  # type: ignore[override]  # a plain attribute in the mixin
        """True if the store had no session for this browser when this request first used its session."""
        self.opened()
        return not self._was_stored

    @property
    def modified(self) -> bool:
        """Whether there are changes to save. Set it to True to write the session even without changes."""
        return self._forces_write or self.cleared or (self.is_opened and bool(self.changes()))

    @modified.setter
    def modified(self, value: bool) -> None:
        self._forces_write = bool(value)
        self.save_requested = self.save_requested or self._forces_write

    @property
    def sid(self) -> str | None:
        """The public id, which names the session in logs. It is no secret. None if no session is stored yet."""
        record = self.record
        return None if record is None else record.sid

    @property
    def created(self) -> datetime | None:
        """The time at which the session began, in UTC. None if no session is stored yet."""
        record = self.record
        return None if record is None else datetime.fromtimestamp(record.header.created, UTC)

    @property
    def last_seen(self) -> datetime | None:
        """The time of the last activity, in UTC, to within SESSION_REFRESH_AFTER. None if no session is stored yet."""
        record = self.record
        return None if record is None else datetime.fromtimestamp(record.header.seen, UTC)

    @property
    def passive(self) -> bool:
        """Whether this request does not count as activity. Set it to True in the view of a page that polls."""
        return self._passive

    @passive.setter
    def passive(self, value: bool) -> None:
        self._passive = bool(value)

    def destroy(self) -> None:
        """End the session in the store at once. Requests that run at the same time cannot bring it back.

        Keys that are set afterwards become a new session. Raises SessionUnavailable (503) if the store fails. Then the
        session has not ended.
        """
        self.opened()
        if self.is_merge_pending:
            self.merge_before_commit()
        record, self._record = self._record, None
        self._reset({})
        self.shown_flashes = None
        self.cleared = False
        self._is_restarted = True
        if record is not None:
            with self.outage():
                self._end(record)

    @contextmanager
    def lock(self, *, timeout: float = 10.0, lease: float = 30.0) -> Iterator[None]:
        """Let no other request into its ``session.lock()`` block while this ``with`` block runs, then save.

        Use it for values that cannot be merged, such as a balance that must not fall below zero. Read such a value
        inside the block, because a value that was read before may be old. Changes are saved at the end of the block,
        also after an exception. A session that is not stored yet needs no lock, so the block just runs.

        ``timeout`` is the longest wait for the lock in seconds. ``lease`` is the time in seconds, at most a day, after
        which another request may take the lock from a request that never ends.

        Raises LockTimeoutError after ``timeout``. Raises LockLostError if the session has ended, or at the end of the
        block if the lease expired and another request took the lock. Raises ValueError for a wrong number of seconds.
        """
        with lock(self, timeout, lease):
            yield
