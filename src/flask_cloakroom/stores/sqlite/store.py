"""The store in one SQLite file. It needs only the standard library. Threads and processes can share the file."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import random
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from ...errors import StoreError
from ...forking import call_in_child
from ...secret import SecretBytes
from ..base import Claim, Conflict, Entry, Gone, Saved, check_ttl, new_version
from . import owners
from .file import (
    Connection,
    Identity,
    NotNowError,
    check_identity,
    clean_up_replaced,
    is_replaced,
    open_connection,
    opening_lock,
    prepare_file,
    side_files,
)
from .wal import WAL_BYTES, Wal

T = TypeVar("T")

log = logging.getLogger("flask_cloakroom.stores")

#: Seconds between two attempts to get SQLite's write lock: the first pause, and the longest. Each pause is twice the
#: pause before. SQLite's own pauses (1, 2, 5, 10, 15 … ms) are too long, because a write takes only 30 µs.
FIRST_PAUSE: Final = 0.0002
LONGEST_PAUSE: Final = 0.005

#: The largest number of idle connections of a store. A store has more connections than this only while more threads use
#: the store at the same time.
IDLE_CONNECTIONS: Final = 16

#: The longest time, in seconds, that the close of a connection waits while another process opens the file. To open a
#: file takes 1 ms.
CLEAN_UP_TIMEOUT: Final = 0.1

#: A limit for ``ttl`` in seconds. If ``ttl`` is at least this long, ``replace`` leaves the expiry as it is if it would
#: change by less than a second. Otherwise each write would change the expiry and its index, because ``ttl`` is rounded
#: to whole seconds.
LONG_TTL: Final = 60

# The primary key `id` is a 64-bit hash of the store key. SQLite finds a row by this number in the table's own B-tree.
# So no index of the store keys is needed, and a read takes about as long with a million rows as with a thousand. The
# statements compare `key` as well. If two store keys had the same hash, the second could not be stored, but no
# statement would return the wrong entry.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS cloakroom_entries (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    version BLOB NOT NULL,
    expires INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS cloakroom_entries_expires ON cloakroom_entries (expires);
"""
_LOAD = "SELECT data, version FROM cloakroom_entries WHERE id = ? AND key = ? AND expires > ?"
# If the row exists, it is overwritten only if it has expired.
_CREATE = """
INSERT INTO cloakroom_entries (id, key, version, expires, data) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET key = excluded.key, version = excluded.version, expires = excluded.expires,
    data = excluded.data
WHERE expires <= ?
"""
_REPLACE = """
UPDATE cloakroom_entries SET version = ?, expires = ?, data = ?
WHERE id = ? AND key = ? AND version = ? AND expires > ?
"""
# Like _REPLACE, for a write that leaves the expiry as it is. SQLite does not write the index of the expiries then. This
# saves a third of the time.
_REPLACE_DATA = """
UPDATE cloakroom_entries SET version = ?, data = ?
WHERE id = ? AND key = ? AND version = ? AND expires > ? AND expires BETWEEN ? AND ?
"""
_TOUCH = "UPDATE cloakroom_entries SET expires = ? WHERE id = ? AND key = ? AND expires > ?"
_DELETE = "DELETE FROM cloakroom_entries WHERE id = ? AND key = ? AND expires > ?"
_PURGE = """
DELETE FROM cloakroom_entries WHERE id IN (SELECT id FROM cloakroom_entries WHERE expires <= ? LIMIT ?)
"""
_WALK = """
SELECT id, key, data, version FROM cloakroom_entries WHERE id > ? AND expires > ? ORDER BY id LIMIT 500
"""
_FIRST_ID = -(2**63)


def _row_id(key: bytes) -> int:
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big", signed=True)


def _now_ms() -> int:
    return int(time.time() * 1000)


