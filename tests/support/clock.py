"""A clock for tests that bound how long something waits: it leaves out the time for which the machine ran others.

A bound such as "a StoreError within 1.3 s" is about the waiting of the package. On a machine with more work than cores
a thread may stand still for longer than that, and the test would fail without a fault. So a second thread sleeps for
some milliseconds again and again; what it oversleeps is time in which this process was not run, and it is not counted.

Not for code that computes for long: it keeps the second thread from running too. Use ``time.thread_time`` there.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

#: Seconds that the second thread sleeps for.
TICK = 0.005

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
