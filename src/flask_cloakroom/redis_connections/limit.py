"""How many connections to one server may be open in a process, over everything that uses it."""

from __future__ import annotations

import contextlib
import queue
import time
import weakref
from collections import deque
from collections.abc import Collection
from typing import Any, Final, Protocol

from ..forking import call_in_child

#: The driver's own number (redis-py 8): more than a process has threads, and far below a server's 10,000.
MAX_CONNECTIONS: Final = 100

#: Seconds after which a waiting thread looks for a connection although nobody woke it. A connection that is dropped by
#: an exception at an unlucky moment gives its room back, but wakes nobody.
LOOK_AGAIN: Final = 0.1


class TooManyConnectionsError(Exception):
    """All are in use, and none became free in time. Never leaves this package as it is."""


class Room:
    """The right to have one connection open, for as long as something refers to this object.

    Every connection refers to its room. An exception may come after any call (a signal's handler, the end of a
    greenlet), also between taking a connection and noting that it was taken. Then the references go, and the room with
    them; a number that somebody must lower again would stay wrong.
    """

    __slots__ = ("__weakref__",)


class _Turn:
    """A place in the line of the waiting threads, for as long as something refers to this object."""

    __slots__ = ("__weakref__", "news")

    def __init__(self) -> None:
        #: Whatever is put here wakes the thread. Nothing that is put here gets lost.
        self.news: queue.SimpleQueue[None] = queue.SimpleQueue()


class Member(Protocol):
    """What keeps connections under a bound."""

    def give_up_idle(self) -> Room | None:
        """Close one connection that nobody uses, and return its room; None if there is none."""


class Idle(deque[Any]):
    """The connections of one kind that nobody uses: a member of a bound. ``append`` and ``pop`` are atomic."""

    # Each is itself and no other, whatever lies in it: the bound keeps its members in a set.
    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__

    def give_up_idle(self) -> Room | None:
        """Close the connection that has lain here for longest, and return its room; None if there is none."""
        try:
            connection = self.popleft()
        except IndexError:
            return None
        connection.disconnect()
        room: Room = connection.room
        return room


def close_left_over(bound: Bound, *places: Collection[Any]) -> None:
    """Close the connections of a pool that was collected, and only then give back their room. For ``weakref.finalize``:
    with ``__del__``, sockets that are collected at the same time might be first, and warn that nobody closed them."""
    for connection in [connection for place in places for connection in place]:
        connection.disconnect()
        bound.closed(connection.room)


class Bound:
    """Counts the open connections. Taking one that lies idle, and giving it back, does not come by here.

    Connections differ by their options (decoding, time-outs), so each kind has a place of its own for those that lie
    idle: a member. At the bound, a thread that needs a connection gets the room of an idle one of another kind, or
    waits. No lock is taken: only the first thread in the line looks for a connection and takes room.
    """

    def __init__(self, most: int = MAX_CONNECTIONS) -> None:
        self.most = most
        self._members: weakref.WeakSet[Any] = weakref.WeakSet()
        call_in_child(self._start_anew)
        self._start_anew()

    def _start_anew(self) -> None:
        """In a forked child: the parent's connections are the parent's, and its threads are not here."""
        # The callbacks of both are methods in C, which no exception interrupts.
        self._rooms: set[weakref.ref[Room]] = set()
        #: The waiting threads, in the order in which they came. A thread that gives a connection back looks here after
        #: that, and wakes the first. A thread that needs a connection looks here before, and takes its place behind
        #: the others: otherwise the thread that has just given one back has it again before anyone else wakes up.
        self.waiting: deque[weakref.ref[_Turn]] = deque()

    @property
    def open(self) -> int:
        """How many connections are open, or about to be."""
        return len(self._rooms)

    def join(self, member: Member) -> None:
        """Let ``member`` give up its idle connections when others need the room."""
        self._members.add(member)

    def room(self, idle: deque[Any], seconds: float) -> Any:
        """Return a connection that has become ``idle`` meanwhile, or a :class:`Room` in which to open one.

        Waits at most ``seconds``. Raises :class:`TooManyConnectionsError`.
        """
        deadline = time.monotonic() + seconds
        turn = _Turn()
        # First, and only then look: a connection that is given back from now on wakes the first that waits.
        self.waiting.append(weakref.ref(turn, self.waiting.remove))
        try:
            while True:
                if self.waiting[0]() is turn:
                    found = self._find(idle)
                    if found is not None:
                        return found
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TooManyConnectionsError
                with contextlib.suppress(queue.Empty):
                    turn.news.get(timeout=min(left, LOOK_AGAIN))
        finally:
            self.waiting.remove(weakref.ref(turn))
            self.wake()  # there may be room for the next one as well

    def _find(self, idle: deque[Any]) -> Any | None:
        if idle:
            try:
                return idle.pop()
            except IndexError:  # another thread was faster
                pass
        if len(self._rooms) < self.most:
            room = Room()
            self._rooms.add(weakref.ref(room, self._rooms.discard))
            return room
        return next(filter(None, (member.give_up_idle() for member in list(self._members))), None)

    def wake(self) -> None:
        """Tell the first of the waiting threads that there may be a connection, or room for one."""
        try:
            first = self.waiting[0]()
        except IndexError:
            return
        if first is not None:
            first.news.put(None)

    def closed(self, room: Room) -> None:
        """Give a room back, because its connection is closed. To do it twice is no mistake."""
        self._rooms.discard(weakref.ref(room))
        self.wake()

    def close_idle(self) -> None:
        """Close every connection that nobody uses: where they lead has changed."""
        for member in list(self._members):
            while (room := member.give_up_idle()) is not None:
                self.closed(room)
