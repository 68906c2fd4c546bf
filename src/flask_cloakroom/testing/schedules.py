"""Every order in which the store calls of some operations can happen, each forced once.

Two calls that cannot notice each other, as they are for different entries, have but one order: the other one would be
the same again. By this there are some dozens of orders and not thousands.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ..stores.base import Store
from .interleaving import Call, InterleavingOwners, Verb

T = TypeVar("T")

#: Verbs of the owner index. They know nothing of entries.
OWNERS: Final = frozenset({"claim", "release", "owned"})

#: Seconds that an operation may take from one of its calls to the next before a test gives up on it.
PATIENCE: Final = 30.0


class Turns:
    """One order. Operations run in threads of their own, and only one of them ever runs: whose turn it is.

    Each has a store of its own, as if in a process of its own; all of these lead to one.
    """

    def __init__(self, store: Store, choices: list[int]) -> None:
        """``choices``: which of those that wait has its turn first, second … Where it ends, the first of them has."""
        self._store = store
        self._choices = choices
        #: Which was chosen at each step, and of how many.
        self.taken: list[tuple[int, int]] = []
        #: Every call, in its order: the number of the operation, and the verb.
        self.calls: list[tuple[int, Verb]] = []
        self._last: _Worker | None = None
        self._last_call = Call("load", b"")
        #: The keys of all entries that were created.
        self.created: set[bytes] = set()

    def run(self, *operations: Callable[[Any], Any]) -> list[Any]:
        """Run them in this order, each on a store of its own; return what they return, or the exception they raise."""
        workers = [_Worker(self, number, operation) for number, operation in enumerate(operations)]
        for worker in workers:
            worker.start()
        while waiting := [worker for worker in workers if worker.next is not None]:
            worker = self._choose([worker for worker in waiting if not self._is_tried(worker)] or waiting[:1])
            assert worker.next is not None
            verb, key = worker.next
            self.calls.append((worker.number, verb))
            if verb == "create":
                self.created.add(key)
            self._last, self._last_call = worker, worker.next
            worker.go_on()
        return [worker.result for worker in workers]

    def _choose(self, waiting: list[_Worker]) -> _Worker:
        step = len(self.taken)
        choice = self._choices[step] if step < len(self._choices) else 0
        if choice >= len(waiting):
            raise AssertionError("an operation did not do the same when it was run again")
        self.taken.append((choice, len(waiting)))
        return waiting[choice]

    def _is_tried(self, worker: _Worker) -> bool:
        """Tell whether this call, made before the last one, led to the same; then that order is another one's."""
        if self._last is None or worker.number >= self._last.number or worker.next is None:
            return False
        return not _notice_each_other(self._last_call, worker.next)

    def store_for(self, worker: _Worker) -> Any:
        """Return the store of one operation."""
        return _StoreInTurn(self._store, worker)


class _Worker:
    """An operation that stops before each call of its store until it is told to go on."""

    def __init__(self, turns: Turns, number: int, operation: Callable[[Any], Any]) -> None:
        self._turns = turns
        self.number = number
        #: The call that it would make now; None: it has ended.
        self.next: Call | None = None
        self._operation = operation
        self._stopped, self._may_go_on = threading.Semaphore(0), threading.Semaphore(0)
        self.result: Any = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Run to before the first call."""
        self._thread.start()
        self._wait(self._stopped)

    def go_on(self) -> None:
        """Make that call, and run to before the next one, or to the end."""
        self.next = None
        self._may_go_on.release()
        self._wait(self._stopped)

    def stop(self, call: Call) -> None:
        """Wait, in the operation's thread, until the call may be made."""
        self.next = call
        self._stopped.release()
        self._wait(self._may_go_on)

    def _wait(self, semaphore: threading.Semaphore) -> None:
        if not semaphore.acquire(timeout=PATIENCE):
            raise AssertionError("an operation neither called the store nor ended")

    def _run(self) -> None:
        try:
            self.result = self._operation(self._turns.store_for(self))
        except Exception as error:
            self.result = error  # the test looks at it
        finally:
            self.next = None
            self._stopped.release()


class _StoreInTurn(InterleavingOwners):
    """The store of one operation."""

    def __init__(self, store: Store, worker: _Worker) -> None:
        super().__init__(store)
        self._worker = worker

    def _call(self, verb: Verb, key: bytes, work: Callable[[], T]) -> T:
        self._worker.stop(Call(verb, key))
        return super()._call(verb, key, work)


def _notice_each_other(one: Call, other: Call) -> bool:
    if one.verb in OWNERS or other.verb in OWNERS:
        return one.verb in OWNERS and other.verb in OWNERS
    return one.key == other.key and not one.verb == other.verb == "load"


def in_every_order(store: Store, run: Callable[[Turns], None]) -> int:
    """Call ``run`` once for every order that the calls of ``turns.run(...)`` can have; return how many there are.

    ``run`` begins with sessions of its own each time, and does the same each time but for the order.
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
        taken = list(turns.taken)
        while taken and taken[-1][0] + 1 == taken[-1][1]:
            taken.pop()
        if not taken:
            return count
        choices = [choice for choice, _ in taken]
        choices[-1] += 1
