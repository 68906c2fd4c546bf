"""Sessions in one SQLite file: the default. Standard library only, safe for threads, forks and processes."""

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
    check_present,
    connect,
    is_displaced,
    note_beside,
    only_opener,
    prepare,
    settle_displaced,
)
from .wal import WAL_BYTES, Wal

T = TypeVar("T")

log = logging.getLogger("flask_cloakroom.stores")

#: How long a writer waits between two tries for the write lock: it doubles from the first to the second,
#: in seconds. SQLite's own waiting (1, 2, 5, 10, 15, 20, 25 … ms) makes writers that need 30 µs each stand in
#: line for milliseconds.
FIRST_WAIT: Final = 0.0002
LONGEST_WAIT: Final = 0.005

#: Connections kept for the next use, at most. More than that are open only while more threads are at work.
IDLE_CONNECTIONS: Final = 16

#: How long to close a connection may wait for another process that opens the file, in seconds. To open takes 1 ms.
SETTLING: Final = 0.1

#: From this ttl on, in seconds, a replace leaves an expiry alone that it would move by less than a second, as happens
#: at each write between two refreshes of a session, because ttl is in whole seconds.
LONG_TTL: Final = 60

# The row's number is a hash of the key, and not the key an index of its own: one B-tree to walk and to write,
# with inner pages that hold 8-byte numbers, which is what keeps a read among a million rows near that among a
# thousand. `key` itself is compared as well, so a collision of hashes can refuse a row but never show a wrong one.
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
# An expired row in the way is overwritten, a live one is not.
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
# The same, for a write that leaves the expiry where it is: the index on it need not be written, which makes this one a
# third cheaper.
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
    """One file, in WAL mode, so that readers never wait.

    An acknowledged write survives the end of the process, ``kill -9`` included. With ``synchronous="normal"``
    a loss of power can take back the last writes, never damage the file; ``"full"`` waits for the disk at
    each write.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = 2.0, synchronous: str = "normal") -> None:
        """Name the file; it is opened at the first use.

        ``timeout``: seconds that a write waits for other writers before it is a :class:`StoreError`.
        Raises ValueError for a ``synchronous`` other than "normal" or "full".
        """
        if synchronous not in ("normal", "full"):
            raise ValueError(f'synchronous must be "normal" or "full", not {synchronous!r}')
        # Absolute, so that it stays the same file when the process changes its folder.
        self.path = Path(path).absolute()
        # As bytes, because each call asks for it and a str would be encoded each time.
        self._path_bytes = os.fsencode(self.path)
        #: The file that was opened last.
        self._file: Identity | None = None
        self._timeout = timeout
        self._synchronous = synchronous
        # Each connection is used by one thread at a time; last in, first out keeps its page cache warm.
        self._idle: deque[Connection] = deque()
        self._keep = IDLE_CONNECTIONS
        # One item for each connection that is open or being opened: a count that needs no lock.
        self._open_ones: deque[None] = deque()
        self._inherited: list[Connection] = []
        self._wal = Wal(timeout)
        call_in_child(self._leave_inherited)
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
            # UPDATE decides; what is read afterwards only tells what stood in the way.
            entry = self.load(key)
            if entry is None:
                return Gone()
            if entry.version != expected:
                return Conflict(entry)
            # It had expired when we wrote and has not when we read: the clock was set back in between.
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
            # What this wrote to the WAL goes into the file now, on this call's time: otherwise the request that happens
            # to fill the WAL waits for the disk. Writers may go on meanwhile.
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
            # In pages, so that no read transaction stays open: an open one keeps the WAL from being emptied.
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
        """Run one statement that writes; return how many rows it changed."""
        changed = self._run(_count, statement, values)
        if self._wal.is_long():
            # What was written is written, whatever becomes of this.
            with contextlib.suppress(StoreError):
                self._run(self._empty_wal, "", ())
        return changed

    def _empty_wal(self, db: Connection, statement: str, values: tuple[()]) -> None:
        self._wal.empty(db)

    def _run(self, run: Callable[[Connection, str, Any], T], statement: str, values: tuple[Any, ...]) -> T:
        """Run one statement on a connection that is this thread's alone, waiting for other writers.

        Which file is at the path is asked *after* the statement. An acknowledged write is then in the path's file, and
        what was read came from it. Asked before the statement, a file that is replaced in between would go unnoticed.
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
                self._give_back(db)
                return outcome
        except sqlite3.Error as error:
            outcome = error
        except OSError:
            # From os.stat: the file is gone, or _is_at_path raises the reason.
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
        """Run a statement until it has an outcome other than "busy" on the file that is at the path."""
        deadline = time.monotonic() + self._timeout
        wait = FIRST_WAIT
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
                    time.sleep(random.uniform(wait / 2, wait))  # noqa: S311  spreads writers, hides nothing
                    wait = min(wait * 2, LONGEST_WAIT)
                else:
                    raise self._failure(outcome) from outcome
                try:
                    outcome = run(db, statement, values)
                except sqlite3.Error as error:
                    outcome = error
        except BaseException:
            self._close(db)
            raise
        self._give_back(db)
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
        """Return a connection to the path's file; close ``stale`` and the idle ones that have another file open."""
        try:
            self._settle(stale, deadline)
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

    def _give_back(self, db: Connection) -> None:
        if len(self._idle) < self._keep:
            self._idle.append(db)
        else:
            self._close(db)

    def _close(self, db: Connection) -> None:
        try:
            self._settle(db, time.monotonic() + SETTLING)
        except (NotNowError, OSError) as error:
            # To close is not to fail: whoever opens the next file is told what is wrong with that.
            log.info("SQLite session store %s: could not tidy up after a file that was replaced: %s", self.path, error)
        finally:
            db.close()
            self._open_ones.pop()

    def _settle(self, db: Connection, deadline: float) -> None:
        """If another file is in the place of the connection's file, let nobody find the old file's WAL beside it.

        Waits for other processes that open the file. Raises NotNowError after ``deadline``, and OSError.
        """
        # Asked without the lock, because a fork that holds the lock waits until each connection is closed.
        while is_displaced(db):
            try:
                with _opening:
                    settle_displaced(db)
                return
            except NotNowError:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(LONGEST_WAIT)

    def _open(self, deadline: float | None = None) -> Connection:
        """Open the file at the path, and log a warning if it is not the one that was opened before."""
        if deadline is None:
            deadline = time.monotonic() + self._timeout
        while True:
            try:
                with _opening:
                    db = self._connect()
                    # What was opened last is known to be older: nothing is opened meanwhile.
                    replaced = self._file not in (None, db.identity)
                    self._file = db.identity
                    self._open_ones.append(None)
                break
            except (sqlite3.Error, OSError) as error:
                if not _may_pass(error) or time.monotonic() >= deadline:
                    raise self._failure(error) from error
            time.sleep(random.uniform(FIRST_WAIT, LONGEST_WAIT))  # noqa: S311
        if replaced:
            log.warning(
                "SQLite session store %s: the file was deleted or replaced while this process used it. The process "
                "uses the new file from now on; sessions that were only in the old file have ended.",
                self.path,
            )
        return db

    def _connect(self) -> Connection:
        """Connect without waiting for anybody. Raises sqlite3.Error and OSError."""
        # SQLite puts the files beside the database there, and not beside a symbolic link to it.
        path = os.path.realpath(self.path)
        folder_path, name = os.path.split(path)
        Path(folder_path).mkdir(mode=0o700, parents=True, exist_ok=True)
        # No other process opens or makes the file between the steps: the files beside it are then this file's own.
        with only_opener(path) as folder:
            main = prepare(folder, name)
            try:
                db = connect(path, main)
                try:
                    check_present(folder, name, main)
                    self._set_up(db)
                    note_beside(folder, name, db)
                except BaseException:
                    db.close()
                    raise
            except sqlite3.Error:
                # A file that was deleted meanwhile has errors of many kinds.
                check_present(folder, name, main)
                raise
        self._wal.path = path + "-wal"
        return db

    def _set_up(self, db: Connection) -> None:
        if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise sqlite3.OperationalError("the file's place does not allow WAL mode (a network drive?)")
        db.execute(f"PRAGMA synchronous = {self._synchronous}")
        # What is left of a WAL that somebody let grow, should its next writer begin it anew by itself.
        db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        db.executescript(_SCHEMA + owners.SCHEMA)

    def before_fork(self) -> None:
        """Close all connections before a fork, waiting as long as one statement may take for those in use.

        A child that inherits one believes that the locks of its parent are its own, in every connection that it opens
        to that file: it waits for ever for a lock that nobody gives back, or writes to a WAL that was deleted.
        """
        self._keep = 0
        deadline = time.monotonic() + self._timeout
        self.close()
        while self._open_ones and time.monotonic() < deadline:
            time.sleep(FIRST_WAIT)
            self.close()

    def after_fork(self) -> None:
        """Keep connections again, in the parent and in the child."""
        self._keep = IDLE_CONNECTIONS

    def _leave_inherited(self) -> None:
        """In a forked child: never use, and never close, what belongs to the parent, should there be something.

        Closing would let go of locks that SQLite believes to hold in the parent; so they are kept, untouched,
        until the child ends.
        """
        self._inherited.extend(self._idle)
        self._idle = deque()
        self._open_ones = deque()

    def _failure(self, error: object) -> StoreError:
        return StoreError(f"SQLite session store {self.path.name}: {error}")


#: Every store of this process, for its forks.
_stores: weakref.WeakSet[SQLiteStore] = weakref.WeakSet()
#: Held while a file is made, and while the process forks: nothing is opened then.
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


def _may_pass(error: Exception) -> bool:
    """Tell whether to open the file may succeed in a moment."""
    # Where several open a new file at the same moment, SQLite tells some of them at once that it is busy, because each
    # waiting for the other would have no end.
    return isinstance(error, NotNowError) or _is_busy(error)


def _is_busy(error: Exception) -> bool:
    # The low byte is the primary code; SQLITE_BUSY_SNAPSHOT and others are told by the high bytes. Errors that are not
    # SQLite's own have none.
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
