"""Limit the number of connections to one server that a process has open, over all its pools."""

from __future__ import annotations

import contextlib
import queue
import time
import weakref
from collections import deque
from collections.abc import Collection
from typing import Any, Final, Protocol

from ..forking import call_in_child

#: The default connection limit, as in redis-py 8. Few processes have more threads, and a server accepts 10,000
#: connections by default.
MAX_CONNECTIONS: Final = 100

#: Seconds after which a waiting thread looks for a connection again, even if no other thread woke it. If an exception
#: comes between two steps, a connection can be garbage-collected: its permit is free then, but no thread is woken.
RECHECK_SECONDS: Final = 0.1


class TooManyConnectionsError(Exception):
    """All connections are in use, and none became free in time. The pool turns this error into a driver's error."""


class Permit:
    """The right to have one connection open. The right ends when Python deletes this object.

    Every connection refers to its permit. A signal handler or the end of a greenlet can raise an exception anywhere,
    also after a connection was made and before it was stored in a variable. Then Python deletes the connection and its
    permit. A plain counter would stay too high for ever.
    """

    __slots__ = ("__weakref__",)


class _Waiter:
    """The place of one thread in the queue of waiting threads. The place ends when Python deletes this object."""

    __slots__ = ("__weakref__", "wakeups")

    def __init__(self) -> None:
        #: An item in this queue wakes the thread, even if the thread begins to wait after the item was put.
        self.wakeups: queue.SimpleQueue[None] = queue.SimpleQueue()


class Pool(Protocol):
    """A collection of idle connections under a connection limit."""

    def close_one_idle(self) -> Permit | None:
        """Close one idle connection and return its permit. Return None if no connection is idle."""


class IdleConnections(deque[Any]):
    """The idle connections of one pool. ``append`` and ``pop`` are atomic."""

    # ConnectionLimit has a set of these objects. Two empty collections would be equal without these two lines.
    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__

    def close_one_idle(self) -> Permit | None:
        """Close the connection with the longest idle time and return its permit. Return None if none is idle."""
        try:
            connection = self.popleft()
        except IndexError:
            return None
        connection.disconnect()
        permit: Permit = connection.permit
        return permit


def close_all(limit: ConnectionLimit, *collections: Collection[Any]) -> None:
    """Close the connections of a pool that was garbage-collected, then return their permits to ``limit``.

    ``weakref.finalize`` calls this function. With ``__del__`` instead, Python could delete the sockets before the pool,
    and would warn of unclosed sockets.
    """
    for connection in [connection for collection in collections for connection in collection]:
        connection.disconnect()
        limit.release(connection.permit)


class ConnectionLimit:
    """Counts the open connections to one server. A thread that finds an idle connection does not use this class.

    Connections differ by their options, such as decoding and time-outs, so each set of options has a pool of its own.
    At the limit, a thread closes another pool's idle connection and gets its permit, or waits. The class needs no lock,
    because only the first thread in the queue looks for a connection.
    """

    def __init__(self, maximum: int = MAX_CONNECTIONS) -> None:
        self.maximum = maximum
        self._pools: weakref.WeakSet[Any] = weakref.WeakSet()
        call_in_child(self._reset)
        self._reset()

    def _reset(self) -> None:
        # A forked child has neither the connections nor the waiting threads of its parent.
        # The callbacks of the weak references are methods in C, so no exception can interrupt them half-way.
        self._permits: set[weakref.ref[Permit]] = set()
        #: The queue of waiting threads, the longest wait first. A thread that has returned a connection wakes the first
        #: thread of the queue. A thread that needs a connection joins the end of a queue that is not empty: otherwise a
        #: thread that has just returned a connection could get it again before the first waiting thread wakes up.
        self.waiters: deque[weakref.ref[_Waiter]] = deque()

    @property
    def open_count(self) -> int:
        """The number of connections that are open or will be opened next."""
        return len(self._permits)

    def add_pool(self, pool: Pool) -> None:
        """Register ``pool``, whose idle connections may be closed when another pool needs a permit."""
        self._pools.add(pool)

    def acquire(self, idle: deque[Any], seconds: float) -> Any:
        """Return a connection from ``idle``, or a :class:`Permit` with which the caller may open a connection.

        Wait at most ``seconds``. Raises :class:`TooManyConnectionsError` after that time.
        """
        deadline = time.monotonic() + seconds
        waiter = _Waiter()
        # Join the queue before looking for a connection: otherwise this thread would miss a connection that is returned
        # between the look and the wait.
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
            self.wake_first()  # the next waiting thread may find a connection, too

    def _try_to_acquire(self, idle: deque[Any]) -> Any | None:
        if idle:
            with contextlib.suppress(IndexError):  # another thread has got the connection
                return idle.pop()
        if len(self._permits) < self.maximum:
            permit = Permit()
            self._permits.add(weakref.ref(permit, self._permits.discard))
            return permit
        return next(filter(None, (pool.close_one_idle() for pool in list(self._pools))), None)

    def wake_first(self) -> None:
        """Wake the first waiting thread, because a connection or a permit may be free now."""
        try:
            first = self.waiters[0]()
        except IndexError:
            return
        if first is not None:
            first.wakeups.put(None)

    def release(self, permit: Permit) -> None:
        """End the permit of a closed connection, and wake a waiting thread. A second call changes nothing."""
        self._permits.discard(weakref.ref(permit))
        self.wake_first()

    def close_idle(self) -> None:
        """Close all idle connections of all pools."""
        for pool in list(self._pools):
            while (permit := pool.close_one_idle()) is not None:
                self.release(permit)
