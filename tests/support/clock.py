"""Waiting for something, and a clock for tests that bound how long something waits.

The clock leaves out the time for which the machine ran other programs. A bound such as "a StoreError within 1.3 s" is
about the waiting of the package. On a machine with more work than cores a thread may stand still for longer than that.
The test would fail without a fault. So a second thread sleeps for some milliseconds again and again. The time that it
oversleeps is time in which this process was not run, and is not counted.

Not for code that computes for long: such code keeps the second thread from running too. Use ``time.thread_time`` there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

#: Seconds that the second thread sleeps for.
TICK = 0.005

#: Seconds that a test waits for something. Mostly it comes within some hundredths of a second.
TEST_TIMEOUT = 30.0

#: Seconds between two looks at what a test waits for.
LOOK_AGAIN = 0.01

#: Seconds that a sleep may take longer on a machine with nothing else to do.
USUAL = 0.005


class CalmClock:
    """``with CalmClock() as clock:``, then ``clock.time()`` before and after."""

    def __init__(self) -> None:
        self._lost = 0.0
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> CalmClock:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def time(self) -> float:
        """Return the seconds since some moment, without those in which this process was kept from running."""
        with self._lock:
            now = time.monotonic()
            return now - self._lost - self._overslept(now)

    def _overslept(self, now: float) -> float:
        """Return for how long the present sleep should have been over."""
        return max(0.0, now - self._began - TICK - USUAL)

    def _tick(self) -> None:
        while not self._over.wait(TICK):
            with self._lock:
                now = time.monotonic()
                self._lost += self._overslept(now)
                self._began = now


def wait_until(
    holds: Callable[[], object], what: str, timeout: float = TEST_TIMEOUT, *, errors: tuple[type[Exception], ...] = ()
) -> float:
    """Wait until ``holds()`` is true, and return the seconds that this took.

    ``errors`` that it raises count as false. Raise TimeoutError with the text ``what`` after ``timeout`` seconds.
    """
    began = time.monotonic()
    while True:
        try:
            if holds():
                return time.monotonic() - began
        except errors:
            pass
        if time.monotonic() - began > timeout:
            raise TimeoutError(f"after {timeout:g} s still not: {what}")
        time.sleep(LOOK_AGAIN)
