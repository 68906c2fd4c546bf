"""A store whose commands fail where a test says so, and other requests that write between two commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

from flask_cloakroom.errors import StoreError
from flask_cloakroom.stores.base import Claim, Conflict, Entry, Gone, Saved

#: What happens to one command. ``request``: the store never gets it. ``answer``: it is done, and the answer is lost.
#: ``late``: it is done right before the next command of the same request. ``later``: right after that command.
#: ``down``: this command and all later ones are lost. ``answer, then down``: it is done, and all later ones are lost.
Fault = Literal["request", "answer", "late", "later", "down", "answer, then down"]
FAULTS: tuple[Fault, ...] = ("request", "answer", "late", "later", "down", "answer, then down")


class FaultyStore:
    """Passes every command on to ``store``, and counts them from 1 since the last call of :meth:`reset`."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self._late: list[Callable[[], object]] = []
        self._later: list[Callable[[], object]] = []
        self.reset()

    def reset(self) -> None:
        """Work from here on without a fault. Do what a late command still has to do."""
        self.put_off()()
        self.count = 0
        #: Maps the number of a command to its fault.
        self.faults: dict[int, Fault] = {}
        #: Maps the number of a command to the work of another request right before this command.
        self.before: dict[int, Callable[[], object]] = {}
        self._is_down = False

    def put_off(self) -> Callable[[], None]:
        """Return a function that does what late commands still have to do, once. Until then they stay undone."""
        late, self._late, self._later = [*self._late, *self._later], [], []

        def land() -> None:
            while late:
                late.pop(0)()

        return land

    def _call(self, command: Callable[[], Any]) -> Any:
        self.count += 1
        if (work := self.before.pop(self.count, None)) is not None:
            count = self.count
            work()
            self.count = count
        waiting, self._late = self._late, self._later
        self._later = []
        for late in waiting:
            late()
        fault = self.faults.get(self.count)
        if self._is_down or fault in ("request", "down"):
            self._is_down = self._is_down or fault == "down"
            raise StoreError("The request of this test was lost.")
        if fault is None:
            return command()
        if fault == "late":
            self._late.append(command)
        elif fault == "later":
            self._later.append(command)
        else:
            command()
            self._is_down = fault == "answer, then down"
        raise StoreError("The answer of this test was lost.")

    def load(self, key: bytes) -> Entry | None:
        return self._call(lambda: self.store.load(key))

    def create(self, key: bytes, data: bytes, ttl: int) -> bytes | None:
        return self._call(lambda: self.store.create(key, data, ttl))

    def replace(self, key: bytes, data: bytes, ttl: int, expected: bytes) -> Saved | Conflict | Gone:
        return self._call(lambda: self.store.replace(key, data, ttl, expected))

    def touch(self, key: bytes, ttl: int) -> bool:
        return self._call(lambda: self.store.touch(key, ttl))

    def delete(self, key: bytes) -> bool:
        return self._call(lambda: self.store.delete(key))

    def claim(self, owner: bytes, key: bytes, ttl: int, limit: int | None = None) -> bool:
        return self._call(lambda: self.store.claim(owner, key, ttl, limit))

    def release(self, owner: bytes, key: bytes) -> bool:
        return self._call(lambda: self.store.release(owner, key))

    def owned(self, owner: bytes) -> list[Claim]:
        return self._call(lambda: self.store.owned(owner))

    def walk(self) -> Iterator[tuple[bytes, Entry]]:
        return self.store.walk()

    def close(self) -> None:
        self.store.close()


#: More commands than any write of a test has.
MOST_COMMANDS = 60


class Attempt:
    """One run of a write, during which the command with the number ``number`` has a fault."""

    def __init__(self, faulty: FaultyStore, fault: Fault | None, number: int) -> None:
        self.faulty, self.fault, self.number = faulty, fault, number
        self.commands = 0

    def run(self, write: Callable[[], Any], meanwhile: Callable[[], object] | None = None) -> Any:
        """Return the result of a write, or its StoreError. Afterwards the store works, and late commands are done.

        ``meanwhile``: the work of another request, right before the command of this attempt.
        """
        self.faulty.reset()
        if self.fault is not None:
            self.faulty.faults[self.number] = self.fault
        if meanwhile is not None:
            self.faulty.before[self.number] = meanwhile
        try:
            return write()
        except StoreError as error:
            return error
        finally:
            self.commands = self.faulty.count
            self.faulty.reset()


def attempts(faulty: FaultyStore, fault: Fault | None = None) -> Iterator[Attempt]:
    """Yield one attempt for each command of a write, which the loop's body runs, and one without a failing command."""
    for number in range(1, MOST_COMMANDS):
        attempt = Attempt(faulty, fault, number)
        yield attempt
        if attempt.commands < number:
            return
    raise AssertionError("the write has too many commands")
