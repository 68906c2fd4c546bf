"""The folder of an embedded server: private to one account, with the locks and the socket in it.

Every file in it is opened relative to the open and checked folder, and never through a symbolic link. So nobody can put
another folder in its place between the check and the use.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import os
import socket
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .keeper import KEEPER_LOCK, LOG, SERVER_LOCK, SOCKET, USERS_LOCK

#: Bytes that a socket's path may have: ``sun_path`` has 108 on Linux, 104 on macOS and the BSDs, one of them for a
#: zero.
LONGEST_SOCKET_PATH: Final = 107 if sys.platform == "linux" else 103
#: Linux shows each open folder here under a short name.
_OPEN_FILES: Final = "/proc/self/fd"
#: Bytes of the log above which a start empties it. One start and one end of a server write about 1,500.
LOG_LIMIT: Final = 1 << 20
#: The most bytes and lines of the log that an error quotes.
_QUOTED_BYTES: Final = 4096
_QUOTED_LINES: Final = 6

_STDERR: Final = 2

# A fork waits while this process has a lock file open that a child must not inherit: the child would hold the lock for
# its whole life. The wait takes microseconds, and some hundredths of a second at the start of a server.
_fork_lock = threading.RLock()
os.register_at_fork(before=_fork_lock.acquire, after_in_parent=_fork_lock.release, after_in_child=_fork_lock.release)


class EmbeddedServerError(OSError):
    """The embedded server cannot be started or reached. The text says why, where the log is, and what to do."""


class EmbeddedServerLateError(EmbeddedServerError):
    """The embedded server did not answer in time. It hangs, or it is still starting."""


class PingAnswer(enum.Enum):
    """The server's answer to PING."""

    NONE = enum.auto()
    LOADING = enum.auto()
    READY = enum.auto()


