"""``session.lock()``: keeping other requests out of a session, by a lease in its own entry with a fencing number."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from .. import signals
from ..core.entries.record import Committed, Record
from ..core.sessions.lease import LONGEST_LEASE
from ..core.values.own_keys import USER_KEY
from ..errors import LockLostError
from .outage import SessionUnavailable
from .work import SessionWork


@contextmanager
def lock(work: SessionWork, timeout: float, lease: float) -> Iterator[None]:
    """Do :meth:`.session.ServerSession.lock`."""
    if not (0 <= timeout < math.inf and 0 < lease <= LONGEST_LEASE):
        raise ValueError(
            f"timeout must be 0 or more seconds, not {timeout!r}, and lease more than 0 and at most {LONGEST_LEASE}, "
            f"not {lease!r}"
        )
    if work.record is None or work.locked or work.cleared:
        yield
        return
    repository = work.repository
    changes = work.changes()
    if USER_KEY in changes:
        # The lock would save it under the old ticket.
        with work.outage():
            work.commit_stored(work.record, changes)
        changes = {}
    held: Committed | None = None
    if work.record is not None:
        with work.outage():
            held = repository.lock(work.record, changes, timeout=timeout, lease=lease)
    if held is None:
        work.discard("gone")
        raise LockLostError("the session has ended meanwhile, so there is nothing to lock")
    _resume(work, held)
    work.locked = True
    try:
        yield
    finally:
        work.locked = False
        if work.record is not None and not work.cleared:
            _release(work, work.record)


def _release(work: SessionWork, record: Record) -> None:
    repository = work.repository
    rotates = False
    try:
        changes = work.changes()
        rotates = USER_KEY in changes
        with work.outage():
            if rotates:
                committed = repository.rotate(record, changes, fence=record.header.fence, login=work.begun)
            else:
                committed = repository.commit(record, changes, release=True)
    except LockLostError:
        # Nor may the end of the request save them.
        work.forget_changes()
        raise
    except SessionUnavailable:
        raise
    except Exception:
        # What was changed can't be stored or merged; that is no reason to keep the others out.
        with work.outage():
            repository.commit(record, {}, release=True)
        raise
    if committed is None:
        work.discard("gone")
        return
    _resume(work, committed)
    if rotates:
        work.rotating = False
        sid = committed.record.sid
        work.send(signals.session_rotated, sid=sid, old_sid=record.sid, reason="privilege")


def _resume(work: SessionWork, committed: Committed) -> None:
    """Go on in the same request from what is stored now."""
    work.report(committed)
    work.continue_from(committed.record)
