"""Real servers for tests: started from an empty folder on loopback, ended by their process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import redis

#: Seconds that a server may take to answer after its start. Redis needs some hundredths; a loaded CI machine more.
START_TIMEOUT = 20.0


def free_port() -> int:
    """Return a TCP port of loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require(program: str, package: str) -> str:
    """Return the path of ``program``; skip the test by name without it, or fail where CI promised it."""
    path = shutil.which(program)
    if path is None:
        reason = f"{program} is not installed (Debian package {package})"
        if os.environ.get("CI"):
            pytest.fail(f"CI=true and {reason}")
        pytest.skip(reason)
    return path


def wait_for_port(port: int) -> None:
    """Return when something listens on the port of loopback; raise TimeoutError after START_TIMEOUT."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise TimeoutError(f"nothing listens on port {port} after {START_TIMEOUT} s")


class RedisServer:
    """A redis-server of one's own, with a log on disk, so that a restart keeps what was acknowledged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again on the same port with the same data."""
        program = require("redis-server", "redis-server")
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--daemonize", "no"]
        with (self.folder / "log").open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        wait_for_port(self.port)
        client = redis.Redis(port=self.port)
        while True:
            try:
                client.ping()
            except redis.exceptions.BusyLoadingError:  # it reads its log
                time.sleep(0.01)
            else:
                break
        client.close()

    def pause(self) -> None:
        """Let it hang: it accepts connections and never answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo :meth:`pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, as by ``kill``. What was acknowledged is on disk."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait()
            self._process = None