class SQLiteStore:
    """Keeps the entries in one SQLite file. The file is in WAL mode, so a read never waits for a write.

    A write that has returned is safe if the process ends, even by ``kill -9``. With ``synchronous="normal"``, a power
    failure can lose the last writes, but cannot damage the file. With ``synchronous="full"``, a power failure loses no
    write that has returned, but each write waits for the disk.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = 2.0, synchronous: str = "normal") -> None:
        """Make a store for the file at ``path``. The file is opened when the store is first used.

        ``timeout``: seconds that a write waits for other writers before it is a :class:`StoreError`.
        Raises ValueError for a ``synchronous`` other than "normal" or "full".
        """
        if synchronous not in ("normal", "full"):
            raise ValueError(f'synchronous is {synchronous!r}. Set it to "normal" or "full" in the URL of the store.')
        # An absolute path, which still names the same file after the process has changed its working folder.
        self.path = Path(path).absolute()
        # The path as bytes, because each call passes it to os.stat(), which would encode a str each time.
        self._path_bytes = os.fsencode(self.path)
        #: The identity of the file that was opened last. None before the first use.
        self._file: Identity | None = None
        self._timeout = timeout
        self._synchronous = synchronous
        # The connections that no thread uses at the moment. The connection that was used last is used next, because its
        # page cache is up to date.
        self._idle: deque[Connection] = deque()
        self._max_idle = IDLE_CONNECTIONS
        # Has one item for each open connection. The length of a deque is a counter that is safe between threads.
        self._open_count: deque[None] = deque()
        self._inherited: list[Connection] = []
        self._wal = Wal(timeout)
        call_in_child(self._set_inherited_aside)
        _stores.add(self)

    def __str__(self) -> str:
        return f"SQLite ({self.path.name})"

    def load(self, key: bytes) -> Entry | None:
        row = self._run(_fetch_one, _LOAD, (_row_id(key), key, int(time.time() * 1000)))
        return None if row is None else Entry(row[0], row[1])

    def create(self, key: bytes, data: bytes, ttl: int) -> bytes | None:
        version, lifetime = new_version(), check_ttl(ttl) * 1000
        now = _now_ms()
        row = (_row_id(key), key, version, now + lifetime, data, now)
        return version if self._write(_CREATE, row) else None

    def replace(self, key: bytes, data: bytes, ttl: int, expected: bytes) -> Saved | Conflict | Gone:
        version, lifetime = new_version(), check_ttl(ttl) * 1000
        now, row_id = int(time.time() * 1000), _row_id(key)
        expires = now + lifetime
        if ttl >= LONG_TTL:
            near = (version, data, row_id, key, expected, now, expires - 1000, expires + 1000)
            if self._write(_REPLACE_DATA, near):
                return Saved(version)
        while not self._write(_REPLACE, (version, expires, data, row_id, key, expected, now)):
            # The UPDATE has changed no row. The load finds the reason: the entry does not exist or has another version.
            entry = self.load(key)
            if entry is None:
                return Gone()
            if entry.version != expected:
                return Conflict(entry)
            # The entry had expired at the UPDATE, but was live at the load. So the clock was set back in between.
            now = _now_ms()
            expires = now + lifetime
        return Saved(version)

    def touch(self, key: bytes, ttl: int) -> bool:
        now = _now_ms()
        row = (now + check_ttl(ttl) * 1000, _row_id(key), key, now)
        return bool(self._write(_TOUCH, row))

    def delete(self, key: bytes) -> bool:
        row = (_row_id(key), key, _now_ms())
        return bool(self._write(_DELETE, row))

    def purge(self, limit: int) -> int:
        now = _now_ms()
        deleted = self._write(_PURGE, (now, limit))
        if deleted < limit:
            deleted += self._write(owners.PURGE, (now * 1000, limit - deleted))
        if deleted:
            # Copy the WAL into the file in this call, while other connections can write. Otherwise the next request
            # whose write fills the WAL would have to copy all the deletions, and would wait for the disk.
            self._run(_fetch_one, "PRAGMA wal_checkpoint(PASSIVE)", ())
        return deleted

    def claim(self, owner: bytes, key: bytes, ttl: int, limit: int | None = None) -> bool:
        now = time.time_ns() // 1000
        row = (owner, key, now + check_ttl(ttl) * 1_000_000)
        if limit is None:
            return bool(self._write(owners.CLAIM, row))
        return bool(self._write(owners.CLAIM_WITHIN, (*row, now, limit)))

    def release(self, owner: bytes, key: bytes) -> bool:
        return bool(self._write(owners.RELEASE, (owner, key, time.time_ns() // 1000)))

    def owned(self, owner: bytes) -> list[Claim]:
        now = time.time_ns() // 1000
        return [Claim(key, (expires - now) / 1e6) for key, expires in self._run(_fetch_all, owners.OWNED, (owner, now))]

    def walk(self) -> Iterator[tuple[bytes, Entry]]:
        last = _FIRST_ID
        while True:
            # 500 rows for each statement. During a read transaction over all rows, the WAL could not be emptied.
            page = [
                (row_id, SecretBytes(key), Entry(data, version))
                for row_id, key, data, version in self._run(_fetch_all, _WALK, (last, _now_ms()))
            ]
            if not page:
                return
            for row_id, key, entry in page:
                yield key, entry
                last = row_id

    def close(self) -> None:
        while True:
            try:
                db = self._idle.pop()
            except IndexError:
                return
            self._close(db)

    def _write(self, statement: str, values: tuple[Any, ...]) -> int:
        """Run one statement that writes, and return the number of rows that it changed."""
        changed = self._run(_count, statement, values)
        if self._wal.is_too_long():
            # An error here must not leave this method, because the write itself has succeeded.
            with contextlib.suppress(StoreError):
                self._run(self._empty_wal, "", ())
        return changed

    def _empty_wal(self, db: Connection, statement: str, values: tuple[()]) -> None:
        self._wal.empty(db)

    def _run(self, run: Callable[[Connection, str, Any], T], statement: str, values: tuple[Any, ...]) -> T:
        """Return the result of ``run``, called with a connection that no other thread uses. Wait for other writers.

        After the statement, the method checks that the connection's file is still the file at the path. So the result
        was read from that file, or written to it. A check before the statement would not notice that the file was
        replaced between check and statement.
        """
        try:
            db = self._idle.pop()
        except IndexError:
            db = self._open()
        outcome: T | sqlite3.Error
        try:
            outcome = run(db, statement, values)
            found = os.stat(self._path_bytes)  # noqa: PTH116  a Path takes twice as long
            if found.st_ino == db.inode and found.st_dev == db.device:
                self._return(db)
                return outcome
        except sqlite3.Error as error:
            outcome = error
        except OSError:
            # os.stat() failed. If the file is missing, _run_again() makes a new one. Otherwise it raises this error.
            pass
        except BaseException:
            self._close(db)
            raise
        return self._run_again(db, run, statement, values, outcome)

    def _run_again(
        self,
        db: Connection,
        run: Callable[[Connection, str, Any], T],
        statement: str,
        values: tuple[Any, ...],
        outcome: T | sqlite3.Error,
    ) -> T:
        """Repeat a statement of :meth:`_run` until it succeeds on the file that is at the path now.

        ``outcome``: the result or error of the first run. Raises StoreError after the store's timeout, and for any
        error other than "busy".
        """
        deadline = time.monotonic() + self._timeout
        pause = FIRST_PAUSE
        try:
            while True:
                in_time = time.monotonic() < deadline
                if not self._is_at_path(db):
                    if not in_time:
                        raise self._failure("The file was replaced during the call. Try again.")
                    db = self._reopen(db, deadline)
                elif not isinstance(outcome, sqlite3.Error):
                    break
                elif _is_busy(outcome) and in_time:
                    time.sleep(random.uniform(pause / 2, pause))  # noqa: S311  no secret: it only spreads the tries
                    pause = min(pause * 2, LONGEST_PAUSE)
                else:
                    raise self._failure(outcome) from outcome
                try:
                    outcome = run(db, statement, values)
                except sqlite3.Error as error:
                    outcome = error
        except BaseException:
            self._close(db)
            raise
        self._return(db)
        return outcome

    def _is_at_path(self, db: Connection) -> bool:
        try:
            found = os.stat(self._path_bytes)  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise self._failure(error) from error
        return (found.st_dev, found.st_ino) == db.identity

    def _reopen(self, stale: Connection, deadline: float) -> Connection:
        """Return a connection to the file at the path. Close ``stale`` and all idle connections to replaced files."""
        try:
            self._clean_up(stale, deadline)
        except (NotNowError, OSError) as error:
            raise self._failure(error) from error
        db = self._open(deadline)
        self._close(stale)
        for _ in range(len(self._idle)):
            try:
                idle = self._idle.popleft()
            except IndexError:
                break
            if idle.identity == db.identity:
                self._idle.append(idle)
            else:
                self._close(idle)
        return db

    def _return(self, db: Connection) -> None:
        if len(self._idle) < self._max_idle:
            self._idle.append(db)
        else:
            self._close(db)

    def _close(self, db: Connection) -> None:
        try:
            self._clean_up(db, time.monotonic() + CLEAN_UP_TIMEOUT)
        except (NotNowError, OSError) as error:
            # close() must not fail. If the problem remains, the next process that opens the file gets the same error.
            log.info("SQLite session store %s: old side files were not deleted. Check the folder: %s", self.path, error)
        finally:
            db.close()
            self._open_count.pop()

    def _clean_up(self, db: Connection, deadline: float) -> None:
        """If the connection's file was replaced, call :func:`clean_up_replaced`. Otherwise do nothing.

        Waits while another process opens the file. Raises NotNowError after ``deadline`` (of ``time.monotonic()``), and
        OSError.
        """
        # is_replaced() is called without the lock `_opening`, because a fork holds this lock while it waits until all
        # connections are closed.
        while is_replaced(db):
            try:
                with _opening:
                    clean_up_replaced(db)
                return
            except NotNowError:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(LONGEST_PAUSE)

    def _open(self, deadline: float | None = None) -> Connection:
        """Return a new connection to the file at the path. Log a warning if the file at the path was replaced.

        ``deadline``: the end of the tries, as ``time.monotonic()`` tells it. Raises StoreError.
        """
        if deadline is None:
            deadline = time.monotonic() + self._timeout
        while True:
            try:
                with _opening:
                    db = self._connect()
                    # Under the lock, so that no other thread changes self._file between the comparison and the write.
                    replaced = self._file not in (None, db.identity)
                    self._file = db.identity
                    self._open_count.append(None)
                break
            except (sqlite3.Error, OSError) as error:
                # If several processes open a new file at the same time, SQLite raises "busy" immediately in some of
                # them, because otherwise they would wait for each other for ever.
                may_succeed_later = isinstance(error, NotNowError) or _is_busy(error)
                if not may_succeed_later or time.monotonic() >= deadline:
                    raise self._failure(error) from error
            time.sleep(random.uniform(FIRST_PAUSE, LONGEST_PAUSE))  # noqa: S311
        if replaced:
            log.warning(
                "SQLite session store %s: the file was deleted or replaced while this process used it. The process "
                "uses the new file from now on; sessions that were only in the old file have ended.",
                self.path,
            )
        return db

    def _connect(self) -> Connection:
        """Return a new connection, without waiting for other processes. Raises sqlite3.Error and OSError."""
        # The path without symbolic links, because SQLite makes the side files in the folder of the real file.
        path = os.path.realpath(self.path)
        folder_path, name = os.path.split(path)
        Path(folder_path).mkdir(mode=0o700, parents=True, exist_ok=True)
        # While this process has the lock, no other process opens or makes the file. So the side files that exist at the
        # end belong to this file.
        with opening_lock(path) as folder:
            main = prepare_file(folder, name)
            try:
                db = open_connection(path, main)
                try:
                    check_identity(folder, name, main)
                    self._set_up(db)
                    db.side_files = side_files(folder, name)
                except BaseException:
                    db.close()
                    raise
            except sqlite3.Error:
                # If the file was deleted meanwhile, SQLite raises various errors. NotNowError says that a retry helps.
                check_identity(folder, name, main)
                raise
        self._wal.path = path + "-wal"
        return db

    def _set_up(self, db: Connection) -> None:
        if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise sqlite3.OperationalError("SQLite cannot use WAL mode for this file. Put the file on a local disk.")
        db.execute(f"PRAGMA synchronous = {self._synchronous}")
        # If the WAL has become larger than this, SQLite cuts it to this size when it writes from the start again.
        db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        db.executescript(_SCHEMA + owners.SCHEMA)

    def before_fork(self) -> None:
        """Close all connections before a fork. Wait for connections in use, but not longer than the store's timeout.

        SQLite in a child with a connection of its parent believes that the parent's locks are the child's locks. This
        is true for all connections of the child to that file. The child would wait for ever for a lock that no thread
        releases, or would write to a deleted WAL.
        """
        self._max_idle = 0
        deadline = time.monotonic() + self._timeout
        self.close()
        while self._open_count and time.monotonic() < deadline:
            time.sleep(FIRST_PAUSE)
            self.close()

    def after_fork(self) -> None:
        """After a fork, in the parent and in the child: allow idle connections again."""
        self._max_idle = IDLE_CONNECTIONS

    def _set_inherited_aside(self) -> None:
        """In a forked child: make sure that no connection of the parent is used or closed.

        :meth:`before_fork` may have left connections open after its timeout. To close such a connection would release
        locks that the parent still needs. So the child stores these connections in a list until it ends.
        """
        self._inherited.extend(self._idle)
        self._idle = deque()
        self._open_count = deque()

    def _failure(self, error: object) -> StoreError:
        return StoreError(f"SQLite session store {self.path.name}: {error}")


#: All stores of this process. Before a fork, their connections are closed.
_stores: weakref.WeakSet[SQLiteStore] = weakref.WeakSet()
#: The lock for opening a file. A fork takes this lock as well, so that no thread opens a file during the fork.
_opening = threading.RLock()


def _before_fork() -> None:
    _opening.acquire()
    for store in list(_stores):
        store.before_fork()


def _after_fork() -> None:
    for store in list(_stores):
        store.after_fork()
    _opening.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


def _fetch_one(db: Connection, statement: str, values: tuple[Any, ...]) -> Any:
    return db.execute(statement, values).fetchone()


def _fetch_all(db: Connection, statement: str, values: tuple[Any, ...]) -> list[Any]:
    return db.execute(statement, values).fetchall()


def _count(db: Connection, statement: str, values: tuple[Any, ...]) -> int:
    return db.execute(statement, values).rowcount


def _is_busy(error: Exception) -> bool:
    # The low byte of SQLite's error code is the kind of error. The other bytes are a subkind, such as
    # SQLITE_BUSY_SNAPSHOT. An error of this package has no such code.
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
