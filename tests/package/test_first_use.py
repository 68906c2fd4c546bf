"""Calls that wait until a session is loaded or saved: each one is made once, whatever the others do."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

from flask_cloakroom.first_use import FirstUse, StoreUse, is_in_store_use, tell
from support.clock import TEST_TIMEOUT


def fail(text: str) -> None:
    raise KeyError(text)


def test_an_error_in_a_call() -> None:
    """The other receivers are called too, and the first error is raised."""
    calls: list[str] = []

    def action() -> None:
        tell(calls.append, "first")
        tell(fail, "second")
        tell(calls.append, "third")
        tell(fail, "fourth")

    with pytest.raises(KeyError, match="second"):
        FirstUse().run_alone(action)
    assert calls == ["first", "third"]


def test_a_thread_that_goes_on_after_the_action() -> None:
    """A thread that a user loader has started loads another session. No call is made twice, and none is lost."""
    calls: list[str] = []
    outer, inner = FirstUse(), FirstUse()
    inside, leave = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def in_thread() -> None:
        tell(calls.append, "of the thread")
        inside.set()
        assert leave.wait(TEST_TIMEOUT)
        tell(calls.append, "of the thread, later")

    def action() -> None:
        tell(calls.append, "of the action")
        copy = contextvars.copy_context()
        threads.append(threading.Thread(target=copy.run, args=(inner.run_alone, in_thread), daemon=True))
        threads[0].start()
        assert inside.wait(TEST_TIMEOUT)

    outer.run_alone(action)
    leave.set()
    threads[0].join(TEST_TIMEOUT)
    assert calls == ["of the action", "of the thread", "of the thread, later"]


def test_a_call_of_a_log_handler() -> None:
    """A log handler of a wait that was too long may cause further calls. They are made."""
    calls: list[str] = []
    FirstUse().call_inside(lambda: tell(calls.append, "told"))
    assert calls == ["told"]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [([], False), ([FirstUse], False), ([StoreUse], True), ([StoreUse, FirstUse], True), ([FirstUse, StoreUse], True)],
)
def test_in_store_use(runs: list[type[StoreUse]], expected: bool) -> None:
    """Code in a use of the store is in it, also if it has begun another first use. After the end it is not."""
    found: list[bool] = []
    action: Callable[[], Any] = lambda: found.append(is_in_store_use())  # noqa: E731
    for kind in reversed(runs):
        action = lambda kind=kind, inner=action: kind().run_alone(inner)  # noqa: E731
    action()
    assert found == [expected]
    assert not is_in_store_use()
