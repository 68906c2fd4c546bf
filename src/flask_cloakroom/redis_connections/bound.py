"""How many connections to one server may be open in a process, over everything that uses it."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Collection
from typing import Any, Final, Protocol

from ..forking import call_in_child

#: The driver's own number (redis-py 8): more than a process has threads, and far below a server's 10,000.
MAX_CONNECTIONS: Final = 100


class TooManyConnectionsError(Exception):
    """All are in use, and none became free in time. Never leaves this package as it is."""


class Member(Protocol):
    """What keeps connections under a bound."""

    def give_up_idle(self) -> bool:
        """Close one connection that nobody uses; False if there is none."""


class Idle(deque[Any]):
    """The connections of one kind that nobody uses: a member of a bound. ``append`` and ``pop`` are atomic."""

    # Each is itself and no other, whatever lies in it: the bound keeps its members in a set.
    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__

    def give_up_idle(self) -> bool:
        """Close the connection that has lain here for longest; False if there is none."""
        try:
            connection = self.popleft()
        except IndexError:
            return False
        connection.disconnect()
        return True


def close_left_over(bound: Bound, *places: Collection[Any]) -> None:
    """Close the connections of whom nobody has any more, and only then give back their room. For ``weakref.finalize``:
    with ``__del__``, sockets that are collected at the same time might be first, and warn that nobody closed them."""
    for connection in [connection for place in places for connection in place]:
        connection.disconnect()
        bound.closed()


class Bound:
    """Counts the open connections. Taking one that lies idle, and giving it back, does not come by here.

    Connections differ by their options (decoding, time-outs), so each kind has a place of its own for those that lie
    idle: a member. At the bound, whoever needs one gets the room of an idle one of another kind, or waits.
    """

    def __init__(self, most: int = MAX_CONNECTIONS) -> None:
        self.most = most
        self.open = 0
        #: Those that wait, in the order in which they came. Whoever gives a connection back looks at it after that, and
        #: wakes the first. Whoever needs one looks at it before, and takes its place behind them: otherwise the thread
        #: that has just given one back has it again before anyone else wakes up, time after time.
        self.waiting: deque[threading.Condition] = deque()
        self._lock = threading.RLock()
        self._members: weakref.WeakSet[Any] = weakref.WeakSet()
        call_in_child(self._start_anew)

    def join(self, member: Member) -> None:
        """Let ``member`` give up its idle connections when others need the room."""
        self._members.add(member)

    def room(self, idle: deque[Any], seconds: float) -> Any | None:
        """Return a connection that has become ``idle`` meanwhile, or None: the caller may open one.

        Waits at most ``seconds``. Raises :class:`TooManyConnectionsError`.
        """
        deadline = time.monotonic() + seconds
        with self._lock:
            mine = threading.Condition(self._lock)
            # First, and only then look: a connection that is given back from now on wakes the first that waits.
            self.waiting.append(mine)
            try:
                in_time = True
                while True:
                    if self.waiting[0] is mine:
                        if idle:
                            try:
                                return idle.pop()
                            except IndexError:  # another thread was faster
                                pass
                        if self.open < self.most:
                            self.open += 1
                            return None
                        if any(member.give_up_idle() for member in list(self._members)):
                            return None  # one was closed, one may be opened
                    if not in_time:
                        raise TooManyConnectionsError
                    # Woken in its last moment or not: it looks once more, as nobody else was woken in its place.
                    in_time = mine.wait(max(0.0, deadline - time.monotonic()))
            finally:
                self.waiting.remove(mine)
                self._wake_first()  # there may be room for the next one as well

    def wake(self) -> None:
        """Tell the first of the waiting threads that a connection lies idle."""
        with self._lock:
            self._wake_first()

    def closed(self) -> None:
        """Count one connection less."""
        with self._lock:
            self.open -= 1
            self._wake_first()

    def _wake_first(self) -> None:
        if self.waiting:
            self.waiting[0].notify()

    def close_idle(self) -> None:
        """Close every connection that nobody uses: where they lead has changed."""
        for member in list(self._members):
            while member.give_up_idle():
                self.closed()

    def _start_anew(self) -> None:
        """In a forked child: the parent's connections are the parent's, and its threads are not here."""
        self.open = 0
        self.waiting = deque()
        self._lock = threading.RLock()
