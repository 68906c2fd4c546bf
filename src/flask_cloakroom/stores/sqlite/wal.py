"""Keep SQLite's WAL short while several connections write without a pause, which SQLite itself does not.

A WAL begins anew only at a moment when all of it has been copied into the file and nobody reads it. SQLite's own
checkpoints, which never wait, miss that moment as long as another connection writes.
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from typing import Final

#: Above this size the WAL is emptied by force, at the price of a short wait for all writers. A single connection never
#: gets there: SQLite's own checkpoints keep its WAL at a quarter of this.
WAL_BYTES: Final = 16 << 20

#: Writes from one look at the size to the next: a look takes 1 to 2 µs, and a write 20.
WRITES_PER_LOOK: Final = 16

#: How long the others may be kept from writing while the last readers are waited for, in seconds. A load takes 10 µs,
#: and SQLite looks whether the way is free after 1, 3, 8 and 18 ms.
LONGEST_WAIT: Final = 0.02
#: The same as a part of the time after which the others give up, for those who set it short.
PART_OF_TIMEOUT: Final = 0.25

#: After a try that was in vain, seconds until the next.
PAUSE: Final = 0.1

#: A reader that is so many pages behind is not waited for: it has been reading for more than a moment. 1 MB.
PAGES_BEHIND: Final = 256

#: Copying that took longer than this, in seconds, has let much new be written meanwhile: it is worth another round.
BRIEF: Final = 0.02


class Wal:
    """What one store knows of its WAL. Threads share it without a lock: a look more or less does no harm."""

    def __init__(self, timeout: float) -> None:
        """``timeout``: seconds that writers wait before they give up."""
        #: The WAL's path; nothing before the file is opened.
        self.path: str | None = None
        self._wait_ms = int(min(LONGEST_WAIT, timeout * PART_OF_TIMEOUT) * 1000)
        self._writes_to_look = 1
        self._not_before = 0.0

    def is_long(self) -> bool:
        """Tell, after a write, whether it is time to call :meth:`empty`."""
        self._writes_to_look -= 1
        if self._writes_to_look > 0 or self.path is None:
            return False
        self._writes_to_look = WRITES_PER_LOOK
        try:
            size = os.stat(self.path).st_size  # noqa: PTH116  a Path takes twice as long
        except OSError:
            return False
        return size > WAL_BYTES and time.monotonic() >= self._not_before

    def empty(self, db: sqlite3.Connection) -> None:
        """Empty the WAL, unless another connection is at it or a reader stands in the way.

        After an sqlite3.Error the connection should be closed: it may go on waiting for locks.
        """
        # From now on this connection leaves checkpoints to us. By itself it begins one after each commit; two that do
        # so hold the checkpoint lock by turns, and nobody comes in between.
        db.execute("PRAGMA wal_autocheckpoint = 0")
        succeeded = False
        try:
            succeeded = _empty(db, self._wait_ms)
        finally:
            if not succeeded:
                self._not_before = time.monotonic() + PAUSE


def _empty(db: sqlite3.Connection, wait_ms: int) -> bool:
    """Return whether the WAL was emptied by this connection, or is being emptied by another."""
    # Most is copied while the others go on writing, round after round until no round gets much shorter: what is left
    # after that is copied while they wait.
    took = math.inf
    while True:
        before, start = took, time.monotonic()
        busy, pages, copied = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        took = time.monotonic() - start
        if busy:
            return True
        if pages - copied > PAGES_BEHIND:
            return False
        if took < BRIEF or took > before / 2:
            break
    db.execute(f"PRAGMA busy_timeout = {wait_ms}")
    # Not RESTART, which leaves it to the next writer to begin the WAL anew: before SQLite 3.51.3 that can damage the
    # file, if another connection begins a checkpoint at that moment (https://sqlite.org/wal.html#walresetbug). TRUNCATE
    # does it while it has the locks of writers and of checkpoints.
    busy, pages, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    db.execute("PRAGMA busy_timeout = 0")
    # -1: another connection began a checkpoint between our two.
    return not busy or pages == -1
