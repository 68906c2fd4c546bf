"""The bound itself: who gets a connection, who waits, and that nobody waits for one that lies idle."""

from __future__ import annotations

import gc
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from flask_cloakroom.redis_connections.limit import Bound, Room, TooManyConnectionsError, _Turn
from flask_cloakroom.testing.parallel import ended_well, in_child, together
from support.redis.clients import in_threads, join
from support.servers.groups import wait_until


class Connection:
    """Stands in for one: knows whether it is closed, and whether two have it."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.closed = False
        self.taken = threading.Lock()


class Member:
    """Keeps connections under a bound, as pools and transports do."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        self.idle: deque[Connection] = deque()
        bound.join(self)

    def take(self, seconds: float = 0) -> Connection:
        """Return a connection; raise TooManyConnectionsError."""
        try:
            connection = self._wait(seconds) if self.bound.waiting else self.idle.pop()
        except IndexError:
            connection = self._wait(seconds)
        assert not connection.closed
        assert connection.taken.acquire(blocking=False), "two have one connection"
        return connection

    def _wait(self, seconds: float) -> Connection:
        found = self.bound.room(self.idle, seconds)
        return Connection(found) if isinstance(found, Room) else found

    def give(self, connection: Connection) -> None:
        """Take a connection back."""
        connection.taken.release()
        self.idle.append(connection)
        if self.bound.waiting:
            self.bound.wake()

    def drop(self, connection: Connection) -> None:
        """Close one that broke."""
        connection.closed = True
        self.bound.closed(connection.room)

    def give_up_idle(self) -> Room | None:
        """Close an idle one."""
        try:
            connection = self.idle.popleft()
        except IndexError:
            return None
        connection.closed = True
        return connection.room


class Model(RuleBasedStateMachine):
    """Takes, gives, drops and closes in any order, in one thread: the count is always right."""

    taken = Bundle("taken")

    def __init__(self) -> None:
        super().__init__()
        self.bound = Bound(3)
        self.members = [Member(self.bound) for _ in range(3)]
        self.held: list[tuple[Member, Connection]] = []

    @rule(target=taken, number=st.integers(0, 2))
    def take(self, number: int) -> Any:
        """There is one, unless as many as there may be are all in use."""
        member = self.members[number]
        if len(self.held) >= self.bound.most:
            with pytest.raises(TooManyConnectionsError):
                member.take()
            return multiple()
        self.held.append((member, member.take()))
        return self.held[-1]

    @rule(which=taken, broken=st.booleans())
    def end(self, which: tuple[Member, Connection], broken: bool) -> None:
        """Give it back, or drop it."""
        if which in self.held:
            self.held.remove(which)
            member, connection = which
            (member.drop if broken else member.give)(connection)

    @rule()
    def close_idle(self) -> None:
        """As when a master has moved."""
        self.bound.close_idle()
        assert not any(member.idle for member in self.members)

    @invariant()
    def the_count_is_right(self) -> None:
        """What is open is in use or idle, and nobody waits."""
        assert self.bound.open == len(self.held) + sum(len(member.idle) for member in self.members)
        assert not self.bound.waiting


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


class Between(deque[Connection]):
    """Idle connections, with a step of another thread right after somebody has found none."""

    def __init__(self) -> None:
        super().__init__()
        self.step: Callable[[], object] | None = None

    def __bool__(self) -> bool:
        found = len(self) > 0
        if not found and self.step is not None:
            step, self.step = self.step, None
            join([*in_threads(step)])
        return found


@pytest.mark.parametrize("mine", [True, False], ids=["own kind", "other kind"])
def test_given_back_between_the_look_and_the_wait(mine: bool) -> None:
    """Forced: no lost wake-up. Whoever found none idle, and is about to wait, is woken by the one who gives it back."""
    bound = Bound(1)
    waiter, other = Member(bound), Member(bound)
    owner = waiter if mine else other
    connection = owner.take()
    waiter.idle = Between()

    def give_back() -> None:
        assert bound.waiting
        owner.give(connection)

    waiter.idle.step = give_back
    began = time.monotonic()
    assert waiter.take(30)
    assert time.monotonic() - began < 10


