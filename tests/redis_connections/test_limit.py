"""The connection limit: who gets a connection, who waits, and that no thread waits while a connection is idle."""

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

from flask_cloakroom.redis_connections.limit import ConnectionLimit, Permit, TooManyConnectionsError, _Waiter
from flask_cloakroom.testing.parallel import child_succeeded, run_in_child, run_in_threads
from support.redis.clients import in_threads, join
from support.servers.groups import wait_until


class Connection:
    """Stands in for one: knows whether it is closed, and whether two have it."""

    def __init__(self, permit: Permit) -> None:
        self.permit = permit
        self.closed = False
        self.taken = threading.Lock()


class FakePool:
    """Keeps connections under a limit, as pools and transports do."""

    def __init__(self, limit: ConnectionLimit) -> None:
        self.limit = limit
        self.idle: deque[Connection] = deque()
        limit.add_pool(self)

    def take(self, seconds: float = 0) -> Connection:
        """Return a connection; raise TooManyConnectionsError."""
        try:
            connection = self._wait(seconds) if self.limit.waiters else self.idle.pop()
        except IndexError:
            connection = self._wait(seconds)
        assert not connection.closed
        assert connection.taken.acquire(blocking=False), "two have one connection"
        return connection

    def _wait(self, seconds: float) -> Connection:
        found = self.limit.acquire(self.idle, seconds)
        return Connection(found) if isinstance(found, Permit) else found

    def give(self, connection: Connection) -> None:
        """Take a connection back."""
        connection.taken.release()
        self.idle.append(connection)
        if self.limit.waiters:
            self.limit.wake_first()

    def drop(self, connection: Connection) -> None:
        """Close one that broke."""
        connection.closed = True
        self.limit.release(connection.permit)

    def close_one_idle(self) -> Permit | None:
        """Close an idle one."""
        try:
            connection = self.idle.popleft()
        except IndexError:
            return None
        connection.closed = True
        return connection.permit


class Model(RuleBasedStateMachine):
    """Takes, gives, drops and closes in any order, in one thread: the count is always right."""

    taken = Bundle("taken")

    def __init__(self) -> None:
        super().__init__()
        self.limit = ConnectionLimit(3)
        self.pools = [FakePool(self.limit) for _ in range(3)]
        self.held: list[tuple[FakePool, Connection]] = []

    @rule(target=taken, number=st.integers(0, 2))
    def take(self, number: int) -> Any:
        """There is one, unless as many as there may be are all in use."""
        pool = self.pools[number]
        if len(self.held) >= self.limit.maximum:
            with pytest.raises(TooManyConnectionsError):
                pool.take()
            return multiple()
        self.held.append((pool, pool.take()))
        return self.held[-1]

    @rule(which=taken, broken=st.booleans())
    def end(self, which: tuple[FakePool, Connection], broken: bool) -> None:
        """Give it back, or drop it."""
        if which in self.held:
            self.held.remove(which)
            pool, connection = which
            (pool.drop if broken else pool.give)(connection)

    @rule()
    def close_idle(self) -> None:
        """As when a master has moved."""
        self.limit.close_idle()
        assert not any(pool.idle for pool in self.pools)

    @invariant()
    def the_count_is_right(self) -> None:
        """What is open is in use or idle, and nobody waits."""
        assert self.limit.open_count == len(self.held) + sum(len(pool.idle) for pool in self.pools)
        assert not self.limit.waiters


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
    limit = ConnectionLimit(1)
    waiter, other = FakePool(limit), FakePool(limit)
    owner = waiter if mine else other
    connection = owner.take()
    waiter.idle = Between()

    def give_back() -> None:
        assert limit.waiters
        owner.give(connection)

    waiter.idle.step = give_back
    began = time.monotonic()
    assert waiter.take(30)
    assert time.monotonic() - began < 10