class ServerFolder:
    """One open folder, private to this account.

    A folder that other accounts may read is made private. Raises EmbeddedServerError if the folder cannot be made or
    made private, and for a folder with content that other accounts could have put there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = _open_private(path)
        self._identity = _identity(os.fstat(self.fd))

    def is_open(self) -> bool:
        """Tell whether the folder's descriptor is still open. Some programs close all descriptors that they find."""
        try:
            return _identity(os.fstat(self.fd)) == self._identity
        except OSError:
            return False

    def is_at_path(self) -> bool:
        """Tell whether the folder is open and still at ``path``. An instance folder may be deleted and made again."""
        try:
            found = self.path.lstat()
        except OSError:
            return False
        return _identity(found) == self._identity and self.is_open()

    def replace(self, other: ServerFolder) -> None:
        """Close ``other`` and take over its descriptor: the paths of sockets that clients know may contain it."""
        if other.is_open():
            os.dup2(self.fd, other.fd, inheritable=False)
            os.close(self.fd)
            self.fd = other.fd

    def close(self) -> None:
        """Close the folder, if it is open."""
        if self.is_open():
            os.close(self.fd)

    def socket_path(self) -> str:
        """Return the socket's path for clients. Raises EmbeddedServerError if it is too long; on Linux it never is."""
        path = str(self.path / SOCKET)
        if is_socket_path(path):
            return path
        if sys.platform == "linux" and Path(_OPEN_FILES).is_dir():
            return f"{_OPEN_FILES}/{self.fd}/{SOCKET}"
        raise EmbeddedServerError(
            f"The path {path} has {len(os.fsencode(path))} bytes; a Unix socket's path has {LONGEST_SOCKET_PATH} at "
            f"most on this system. Give the application a shorter instance_path."
        )

    def ping(self, timeout: float) -> PingAnswer:
        """Send PING and return the answer, after at most ``timeout`` seconds. An answer of any kind means a server."""
        answer = self._send(b"PING\r\n", timeout)
        if not answer:
            return PingAnswer.NONE
        return PingAnswer.LOADING if answer.startswith(b"-LOADING") else PingAnswer.READY

    def shut_down(self, timeout: float) -> None:
        """Tell a server without a keeper to write its data and end."""
        self._send(b"SHUTDOWN\r\n", timeout)

    def _send(self, command: bytes, timeout: float) -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(max(timeout, 0.001))
            try:
                connection.connect(self.socket_path())
                connection.sendall(command)
                return connection.recv(64)
            except EmbeddedServerError:
                raise
            except OSError:
                return b""

    def lock_as_user(self) -> int | None:
        """Take ``users.lock`` shared and return its descriptor; None while the keeper ends a server."""
        fd = self._open(USERS_LOCK)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        return fd

    def has_keeper(self) -> bool:
        """Tell whether a keeper runs."""
        with _fork_lock:
            fd = self._open(KEEPER_LOCK)
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(fd)
            return False

    @contextlib.contextmanager
    def server_lock(self) -> Iterator[int | None]:
        """Take ``server.lock`` and yield its descriptor, to be passed on; None if another process has the lock.

        The lock is free when the last process that has the file open ends. So at the end of the block the processes
        that inherited it have the lock. Forks wait during the block.
        """
        with _fork_lock:
            fd = self._open(SERVER_LOCK)
            try:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield None
                else:
                    yield fd
            finally:
                os.close(fd)

    def open_log(self) -> int:
        """Return a descriptor of the log, for appending. A large log is emptied. The caller has the server lock."""
        fd = self._open(LOG, os.O_APPEND)
        if os.fstat(fd).st_size > LOG_LIMIT:
            os.ftruncate(fd, 0)
        return fd

    def last_log_lines(self, since: int = 0) -> str:
        """Return the log's last lines, from byte ``since`` on."""
        try:
            fd = self._open(LOG)
        except OSError as error:
            return f"({error.strerror})"
        try:
            size = os.fstat(fd).st_size
            written = os.pread(fd, _QUOTED_BYTES, max(since, size - _QUOTED_BYTES))
        finally:
            os.close(fd)
        lines = written.decode(errors="replace").splitlines()[-_QUOTED_LINES:]
        return "\n".join(f"  {line}" for line in lines) or "(nothing)"

    def _open(self, name: str, flags: int = 0) -> int:
        # O_NONBLOCK: if another process has put a FIFO there, opening fails instead of waiting.
        flags |= os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        return _above_standard_streams(os.open(name, flags, 0o600, dir_fd=self.fd))


def is_socket_path(path: str) -> bool:
    """Tell whether a path is short enough for a Unix socket."""
    return len(os.fsencode(path)) <= LONGEST_SOCKET_PATH


def _above_standard_streams(fd: int) -> int:
    """Return ``fd``, or a copy above 2. A daemon that has closed 0, 1 and 2 may open them again."""
    if fd > _STDERR:
        return fd
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _STDERR + 1)
    os.close(fd)
    return moved


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _open_private(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        fd = _above_standard_streams(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW))
    except OSError as error:
        raise EmbeddedServerError(
            f"{path} cannot be used as the folder of the embedded Redis server ({error.strerror}). It must be a "
            f"folder and no symbolic link, inside a folder that this account may write to."
        ) from error
    try:
        _make_private(path, fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _make_private(path: Path, fd: int) -> None:
    found = os.fstat(fd)
    if found.st_uid != os.geteuid():
        raise EmbeddedServerError(
            f"{path} belongs to another account (user id {found.st_uid}; this process runs as {os.geteuid()}). Run "
            f"the application under one account, or remove this folder."
        )
    mode = stat.S_IMODE(found.st_mode)
    if not mode & 0o077:
        return
    if mode & 0o022 and os.listdir(fd):
        raise EmbeddedServerError(
            f"Other accounts may write to {path} (mode {mode:03o}), and it is not empty: its content may be theirs. "
            f"Check the content, then remove the folder or run: chmod 700 {path}"
        )
    os.fchmod(fd, 0o700)
    if os.fstat(fd).st_mode & 0o077 or (mode & 0o022 and os.listdir(fd)):
        raise EmbeddedServerError(
            f"{path} cannot be made private (chmod 700 {path}). Use a file system that supports permissions."
        )
