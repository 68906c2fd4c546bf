"""Open the database file at the store's path, together with its own side files (``-wal`` and ``-shm``).

SQLite does not notice that a database file was deleted or replaced: an open connection goes on with the old file.
SQLite finds side files by their names, so a new database could be opened with the side files of the old database. Two
databases that share one ``-shm`` file damage each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

#: The side files that SQLite makes beside a database in WAL mode.
SUFFIXES: Final = ("-wal", "-shm")

#: The position of the byte in the ``-shm`` file that a process locks while it uses the database. The position is named
#: UNIX_SHM_DMS in SQLite's os_unix.c. The text has the form of a column in /proc/locks.
IN_USE_BYTE: Final = "128"

#: The device number and inode number of a file. While a process has the file open, no other file gets the same numbers.
Identity = tuple[int, int]


class Connection(sqlite3.Connection):
    """A connection to SQLite, with the path and the identity of the files that it has open."""

    #: The path of the database file when it was opened, with all symbolic links resolved.
    path: str
    #: The identity of the database file, and its two numbers as attributes, because each call compares these numbers.
    identity: Identity
    device: int
    inode: int
    #: The identities of the side files, in the order of ``SUFFIXES``.
    side_files: tuple[Identity | None, ...]


class NotNowError(sqlite3.OperationalError):
    """The database file cannot be opened at this moment. Nothing was read or written, so the caller can try again."""


@contextlib.contextmanager
def opening_lock(path: str) -> Iterator[int]:
    """Prevent other processes from opening a database in the folder of ``path`` during a ``with`` block.

    Yields a file descriptor of the folder. Raises NotNowError if another process has the lock, and OSError if the
    folder cannot be opened.
    """
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)  # noqa: PTH120
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotNowError(
                "Another process has locked the file's folder for the whole timeout. Look for a worker that hangs."
            ) from None
        yield folder
    finally:
        os.close(folder)


def prepare_file(folder: int, name: str) -> Identity:
    """Make the database file if it does not exist, and return its identity. Delete side files of an earlier database.

    ``folder``: the descriptor that :func:`opening_lock` yields. Without this lock, the function could delete side files
    that another process has just made. Raises NotNowError if the file was deleted meanwhile, and OSError.
    """
    main = _identity(folder, name)
    found = side_files(folder, name)
    others = _open_in_users_of_another_file(found[1], main)
    for suffix, side_file in zip(SUFFIXES, found, strict=True):
        # A WAL without its database is useless, and SQLite would write its contents into the new database.
        if side_file is not None and (main is None or side_file in others):
            _unlink(folder, name + suffix)
    if main is None:
        # O_EXCL: never open an existing database here. When a process closes any descriptor of a file, POSIX ends all
        # locks of this process on the file. Another process could then delete the WAL that this process still uses.
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            # Mode 0600: only the file's owner may read it. SQLite gives the side files the same mode.
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600, dir_fd=folder))
        main = _identity(folder, name)
        if main is None:
            raise NotNowError("The file, or its folder, was deleted while the file was being made. Try again.")
    return main


def open_connection(path: str, main: Identity) -> Connection:
    """Return a connection to the database file with the identity ``main``. It opens the WAL at its first statement."""
    # mode=rw: SQLite must not make the file, because other accounts of the operating system could read it then.
    url = f"{Path(path).as_uri()}?mode=rw"
    db = sqlite3.connect(url, uri=True, timeout=0, isolation_level=None, check_same_thread=False, factory=Connection)
    db.path = path
    db.identity = db.device, db.inode = main
    return db


def check_identity(folder: int, name: str, main: Identity) -> None:
    """Raise NotNowError if the file with the identity ``main`` is no longer in the folder under this name."""
    if _identity(folder, name) != main:
        raise NotNowError("The file was replaced while it was being opened. Try again.")


def is_replaced(db: Connection) -> bool:
    """Return True if the connection's database file is no longer at its path. Return False if it still is."""
    try:
        found = os.stat(db.path)  # noqa: PTH116  a Path takes twice as long
    except (FileNotFoundError, NotADirectoryError):
        return True
    return (found.st_dev, found.st_ino) != db.identity


def clean_up_replaced(db: Connection) -> None:
    """Copy the WAL of a replaced database into this database, and delete its side files if they are beside a new one.

    The connection must still be open: after its end, other files may get the same inodes as its side files. Raises
    NotNowError if another process has the :func:`opening_lock`, and OSError.
    """
    # An operator may have moved the old database to another place as a backup, so it should contain all writes. Errors
    # are ignored: if the old database is damaged or its disk is full, the new database must still be usable.
    with contextlib.suppress(sqlite3.Error):
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    if not os.path.exists(db.path):  # noqa: PTH110
        # The process that makes the next database at this path deletes these side files in prepare_file().
        return
    name = os.path.basename(db.path)  # noqa: PTH119
    with opening_lock(db.path) as folder:
        if _identity(folder, name) in (None, db.identity):
            return
        # Each side file is compared, because an operator may have put a backup here together with the backup's own WAL.
        for suffix, ours, present in zip(SUFFIXES, db.side_files, side_files(folder, name), strict=True):
            if present is not None and present == ours:
                _unlink(folder, name + suffix)


def side_files(folder: int, name: str) -> tuple[Identity | None, ...]:
    """Return the identities of a database's side files, in the order of ``SUFFIXES``. None: the file does not exist."""
    return tuple(_identity(folder, name + suffix) for suffix in SUFFIXES)


def _unlink(folder: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _identity(folder: int, name: str) -> Identity | None:
    try:
        found = os.stat(name, dir_fd=folder)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise OSError(f"{name} is not a regular file. Name a file in SESSION_STORE, or remove the object at the path.")
    return found.st_dev, found.st_ino


def _open_in_users_of_another_file(shm: Identity | None, main: Identity | None) -> set[Identity | None]:
    """Return all files of the processes that have the ``-shm`` file open but not the database ``main``.

    Such a process is a worker that has not noticed yet that its database was replaced. The function reads /proc, which
    only Linux has. The result is empty on other systems. It has no files of processes that run under another account of
    the operating system.
    """
    found: set[Identity | None] = set()
    if shm is None or main is None:
        return found
    for process in _users(shm):
        # The files are listed twice, because a process may close files during the listing. A process opens the database
        # before the -shm, and closes the database after the -shm. So if the second list has the -shm, the database was
        # still open when the first list was made.
        looks = [_open_in(process) for _ in range(2)]
        if all(shm in opened and main not in opened for opened in looks):
            found |= looks[1]
    return found


def _users(shm: Identity) -> set[str]:
    """Return the ids of the processes that use a ``-shm`` file, as /proc/locks says.

    The inode is compared, but not the device. So the result may have processes that use another file.
    """
    try:
        locks = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return set()
    # A line of /proc/locks, with process id, device and inode, first byte and last byte:
    # 1: POSIX  ADVISORY  READ 4711 fe:00:2156722 128 128
    rows = [line.split() for line in locks]
    return {row[4] for row in rows if row[1] == "POSIX" and row[5].endswith(f":{shm[1]}") and row[6] == IN_USE_BYTE}


def _open_in(process: str) -> set[Identity | None]:
    """Return the open files of a process.

    The set is empty if the process has ended, or runs under another account of the operating system.
    """
    opened: set[Identity | None] = set()
    with contextlib.suppress(OSError):
        for descriptor in os.scandir(f"/proc/{process}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found = descriptor.stat()
                opened.add((found.st_dev, found.st_ino))
    return opened
