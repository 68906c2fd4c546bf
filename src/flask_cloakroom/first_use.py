"""Run an action in one thread of a request at a time, and log and send signals only after the action.

Several threads of a request may use the session for the first time together. One thread loads the session, and the
others wait. The search for the user belongs to a context (:mod:`contextvars`), not to a thread: an async user loader
runs in another thread, but in a copy of the context. So the loader's own use of the user is recognized, and does not
wait for ever. A use of the store calls no code of the application but log handlers, which run in its own thread. So a
use of the store belongs to a thread, because the change of a context variable takes longer.

Log handlers and signal receivers are code of the application, and may use the session. During an action the session is
incomplete, so :func:`tell` postpones the log line or signal until the action has ended.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from threading import Lock, local
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

    # Class attributes, because most runs set none of them.
    # A background task of a loader has a copy of the context, in which the run is still set. So the end is noted.
    is_over = False
    #: The postponed calls of the outermost run. None until the first call.
    later: deque[_Call] | None = None
    #: A locked lock of each thread that waits for the end of this run.
    waiting: Sequence[Any] = ()

    def __init__(self, use: StoreUse, outer: _Run | None) -> None:
        self.use = use
        self.outer = outer
        # The run that makes the postponed calls at its end. None if it is this run: with a reference to itself, the run
        # would keep the session in memory until the next garbage collection.
        self._outermost: _Run | None = None if outer is None or outer.is_over else outer.outermost

    @property
    def outermost(self) -> _Run:
        """The run that makes the postponed calls at its end."""
        return self._outermost or self

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


class _Current(local):
    """The innermost run of this thread."""

    run: _Run | None = None


_current: Final = _Current()
#: The innermost run of this context that is no use of the store.
_in_context: Final[ContextVar[_Run | None]] = ContextVar("flask_cloakroom.first_use", default=None)
#: Held for changes of the attributes of runs and first uses, and never during an action. One lock for all of them, so
#: that most requests make none.
_mutex: Final = Lock()


class StoreUse:
    """Lets one thread at a time use the store for one session: load it, save it, or open the store."""

    #: The present run, or None.
    present_run: _Run | None = None

    def run_alone(self, action: Callable[[], object], timeout: float | None = None) -> None:
        """Call ``action``, as soon as no other thread is in a run of this object. No thread holds a mutex meanwhile.

        The action itself must check if another thread has done its work before. ``timeout`` is the longest wait in
        seconds; None waits without a limit. Raises :class:`Reentered` if this code runs within a run of this object
        already, and TimeoutError after the time-out.
        """
        before = _current.run
        outer = before or _in_context.get()
        if outer is not None and self._is_in(outer):
            raise Reentered
        run = _Run(self, outer)
        with _mutex:
            has_begun = self.present_run is None
            if has_begun:
                self.present_run = run
        if not has_begun:
            self._wait(run, timeout)
        _current.run = run
        try:
            self._call(action, run)
        finally:
            _current.run = before
            with _mutex:
                run.is_over = True
                self.present_run = None
            for turn in run.waiting:
                turn.release()
            if outer is not None or run.later is not None:
                run.make_calls()

    def call_inside(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call ``function`` as an action would, but at once, while another thread may be in a run.

        For a log line about a wait that was too long: a log handler that uses the session must not wait again.
        """
        before = _current.run
        run = _current.run = _Run(self, before or _in_context.get())
        try:
            function(*arguments)
        finally:
            run.is_over = True
            _current.run = before
            run.make_calls()

    def _call(self, action: Callable[[], object], run: _Run) -> None:
        action()

    def _is_in(self, run: _Run | None) -> bool:
        while run is not None:
            if run.use is self and not run.is_over:
                return True
            run = run.outer
        return False

    def _wait(self, run: _Run, timeout: float | None) -> None:
        """Wait until ``run`` is the present run. Raises TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            turn = Lock()
            turn.acquire()
            with _mutex:
                if self.present_run is None:
                    self.present_run = run
                    return
                self.present_run.waiting = [*self.present_run.waiting, turn]
            if not turn.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic())):
                raise TimeoutError


class FirstUse(StoreUse):
    """Lets one thread at a time find the user or the user's data. Code of the application runs meanwhile."""

    def _call(self, action: Callable[[], object], run: _Run) -> None:
        token = _in_context.set(run)
        try:
            action()
        finally:
            _in_context.reset(token)


def is_in_store_use() -> bool:
    """Return True if this code runs within a use of the store, as a log handler may do. It must not find the user."""
    run = _current.run or _in_context.get()
    while run is not None and (run.is_over or isinstance(run.use, FirstUse)):
        run = run.outer
    return run is not None


def tell(function: Callable[..., object], *arguments: Any, **named: Any) -> None:
    """Call ``function``, which logs or sends a signal. During an action the call is postponed until its end."""
    run = _current.run or _in_context.get()
    if run is None or run.is_over:
        function(*arguments, **named)
    else:
        run.call_later(_Call(function, arguments, named))
