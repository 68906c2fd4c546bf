"""Users, keepers and servers are killed at random: never two servers, and no acknowledged write is lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_cloakroom.redis_connections.embedded.server import EmbeddedServer, EmbeddedServerError
from support.redis.embedded_users import TEST_TIMEOUT, Processes, ask

pytestmark = pytest.mark.soak

USERS = 5
SECONDS = 60.0


def write_until_killed(server: EmbeddedServer, acknowledged: int) -> None:
    """Set one key after the other; write down each that the server has acknowledged."""
    number = 0
    while True:
        with contextlib.suppress(EmbeddedServerError):  # killed at its start
            server.ensure_running()
        with contextlib.suppress(OSError, ValueError):  # killed before its answer, or in the middle of it
            for _ in range(50):
                number += 1
                key = f"{os.getpid()}.{number}"
                if ask(server, f"SET {key} 1") == "+OK":
                    os.write(acknowledged, key.encode() + b"\n")


class Crowd:
    """Some users of one server, which are replaced when they are killed."""

    def __init__(self, folder: Path, notes: Path) -> None:
        self._folder = folder
        self._notes = notes
        self._users: list[int] = []

    def fill(self) -> None:
        """Start as many as are missing."""
        while len(self._users) < USERS:
            pid = os.fork()
            if pid:
                self._users.append(pid)
                continue
            try:
                signal.alarm(int(SECONDS + 2 * TEST_TIMEOUT))
                notes = os.open(self._notes / str(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                write_until_killed(EmbeddedServer(self._folder), notes)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)

    def kill(self, count: int) -> None:
        """End some of them."""
        for _ in range(count):
            pid = self._users.pop(0)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def others(self, pids: list[int]) -> list[int]:
        """Return those of the process ids that are not users'."""
        return [pid for pid in pids if pid not in self._users]


@pytest.fixture
def crowd(folder: Path, tmp_path: Path) -> Iterator[Crowd]:
    """Return users at work."""
    notes = tmp_path / "notes"
    notes.mkdir()
    crowd = Crowd(folder, notes)
    crowd.fill()
    yield crowd
    crowd.kill(len(crowd._users))


@pytest.mark.timeout(300)
def test_killed_at_random(crowd: Crowd, server: EmbeddedServer, processes: Processes, tmp_path: Path) -> None:
    """One server at most at any time; all gone when the last user is; everything acknowledged is there."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        time.sleep(dice.random() * 0.15)
        servers = processes.servers()
        assert len(servers) <= 1
        victims = {"keeper": crowd.others(processes.keepers()), "server": servers}
        what = dice.choice(["user", "user", "users", "keeper", "server"])
        for pid in victims.get(what, []):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        crowd.kill({"user": 1, "users": dice.choice([1, 2, USERS])}.get(what, 0))
        crowd.fill()
    crowd.kill(USERS)
    processes.wait_for_none()
    server.ensure_running()
    keys = [key for notes in (tmp_path / "notes").iterdir() for key in notes.read_text().split()]
    print(f"{len(keys)} writes acknowledged")
    assert len(keys) > 1000
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(server.socket_path)
        for start in range(0, len(keys), 500):
            some = keys[start : start + 500]
            connection.sendall(b"EXISTS " + " ".join(some).encode() + b"\r\n")
            assert connection.recv(100) == b":%d\r\n" % len(some)
