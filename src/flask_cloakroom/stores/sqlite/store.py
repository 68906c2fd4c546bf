"""The store in one SQLite file. It needs only the standard library, and is safe for threads, forks and processes."""

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

#: Seconds between two attempts to get the write lock. The pause doubles from the first to the longest. SQLite's own
#: pauses (1, 2, 5, 10, 15, 20, 25 … ms) make writers wait for milliseconds, although each needs only 30 µs.
FIRST_PAUSE: Final = 0.0002
LONGEST_PAUSE: Final = 0.005

#: The most idle connections. There are more connections than this only while more threads work at the same time.
IDLE_CONNECTIONS: Final = 16

#: Seconds that closing a connection may wait for another process that opens the file. To open a file takes 1 ms.
CLEAN_UP_TIMEOUT: Final = 0.1

#: Seconds. If ``ttl`` is at least this long, ``replace`` does not move an expiry by less than a second. Without this,
#: each write between two refreshes of a session would move it, because ``ttl`` is rounded to whole seconds.
LONG_TTL: Final = 60

# The primary key is a hash of the key, so no second index is needed. One B-tree, whose inner pages contain 8-byte
# numbers, is read and written. A read among a million rows then takes about as long as among a thousand. The statements
# compare `key` as well: a collision of hashes can refuse a row but never return a wrong one.
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
# Overwrites an expired row, and no live one.
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
# The same for a write that does not move the expiry. The index on the expiry is not written, which saves a third of the
# time.
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
    """One file in WAL mode, so that readers never wait.

    After an acknowledged write, the end of the process loses nothing, even with ``kill -9``. With
    ``synchronous="normal"``, a power failure can lose the last writes but not damage the file. With ``"full"``, each
    write waits for the disk.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = 2.0, synchronous: str = "normal") -> None:
        """Make a store for the file at ``path``. The file is opened at the first use.

        ``timeout``: seconds that a write waits for other writers before it is a :class:`StoreError`.
        Raises ValueError for a ``synchronous`` other than "normal" or "full".
        """
        if synchronous not in ("normal", "full"):
            raise ValueError(f'synchronous must be "normal" or "full", not {synchronous!r}. Correct the URL.')
        # Absolute, so that the path means the same file after the process changes its folder.
        self.path = Path(path).absolute()
        # As bytes, because each call uses it, and a str would be encoded each time.
        self._path_bytes = os.fsencode(self.path)
        #: The file that was opened last.
        self._file: Identity | None = None
        self._timeout = timeout
        self._synchronous = synchronous
        # One thread at a time uses a connection. Last in, first out keeps its page cache warm.
        self._idle: deque[Connection] = deque()
        self._max_idle = IDLE_CONNECTIONS
        # One item for each open connection: a count that needs no lock.
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
            # UPDATE decides. The read afterwards only tells why it changed no row.
            entry = self.load(key)
            if entry is None:
                return Gone()
            if entry.version != expected:
                return Conflict(entry)
            # The entry had expired at the write and not at the read: the clock was set back in between.
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
            # Copy the WAL into the file now, in this call's time. Otherwise the request that happens to fill the WAL
            # would wait for the disk. Other writers can go on meanwhile.
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
            # In pages, because an open read transaction keeps the WAL from being emptied.
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
        """Run one statement that writes, and return how many rows it changed."""
        changed = self._run(_count, statement, values)
        if self._wal.is_too_long():
            # The write has succeeded, even if emptying the WAL fails.
            with contextlib.suppress(StoreError):
                self._run(self._empty_wal, "", ())
        return changed

    def _empty_wal(self, db: Connection, statement: str, values: tuple[()]) -> None:
        self._wal.empty(db)

    def _run(self, run: Callable[[Connection, str, Any], T], statement: str, values: tuple[Any, ...]) -> T:
        """Run one statement on a connection that no other thread uses, and wait for other writers.

        The file at the path is checked *after* the statement. So an acknowledged write is in that file, and what was
        read came from it. Before the statement, a file that is replaced between check and statement would be missed.
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
            # From os.stat: the file is gone, or else _is_at_path raises the same error.
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
        """Run a statement again until its outcome is not "busy" and its file is the one at the path."""
        deadline = time.monotonic() + self._timeout
        pause = FIRST_PAUSE
        try:
            while True:
                in_time = time.monotonic() < deadline
                if not self._is_at_path(db):
                    if not in_time:
                        raise self._failure("The file was replaced while the call was under way. Try again.")
                    db = self._reopen(db, deadline)
                elif not isinstance(outcome, sqlite3.Error):
                    break
                elif _is_busy(outcome) and in_time:
                    time.sleep(random.uniform(pause / 2, pause))  # noqa: S311  spreads writers, hides nothing
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
        """Return a connection to the file at the path. Close ``stale``, and all idle connections to another file."""
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
            # Closing must not fail. If the problem remains, the next process that opens the file gets the error.
            log.info("SQLite session store %s: could not clean up after a replaced file: %s", self.path, error)
        finally:
            db.close()
            self._open_count.pop()

    def _clean_up(self, db: Connection, deadline: float) -> None:
        """If the connection's file was replaced, delete its WAL from beside the new file.

        Wait for other processes that open the file. Raises NotNowError after ``deadline``, and OSError.
        """
        # Checked without the lock: a fork has the lock while it waits until each connection is closed.
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
        """Open the file at the path, and log a warning if it is not the file that was opened before."""
        if deadline is None:
            deadline = time.monotonic() + self._timeout
        while True:
            try:
                with _opening:
                    db = self._connect()
                    # Under the lock, so that self._file is always the older of the two files.
                    replaced = self._file not in (None, db.identity)
                    self._file = db.identity
                    self._open_count.append(None)
                break
            except (sqlite3.Error, OSError) as error:
                # SQLite tells some of several processes that open a new file at once that the file is busy, because
                # each would wait for the other without end.
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
        """Connect without waiting. Raises sqlite3.Error and OSError."""
        # The path without symbolic links: SQLite puts the side files there, and not beside a link.
        path = os.path.realpath(self.path)
        folder_path, name = os.path.split(path)
        Path(folder_path).mkdir(mode=0o700, parents=True, exist_ok=True)
        # Under the lock no other process opens or makes the file. So the side files belong to this file.
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
                # If the file was deleted meanwhile, SQLite's error can be of many kinds.
                check_identity(folder, name, main)
                raise
        self._wal.path = path + "-wal"
        return db

    def _set_up(self, db: Connection) -> None:
        if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise sqlite3.OperationalError("WAL mode is not possible here. Do not put the file on a network drive.")
        db.execute(f"PRAGMA synchronous = {self._synchronous}")
        # If the WAL has grown and SQLite reuses it from the start, it is cut to this size.
        db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        db.executescript(_SCHEMA + owners.SCHEMA)

    def before_fork(self) -> None:
        """Close all connections before a fork. Wait for those in use as long as one statement may take.

        A child that inherits a connection takes its parent's locks for its own, in every connection to that file. It
        would wait for ever for a lock that nobody releases, or write to a WAL that was deleted.
        """
        self._max_idle = 0
        deadline = time.monotonic() + self._timeout
        self.close()
        while self._open_count and time.monotonic() < deadline:
            time.sleep(FIRST_PAUSE)
            self.close()

    def after_fork(self) -> None:
        """Allow idle connections again, in the parent and in the child."""
        self._max_idle = IDLE_CONNECTIONS

    def _set_inherited_aside(self) -> None:
        """In a forked child: never use and never close a connection of the parent, if there still is one.

        Closing it would release locks that the parent still relies on. So it is kept until the child ends.
        """
        self._inherited.extend(self._idle)
        self._idle = deque()
        self._open_count = deque()

    def _failure(self, error: object) -> StoreError:
        return StoreError(f"SQLite session store {self.path.name}: {error}")


#: All stores of this process: a fork closes their connections.
_stores: weakref.WeakSet[SQLiteStore] = weakref.WeakSet()
#: Held while a file is opened, and while the process forks: so no file is opened during a fork.
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
    # The low byte is the primary code; the high bytes tell SQLITE_BUSY_SNAPSHOT and others apart. An error that is not
    # SQLite's own has no code.
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
