"""A store that runs a function between two calls. With it a test can force an order of calls that is rare otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, NamedTuple, Self, TypeVar

from ..stores.base import Claim, Conflict, Entry, Gone, Owners, Saved, Store

T = TypeVar("T")

Verb = Literal["load", "create", "replace", "touch", "delete", "claim", "release", "owned"]


class Call(NamedTuple):
    """A call of one of the store's operations."""

    verb: Verb
    #: The store key of the entry or claim. For ``owned`` it is the owner.
    key: bytes


class _Hook:
    """A function to run before or after one call of the store. ``calls_left`` counts down to this call."""

    def __init__(self, moment: Literal["before", "after"], verb: Verb, run: Callable[[], object], at: int) -> None:
        self.moment = moment
        self.verb = verb
        self.run = run
        self.calls_left = at
        self.has_run = False


class InterleavingStore:
    """A store that passes all calls to another store, and runs a function right before or after a chosen call.

    With it a test can run one request between two steps of another request::

        between = InterleavingStore(store)
        repository = Repository(between, tickets)
        record = repository.load(ticket)
        with between.before("replace", lambda: repository.destroy(other)):
            assert repository.commit(record, changes) is None

    The function may call the store, too. These calls cause no other function to run, and ``at`` does not count them. If
    the chosen call never comes, the ``with`` block raises AssertionError. If the function raises an error, the chosen
    call is not made (``before``), or its answer is lost (``after``). Use the object in one thread only.

    The object has the operations of the owner index if ``store`` has them, and no other optional operation.
    """

    def __new__(cls, store: Store, *_: Any) -> Self:
        """Return an InterleavingOwners if ``store`` has an owner index, and an InterleavingStore otherwise."""
        with_owners: type[Any] = InterleavingOwners
        return super().__new__(with_owners if cls is InterleavingStore and isinstance(store, Owners) else cls)

    def __init__(self, store: Store) -> None:
        """Make a store that passes its calls to ``store``. :meth:`close` does not close ``store``."""
        self._store = store
        self._hooks: list[_Hook] = []
        self._is_running_hook = False
        #: All calls so far, also the calls by the functions of :meth:`before` and :meth:`after`.
        self.calls: list[Call] = []

    def before(self, verb: Verb, run: Callable[[], object], *, at: int = 1) -> AbstractContextManager[None]:
        """In the ``with`` block, run ``run`` once, before the ``at``-th call of ``verb`` since the block began."""
        return self._block(_Hook("before", verb, run, at))

    def after(self, verb: Verb, run: Callable[[], object], *, at: int = 1) -> AbstractContextManager[None]:
        """In the ``with`` block, run ``run`` once, after the ``at``-th call of ``verb`` and before its answer."""
        return self._block(_Hook("after", verb, run, at))

    @contextmanager
    def _block(self, hook: _Hook) -> Iterator[None]:
        self._hooks.append(hook)
        try:
            yield
        finally:
            self._hooks.remove(hook)
        if not hook.has_run:
            raise AssertionError(
                f"nothing was interleaved: {hook.verb} was not called often enough. Check the arguments verb and at."
            )

    def _call(self, verb: Verb, key: bytes, work: Callable[[], T]) -> T:
        self.calls.append(Call(verb, key))
        if self._is_running_hook:
            return work()
        due = []
        for hook in self._hooks:
            if hook.verb == verb and not hook.has_run:
                hook.calls_left -= 1
                if hook.calls_left == 0:
                    due.append(hook)
        self._run_hooks(due, "before")
        result = work()
        self._run_hooks(due, "after")
        return result

    def _run_hooks(self, due: list[_Hook], moment: str) -> None:
        for hook in due:
            if hook.moment == moment:
                hook.has_run = True
                self._is_running_hook = True
                try:
                    hook.run()
                finally:
                    self._is_running_hook = False

    def load(self, key: bytes) -> Entry | None:
        return self._call("load", key, lambda: self._store.load(key))

    def create(self, key: bytes, data: bytes, ttl: int) -> bytes | None:
        return self._call("create", key, lambda: self._store.create(key, data, ttl))

    def replace(self, key: bytes, data: bytes, ttl: int, expected: bytes) -> Saved | Conflict | Gone:
        return self._call("replace", key, lambda: self._store.replace(key, data, ttl, expected))

    def touch(self, key: bytes, ttl: int) -> bool:
        return self._call("touch", key, lambda: self._store.touch(key, ttl))

    def delete(self, key: bytes) -> bool:
        return self._call("delete", key, lambda: self._store.delete(key))

    def close(self) -> None:
        """Do nothing. The test closes the store behind this one."""


class InterleavingOwners(InterleavingStore):
    """An :class:`InterleavingStore` in front of a store with an owner index."""

    _store: Any

    def claim(self, owner: bytes, key: bytes, ttl: int, limit: int | None = None) -> bool:
        return self._call("claim", key, lambda: bool(self._store.claim(owner, key, ttl, limit)))

    def release(self, owner: bytes, key: bytes) -> bool:
        return self._call("release", key, lambda: bool(self._store.release(owner, key)))

    def owned(self, owner: bytes) -> list[Claim]:
        return self._call("owned", owner, lambda: list(self._store.owned(owner)))
