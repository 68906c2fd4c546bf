"""Tell which database file is at the store's path, and open the path's file, and no other, with the right WAL.

SQLite goes on with a file that was deleted or replaced: a connection keeps the old file, and finds the files beside it
(``-wal``, ``-shm``) by name, where those of the old file may still be. Two databases that share one ``-shm`` damage
each other.
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

#: The files that SQLite puts beside a database in WAL mode.
SUFFIXES: Final = ("-wal", "-shm")

#: The byte of the ``-shm`` that a process locks as long as it uses the file: UNIX_SHM_DMS in SQLite's os_unix.c.
IN_USE_BYTE: Final = "128"

#: Device and inode. No other file gets them while somebody has this file open.
Identity = tuple[int, int]


class Connection(sqlite3.Connection):
    """A connection that knows which file it has open."""

    #: Where the file was when it was opened, with all symbolic links resolved.
    path: str
    #: The database file; its two numbers also by themselves, because each call compares them.
    identity: Identity
    device: int
    inode: int
    #: The files beside it, in the order of ``SUFFIXES``.
    beside: tuple[Identity | None, ...]


class NotNowError(sqlite3.OperationalError):
    """The file cannot be opened at this moment. Nothing was read or written: try again."""


@contextlib.contextmanager
def only_opener(path: str) -> Iterator[int]:
    """Keep other processes from opening a database in the folder of ``path``; yield a descriptor of the folder.

    Raises NotNowError while another process opens one, and OSError.
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


def prepare(folder: int, name: str) -> Identity:
    """Make the file if there is none, remove what an earlier file left beside it, and return the file's identity.

    To be called under :func:`only_opener`: otherwise the files that are removed could be those that another process has
    just made. Raises NotNowError, and OSError.
    """
    main = _identity(folder, name)
    beside = _beside(folder, name)
    others = _open_in_users_of_another_file(beside[1], main)
    for suffix, found in zip(SUFFIXES, beside, strict=True):
        # A WAL without its database is of no use, and SQLite would read it into the file that we make.
        if found is not None and (main is None or found in others):
            _unlink(folder, name + suffix)
    if main is None:
        # Never a file that is there already: to close a descriptor of it lets go of all locks that this process has on
        # it (POSIX), and then another process may delete the WAL that we go on writing to.
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            # Only the owner may read it; SQLite gives the files beside it the same mode.
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600, dir_fd=folder))
        main = _identity(folder, name)
        if main is None:
            raise NotNowError("The file, or its folder, was deleted while the file was being made. Try again.")
    return main


def connect(path: str, main: Identity) -> Connection:
    """Connect to the file, which should have the identity ``main``. No statement has run yet, so no WAL is open."""
    # mode=rw: a file that SQLite makes could be read by others than its owner.
    url = f"{Path(path).as_uri()}?mode=rw"
    db = sqlite3.connect(url, uri=True, timeout=0, isolation_level=None, check_same_thread=False, factory=Connection)
    db.path = path
    db.identity = db.device, db.inode = main
    return db


def check_present(folder: int, name: str, main: Identity) -> None:
    """Raise NotNowError if the path has no file, or another one than ``main``, by now."""
    if _identity(folder, name) != main:
        raise NotNowError("The file was replaced while it was being opened. Try again.")


def is_displaced(db: Connection) -> bool:
    """Tell whether the connection's file is no longer in its place."""
    try:
        found = os.stat(db.path)  # noqa: PTH116  a Path takes twice as long
    except (FileNotFoundError, NotADirectoryError):
        return True
    return (found.st_dev, found.st_ino) != db.identity


def settle_displaced(db: Connection) -> None:
    """Complete the connection's file, which is no longer in its place, and remove what the file left beside a new one.

    To be called while the connection is open: afterwards other files may get the same inodes. Raises NotNowError, and
    OSError.
    """
    # Somebody may have moved the file away to keep it, or may move it back: then it has all that was written to it.
    # A file that is damaged, or whose disk is full, must not keep anybody from the new file.
    with contextlib.suppress(sqlite3.Error):
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    if not os.path.exists(db.path):  # noqa: PTH110
        # Whoever makes the next file removes what is there.
        return
    name = os.path.basename(db.path)  # noqa: PTH119
    with only_opener(db.path) as folder:
        if _identity(folder, name) in (None, db.identity):
            return
        # Each of the two by itself: a backup may have been put here with a WAL of its own.
        for suffix, ours, present in zip(SUFFIXES, db.beside, _beside(folder, name), strict=True):
            if present is not None and present == ours:
                _unlink(folder, name + suffix)


def note_beside(folder: int, name: str, db: Connection) -> None:
    """Note which files a connection, after its first statement, uses beside the database."""
    db.beside = _beside(folder, name)


def _beside(folder: int, name: str) -> tuple[Identity | None, ...]:
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
        raise OSError(f"{name} is not a regular file. Name a file in SESSION_STORE, or remove what stands at the path.")
    return found.st_dev, found.st_ino


def _open_in_users_of_another_file(shm: Identity | None, main: Identity | None) -> set[Identity | None]:
    """Return all that is open in processes that use the ``-shm`` and have the database ``main`` not open.

    Such a process is a worker that has not noticed yet that its file was replaced. Only Linux tells which files a
    process has open. On other systems, and for processes of other users, the answer is an empty set.
    """
    found: set[Identity | None] = set()
    if shm is None or main is None:
        return found
    for process in _users(shm):
        # Twice, because files are closed while we look. A process opens the database before the -shm and closes it
        # after the -shm. So one that still has the -shm open in the second look had not closed the database before.
        looks = [_open_in(process) for _ in range(2)]
        if all(shm in opened and main not in opened for opened in looks):
            found |= looks[1]
    return found


def _users(shm: Identity) -> set[str]:
    """Return the ids of the processes that use a ``-shm``, and perhaps some more."""
    try:
        locks = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return set()
    # 1: POSIX  ADVISORY  READ 4711 fe:00:2156722 128 128
    rows = [line.split() for line in locks]
    return {row[4] for row in rows if row[1] == "POSIX" and row[5].endswith(f":{shm[1]}") and row[6] == IN_USE_BYTE}


def _open_in(process: str) -> set[Identity | None]:
    """Return the files that a process has open; none if the process has ended or we may not look."""
    opened: set[Identity | None] = set()
    with contextlib.suppress(OSError):
        for descriptor in os.scandir(f"/proc/{process}/fd"):
            with contextlib.suppress(FileNotFoundError):
                found = descriptor.stat()
                opened.add((found.st_dev, found.st_ino))
    return opened
