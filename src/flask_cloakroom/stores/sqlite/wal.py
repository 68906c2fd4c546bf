"""Keep SQLite's write-ahead log (WAL) short while several connections write all the time.

A checkpoint copies the WAL into the database file. SQLite can write from the start of the WAL again only if all of the
WAL was copied and no connection reads from it. SQLite's own checkpoints never wait for other connections. So while
other connections write all the time, the WAL grows without limit.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from typing import Final

#: The size in bytes above which the WAL is emptied, while all writers wait for a moment. With a single connection, the
#: WAL never becomes so large, because SQLite's own checkpoints begin at a quarter of this size.
WAL_BYTES: Final = 16 << 20

#: The number of writes between two checks of the WAL's size. A check takes 1 to 2 µs, and a write takes 20 µs.
WRITES_PER_CHECK: Final = 16

#: The longest time in seconds for which :func:`_empty` blocks other writers, until all reads have ended. A load takes
#: 10 µs, and SQLite tries again after 1, 3, 8 and 18 ms.
LONGEST_BLOCK: Final = 0.02
#: The longest part of the store's ``timeout`` for which other writers are blocked, for applications with a short one.
PART_OF_TIMEOUT: Final = 0.25

#: Seconds from a failed attempt to empty the WAL until the next attempt.
RETRY_PAUSE: Final = 0.1

#: The number of pages in the WAL (256 pages are 1 MB) that a slow reader may keep from being copied. With more pages,
#: the WAL is not emptied in this attempt, because the wait for the reader would be too long.
PAGES_BEHIND: Final = 256

#: A limit in seconds. If a copy of the WAL took longer, other connections wrote much meanwhile. Then :func:`_empty`
#: copies once more before it blocks other writers.
SHORT_COPY: Final = 0.02


class Wal:
    """The WAL of one store. Threads use this object without a lock, because a wrong count of writes does no harm."""

    def __init__(self, timeout: float) -> None:
        """Set the longest block of other writers. ``timeout``: seconds after which a waiting write is a StoreError."""
        #: The path of the WAL, or None as long as no file was opened.
        self.path: str | None = None
        self._block_ms = int(min(LONGEST_BLOCK, timeout * PART_OF_TIMEOUT) * 1000)
        self._writes_until_check = 1
        self._next_attempt = 0.0

    def is_too_long(self) -> bool:
        """Return True if the WAL is too long, so that the caller should call :meth:`empty`. Call this for each write.

        Return False also if the size was not checked, because a check or an attempt was made a short time ago.
        """
        self._writes_until_check -= 1
        if self._writes_until_check > 0 or self.path is None:
            return False
        self._writes_until_check = WRITES_PER_CHECK
        try:
            size = os.stat(self.path).st_size  # noqa: PTH116  a Path takes twice as long
        except OSError:
            return False
        return size > WAL_BYTES and time.monotonic() >= self._next_attempt

    def empty(self, db: sqlite3.Connection) -> None:
        """Empty the WAL. Do nothing if another connection is emptying it, or if a reader takes too long.

        Raises sqlite3.Error. Then the caller should close the connection, because its busy_timeout may still be set.
        """
        # From now on this connection makes no automatic checkpoints. While the WAL is long, SQLite would make one after
        # each commit. Two such connections would pass the checkpoint lock to each other all the time, and no other
        # connection would ever get the lock.
        db.execute("PRAGMA wal_autocheckpoint = 0")
        succeeded = False
        try:
            succeeded = _empty(db, self._block_ms)
        finally:
            if not succeeded:
                self._next_attempt = time.monotonic() + RETRY_PAUSE


def _empty(db: sqlite3.Connection, block_ms: int) -> bool:
    """Empty the WAL. Return True if it is empty, or if another connection is emptying it. Return False otherwise."""
    # Copy most of the WAL while other connections can write. Repeat this until a copy is short, or takes more than half
    # of the time of the copy before. The rest is copied afterwards, while the other connections wait.
    took = math.inf
    while True:
        before, start = took, time.monotonic()
        busy, pages, copied = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        took = time.monotonic() - start
        if busy:
            return True
        if pages - copied > PAGES_BEHIND:
            return False
        if took < SHORT_COPY or took > before / 2:
            break
    db.execute(f"PRAGMA busy_timeout = {block_ms}")
    # TRUNCATE and not RESTART. After RESTART, the next writer writes from the start of the WAL. Before SQLite 3.51.3
    # that can damage the database if another connection begins a checkpoint at the same moment
    # (https://sqlite.org/wal.html#walresetbug). TRUNCATE empties the WAL under the write lock and the checkpoint lock.
    busy, pages, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    db.execute("PRAGMA busy_timeout = 0")
    # SQLite answers -1 if another connection began a checkpoint after the first and before the second one made here.
    return not busy or pages == -1
