"""A store that fails at one command of a request, or whose answer to that command is lost: forced, never by chance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flask_cloakroom import StoreError

#: The verbs of a store that are a command to its server.
VERBS = ("load", "create", "replace", "touch", "delete", "claim", "release", "owned")
#: The verbs that write an entry.
SAVES = ("create", "replace", "touch", "delete")


class Fault(NamedTuple):
    """One failure of the store in a request."""

    name: str
    #: Whether the newest of the request's commands fails. The argument has the verbs of all its commands so far.
    hits: Callable[[list[str]], bool]
    #: True: the store does the command, and only its answer is lost.
    took_effect: bool = False
    #: True: each command that ``hits`` names fails, not only the first one.
    repeats: bool = False


def first_of(name: str, *verbs: str, took_effect: bool = False) -> Fault:
    """Return a fault at the first command of these verbs."""
    return Fault(name, lambda calls: calls[-1] in verbs and not any(verb in verbs for verb in calls[:-1]), took_effect)


def nth(number: int, *, took_effect: bool = False) -> Fault:
    """Return a fault at the command of this number. The first command of a request is 1."""
    what = "the answer is lost of" if took_effect else "the store fails at"
    return Fault(f"{what} command {number}", lambda calls: len(calls) == number, took_effect)


@dataclass
class Outage:
    """The commands and the failure in the ``with`` block of a fault."""

    fault: Fault | None = None
    #: True: all commands after the fault fail too, until the end of the block.
    stays_down: bool = False
    calls: list[str] = field(default_factory=list)
    #: The verb of the command at which the fault came, or "" if it has not come.
    failed_at: str = ""

    @property
    def hides_a_replacement(self) -> bool:
        """True if the answer to a ``replace`` did not come and the store is down, so that nobody can look it up."""
        return self.failed_at == "replace" and self.stays_down

    def __str__(self) -> str:
        """Return the commands, with a mark at the fault."""
        return " ".join(self.calls) + (f" (fault at {self.failed_at})" if self.failed_at else " (no fault came)")


class FaultyStore:
    """Wraps the verbs of a store object, so that it fails for everybody who uses this object."""

    def __init__(self, store: Any) -> None:
        self._outage: Outage | None = None
        for verb in VERBS:
            setattr(store, verb, self._wrap(verb, getattr(store, verb)))

    @contextmanager
    def failing(self, fault: Fault | None = None, *, stays_down: bool = False) -> Iterator[Outage]:
        """In the ``with`` block, fail as ``fault`` says. Without a fault, only note the commands."""
        self._outage = outage = Outage(fault, stays_down)
        try:
            yield outage
        finally:
            self._outage = None

    @contextmanager
    def working(self) -> Iterator[None]:
        """In the ``with`` block, inside of that of a fault, let another request use the store, which is in order."""
        outage, self._outage = self._outage, None
        try:
            yield
        finally:
            self._outage = outage

    def _wrap(self, verb: str, command: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            outage = self._outage
            if outage is None:
                return command(*arguments, **options)
            outage.calls.append(verb)
            fault = outage.fault
            if outage.failed_at and outage.stays_down:
                raise StoreError("the store is still down")
            if fault is not None and (fault.repeats or not outage.failed_at) and fault.hits(outage.calls):
                outage.failed_at = outage.failed_at or verb
                if fault.took_effect:
                    command(*arguments, **options)
                raise StoreError("the store failed")
            return command(*arguments, **options)

        return call
