"""Run an action in one thread of a request at a time, and log and send signals only after the action.

Several threads of a request may use the session for the first time together. One thread loads the session, and the
others wait. An action belongs to a context (:mod:`contextvars`), not to a thread: an async user loader runs in another
thread, but in a copy of the context. So the loader's own use of the session is recognized, and does not wait for ever.

Log handlers and signal receivers are code of the application, and may use the session. During an action the session is
incomplete, so :func:`tell` postpones the log line or signal until the action has ended.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from threading import Lock
from typing import Any, Final


class Reentered(Exception):
    """An action uses itself, for example a user loader that asks for the current user. The action is not complete."""


class _Call:
    """A postponed call. Its repr shows no arguments, because error reports show local variables."""

    __slots__ = ("_arguments", "_function", "_named")

    def __init__(self, function: Callable[..., object], arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._function = function
        self._arguments = arguments
        self._named = named

    def __call__(self) -> None:
        self._function(*self._arguments, **self._named)


class _Run:
    """One run of an action. The runs in which this run began are a linked list."""

    __slots__ = ("first_use", "is_over", "later", "outer", "outermost", "waiting")

    def __init__(self, first_use: FirstUse, outer: _Run | None) -> None:
        self.first_use = first_use
        self.outer = outer
        # A background task of a loader has a copy of the context, in which the run is still set. So the end is noted.
        self.is_over = False
        #: The run that makes the postponed calls at its end.
        self.outermost: _Run = self if outer is None or outer.is_over else outer.outermost
        #: The postponed calls of the outermost run. None until the first call.
        self.later: deque[_Call] | None = None
        #: A locked lock of each thread that waits for the end of this run.
        self.waiting: list[Any] = []

    def call_later(self, call: _Call) -> None:
        """Postpone a call until the end of the outermost run."""
        with _mutex:
            if self.outermost.later is None:
                self.outermost.later = deque()
        self.outermost.later.append(call)

    def make_calls(self) -> None:
        """Make the postponed calls, if the outermost run is over. Raises the first error, after all calls.

        A thread that the action has started may still be in an inner run with the same queue. So each call leaves the
        queue before it is made, or the end of the inner run would make it again.
        """
        later = self.outermost.later
        if later is None or not self.outermost.is_over:
            return
        problem: Exception | None = None
        while later:
            try:
                call = later.popleft()
            except IndexError:
                break  # another thread has taken the last call
            try:
                call()
            except Exception as error:  # the other receivers must still be called
                problem = problem or error
        if problem is not None:
            raise problem


_current: Final[ContextVar[_Run | None]] = ContextVar("flask_cloakroom.first_use", default=None)
_mutex: Final = Lock()  # held while a queue of postponed calls is made


class FirstUse:
    """Lets one thread at a time run an action. No thread holds a mutex during the action."""

    # The attribute _run exists only during a run. dict.setdefault() is atomic, so two threads cannot set it both.

    def run(self, action: Callable[[], object], timeout: float | None = None) -> None:
        """Call ``action``, as soon as no other thread is in a run of this object.

        The action itself must check if another thread has done its work before. ``timeout`` is the longest wait in
        seconds; None waits without a limit. Raises :class:`Reentered` if this context is in a run of this object
        already, and TimeoutError after the time-out.
        """
        outer = _current.get()
        if outer is not None and self._is_in(outer):
            raise Reentered
        run = _Run(self, outer)
        if self.__dict__.setdefault("_run", run) is not run:
            self._wait(run, timeout)
        token = _current.set(run)
        try:
            action()
        finally:
            run.is_over = True
            _current.reset(token)
            del self.__dict__["_run"]
            for turn in run.waiting:
                turn.release()
            run.make_calls()

    def call_inside(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call ``function`` as an action would, but at once, while another thread may be in a run.

        For a log line about a wait that was too long: a log handler that uses the session must not wait again.
        """
        run = _Run(self, _current.get())
        token = _current.set(run)
        try:
            function(*arguments)
        finally:
            run.is_over = True
            _current.reset(token)
            run.make_calls()

    @property
    def is_running(self) -> bool:
        """True if a thread is in a run of this object."""
        return "_run" in self.__dict__

    def _is_in(self, run: _Run | None) -> bool:
        while run is not None:
            if run.first_use is self and not run.is_over:
                return True
            run = run.outer
        return False

    def _wait(self, run: _Run, timeout: float | None) -> None:
        """Wait until ``run`` is the run of this object. Raises TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (present := self.__dict__.setdefault("_run", run)) is not run:
            turn = Lock()
            turn.acquire()
            present.waiting.append(turn)
            if present.is_over:
                time.sleep(0)  # the other thread may have released its waiting locks before, and ends its run now
            elif not turn.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic())):
                raise TimeoutError


class StoreUse(FirstUse):
    """The first use of a session or its store, and the save of a session."""


def is_in_store_use() -> bool:
    """Return True if this code runs within a :class:`StoreUse`, as a log handler may do. It must not find the user."""
    run = _current.get()
    while run is not None and (run.is_over or not isinstance(run.first_use, StoreUse)):
        run = run.outer
    return run is not None


def tell(function: Callable[..., object], *arguments: Any, **named: Any) -> None:
    """Call ``function``, which logs or sends a signal. During an action the call is postponed until its end."""
    run = _current.get()
    if run is None or run.is_over:
        function(*arguments, **named)
    else:
        run.call_later(_Call(function, arguments, named))