def test_a_wake_that_comes_too_late_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forced: the first is woken when it has looked for the last time; the next in line is woken in its place."""
    limit = ConnectionLimit(1)
    pool = FakePool(limit)
    connection = pool.take()
    over, gave_up = threading.Event(), threading.Event()

    class Last(deque[Connection]):
        """Where the first looks: when its time is over and it has found none, one is given back."""

        def __bool__(self) -> bool:
            if over.is_set() and connection.taken.locked():
                pool.give(connection)
            return False

    def give_up() -> None:
        with pytest.raises(TooManyConnectionsError):
            limit.acquire(Last(), 0.3)
        gave_up.set()

    monkeypatch.setattr(ConnectionLimit, "_try_to_acquire", lambda self, idle: idle.pop() if idle else None)
    (quick,) = in_threads(give_up)
    wait_until(lambda: limit.waiters, "the first waits")
    began = time.monotonic()
    (patient,) = in_threads(lambda: pool.take(30))
    wait_until(lambda: len(limit.waiters) == 2, "the second waits")
    time.sleep(max(0.0, began + 0.25 - time.monotonic()))
    over.set()
    join([quick, patient])
    assert gave_up.is_set()


def test_in_the_order_of_coming() -> None:
    """Who gives one back and wants it again stands behind those that wait."""
    limit = ConnectionLimit(1)
    pool = FakePool(limit)
    connection = pool.take()
    order: list[int] = []

    def work(number: int) -> None:
        taken = pool.take(30)
        order.append(number)
        pool.give(taken)

    threads = []
    for number in range(4):
        threads += in_threads(lambda number=number: work(number))  # type: ignore[misc]
        wait_until(lambda number=number: len(limit.waiters) == number + 1, "it waits")  # type: ignore[misc]
    pool.give(connection)
    work(4)
    join(threads)
    assert order == [0, 1, 2, 3, 4]


def test_threads_and_kinds() -> None:
    """Many threads on several kinds, at a limit far below their number: never too many, never two on one, no hang."""
    limit = ConnectionLimit(3)
    pools = [FakePool(limit) for _ in range(3)]
    most_open = 0

    def work(number: int) -> None:
        nonlocal most_open
        for turn in range(300):
            pool = pools[(number + turn) % 3]
            connection = pool.take(30)
            most_open = max(most_open, limit.open_count)
            if turn % 7 == 0:
                pool.drop(connection)
            elif turn % 11 == 0:
                pool.give(connection)
                while (permit := pool.close_one_idle()) is not None:
                    limit.release(permit)
            else:
                pool.give(connection)

    run_in_threads(12, work)
    assert most_open <= 3
    assert limit.open_count == sum(len(pool.idle) for pool in pools)
    assert not limit.waiters


def test_an_interrupted_wait_leaves_no_place_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """KeyboardInterrupt while waiting: the others go on."""
    limit = ConnectionLimit(1)
    pool = FakePool(limit)
    connection = pool.take()

    class Interrupted:
        """In place of what a thread waits at."""

        def get(self, timeout: float) -> None:
            raise KeyboardInterrupt

        def put(self, item: None) -> None:
            """Wake nobody."""

    with monkeypatch.context() as patch:
        patch.setattr(queue, "SimpleQueue", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.take(30)
    assert not limit.waiters
    pool.give(connection)
    assert pool.take() is connection


def test_permits_and_waiters_end_with_their_references() -> None:
    """Nobody calls anything: what is dropped by an exception at an unlucky moment counts no more."""
    limit = ConnectionLimit(2)
    permit = limit.acquire(deque(), 0)
    assert limit.open_count == 1
    del permit
    assert limit.open_count == 0
    turn = _Waiter()
    limit.waiters.append(weakref.ref(turn, limit.waiters.remove))
    with pytest.raises(TooManyConnectionsError):
        FakePool(limit).take(0.15)
    del turn
    assert not limit.waiters
    assert FakePool(limit).take()


def test_releasing_a_permit_twice() -> None:
    """Counts once, also if the parent of a forked child had it."""
    limit = ConnectionLimit(2)
    mine, other = limit.acquire(deque(), 0), limit.acquire(deque(), 0)
    limit.release(mine)
    limit.release(mine)
    assert limit.open_count == 1
    limit.release(other)
    limit.release(Permit())
    assert limit.open_count == 0


def test_a_permit_that_ended_without_a_wake_is_found() -> None:
    """Nobody wakes the waiting thread, which looks by itself."""
    limit = ConnectionLimit(1)
    pool = FakePool(limit)
    taken = [pool.take()]
    got: list[Connection] = []
    threads = in_threads(*[lambda: got.append(pool.take(30))])
    wait_until(lambda: limit.waiters, "it waits")
    began = time.monotonic()
    taken.clear()
    join(threads)
    assert len(got) == 1
    assert time.monotonic() - began < 5


def test_a_child_begins_anew() -> None:
    """While other threads of the parent wait: in the child all permits are free."""
    limit = ConnectionLimit(1)
    pool = FakePool(limit)
    connection = pool.take()
    threads = in_threads(*[lambda: pool.give(pool.take(30))] * 3)
    wait_until(lambda: len(limit.waiters) == 3, "three wait")
    child = run_in_child(lambda: FakePool(limit).take(0))
    assert child_succeeded(child)
    pool.give(connection)
    join(threads)


def test_members_that_are_gone() -> None:
    """A limit keeps no pool alive, and the permits of a pool end with it."""
    limit = ConnectionLimit(1)
    pool = FakePool(limit)
    pool.give(pool.take())
    del pool
    gc.collect()
    assert list(limit._pools) == []
    assert limit.open_count == 0
    assert FakePool(limit).take()
