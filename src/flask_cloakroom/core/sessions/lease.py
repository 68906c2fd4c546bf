"""A session's lock: a lease in the session's own entry, with a number by which a holder that overslept is told."""

from __future__ import annotations

import random
import time
from typing import Final

from ...errors import LockLostError, LockTimeoutError
from ...stores.base import Conflict, Saved
from ..clock import is_running
from ..entries.record import Committed, Record
from .commit import Merger

#: Seconds that a lock may be held at the most: a day, for a worker. A stored lease that ends later was made before the
#: clock was set back, or is damaged. It would keep all requests out for as long as it says.
LONGEST_LEASE: Final = 24 * 3600


def take_lease(merger: Merger, *, timeout: float, lease: float) -> Committed | None:
    """Take the session's lock, saving the request's changes with it; ``commit(release=True)`` gives it back.

    The lock is a lease in the session's own entry with a fencing number that grows with each holder. A commit
    that meets a greater one comes from a holder that overslept, and is refused. None: the session is gone.

    Raises :class:`LockTimeoutError` after ``timeout`` seconds of somebody else holding it.
    """
    deadline, namespace = time.monotonic() + timeout, merger.namespace
    while merger.ready():
        current = merger.record
        now = namespace.now_ms()
        if not is_running(current.header.lease_until, now, LONGEST_LEASE):
            header = merger.header._replace(
                fence=(current.header.fence + 1) & 0xFFFFFFFF,
                lease_until=now + int(lease * 1000),
            )
            result = namespace.replace(current, header, merger.values)
            if type(result) is Saved:
                held = Record(current.ticket, current.key, result.version, header, merger.values)
                return Committed(held, merger.merged, merger.conflicts)
            if type(result) is not Conflict or not merger.meet(result.entry):
                return None
        if time.monotonic() >= deadline:
            raise LockTimeoutError(
                f"another request has held this session's lock for longer than {timeout:g} s; try again"
            )
        time.sleep(random.uniform(0.002, 0.02))  # noqa: S311  spreads the waiting, hides nothing
        entry = namespace.store.load(merger.record.key)
        if entry is None or not merger.meet(entry):
            break
    return None


def check_fence(record: Record, fence: int | None) -> None:
    """Raise LockLostError if ``fence``, of a lock's holder, is not the session's any more."""
    if fence is not None and record.header.fence != fence:
        raise LockLostError(
            "the lock's lease ran out and another request took it; what was changed under the lock is not "
            "saved. Hold the lock for less time, or give lock() a longer lease."
        )
