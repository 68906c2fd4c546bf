"""Programs that the benchmarks start: found or installed, waited for, and ended by their process id."""

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

#: The Debian package that brings each program.
PACKAGES = {"redis-server": "redis-server", "wrk": "wrk"}

#: Seconds to wait for a server to answer after its start, and to end after it was asked to.
PATIENCE = 15.0


def say(text: str) -> None:
    """Tell what is going on, on standard error, so that standard output holds the tables alone."""
    print(f"benchmarks: {text}", file=sys.stderr, flush=True)


def need(program: str) -> str:
    """Return the path of ``program``; as root install its Debian package when it is missing."""
    found = shutil.which(program)
    if found:
        return found
    package = PACKAGES[program]
    install = ["apt-get", "install", "-y", "--no-install-recommends", package]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.exit(f"benchmarks: {program} is missing. On Debian: {' '.join(install)}")
    say(f"{program} is missing; installing the Debian package {package}")
    if subprocess.run(install, stdout=subprocess.DEVNULL, check=False).returncode != 0:
        say("that failed; fetching the package lists and trying again")
        subprocess.run(["apt-get", "update"], stdout=subprocess.DEVNULL, check=True)
        subprocess.run(install, stdout=subprocess.DEVNULL, check=True)
    return shutil.which(program) or sys.exit(f"benchmarks: {package} is installed, but {program} is not there")


@contextmanager
def started(
    command: list[str], ready: Callable[[], bool], env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command`` until the block ends, however it ends. The block begins when ``ready()`` is true."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=env)
    try:
        deadline = time.monotonic() + PATIENCE
        while not ready():
            if process.poll() is not None:
                raise RuntimeError(f"{Path(command[0]).name} ended at its start with {process.returncode}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{Path(command[0]).name} did not answer within {PATIENCE:.0f} s")
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """Return a loopback port that nothing listens on at this moment."""
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
    """Run a Redis that keeps nothing, on a Unix socket in ``folder`` and no port; give the socket's path."""
    path = str(folder / "redis.sock")
    command = [need("redis-server"), "--port", "0", "--unixsocket", path, "--unixsocketperm", "700"]
    command += ["--save", "", "--appendonly", "no", "--dir", str(folder), "--daemonize", "no"]
    with started(command, lambda: Path(path).exists() and listens(path)):
        yield path


#: Turns without end, only when nobody else wants the core, and not longer than its parent lives.
_TURN = """
import os
parent = os.getppid()
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
while os.getppid() == parent:
    for _ in range(1000):
        pass
"""


@contextmanager
def cores_awake() -> Iterator[None]:
    """Keep every core from being halted until the block ends, with a process each that gives way to all others.

    A halted core takes tens of microseconds to wake, on a virtual machine most of all, and Redis has nothing
    to do between two requests. On a server under load no core is halted.
    """
    with ExitStack() as turning:
        for _ in range(os.cpu_count() or 1):
            turning.enter_context(started([sys.executable, "-c", _TURN], lambda: True))
        time.sleep(0.5)
        yield


def end_on_terminate() -> None:
    """Turn SIGTERM into an exit that runs the ``finally`` blocks, so that no server is left behind."""

    def leave(signum: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + signum)

    signal.signal(signal.SIGTERM, leave)
