"""The embedded server's process, socket or folder is killed, deleted or closed while processes use it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_cloakroom.redis_connections.embedded import server as embedded
from flask_cloakroom.redis_connections.embedded.keeper import KEEPER_LOCK, OPTIONS, SERVER_LOCK, USERS_LOCK
from flask_cloakroom.redis_connections.embedded.server import EmbeddedServer, EmbeddedServerError, find_program
from support.clock import TEST_TIMEOUT, wait_until
from support.redis.embedded_users import Processes, User, ask, can_lock, run


class TestAccidents:
    """The server, its keeper or both are killed while processes use it."""

    @pytest.mark.parametrize("victims", ["server", "keeper", "both"])
    def test_next_use_starts_it_anew(
        self, server: EmbeddedServer, folder: Path, processes: Processes, victims: str
    ) -> None:
        """With its data, and there is one server again."""
        server.ensure_running()
        ask(server, "SET k v")
        old = processes.server()
        for pid in {"server": [old], "keeper": [processes.keeper()], "both": [processes.keeper(), old]}[victims]:
            os.kill(pid, signal.SIGKILL)
        if victims == "server":
            wait_until(lambda: old not in processes.servers(), "the server is dead")
        else:
            wait_until(lambda: can_lock(folder / KEEPER_LOCK), "the keeper is dead, and the kernel knows")
        server.ensure_running()
        assert ask(server, "GET k") == "v"
        assert processes.server() != old
        assert len(processes.keepers()) == 1

    def test_killed_keeper_takes_the_server_along(self, server: EmbeddedServer, processes: Processes) -> None:
        """With nobody asking for it: the kernel sends the signal."""
        server.ensure_running()
        os.kill(processes.keeper(), signal.SIGKILL)
        processes.wait_for_none(10)

    def test_no_second_server_beside_one_that_is_slow_to_end(
        self, server: EmbeddedServer, processes: Processes
    ) -> None:
        """Its keeper was killed, and it has not come to its end yet: two servers on the same files would ruin them."""
        server.ensure_running()
        ask(server, "SET k v")
        old = processes.server()
        os.kill(old, signal.SIGSTOP)
        os.kill(processes.keeper(), signal.SIGKILL)
        with pytest.raises(EmbeddedServerError, match="gives no answer"):
            server.ensure_running(timeout=0.3)
        assert processes.servers() == [old]
        os.kill(old, signal.SIGCONT)
        server.ensure_running()
        assert processes.server() != old
        assert ask(server, "GET k") == "v"

    def test_server_without_a_keeper_is_replaced(
        self, server: EmbeddedServer, folder: Path, processes: Processes
    ) -> None:
        """As is left over where no kernel sends that signal: it would stay for ever."""
        folder.mkdir(parents=True, mode=0o700)
        with (folder / SERVER_LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            orphan = subprocess.Popen([find_program(), *OPTIONS], cwd=folder, pass_fds=(lock.fileno(),))
        try:
            wait_until(lambda: (folder / "server.sock").exists(), "the orphan listens")
            wait_until(lambda: ask(server, "SET k v") == "+OK", "the orphan answers")
            server.ensure_running()
            assert orphan.wait(TEST_TIMEOUT) == 0
            assert ask(server, "GET k") == "v"
        finally:
            orphan.kill()
            orphan.wait()

    def test_after_sigkill_for_all(self, new_user: Callable[[], User], processes: Processes, folder: Path) -> None:
        """User, keeper and server at once: the socket that is left over is in nobody's way."""
        user = new_user()
        user.do("use")
        user.do("SET k v")
        for pid in (processes.keeper(), processes.server()):
            os.kill(pid, signal.SIGKILL)
        user.end()
        processes.wait_for_none()
        assert (folder / "server.sock").exists()
        other = new_user()
        assert other.do("use") == "running"
        assert other.do("GET k") == "v"

    def test_folder_that_is_deleted_and_made_anew(
        self, server: EmbeddedServer, processes: Processes, folder: Path
    ) -> None:
        """The old server, whose folder is gone, ends; the new one begins with no data."""
        server.ensure_running()
        ask(server, "SET k v")
        old = processes.server()
        subprocess.run(["rm", "-r", str(folder)], check=True)
        server.ensure_running()
        assert ask(server, "GET k") == "$-1"
        wait_until(lambda: old not in processes.servers(), "the old server has ended")
        assert len(processes.servers()) == 1

    def test_fork_in_the_middle_of_a_start(
        self, server: EmbeddedServer, processes: Processes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A child that another thread forks right then does not hold the lock that would keep a new server away."""
        launch, under_way = embedded._launch, threading.Event()
        children: list[User] = []

        def fork() -> None:
            under_way.wait(TEST_TIMEOUT)
            children.append(User(server, []))

        def launch_slowly(*args: object) -> int:
            under_way.set()
            time.sleep(0.1)  # the other thread comes to its fork, and waits
            assert children == []
            return launch(*args)  # type: ignore[arg-type]

        other = threading.Thread(target=fork)
        other.start()
        monkeypatch.setattr(embedded, "_launch", launch_slowly)
        server.ensure_running()
        other.join()
        for pid in (processes.keeper(), processes.server()):
            os.kill(pid, signal.SIGKILL)
        processes.wait_for_none()
        monkeypatch.undo()
        server.ensure_running()
        assert children[0].do("use") == "running"
        children[0].end()

    def test_server_that_hangs(self, server: EmbeddedServer, processes: Processes, folder: Path) -> None:
        """The wait has an end, with an error that says where to look; when it goes on, so does everybody."""
        server.ensure_running()
        pid = processes.server()
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(EmbeddedServerError, match=r"gives no answer after 0\.3 s") as error:
            server.ensure_running(timeout=0.3)
        assert time.monotonic() - began < 5
        assert str(folder / "server.log") in str(error.value)
        os.kill(pid, signal.SIGCONT)
        server.ensure_running()
        assert processes.server() == pid

    def test_server_that_does_not_end(self, server: EmbeddedServer, processes: Processes, folder: Path) -> None:
        """Who comes while it is being ended waits no longer than it wants to."""
        server.ensure_running()
        pid = processes.server()
        os.kill(pid, signal.SIGSTOP)
        server.close()
        wait_until(lambda: not can_lock(folder / USERS_LOCK), "the keeper has begun to end the server")
        with pytest.raises(EmbeddedServerError, match=r"of earlier processes still has not ended after 0\.1 s"):
            server.ensure_running(timeout=0.1)
        os.kill(pid, signal.SIGCONT)
        server.ensure_running()

    def test_daemon_that_closes_all_files(self, folder: Path) -> None:
        """It loses its hold on the server, unknowingly; the next use gets it again, and closes no file of others."""
        code = """
server.ensure_running()
os.closerange(0, 100)
own = [os.open("/dev/null", os.O_RDWR) for _ in range(20)]
del own[0:3]
server.ensure_running()
assert server._users_lock > 2 and server._folder.fd > 2
for fd in own: os.fstat(fd)
for fd in (0, 1, 2): os.close(fd)
server.close()
server.ensure_running()
assert server._users_lock > 2 and server._folder.fd > 2
"""
        run(folder, code)
