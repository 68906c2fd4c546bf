"""``session.lock()``: let one request of a session at a time run a block, by a lease and fence in the session's entry.

The lease is a time in the header of the entry, and the fence is the number of the lease.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from .. import signals
from ..core.entries.record import Committed, Record
from ..core.sessions.lease import LONGEST_LEASE
from ..core.values.own_keys import USER_KEY
from ..core.values.rebase import Changes
from ..errors import LockLostError
from .outage import SessionUnavailable
from .work import SessionWork


@contextmanager
def lock(work: SessionWork, timeout: float, lease: float) -> Iterator[None]:
    """Run the ``with`` block with the session's lock: the work of :meth:`.session.ServerSession.lock`.

    ``timeout`` and ``lease`` are in seconds. Raises LockTimeoutError, LockLostError, ValueError, SessionUnavailable.
    """
    if not (0 <= timeout < math.inf and 0 < lease <= LONGEST_LEASE):
        raise ValueError(
            f"session.lock() was called with timeout={timeout!r} and lease={lease!r}. The timeout must be 0 or more "
            f"seconds, and the lease more than 0 and at most {LONGEST_LEASE} seconds."
        )
    work.opened()
    entered: list[bool] = []
    work.run_alone(lambda: entered.append(_enter(work, timeout, lease)))
    try:
        yield
    finally:
        if True in entered:
            work.run_alone(partial(_leave, work))


def _enter(work: SessionWork, timeout: float, lease: float) -> bool:
    """Get the lock, unless another thread of the request has it. Return False if the session needs no lock."""
    if work.record is None or work.cleared:
        return False
    if work.lock_holders == 0:
        _acquire(work, work.record, timeout, lease)
    work.lock_holders += 1
    return True


def _leave(work: SessionWork) -> None:
    """Release the lock, unless another thread of the request is still in a block."""
    work.lock_holders -= 1
    if work.lock_holders == 0 and work.record is not None and not work.cleared:
        _release(work, work.record)


def _acquire(work: SessionWork, record: Record, timeout: float, lease: float) -> None:
    repository = work.repository
    changes: Changes = work.changes()
    if USER_KEY in changes:
        # A change of the user needs a new ticket, but repository.lock() saves under the old ticket. So rotate first.
        with work.outage():
            work.commit_stored(record, changes)
        changes = {}
    acquired: Committed | None = None
    if work.record is not None:
        with work.outage():
            acquired = repository.lock(work.record, changes, timeout=timeout, lease=lease)
    if acquired is None:
        work.discard("gone")
        raise LockLostError("The session has ended, so session.lock() cannot lock it. Let the visitor start again.")
    _continue_from(work, acquired, changes)


def _release(work: SessionWork, record: Record) -> None:
    repository = work.repository
    try:
        changes = work.changes()
        rotates = USER_KEY in changes
        with work.outage():
            if rotates:
                committed = repository.rotate(record, changes, fence=record.header.fence, login=work.new_login)
            else:
                committed = repository.commit(record, changes, release=True)
    except LockLostError:
        # Some of the changes were made after the lock was lost, so the end of the request must not save them either.
        work.forget_changes()
        raise
    except SessionUnavailable:
        raise
    except Exception:
        # The changes cannot be stored or merged. Release the lock: otherwise other requests wait until the lease ends.
        with work.outage():
            repository.commit(record, {}, release=True)
        raise
    if committed is None:
        work.discard("gone")
        return
    _continue_from(work, committed, changes)
    if rotates:
        work.rotation_requested = False
        work.send(signals.session_rotated, committed.record, old_sid=record.sid, reason="privilege")


def _continue_from(work: SessionWork, committed: Committed, sent: Changes) -> None:
    work.send_conflicts(committed)
    work.continue_from(committed.record, sent)
    work.make_saves_final()  # the block has other effects too, which an error later in the request does not undo
