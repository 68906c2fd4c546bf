"""One embedded server for all processes: it ends with the last process, and the data stays."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flask_cloakroom.redis_connections.embedded import server as embedded
from flask_cloakroom.redis_connections.embedded.keeper import USERS_LOCK
from flask_cloakroom.redis_connections.embedded.server import EmbeddedServer
from flask_cloakroom.testing.parallel import run_in_threads
from support.clock import TEST_TIMEOUT, wait_until
from support.redis.embedded_users import Processes, User, ask, can_lock, run, start


class TestOneServer:
    """For all processes and threads."""

    def test_making_one_does_nothing(self, server: EmbeddedServer, folder: Path, processes: Processes) -> None:
        """No folder, no process; and its path is known."""
        assert server.socket_path == str(folder / "server.sock")
        assert not folder.parent.exists()
        assert processes.servers() == []

    def test_starts_quickly(self, server: EmbeddedServer, processes: Processes) -> None:
        """In some hundredths of a second: the bound is for machines under load. While it runs, it is a PING."""
        took = []
        for _ in range(3):
            server.close()
            processes.wait_for_none()  # else it may be in time to go on with the server that was about to be ended
            began = time.monotonic()
            server.ensure_running()
            took.append(time.monotonic() - began)
            began = time.monotonic()
            server.ensure_running()
            again = time.monotonic() - began
        print(f"starts: {', '.join(f'{each * 1000:.0f} ms' for each in took)}; again: {again * 1e6:.0f} µs")
        assert min(took) < 2

    def test_is_private(self, server: EmbeddedServer, folder: Path, processes: Processes) -> None:
        """Folder, socket and data are for one account, under whatever umask; no port is open."""
        before = os.umask(0)
        try:
            server.ensure_running()
        finally:
            os.umask(before)
        ask(server, "SET k v")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {path.name: mode for path in folder.rglob("*") if (mode := path.stat().st_mode & 0o077)} == {}
        assert stat.S_ISSOCK((folder / "server.sock").stat().st_mode)
        pid = processes.server()
        sockets = {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
        for table in ("tcp", "tcp6", "udp", "udp6"):
            with contextlib.suppress(FileNotFoundError):  # no IPv6 here
                inodes = {line.split()[9] for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]}
                assert not sockets & {f"socket:[{inode}]" for inode in inodes}

    def test_of_processes_that_start_at_once(self, new_user: Callable[[], User], processes: Processes) -> None:
        """However many, they get one server."""
        users = [new_user() for _ in range(8)]
        for each in users:
            each.tell("use")
        assert [each.hear() for each in users] == ["running"] * len(users)
        assert len(processes.servers()) == len(processes.keepers()) == 1
        assert {each.do("INCR n") for each in users} == {f":{n}" for n in range(1, len(users) + 1)}

    def test_of_threads_that_start_at_once(self, folder: Path, server: EmbeddedServer, processes: Processes) -> None:
        """The same, with one object for all and with one each."""
        own = [EmbeddedServer(folder) for _ in range(4)]
        run_in_threads(8, lambda number: (server if number % 2 else own[number // 2]).ensure_running())
        assert len(processes.servers()) == 1
        for each in own:
            each.close()

    def test_second_starter_waits_for_the_first(
        self, server: EmbeddedServer, folder: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that comes when another has made up its mind to start a server, and has not started it yet."""
        launch = embedded._launch
        second: list[subprocess.Popen[str]] = []

        def launch_late(*args: object) -> int:
            code = "print('begins', flush=True); server.ensure_running(); print('runs')"
            second.append(start(folder, code))
            assert second[0].stdout is not None
            assert second[0].stdout.readline() == "begins\n"
            with pytest.raises(subprocess.TimeoutExpired):
                second[0].wait(0.2)
            assert processes.servers() == []
            return launch(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(embedded, "_launch", launch_late)
        server.ensure_running()
        assert second[0].communicate(timeout=TEST_TIMEOUT)[0] == "runs\n"
        assert len(processes.servers()) == 1


class TestEnd:
    """With the last process that uses it, however that ends; not before."""

    def test_data_stays(self, new_user: Callable[[], User], processes: Processes) -> None:
        """A server that was ended and started again has what was acknowledged, to the last write."""
        for turn in range(1, 4):
            user = new_user()
            assert user.do("use") == "running"
            assert user.do("INCR n") == f":{turn}"
            user.end(signal.SIGTERM)
            processes.wait_for_none()

    def test_killed_user(self, new_user: Callable[[], User], processes: Processes) -> None:
        """SIGKILL for the only one ends the server, and loses nothing; SIGKILL for one of two does not end it."""
        one, other = new_user(), new_user()
        assert (one.do("use"), other.do("use")) == ("running", "running")
        pid = processes.server()
        one.do("SET k v")
        one.end()
        for _ in range(20):
            assert other.do("GET k") == "v"
        assert processes.server() == pid
        other.end()
        processes.wait_for_none(10)
        last = new_user()
        assert last.do("use") == "running"
        assert last.do("GET k") == "v"

    def test_reloader(self, new_user: Callable[[], User], processes: Processes) -> None:
        """A parent that never uses it, and children that replace each other: each works, with the data."""
        for turn in range(1, 5):
            child = new_user()
            assert child.do("use") == "running"
            assert child.do("INCR n") == f":{turn}"
            child.end(signal.SIGTERM)  # the next one comes while the server is being ended
        processes.wait_for_none()

    def test_forked_children_use_it_as_long_as_they_live(
        self, server: EmbeddedServer, new_user: Callable[[], User], processes: Processes
    ) -> None:
        """Forked before the first use or after it: the server is there until the last of them has ended."""
        early = new_user()
        server.ensure_running()
        late = User(server, [early])
        assert early.do("use") == late.do("use") == "running"
        pid = processes.server()
        server.close()
        early.end()
        assert late.do("use") == "running"
        assert processes.server() == pid
        late.end()
        processes.wait_for_none()

    def test_child_that_has_not_asked_yet_counts(self, server: EmbeddedServer, processes: Processes) -> None:
        """It may use its parent's connections' path at any time, so the server does not end under it."""
        server.ensure_running()
        child = User(server, [])
        pid = processes.server()
        server.close()
        assert child.do("SET k v") == "+OK"
        assert processes.server() == pid
        child.end()

    def test_programs_that_a_user_runs_do_not_count(self, folder: Path, processes: Processes) -> None:
        """One that outlives its parent does not keep the server."""
        code = "import subprocess; server.ensure_running(); quiet = subprocess.DEVNULL\n"
        code += "child = subprocess.Popen(['sleep', '60'], close_fds=False, stdout=quiet, stderr=quiet)\n"
        code += "print(child.pid); child.returncode = 0"
        program = int(run(folder, code))
        try:
            processes.wait_for_none()
        finally:
            os.kill(program, signal.SIGKILL)

    def test_holds_nothing_of_its_starters(
        self, folder: Path, new_user: Callable[[], User], processes: Processes
    ) -> None:
        """Whoever reads the starter's output sees its end, while the server runs on for another process."""
        user = new_user()
        read, write = os.pipe()
        starter = start(folder, "server.ensure_running(); print('runs', flush=True); sys.stdin.read()", inherited=write)
        os.close(write)
        assert starter.stdout is not None
        assert starter.stdout.readline() == "runs\n"
        assert user.do("use") == "running"
        assert starter.communicate("", timeout=TEST_TIMEOUT) == ("", None)
        assert os.read(read, 1) == b""
        os.close(read)
        assert len(processes.servers()) == 1

    def test_newcomer_waits_for_a_shutdown_that_is_under_way(
        self, server: EmbeddedServer, folder: Path, new_user: Callable[[], User], processes: Processes
    ) -> None:
        """It gets a server of its own, after the old one, with all data; and never two at once."""
        server.ensure_running()
        ask(server, "SET k v")
        old = processes.server()
        os.kill(old, signal.SIGSTOP)
        server.close()
        wait_until(lambda: not can_lock(folder / USERS_LOCK), "the keeper has begun to end the server")
        newcomer = new_user()
        newcomer.tell("use")
        time.sleep(0.2)  # so that it has come to where it waits
        assert processes.servers() == [old]
        os.kill(old, signal.SIGCONT)
        assert newcomer.hear() == "running"
        assert processes.server() != old
        assert newcomer.do("GET k") == "v"

    def test_server_that_does_not_end_is_killed(self, server: EmbeddedServer, processes: Processes) -> None:
        """After SHUTDOWN_TIMEOUT, which is 5 seconds."""
        server.ensure_running()
        os.kill(processes.server(), signal.SIGSTOP)
        server.close()
        processes.wait_for_none()

    def test_is_not_kept_by_an_object_that_is_dropped(self, folder: Path, processes: Processes) -> None:
        """An application that is made and dropped, as in tests, leaves no server."""
        server = EmbeddedServer(folder)
        server.ensure_running()
        del server
        processes.wait_for_none()
