"""The folder of an embedded server: private to one account, with the locks and the socket in it.

Everything in it is opened relative to the folder as it was checked, and never through a symbolic link, so nobody can
put another in its place between the check and the use.
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

#: Bytes of a socket's path that fit ``sun_path`` beside the zero at its end: 108 on Linux, 104 on macOS and the BSDs.
LONGEST_SOCKET_PATH: Final = 107 if sys.platform == "linux" else 103
#: Where Linux shows an open folder under a short name, whatever its own.
_OPEN_FILES: Final = "/proc/self/fd"
#: The log is emptied at a start that finds it larger, in bytes. A start and an end write about 1,500.
LOG_LIMIT: Final = 1 << 20
#: What an error quotes of the log, at most, in bytes and in lines.
_QUOTED_BYTES: Final = 4096
_QUOTED_LINES: Final = 6

_STDERR: Final = 2

# A fork waits while this process has a lock open that is not its own to keep, so that no child inherits it: it would
# hold that lock for its whole life. It is some microseconds, and some hundredths of a second at the start of a server.
_no_fork = threading.RLock()
os.register_at_fork(before=_no_fork.acquire, after_in_parent=_no_fork.release, after_in_child=_no_fork.release)


class EmbeddedServerError(OSError):
    """The embedded server cannot be started or reached. The text says why, where its log lies, and what to do."""


class EmbeddedServerLateError(EmbeddedServerError):
    """The embedded server did not answer in time: it hangs, or is not ready yet."""


class Answer(enum.Enum):
    """What the server says to PING."""

    NONE = enum.auto()
    LOADING = enum.auto()
    READY = enum.auto()


class ServerFolder:
    """One folder, open and checked.

    Raises EmbeddedServerError if it cannot be made or is not private; a folder that others may read is made private,
    one with content that others could have put there is refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = _open_private(path)
        self._identity = _identity(os.fstat(self.fd))

    def is_open(self) -> bool:
        """Tell whether the folder is still open under its number: some programs close all that is open."""
        try:
            return _identity(os.fstat(self.fd)) == self._identity
        except OSError:
            return False

    def is_in_place(self) -> bool:
        """Tell whether it is open, and ``path`` leads to it: an instance folder may be deleted and made anew."""
        try:
            found = self.path.lstat()
        except OSError:
            return False
        return _identity(found) == self._identity and self.is_open()

    def take_number_of(self, other: ServerFolder) -> None:
        """Close ``other`` and be open under its number, which may stand in paths of sockets that clients know."""
        if other.is_open():
            os.dup2(self.fd, other.fd, inheritable=False)
            os.close(self.fd)
            self.fd = other.fd

    def close(self) -> None:
        """Close it, if it is open."""
        if self.is_open():
            os.close(self.fd)

    def socket_path(self) -> str:
        """Return the path for clients. Raises EmbeddedServerError if it is too long for a socket, but on Linux."""
        path = str(self.path / SOCKET)
        if fits_a_socket(path):
            return path
        if sys.platform == "linux" and Path(_OPEN_FILES).is_dir():
            return f"{_OPEN_FILES}/{self.fd}/{SOCKET}"
        raise EmbeddedServerError(
            f"The path {path} has {len(os.fsencode(path))} bytes; a Unix socket's path has {LONGEST_SOCKET_PATH} at "
            f"most on this system. Give the application a shorter instance_path."
        )

    def ask(self, timeout: float) -> Answer:
        """Send PING; wait ``timeout`` seconds for the answer. Whatever it is but "loading", there is a server."""
        answer = self._send(b"PING\r\n", timeout)
        if not answer:
            return Answer.NONE
        return Answer.LOADING if answer.startswith(b"-LOADING") else Answer.READY

    def shut_down(self, timeout: float) -> None:
        """Tell a server that has no keeper to write out its data and end."""
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

    def use(self) -> int | None:
        """Hold ``users.lock`` shared; return its file, or None while a server is being ended."""
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
        """Tell whether a keeper holds its lock."""
        with _no_fork:
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
        """Hold the file of ``server.lock``, locked, to pass it on; None if somebody has it. Forks wait meanwhile.

        The lock goes with the last process that has the file open, so leaving this leaves it to who inherited it.
        """
        with _no_fork:
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
        """Return the log's file, for appending; emptied if it has grown large. Only for who holds the server lock."""
        fd = self._open(LOG, os.O_APPEND)
        if os.fstat(fd).st_size > LOG_LIMIT:
            os.ftruncate(fd, 0)
        return fd

    def end_of_log(self, since: int = 0) -> str:
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
        # O_NONBLOCK: somebody's FIFO in the way is an error, and nothing to wait for.
        flags |= os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        return _above_the_standard_streams(os.open(name, flags, 0o600, dir_fd=self.fd))


def fits_a_socket(path: str) -> bool:
    """Tell whether a path is short enough for a Unix socket."""
    return len(os.fsencode(path)) <= LONGEST_SOCKET_PATH


def _above_the_standard_streams(fd: int) -> int:
    """Return ``fd`` or, if that is 0, 1 or 2, another for the same: a daemon that has closed these opens them anew."""
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
        fd = _above_the_standard_streams(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW))
    except OSError as error:
        raise EmbeddedServerError(
            f"{path} cannot be used as the folder of the embedded Redis server ({error.strerror}). It must be a "
            f"folder, not a symbolic link to one, in a folder that this account may write to."
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
            f"the application under one account, or remove that folder."
        )
    mode = stat.S_IMODE(found.st_mode)
    if not mode & 0o077:
        return
    if mode & 0o022 and os.listdir(fd):
        raise EmbeddedServerError(
            f"Other accounts may write to {path} (mode {mode:03o}), and it is not empty: what is in it may be "
            f"theirs. Look at it, then remove it or run: chmod 700 {path}"
        )
    os.fchmod(fd, 0o700)
    if os.fstat(fd).st_mode & 0o077 or (mode & 0o022 and os.listdir(fd)):
        raise EmbeddedServerError(
            f"{path} cannot be made private (chmod 700 {path}). Its file system may not allow it."
        )
