"""How many connections to one server may be open in a process, over everything that uses it."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
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


class Bound:
    """Counts the open connections. Taking one that lies idle, and giving it back, does not come by here.

    Connections differ by their options (decoding, time-outs), so each kind has a place of its own for those that lie
    idle: a member. At the bound, whoever needs one gets the room of an idle one of another kind, or waits.
    """

    def __init__(self, most: int = MAX_CONNECTIONS) -> None:
        self.most = most
        self.open = 0
        #: Threads that wait. Who gives a connection back looks at it after that, and wakes them.
        self.waiting = 0
        self._changed = threading.Condition()
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
        with self._changed:
            # First, and only then look: a connection that is given back from now on wakes this thread.
            self.waiting += 1
            try:
                while True:
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
                    if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                        raise TooManyConnectionsError
            finally:
                self.waiting -= 1

    def wake(self) -> None:
        """Tell one waiting thread that a connection lies idle."""
        with self._changed:
            self._changed.notify()

    def closed(self) -> None:
        """Count one connection less."""
        with self._changed:
            self.open -= 1
            self._changed.notify()

    def close_idle(self) -> None:
        """Close every connection that nobody uses: where they lead has changed."""
        for member in list(self._members):
            while member.give_up_idle():
                self.closed()

    def _start_anew(self) -> None:
        """In a forked child: the parent's connections are the parent's, and its threads are not here."""
        self.open = self.waiting = 0
        self._changed = threading.Condition()
