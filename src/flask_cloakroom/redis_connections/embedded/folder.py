"""The folder of an embedded server, with its lock files and its socket. Only one account of the system may open it.

Each file in the folder is opened relative to the open, checked folder, and never through a symbolic link. Otherwise an
attacker could replace the folder between the check and the use.
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

#: The longest path of a Unix socket in bytes. The field ``sun_path`` has 108 bytes on Linux and 104 on macOS and the
#: BSDs, and its last byte is a zero.
LONGEST_SOCKET_PATH: Final = 107 if sys.platform == "linux" else 103
#: The folder in which Linux shows each open folder of this process under a short path.
_OPEN_FILES: Final = "/proc/self/fd"
#: The size of the log in bytes above which a start empties the log. The start and end of a server write about 1,500
#: bytes.
LOG_LIMIT: Final = 1 << 20
#: The largest number of bytes and of lines that an error quotes from the log.
_QUOTED_BYTES: Final = 4096
_QUOTED_LINES: Final = 6

_STDERR: Final = 2

# A fork waits while this process has a lock file open that a child must not inherit. Otherwise the child would have the
# lock until its end. The wait takes microseconds, and some hundredths of a second at the start of a server.
_fork_lock = threading.RLock()
os.register_at_fork(before=_fork_lock.acquire, after_in_parent=_fork_lock.release, after_in_child=_fork_lock.release)


class EmbeddedServerError(OSError):
    """The embedded server cannot be started or reached. The text says why, where the log is, and what to do."""


class EmbeddedServerLateError(EmbeddedServerError):
    """The embedded server did not answer in time. It may hang, or it may still be starting."""


class PingAnswer(enum.Enum):
    """The server's answer to PING: no answer, an error because the server is loading its data, or any other answer."""

    NONE = enum.auto()
    LOADING = enum.auto()
    READY = enum.auto()


class ServerFolder:
    """The open folder of an embedded server. No other account of the system may read or write the folder.

    The constructor makes the folder if it does not exist, and removes other accounts' rights to it. Raises
    EmbeddedServerError if one of these fails, or if other accounts may have put files into the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = _open_private(path)
        self._identity = _identity(os.fstat(self.fd))

    def is_open(self) -> bool:
        """Return True if the folder's file descriptor is still open. Some programs close all open descriptors."""
        try:
            return _identity(os.fstat(self.fd)) == self._identity
        except OSError:
            return False

    def is_at_path(self) -> bool:
        """Return True if the folder is open and still at ``path``. It may have been deleted and made again."""
        try:
            found = self.path.lstat()
        except OSError:
            return False
        return _identity(found) == self._identity and self.is_open()

    def replace(self, other: ServerFolder) -> None:
        """Close ``other`` and use its descriptor for this folder, because the clients' socket path may contain it."""
        if other.is_open():
            os.dup2(self.fd, other.fd, inheritable=False)
            os.close(self.fd)
            self.fd = other.fd

    def close(self) -> None:
        """Close the folder, if it is open."""
        if self.is_open():
            os.close(self.fd)

    def socket_path(self) -> str:
        """Return the path of the socket for clients. Raises EmbeddedServerError if it is too long, except on Linux."""
        path = str(self.path / SOCKET)
        if is_socket_path(path):
            return path
        if sys.platform == "linux" and Path(_OPEN_FILES).is_dir():
            return f"{_OPEN_FILES}/{self.fd}/{SOCKET}"
        raise EmbeddedServerError(
            f"The path {path} has {len(os.fsencode(path))} bytes; this system allows at most {LONGEST_SOCKET_PATH} "
            f"for the path of a Unix socket. Give the application a shorter instance_path."
        )

    def ping(self, timeout: float) -> PingAnswer:
        """Send PING and return the kind of the answer, after at most ``timeout`` seconds."""
        answer = self._send(b"PING\r\n", timeout)
        if not answer:
            return PingAnswer.NONE
        return PingAnswer.LOADING if answer.startswith(b"-LOADING") else PingAnswer.READY

    def shut_down(self, timeout: float) -> None:
        """Tell a server to write its data and end. Used for a server whose keeper was killed."""
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
        """Get a shared lock on ``users.lock`` and return its descriptor. Return None while a keeper ends a server."""
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
        """Return True if a keeper runs for this folder."""
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
        """Lock ``server.lock`` and yield its descriptor for the keeper. Yield None if another process has the lock.

        The lock is free when all processes that inherited the open file have ended. So after the ``with`` block the
        keeper and the server still have the lock. Forks wait during the block.
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
        """Open the log for appending and return its descriptor. Empty the log if it is larger than LOG_LIMIT.

        The caller must have the server lock.
        """
        fd = self._open(LOG, os.O_APPEND)
        if os.fstat(fd).st_size > LOG_LIMIT:
            os.ftruncate(fd, 0)
        return fd

    def last_log_lines(self, since: int = 0) -> str:
        """Return the last lines of the log, as text for an error. Lines before byte ``since`` are left out."""
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
        # O_NONBLOCK: if the file is a FIFO, which another process may have made, open() must not wait.
        flags |= os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        return _above_standard_streams(os.open(name, flags, 0o600, dir_fd=self.fd))


def is_socket_path(path: str) -> bool:
    """Return True if a path is short enough for a Unix socket."""
    return len(os.fsencode(path)) <= LONGEST_SOCKET_PATH


def _above_standard_streams(fd: int) -> int:
    """Return ``fd`` if it is more than 2. Otherwise move the open file to a descriptor above 2 and return that number.

    A daemon may have closed 0, 1 and 2, and may later open other files under these numbers.
    """
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
            f"{path} cannot be used as the folder of the embedded Redis server ({error.strerror}). Make it a folder, "
            f"not a symbolic link, inside a folder that this account may write to."
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
            f"Other accounts may write to {path} (mode {mode:03o}), so they may have put files there. "
            f"Check its contents, then remove the folder or run: chmod 700 {path}"
        )
    os.fchmod(fd, 0o700)
    if os.fstat(fd).st_mode & 0o077 or (mode & 0o022 and os.listdir(fd)):
        raise EmbeddedServerError(
            f"{path} cannot be made private (chmod 700 {path}). Use a file system that supports permissions."
        )
