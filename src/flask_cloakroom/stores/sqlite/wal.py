"""Keep SQLite's write-ahead log (WAL) short while several connections write all the time.

SQLite can reuse the WAL only at a moment when all of it has been copied into the file and nobody reads it. SQLite's own
checkpoints never wait, so they miss this moment as long as another connection writes.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from typing import Final

#: Bytes above which the WAL is emptied, while all writers wait for a moment. With a single connection it never grows so
#: large: SQLite's own checkpoints keep it at a quarter of this.
WAL_BYTES: Final = 16 << 20

#: The size is checked once in so many writes. A check takes 1 to 2 µs, a write 20.
WRITES_PER_CHECK: Final = 16

#: The longest time in seconds for which other writers wait until the last readers have finished. A load takes 10 µs,
#: and SQLite tries again after 1, 3, 8 and 18 ms.
LONGEST_BLOCK: Final = 0.02
#: The same as a part of the store's ``timeout``, for applications that set a short one.
PART_OF_TIMEOUT: Final = 0.25

#: Seconds until the next attempt after a failed one.
RETRY_PAUSE: Final = 0.1

#: The number of pages (1 MB) by which a reader may be behind. A reader that is further behind takes too long to wait
#: for.
PAGES_BEHIND: Final = 256

#: Seconds. While a copy took longer than this, much was written meanwhile, so another round of copying is worth it.
SHORT_COPY: Final = 0.02


class Wal:
    """The WAL of one store. Threads use it without a lock: one check more or less does no harm."""

    def __init__(self, timeout: float) -> None:
        """``timeout``: seconds that writers wait before they give up."""
        #: The WAL's path; None before the file is opened.
        self.path: str | None = None
        self._block_ms = int(min(LONGEST_BLOCK, timeout * PART_OF_TIMEOUT) * 1000)
        self._writes_until_check = 1
        self._next_attempt = 0.0

    def is_too_long(self) -> bool:
        """Tell, after a write, whether it is time to call :meth:`empty`."""
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
        """Empty the WAL, unless another connection is doing so or a reader takes too long.

        After an sqlite3.Error the connection should be closed: it may still wait for locks.
        """
        # From now on this connection makes no checkpoints by itself. It would make one after each commit. Two such
        # connections would have the checkpoint lock by turns, and no other connection would ever get it.
        db.execute("PRAGMA wal_autocheckpoint = 0")
        succeeded = False
        try:
            succeeded = _empty(db, self._block_ms)
        finally:
            if not succeeded:
                self._next_attempt = time.monotonic() + RETRY_PAUSE


def _empty(db: sqlite3.Connection, block_ms: int) -> bool:
    """Return True if this connection has emptied the WAL, or if another one is doing so."""
    # Copy most of it while the others go on writing, in rounds, until no round is much shorter than the one before. The
    # rest is copied while the others wait.
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
    # TRUNCATE and not RESTART. RESTART lets the next writer reuse the WAL. Before SQLite 3.51.3 that can damage the
    # file if another connection begins a checkpoint at that moment (https://sqlite.org/wal.html#walresetbug). TRUNCATE
    # empties the WAL while it has the write lock and the checkpoint lock.
    busy, pages, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    db.execute("PRAGMA busy_timeout = 0")
    # -1: another connection began a checkpoint between the two of this one.
    return not busy or pages == -1
