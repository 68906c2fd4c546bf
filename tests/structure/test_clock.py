"""The clock for tests that bound a wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

from support import ROOT
from support.clock import CalmClock


def test_waiting_is_counted() -> None:
    """A thread that sleeps, as one that waits for a server, is seen to wait for all of that time."""
    with CalmClock() as clock:
        began = clock.time()
        time.sleep(0.3)
        waited = clock.time() - began
    assert waited > 0.15


def test_standing_still_is_not_counted() -> None:
    """A process that was stopped for a second, as a loaded machine stops it, saw less than half of that second pass."""
    code = """
        import time
        from support.clock import CalmClock
        with CalmClock() as clock:
            began, truly = clock.time(), time.monotonic()
            print("ready", flush=True)
            while time.monotonic() - truly < 1:
                time.sleep(0.001)
            print(clock.time() - began, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(1.2)
        os.kill(process.pid, signal.SIGCONT)
        assert float(process.stdout.readline()) < 0.5
    assert process.returncode == 0
