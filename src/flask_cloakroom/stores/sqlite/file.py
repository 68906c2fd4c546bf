"""Open the file at the store's path, and no other, together with the right WAL.

SQLite does not notice that a file was deleted or replaced. A connection goes on with the old file. It finds the side
files (``-wal``, ``-shm``) by name, and those of the old file may still be there. Two databases that share one ``-shm``
damage each other.
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

#: The byte of the ``-shm`` that a process locks while it uses the file: UNIX_SHM_DMS in SQLite's os_unix.c.
IN_USE_BYTE: Final = "128"

#: The device and inode of a file. No other file gets the same while some process has this file open.
Identity = tuple[int, int]


class Connection(sqlite3.Connection):
    """A connection that knows which file it has open."""

    #: The path of the file when it was opened, with all symbolic links resolved.
    path: str
    #: The identity of the database file, also as two numbers, because each call compares them.
    identity: Identity
    device: int
    inode: int
    #: The identities of the side files, in the order of ``SUFFIXES``.
    side_files: tuple[Identity | None, ...]


class NotNowError(sqlite3.OperationalError):
    """The file cannot be opened at this moment. Nothing was read or written: try again."""


@contextlib.contextmanager
def opening_lock(path: str) -> Iterator[int]:
    """Keep other processes from opening a database in the folder of ``path``, and yield a descriptor of the folder.

    Raises NotNowError if another process has the lock, and OSError.
    """
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)  # noqa: PTH120
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotNowError(
                "Another process was opening the file for the whole timeout. Look for a worker that hangs."
            ) from None
        yield folder
    finally:
        os.close(folder)


def prepare_file(folder: int, name: str) -> Identity:
    """Make the file if there is none, delete the side files of an earlier file, and return the file's identity.

    Call this under :func:`opening_lock`. Otherwise the deleted side files could be those that another process has just
    made. Raises NotNowError and OSError.
    """
    main = _identity(folder, name)
    found = side_files(folder, name)
    others = _open_in_users_of_another_file(found[1], main)
    for suffix, side_file in zip(SUFFIXES, found, strict=True):
        # A WAL without its database is of no use, and SQLite would read it into the new file.
        if side_file is not None and (main is None or side_file in others):
            _unlink(folder, name + suffix)
    if main is None:
        # O_EXCL: never open a file that exists. When a process closes a descriptor, it loses all its locks on that file
        # (POSIX). Another process may then delete the WAL while this process goes on writing to it.
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            # Only the owner may read the file. SQLite gives the side files the same mode.
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600, dir_fd=folder))
        main = _identity(folder, name)
        if main is None:
            raise NotNowError("The file, or its folder, was deleted while the file was being made. Try again.")
    return main


def open_connection(path: str, main: Identity) -> Connection:
    """Connect to the file with the identity ``main``. No statement runs yet, so no WAL is open."""
    # mode=rw: SQLite must not make the file, because others than its owner could read it.
    url = f"{Path(path).as_uri()}?mode=rw"
    db = sqlite3.connect(url, uri=True, timeout=0, isolation_level=None, check_same_thread=False, factory=Connection)
    db.path = path
    db.identity = db.device, db.inode = main
    return db


def check_identity(folder: int, name: str, main: Identity) -> None:
    """Raise NotNowError if there is no file at the path any more, or another one than ``main``."""
    if _identity(folder, name) != main:
        raise NotNowError("The file was replaced while it was being opened. Try again.")


def is_replaced(db: Connection) -> bool:
    """Tell whether the connection's file is no longer at its path."""
    try:
        found = os.stat(db.path)  # noqa: PTH116  a Path takes twice as long
    except (FileNotFoundError, NotADirectoryError):
        return True
    return (found.st_dev, found.st_ino) != db.identity


def clean_up_replaced(db: Connection) -> None:
    """Write the WAL of a replaced file into that file, and delete its side files if they are beside a new file.

    Call this while the connection is open: afterwards other files may get the same inodes. Raises NotNowError and
    OSError.
    """
    # An operator may have moved the file away to keep it. It should have all that was written to it. If the file is
    # damaged or its disk is full, the new file must still be usable.
    with contextlib.suppress(sqlite3.Error):
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    if not os.path.exists(db.path):  # noqa: PTH110
        # The process that makes the next file deletes the side files.
        return
    name = os.path.basename(db.path)  # noqa: PTH119
    with opening_lock(db.path) as folder:
        if _identity(folder, name) in (None, db.identity):
            return
        # Each side file is checked: a backup may have been put here together with its own WAL.
        for suffix, ours, present in zip(SUFFIXES, db.side_files, side_files(folder, name), strict=True):
            if present is not None and present == ours:
                _unlink(folder, name + suffix)


def side_files(folder: int, name: str) -> tuple[Identity | None, ...]:
    """Return the identities of a database's side files, in the order of ``SUFFIXES``."""
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
    """Return all files that are open in processes that use the ``-shm`` but not the database ``main``.

    Such a process is a worker that has not noticed yet that its file was replaced. Only Linux tells which files a
    process has open. On other systems, and for processes of other users, the answer is an empty set.
    """
    found: set[Identity | None] = set()
    if shm is None or main is None:
        return found
    for process in _users(shm):
        # Looked at twice, because files are closed meanwhile. A process opens the database before the -shm, and closes
        # it after the -shm. If it has the -shm open at the second look, it had not closed the database at the first.
        looks = [_open_in(process) for _ in range(2)]
        if all(shm in opened and main not in opened for opened in looks):
            found |= looks[1]
    return found


def _users(shm: Identity) -> set[str]:
    """Return the ids of the processes that use a ``-shm``, and perhaps of some others."""
    try:
        locks = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return set()
    # 1: POSIX  ADVISORY  READ 4711 fe:00:2156722 128 128
    rows = [line.split() for line in locks]
    return {row[4] for row in rows if row[1] == "POSIX" and row[5].endswith(f":{shm[1]}") and row[6] == IN_USE_BYTE}


def _open_in(process: str) -> set[Identity | None]:
    """Return the files that a process has open; an empty set if it has ended or belongs to another user."""
    opened: set[Identity | None] = set()
    with contextlib.suppress(OSError):
        for descriptor in os.scandir(f"/proc/{process}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found = descriptor.stat()
                opened.add((found.st_dev, found.st_ino))
    return opened
