"""Limit how many connections to one server a process has open, over all its pools."""

from __future__ import annotations

import contextlib
import queue
import time
import weakref
from collections import deque
from collections.abc import Collection
from typing import Any, Final, Protocol

from ..forking import call_in_child

#: The number of redis-py 8. It is more than a process has threads, and far below a server's limit of 10,000.
MAX_CONNECTIONS: Final = 100

#: Seconds after which a waiting thread looks for a connection again, even if no other thread woke it. An exception at
#: an unlucky moment can drop a connection: its permit is free then, but nobody is woken.
RECHECK_SECONDS: Final = 0.1


class TooManyConnectionsError(Exception):
    """All connections are in use, and none became free in time. Callers turn this into an error of their own."""


class Permit:
    """The right to have one connection open, for as long as something refers to this object.

    Every connection refers to its permit. A signal handler or the end of a greenlet can raise an exception after any
    call, such as after a connection was taken and before it was stored. The references end then, and the permit with
    them. A counter would stay wrong for ever.
    """

    __slots__ = ("__weakref__",)


class _Waiter:
    """One place in the queue of waiting threads, for as long as something refers to this object."""

    __slots__ = ("__weakref__", "wakeups")

    def __init__(self) -> None:
        #: An item that is put here wakes the thread, also if the thread begins to wait later.
        self.wakeups: queue.SimpleQueue[None] = queue.SimpleQueue()


class Pool(Protocol):
    """Something that has idle connections under a limit."""

    def close_one_idle(self) -> Permit | None:
        """Close one idle connection and return its permit; None if no connection is idle."""


class IdleConnections(deque[Any]):
    """The idle connections of one pool. ``append`` and ``pop`` are atomic."""

    # The limit keeps its pools in a set. Two empty pools must not count as the same one.
    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__

    def close_one_idle(self) -> Permit | None:
        """Close the connection that has been idle for longest and return its permit; None if there is none."""
        try:
            connection = self.popleft()
        except IndexError:
            return None
        connection.disconnect()
        permit: Permit = connection.permit
        return permit


def close_all(limit: ConnectionLimit, *collections: Collection[Any]) -> None:
    """Close the connections of a pool that was garbage-collected, then give back their permits.

    To be called by ``weakref.finalize``. With ``__del__``, the sockets could be collected before the pool, and Python
    would warn of sockets that nobody closed.
    """
    for connection in [connection for collection in collections for connection in collection]:
        connection.disconnect()
        limit.release(connection.permit)


class ConnectionLimit:
    """Counts the open connections to one server. A thread that finds an idle connection does not need this class.

    Connections differ by their options, such as decoding and time-outs, so each set of options has a pool of its own.
    At the limit, a thread gets the permit of another pool's idle connection, or waits. No lock is needed, because only
    the first thread in the queue looks for a connection.
    """

    def __init__(self, maximum: int = MAX_CONNECTIONS) -> None:
        self.maximum = maximum
        self._pools: weakref.WeakSet[Any] = weakref.WeakSet()
        call_in_child(self._reset)
        self._reset()

    def _reset(self) -> None:
        # A forked child has neither the connections nor the waiting threads of its parent.
        # The callbacks of both collections are methods in C, which no exception interrupts.
        self._permits: set[weakref.ref[Permit]] = set()
        #: The waiting threads, first come first. A thread that returns a connection looks here afterwards, and wakes
        #: the first. A thread that needs a connection looks here before, and joins the end of the queue: otherwise the
        #: thread that has just returned one would take the connection again before the first waiter wakes up.
        self.waiters: deque[weakref.ref[_Waiter]] = deque()

    @property
    def open_count(self) -> int:
        """How many connections are open or about to be opened."""
        return len(self._permits)

    def add_pool(self, pool: Pool) -> None:
        """Let ``pool`` close its idle connections when another pool needs a permit."""
        self._pools.add(pool)

    def acquire(self, idle: deque[Any], seconds: float) -> Any:
        """Return a connection that has become ``idle`` meanwhile, or a :class:`Permit` to open one.

        Wait at most ``seconds``. Raises :class:`TooManyConnectionsError`.
        """
        deadline = time.monotonic() + seconds
        waiter = _Waiter()
        # Join the queue first and look second: a connection that is returned in between then wakes the first waiter.
        self.waiters.append(weakref.ref(waiter, self.waiters.remove))
        try:
            while True:
                if self.waiters[0]() is waiter:
                    found = self._try_to_acquire(idle)
                    if found is not None:
                        return found
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise TooManyConnectionsError
                with contextlib.suppress(queue.Empty):
                    waiter.wakeups.get(timeout=min(remaining, RECHECK_SECONDS))
        finally:
            self.waiters.remove(weakref.ref(waiter))
            self.wake_first()  # there may be a connection for the next waiter as well

    def _try_to_acquire(self, idle: deque[Any]) -> Any | None:
        if idle:
            with contextlib.suppress(IndexError):  # another thread has taken it
                return idle.pop()
        if len(self._permits) < self.maximum:
            permit = Permit()
            self._permits.add(weakref.ref(permit, self._permits.discard))
            return permit
        return next(filter(None, (pool.close_one_idle() for pool in list(self._pools))), None)

    def wake_first(self) -> None:
        """Tell the first waiting thread that there may be a connection or a permit."""
        try:
            first = self.waiters[0]()
        except IndexError:
            return
        if first is not None:
            first.wakeups.put(None)

    def release(self, permit: Permit) -> None:
        """Give back the permit of a closed connection. A second call for the same permit does nothing."""
        self._permits.discard(weakref.ref(permit))
        self.wake_first()

    def close_idle(self) -> None:
        """Close every idle connection."""
        for pool in list(self._pools):
            while (permit := pool.close_one_idle()) is not None:
                self.release(permit)
