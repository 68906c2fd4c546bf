"""Tells of connections that were lost and came back, once for each outage and not once for each connection."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Final, Literal

from ..forking import call_in_child

log: Final = logging.getLogger("flask_cloakroom.redis")

#: What happened: ``starting`` (before each connection to the embedded server), ``lost`` (cause: the error's class
#: name), ``restored`` (seconds: how long it was away), ``moved`` (old, new: the master's address before and after).
Event = Literal["starting", "lost", "restored", "moved"]
Listener = Callable[..., None]


class Watch:
    """One server's state, as far as this process has seen it. Writes log lines and calls the listeners."""

    def __init__(self, label: str) -> None:
        self.label = label
        #: Counts what was noticed. Each connection knows the number of its making, and what happens to one that was
        #: made before the last news is no news.
        self.news = 0
        self._listeners: list[weakref.ref[Listener]] = []
        self._lost_at: float | None = None
        self._master: str | None = None
        self._lock = threading.Lock()
        call_in_child(self._renew_lock)

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with an :data:`Event` and its details as keywords, as long as somebody else keeps it."""
        self._listeners.append(weakref.ref(listener))

    def starting(self) -> None:
        """Note that the embedded server is about to be used, and started if it does not run."""
        self._tell("starting")

    def lost(self, error: BaseException, since: int) -> None:
        """Note that the server could not be reached, or that an open connection broke, which stood when ``news`` was
        ``since``."""
        with self._lock:
            if self._lost_at is not None or since != self.news:
                return
            self._lost_at = time.monotonic()
            self.news += 1
        cause = type(error).__name__
        log.warning("Redis (%s): connection lost (%s)", self.label, cause)
        self._tell("lost", cause=cause)

    def connected(self) -> None:
        """Note that a connection was made."""
        if self._lost_at is None:
            return
        with self._lock:
            if self._lost_at is None:
                return
            seconds = time.monotonic() - self._lost_at
            self._lost_at = None
            self.news += 1
        log.warning("Redis (%s): connected again, %.1f s after it was lost", self.label, seconds)
        self._tell("restored", seconds=seconds)

    def replaced(self, since: int) -> None:
        """Note that a connection was replaced, because the server had closed it or because it had unread bytes.

        The connection was made when ``news`` was ``since``: of those that an outage or a restart leaves behind only the
        first is told of.
        """
        with self._lock:
            if since != self.news:
                return
            self.news += 1
        log.info("Redis (%s): an idle connection was closed or had unread bytes, and was replaced", self.label)
        self._tell("restored", seconds=0.0)

    def master_is(self, address: str) -> bool:
        """Note which server is the master; return whether it is another one than before."""
        with self._lock:
            before, self._master = self._master, address
        if before is None or before == address:
            return False
        log.warning("Redis (%s): the master is %s now; it was %s", self.label, address, before)
        self._tell("moved", old=before, new=address)
        return True

    def _tell(self, event: Event, **details: Any) -> None:
        for reference in list(self._listeners):
            listener = reference()
            if listener is None:
                with contextlib.suppress(ValueError):  # another thread was faster
                    self._listeners.remove(reference)
                continue
            try:
                listener(event, **details)
            except Exception:
                # The command on whose way this was noticed has nothing to do with it.
                log.exception("Redis (%s): a receiver of the signal %s failed", self.label, event)

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()
