"""Report lost and restored connections to a server, once for each outage and not once for each connection."""

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

#: The name of an event. ``starting`` comes before each connection to the embedded server. ``lost`` has the argument
#: ``cause``, the class name of the error. ``restored`` has ``seconds``, the length of the outage. ``moved`` has ``old``
#: and ``new``, the addresses of the old and the new master.
Event = Literal["starting", "lost", "restored", "moved"]
Listener = Callable[..., None]


class ServerWatch:
    """The state of one server as this process sees it. Each change is logged and reported to the listeners."""

    def __init__(self, label: str) -> None:
        self.label = label
        #: A number that rises when connections are lost, restored or replaced. Each connection stores the number of the
        #: time when it was made. If a connection with an older number breaks, its outage was reported already.
        self.generation = 0
        self._listeners: list[weakref.ref[Listener]] = []
        self._lost_at: float | None = None
        self._master: str | None = None
        self._lock = threading.Lock()
        call_in_child(self._renew_lock)

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with each :data:`Event`, and with the event's arguments as keyword arguments.

        The watch has only a weak reference to ``listener``, so the caller must store ``listener``.
        """
        self._listeners.append(weakref.ref(listener))

    def report_starting(self) -> None:
        """Report that a connection to the embedded server will be made, which starts the server if it does not run."""
        self._notify("starting")

    def report_lost(self, error: BaseException, generation: int) -> None:
        """Report that a connection with this ``generation`` broke, or that a connection could not be made."""
        with self._lock:
            if self._lost_at is not None or generation != self.generation:
                return
            self._lost_at = time.monotonic()
            self.generation += 1
        cause = type(error).__name__
        log.warning("Redis (%s): connection lost (%s)", self.label, cause)
        self._notify("lost", cause=cause)

    def report_connected(self) -> None:
        """Report that a connection was made. If the server was lost, the outage ends now."""
        if self._lost_at is None:
            return
        with self._lock:
            if self._lost_at is None:
                return
            seconds = time.monotonic() - self._lost_at
            self._lost_at = None
            self.generation += 1
        log.warning("Redis (%s): connected again, %.1f s after it was lost", self.label, seconds)
        self._notify("restored", seconds=seconds)

    def report_replaced(self, generation: int) -> None:
        """Report that an idle connection with this ``generation`` was closed or had unread bytes, and was replaced.

        A restart of the server closes all idle connections. Only the first replacement is reported.
        """
        with self._lock:
            if generation != self.generation:
                return
            self.generation += 1
        log.info("Redis (%s): an idle connection was closed or had unread bytes, and was replaced", self.label)
        self._notify("restored", seconds=0.0)

    def set_master(self, address: str) -> bool:
        """Store the address of the master. Return True, and report the move, if the stored address was another one."""
        with self._lock:
            before, self._master = self._master, address
        if before is None or before == address:
            return False
        log.warning("Redis (%s): the master is %s now; it was %s", self.label, address, before)
        self._notify("moved", old=before, new=address)
        return True

    def _notify(self, event: Event, **details: Any) -> None:
        for reference in list(self._listeners):
            listener = reference()
            if listener is None:
                with contextlib.suppress(ValueError):  # another thread has removed it already
                    self._listeners.remove(reference)
                continue
            try:
                listener(event, **details)
            except Exception:
                # The Redis command that noticed the event must not fail because a listener fails.
                log.exception("Redis (%s): a receiver of the signal %s failed", self.label, event)

    def _renew_lock(self) -> None:
        # Another thread of the parent may have had the lock at the fork. The child lacks this thread, so the lock would
        # never be free.
        self._lock = threading.Lock()
