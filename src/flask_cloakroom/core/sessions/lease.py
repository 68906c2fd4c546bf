"""The lock of a session: a lease in the header of the session's entry, with a fence that grows by 1 with each lock."""

from __future__ import annotations

import random
import time
from typing import Final

from ...errors import LockLostError, LockTimeoutError
from ...stores.base import Conflict, Saved
from ..clock import is_running
from ..entries.record import Committed
from .commit import Commit

#: The longest lease in seconds: one day, for a long job. If a lease in the store has more time left, it is damaged or
#: was made before the clock was set back. Such a lease is ignored, because it would block all requests until its end.
LONGEST_LEASE: Final = 24 * 3600


def take_lease(commit: Commit, *, timeout: float, lease: float) -> Committed | None:
    """Take the session's lock, and save the request's changes in the same write. Return None if the session has ended.

    ``lease``: the length of the lease in seconds. After it, other requests can take the lock, even if this request did
    not release it. ``Repository.commit(release=True)`` releases the lock earlier. ``timeout``: the longest wait for the
    lock, in seconds. Raises :class:`LockTimeoutError` if another request still has the lock after this time.
    """
    deadline, namespace = time.monotonic() + timeout, commit.namespace
    while commit.await_turn():
        current = commit.record
        now = namespace.now_ms()
        if not is_running(current.header.lease_until, now, LONGEST_LEASE):
            fence = (current.header.fence + 1) & 0xFFFFFFFF
            header = commit.header._replace(fence=fence, lease_until=now + int(lease * 1000))
            result = namespace.replace(current, header, commit.values)
            if type(result) is Saved:
                return commit.committed(result.version, header)
            if type(result) is not Conflict or not commit.rebase_entry(result.entry):
                return None
        if time.monotonic() >= deadline:
            raise LockTimeoutError(
                f"Another request has held this session's lock for longer than {timeout:g} s. Try the request again."
            )
        time.sleep(random.uniform(0.002, 0.02))  # noqa: S311  no secret: it only spreads the tries
        entry = namespace.store.load(commit.record.key)
        if entry is None or not commit.rebase_entry(entry):
            break
    return None


def lock_lost() -> LockLostError:
    """Return the error for a commit under a lock whose lease has ended, so that another request has taken the lock."""
    return LockLostError(
        "Another request took the lock after its lease ended, so the changes under the lock are not saved. "
        "Hold the lock for less time, or give lock() a longer lease."
    )
