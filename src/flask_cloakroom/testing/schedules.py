"""Run some operations several times, once in every possible order of their store calls.

Two calls for different entries do not affect each other, so only one of the two orders of such calls is run. So a test
runs some dozens of orders instead of thousands.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ..stores.base import Store
from .interleaving import Call, InterleavingOwners, Verb

T = TypeVar("T")

#: The operations of the owner index, which do not affect entries.
OWNERS: Final = frozenset({"claim", "release", "owned"})

#: The longest time in seconds between two calls of an operation. After this time the test fails.
CALL_TIMEOUT: Final = 30.0


class Turns:
    """One order of the calls of some operations. Each operation has a thread, and only one thread runs at a time.

    Each operation has its own store object, as if it ran in its own process. All store objects use the same store.
    """

    def __init__(self, store: Store, choices: list[int]) -> None:
        """Make an order. ``choices`` has for each step the index of the waiting operation that makes its call next.

        After the end of ``choices`` the index is 0.
        """
        self._store = store
        self._choices = choices
        #: For each step the chosen index, and the number of operations that could be chosen.
        self.steps: list[tuple[int, int]] = []
        #: All calls in their order. For each call the number of the operation, and the verb.
        self.calls: list[tuple[int, Verb]] = []
        self._last: _Worker | None = None
        self._last_call = Call("load", b"")
        #: The store keys of all entries that the operations created.
        self.created: set[bytes] = set()

    def run(self, *operations: Callable[[Any], Any]) -> list[Any]:
        """Run the operations with their calls in this order. Return each operation's result, or its exception."""
        workers = [_Worker(self, number, operation) for number, operation in enumerate(operations)]
        for worker in workers:
            worker.start()
        while waiting := [worker for worker in workers if worker.next is not None]:
            worker = self._choose([worker for worker in waiting if not self._is_repetition(worker)] or waiting[:1])
            assert worker.next is not None
            verb, key = worker.next
            self.calls.append((worker.number, verb))
            if verb == "create":
                self.created.add(key)
            self._last, self._last_call = worker, worker.next
            worker.go_on()
        return [worker.result for worker in workers]

    def _choose(self, waiting: list[_Worker]) -> _Worker:
        step = len(self.steps)
        choice = self._choices[step] if step < len(self._choices) else 0
        if choice >= len(waiting):
            raise AssertionError("an operation made other calls in its second run. Make it do the same in each run.")
        self.steps.append((choice, len(waiting)))
        return waiting[choice]

    def _is_repetition(self, worker: _Worker) -> bool:
        """Return True if another run has the next call of ``worker`` before the last call, with the same effect."""
        if self._last is None or worker.number >= self._last.number or worker.next is None:
            return False
        return not _affect_each_other(self._last_call, worker.next)

    def store_for(self, worker: _Worker) -> Any:
        """Return the store object for the operation of ``worker``."""
        return _StoreInTurn(self._store, worker)


class _Worker:
    """The thread of one operation. It stops before each store call, until :meth:`go_on` is called."""

    def __init__(self, turns: Turns, number: int, operation: Callable[[Any], Any]) -> None:
        self._turns = turns
        self.number = number
        #: The call that the operation will make next. None after the operation's end.
        self.next: Call | None = None
        self._operation = operation
        self._stopped, self._may_go_on = threading.Semaphore(0), threading.Semaphore(0)
        self.result: Any = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Run the operation until right before its first call."""
        self._thread.start()
        self._wait(self._stopped)

    def go_on(self) -> None:
        """Make the next call, and run the operation until right before the call after it, or to the end."""
        self.next = None
        self._may_go_on.release()
        self._wait(self._stopped)

    def stop(self, call: Call) -> None:
        """Wait in the operation's thread until ``call`` may be made."""
        self.next = call
        self._stopped.release()
        self._wait(self._may_go_on)

    def _wait(self, semaphore: threading.Semaphore) -> None:
        if not semaphore.acquire(timeout=CALL_TIMEOUT):
            raise AssertionError("an operation hangs between two store calls. Look for a lock that it waits for.")

    def _run(self) -> None:
        try:
            self.result = self._operation(self._turns.store_for(self))
        except Exception as error:
            self.result = error  # the test checks this error
        finally:
            self.next = None
            self._stopped.release()


class _StoreInTurn(InterleavingOwners):
    """The store object of one operation. Each call waits until it is the operation's turn."""

    def __init__(self, store: Store, worker: _Worker) -> None:
        super().__init__(store)
        self._worker = worker

    def _call(self, verb: Verb, key: bytes, work: Callable[[], T]) -> T:
        self._worker.stop(Call(verb, key))
        return super()._call(verb, key, work)


def _affect_each_other(one: Call, other: Call) -> bool:
    if one.verb in OWNERS or other.verb in OWNERS:
        return one.verb in OWNERS and other.verb in OWNERS
    return one.key == other.key and not one.verb == other.verb == "load"


def in_every_order(store: Store, run: Callable[[Turns], None]) -> int:
    """Call ``run`` once for each possible order of the calls of ``turns.run(...)``. Return the number of orders.

    ``run`` must make new sessions each time, and the same calls each time.
    """
    choices: list[int] = []
    count = 0
    while True:
        turns = Turns(store, choices)
        try:
            run(turns)
        except AssertionError as error:
            error.add_note(f"the order was {turns.calls}")
            raise
        count += 1
        steps = list(turns.steps)
        while steps and steps[-1][0] + 1 == steps[-1][1]:
            steps.pop()
        if not steps:
            return count
        choices = [choice for choice, _ in steps]
        choices[-1] += 1