def test_a_wake_that_comes_too_late_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forced: the first is woken when it has looked for the last time; the next in line is woken in its place."""
    bound = Bound(1)
    member = Member(bound)
    connection = member.take()
    over, gave_up = threading.Event(), threading.Event()

    class Last(deque[Connection]):
        """Where the first looks: when its time is over and it has found none, one is given back."""

        def __bool__(self) -> bool:
            if over.is_set() and connection.taken.locked():
                member.give(connection)
            return False

    def give_up() -> None:
        with pytest.raises(TooManyConnectionsError):
            bound.room(Last(), 0.3)
        gave_up.set()

    monkeypatch.setattr(Bound, "_find", lambda self, idle: idle.pop() if idle else None)
    (quick,) = in_threads(give_up)
    wait_until(lambda: bound.waiting, "the first waits")
    began = time.monotonic()
    (patient,) = in_threads(lambda: member.take(30))
    wait_until(lambda: len(bound.waiting) == 2, "the second waits")
    time.sleep(max(0.0, began + 0.25 - time.monotonic()))
    over.set()
    join([quick, patient])
    assert gave_up.is_set()


def test_in_the_order_of_coming() -> None:
    """Who gives one back and wants it again stands behind those that wait."""
    bound = Bound(1)
    member = Member(bound)
    connection = member.take()
    order: list[int] = []

    def work(number: int) -> None:
        taken = member.take(30)
        order.append(number)
        member.give(taken)

    threads = []
    for number in range(4):
        threads += in_threads(lambda number=number: work(number))  # type: ignore[misc]
        wait_until(lambda number=number: len(bound.waiting) == number + 1, "it waits")  # type: ignore[misc]
    member.give(connection)
    work(4)
    join(threads)
    assert order == [0, 1, 2, 3, 4]


def test_threads_and_kinds() -> None:
    """Many threads on several kinds, at a bound far below their number: never too many, never two on one, no hang."""
    bound = Bound(3)
    members = [Member(bound) for _ in range(3)]
    most_open = 0

    def work(number: int) -> None:
        nonlocal most_open
        for turn in range(300):
            member = members[(number + turn) % 3]
            connection = member.take(30)
            most_open = max(most_open, bound.open)
            if turn % 7 == 0:
                member.drop(connection)
            elif turn % 11 == 0:
                member.give(connection)
                while (room := member.give_up_idle()) is not None:
                    bound.closed(room)
            else:
                member.give(connection)

    together(12, work)
    assert most_open <= 3
    assert bound.open == sum(len(member.idle) for member in members)
    assert not bound.waiting


def test_an_interrupted_wait_leaves_no_place_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """KeyboardInterrupt while waiting: the others go on."""
    bound = Bound(1)
    member = Member(bound)
    connection = member.take()

    class Interrupted:
        """In place of what a thread waits at."""

        def get(self, timeout: float) -> None:
            raise KeyboardInterrupt

        def put(self, item: None) -> None:
            """Wake nobody."""

    with monkeypatch.context() as patch:
        patch.setattr(queue, "SimpleQueue", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            member.take(30)
    assert not bound.waiting
    member.give(connection)
    assert member.take() is connection


def test_rooms_and_turns_go_with_their_references() -> None:
    """Nobody calls anything: what is dropped by an exception at an unlucky moment counts no more."""
    bound = Bound(2)
    room = bound.room(deque(), 0)
    assert bound.open == 1
    del room
    assert bound.open == 0
    turn = _Turn()
    bound.waiting.append(weakref.ref(turn, bound.waiting.remove))
    with pytest.raises(TooManyConnectionsError):
        Member(bound).take(0.15)
    del turn
    assert not bound.waiting
    assert Member(bound).take()


def test_giving_a_room_back_twice() -> None:
    """Counts once, also if the parent of a forked child had it."""
    bound = Bound(2)
    mine, other = bound.room(deque(), 0), bound.room(deque(), 0)
    bound.closed(mine)
    bound.closed(mine)
    assert bound.open == 1
    bound.closed(other)
    bound.closed(Room())
    assert bound.open == 0


def test_a_room_that_went_without_a_word_is_found() -> None:
    """Nobody wakes the waiting thread, which looks by itself."""
    bound = Bound(1)
    member = Member(bound)
    taken = [member.take()]
    got: list[Connection] = []
    threads = in_threads(*[lambda: got.append(member.take(30))])
    wait_until(lambda: bound.waiting, "it waits")
    began = time.monotonic()
    taken.clear()
    join(threads)
    assert len(got) == 1
    assert time.monotonic() - began < 5


def test_a_child_begins_anew() -> None:
    """While other threads of the parent wait: in the child all room is free."""
    bound = Bound(1)
    member = Member(bound)
    connection = member.take()
    threads = in_threads(*[lambda: member.give(member.take(30))] * 3)
    wait_until(lambda: len(bound.waiting) == 3, "three wait")
    child = in_child(lambda: Member(bound).take(0))
    assert ended_well(child)
    member.give(connection)
    join(threads)


def test_members_that_are_gone() -> None:
    """A bound keeps no pool alive, and the room of its connections goes with it."""
    bound = Bound(1)
    member = Member(bound)
    member.give(member.take())
    del member
    gc.collect()
    assert list(bound._members) == []
    assert bound.open == 0
    assert Member(bound).take()
