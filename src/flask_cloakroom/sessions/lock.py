"""``session.lock()``: keeping other requests out of a session, by a lease in its own entry with a fencing number."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .. import signals
from ..core.entries.record import Committed, Record
from ..core.sessions.lease import LONGEST_LEASE
from ..core.values.own_keys import USER_KEY
from ..errors import LockLostError
from .outage import SessionUnavailable

if TYPE_CHECKING:
    from .session import ServerSession


@contextmanager
def lock(session: ServerSession, timeout: float, lease: float) -> Iterator[None]:
    """Do :meth:`.session.ServerSession.lock`."""
    if not (0 <= timeout < math.inf and 0 < lease <= LONGEST_LEASE):
        raise ValueError(
            f"timeout must be 0 or more seconds, not {timeout!r}, and lease more than 0 and at most {LONGEST_LEASE}, "
            f"not {lease!r}"
        )
    session._opened()
    if session._record is None or session._locked or session._cleared:
        yield
        return
    repository = session._interface.repository
    changes = session._changes()
    if USER_KEY in changes:
        # The lock would save it under the old ticket.
        session._rotating = True
        with session._outage():
            session._commit_stored(session._record, changes, False, False)
        changes = {}
    held: Committed | None = None
    if session._record is not None:
        with session._outage():
            held = repository.lock(session._record, changes, timeout=timeout, lease=lease)
    if held is None:
        session._discard("gone")
        raise LockLostError("the session has ended meanwhile, so there is nothing to lock")
    _resume(session, held)
    session._locked = True
    try:
        yield
    finally:
        session._locked = False
        if session._record is not None and not session._cleared:
            _release(session, session._record)


def _release(session: ServerSession, record: Record) -> None:
    repository = session._interface.repository
    rotates = False
    try:
        changes = session._changes()
        rotates = USER_KEY in changes
        with session._outage():
            if rotates:
                committed = repository.rotate(record, changes, fence=record.header.fence, begun=session._login)
            else:
                committed = repository.commit(record, changes, release=True)
    except LockLostError:
        # Nor may the end of the request save them.
        session._begin(record.values)
        raise
    except SessionUnavailable:
        raise
    except Exception:
        # What was changed can't be stored or merged; that is no reason to keep the others out.
        with session._outage():
            repository.commit(record, {}, release=True)
        raise
    if committed is None:
        session._discard("gone")
        return
    _resume(session, committed)
    if rotates:
        session._rotating = False
        sid = committed.record.sid
        session._send(signals.session_rotated, sid=sid, old_sid=record.sid, reason="privilege")


def _resume(session: ServerSession, committed: Committed) -> None:
    """Go on in the same request from what is stored now."""
    session._report(committed)
    if session._record is not None and committed.record.ticket != session._record.ticket:
        session._cookie = committed.record.ticket  # another request renewed it meanwhile
    session._record = committed.record
    session._rebase(committed.record.values)
