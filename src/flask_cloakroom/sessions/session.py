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
    """The session of one request, used like a dict. It is loaded at its first use, and each value at its first read.

    The end of the request finds and saves all changes, also changes inside a list or dict; ``modified`` need not be set
    for them. The changes of parallel requests are merged, key by key.
    """

    merge_before_commit = merge_at_login.merge_before_commit
    merge_after_commit = merge_at_login.merge_after_commit
    merge_carried = merge_at_login.merge_carried

    def __repr__(self) -> str:
        # The repr shows no values, because programs often log it.
        if not self.is_opened:
            return f"<ServerSession {self.phase.value}>"
        return f"<ServerSession {self.sid or 'new'} keys={len(self._data)}>"

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove ``key`` and return its value. Return ``default`` if the session has no such key.

        Flask calls this for the flash messages that it shows. This call removes the messages from the store before it
        returns, so that no other response shows them. A HEAD request gets an empty list, and the messages stay stored,
        because nobody sees its response. If several threads of a request show messages, one gets all, and the others
        get an empty list. Raises KeyError if the key is missing and no ``default`` is given.
        """
        if key == FLASHES and (key in self or (self.shown_flashes is not None and not default)):
            return [] if self._environ.get("REQUEST_METHOD") == "HEAD" else self._take_flashes()
        return super().pop(key, *default)

    def _take_flashes(self) -> Any:
        taken: list[Any] = []
        self.run_alone(lambda: taken.append(take(self) if FLASHES in self else []))
        return taken[0]

    def clear(self) -> None:
        """Remove all keys. The end of this request ends the stored session.

        The keys that are set after this call are saved as a new session with a new ticket.
        """
        self._opened_to_write()
        self._reset({})
        self.shown_flashes = None  # the shown messages belong to the old session, so do not put them into the new one
        self.cleared = self.save_requested = True

    @property
    def permanent(self) -> bool:
        """True if the cookie outlives the browser window. A new session has the value of SESSION_PERMANENT."""
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
        """True if the session has changes to save. Set it to True to write the session even without changes."""
        return self._forces_write or self.cleared or (self.is_opened and bool(self.changes()))

    @modified.setter
    def modified(self, value: bool) -> None:
        self._forces_write = bool(value)
        self.save_requested = self.save_requested or self._forces_write

    @property
    def sid(self) -> str | None:
        """The public id, which names the session in logs and is no secret. None if the session is not stored yet."""
        record = self.record
        return None if record is None else record.sid

    @property
    def created(self) -> datetime | None:
        """The time at which the session began, in UTC. None if the session is not stored yet."""
        record = self.record
        return None if record is None else datetime.fromtimestamp(record.header.created, UTC)

    @property
    def last_seen(self) -> datetime | None:
        """The time of the last activity, in UTC. None if the session is not stored yet.

        Activity is stored at most once in SESSION_REFRESH_AFTER seconds, so the real time may be that much later.
        """
        record = self.record
        return None if record is None else datetime.fromtimestamp(record.header.seen, UTC)

    @property
    def passive(self) -> bool:
        """True if this request does not count as activity. Set it to True in the view of a page that polls."""
        return self._passive

    @passive.setter
    def passive(self, value: bool) -> None:
        self._passive = bool(value)

    def destroy(self) -> None:
        """End the session in the store before this call returns. No parallel request can create the session again.

        The keys that are set after this call are saved as a new session. Raises SessionUnavailable (503) if the store
        fails. Then the stored session may still be valid.
        """
        self._opened_to_write()
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
        """Run the ``with`` block while no other request of this session runs a ``session.lock()`` block.

        Use the lock for values that cannot be merged, such as a balance that must not fall below zero. Read such a
        value inside the block, because a value that was read before the block may be old. The end of the block saves
        all changes, also after an exception. A session that is not stored yet needs no lock, so the block runs without.

        ``timeout`` is the longest wait for the lock in seconds. ``lease`` is the time in seconds, at most a day, after
        which another request may get the lock, even if this request has not ended.

        Raises LockTimeoutError after ``timeout``. Raises LockLostError if the session has ended, or at the end of the
        block if the lease expired and another request got the lock. Raises ValueError for a wrong number of seconds.
        """
        with lock(self, timeout, lease):
            yield
