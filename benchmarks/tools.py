"""Programs that the benchmarks start: find or install them, wait for them, and end them by their process ids."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

#: The Debian package of each program.
PACKAGES = {"redis-server": "redis-server", "wrk": "wrk"}

#: Seconds to wait until a server answers after its start, and until it ends.
TIMEOUT = 15.0


def say(text: str) -> None:
    """Print a message about the present step to standard error, so that standard output has only the tables."""
    print(f"benchmarks: {text}", file=sys.stderr, flush=True)


def need(program: str) -> str:
    """Return the path of ``program``. If it is missing, root installs its Debian package."""
    found = shutil.which(program)
    if found:
        return found
    package = PACKAGES[program]
    install = ["apt-get", "install", "-y", "--no-install-recommends", package]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.exit(f"benchmarks: {program} is missing. On Debian: {' '.join(install)}")
    say(f"{program} is missing, so the Debian package {package} is installed")
    if subprocess.run(install, stdout=subprocess.DEVNULL, check=False).returncode != 0:
        say("that failed, so the package lists are updated and it is tried again")
        subprocess.run(["apt-get", "update"], stdout=subprocess.DEVNULL, check=True)
        subprocess.run(install, stdout=subprocess.DEVNULL, check=True)
    return shutil.which(program) or sys.exit(
        f"benchmarks: {package} is installed and has no {program}. Check the PATH."
    )


@contextmanager
def started(
    command: list[str], ready: Callable[[], bool], env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` until the block ends. The block begins when ``ready()`` is true."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=env)
    try:
        deadline = time.monotonic() + TIMEOUT
        while not ready():
            if process.poll() is not None:
                raise RuntimeError(f"{Path(command[0]).name} ended at its start with {process.returncode}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{Path(command[0]).name} did not answer within {TIMEOUT:.0f} s")
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """Return a port of the loopback interface on which no server listens at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(address: str | tuple[str, int]) -> bool:
    """Return whether a server accepts connections at a Unix socket's path or a (host, port)."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as probe:
        return probe.connect_ex(address) == 0


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Run a Redis server without persistence, on a Unix socket in ``folder`` and no port. Yield the socket's path."""
    path = str(folder / "redis.sock")
    command = [need("redis-server"), "--port", "0", "--unixsocket", path, "--unixsocketperm", "700"]
    command += ["--save", "", "--appendonly", "no", "--dir", str(folder), "--daemonize", "no"]
    with started(command, lambda: Path(path).exists() and listens(path)):
        yield path


#: Runs in a loop while no other process wants the core, and ends with its parent.
_BUSY_LOOP = """
import os
parent = os.getppid()
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
while os.getppid() == parent:
    for _ in range(1000):
        pass
"""


@contextmanager
def cores_awake() -> Iterator[None]:
    """Keep every core awake until the block ends, with one process for each that gives way to all others.

    A sleeping core takes tens of microseconds to wake up, most of all on a virtual machine, and Redis is idle between
    two requests. On a server under load no core sleeps.
    """
    with ExitStack() as loops:
        for _ in range(os.cpu_count() or 1):
            loops.enter_context(started([sys.executable, "-c", _BUSY_LOOP], lambda: True))
        time.sleep(0.5)
        yield


def end_on_terminate() -> None:
    """Exit normally at SIGTERM, so that ``finally`` blocks run and no server is left behind."""

    def leave(signum: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + signum)

    signal.signal(signal.SIGTERM, leave)
