"""Let parallel requests of one browser that make the same login share one session.

A browser whose session has expired may send several requests with the same remember token. All of them log in to the
session of one ticket, which each request derives from that token.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .. import signals
from ..core.entries.ownership import NewLogin
from ..core.entries.record import Absence, Committed, Record
from ..core.values.rebase import Changes, rebase
from ..secret import as_secrets
from .work import DELETED_AT_ROTATION, SessionWork

#: The longest wait in seconds until a parallel request has made the shared session, which takes a few store commands.
#: After that the parallel request has failed, and the waiting request makes the session.
JOIN_PATIENCE: Final = 1.0


@dataclass(frozen=True, slots=True)
class SharedLogin:
    """A login that parallel requests of one browser make in the session of one ticket."""

    ticket: str
    #: The packed session keys of the login. A key with the value None must not be in the session.
    changes: Changes
    new_login: NewLogin
    #: The owner name of the user.
    owner: str
    #: Whether this request is the first one with the ticket. Other requests wait for the first one.
    first: bool
    #: The tickets of sessions of the same login that no browser has, the newest first. If this request has no stored
    #: session, the values of the newest one move to the session of :attr:`ticket`. The other sessions end.
    earlier: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"<SharedLogin first={self.first}>"


def join(work: SessionWork, login: SharedLogin) -> bool:
    """Use the session of a shared login from now on. Make the session if no other request makes it.

    The session gets the values of this request's stored session, which moves there. The changes that this request has
    not saved yet stay pending in the new session. So if their save fails, the login is not lost.

    Return True if this request uses the session of the login now. Return False, and change nothing, if that session has
    ended. Raises SessionUnavailable, SessionValueError, SessionTooLargeError, SessionLimitError, LockLostError.
    """
    made: Committed | None = None
    with work.outage():
        found = Absence.UNKNOWN if login.first else _wait_for(work, login.ticket)
        # A request that is older than a login or logout makes no session, unless that was the login of the same token.
        if found is Absence.UNKNOWN and (login.earlier or not work.superseded):
            source = _source_of(work, login)
            made = _make(work, login, source)
            found = work.repository.load(login.ticket) if made is None else made.record  # None: another was faster
    if not isinstance(found, Record):
        return False
    _switch_to(work, found, login, is_made=made is not None)
    if made is not None and source is None:
        work.send(signals.session_created, found)
    elif made is not None and source is not None:
        work.send(signals.session_rotated, found, old_sid=source.sid, reason="privilege")
        work.send_conflicts(made)
    return True


def _wait_for(work: SessionWork, ticket: str) -> Record | Absence:
    """Return the session of a ticket. Wait up to :data:`JOIN_PATIENCE` seconds until it is stored.

    After that return Absence.UNKNOWN. Return another reason immediately if the session of the ticket has ended.
    """
    deadline = time.monotonic() + JOIN_PATIENCE
    while True:
        found = work.repository.load(ticket)
        if found is not Absence.UNKNOWN or time.monotonic() >= deadline:
            return found
        time.sleep(random.uniform(0.005, 0.02))  # noqa: S311  random, or all waiting requests ask at the same time


def _source_of(work: SessionWork, login: SharedLogin) -> Record | None:
    """End the earlier sessions of a login, and return the session that moves to its ticket, or None for a new session.

    A browser sends its token because it has lost its session. If a thief has that session, made with a copy of the
    token, the thief must send the copy again, which is then detected. The earlier sessions end before the new one is
    made, because a session limit must not count both.
    """
    repository = work.repository
    unseen = [found for ticket in login.earlier if isinstance(found := repository.load(ticket), Record)]
    source = work.record or (unseen[0] if unseen else None)
    for record in unseen:
        if record is not source:
            repository.destroy(record)
    kept = {repository.tickets.fingerprint(login.ticket)} | ({source.key} if source is not None else set())
    repository.owners.end_sessions(login.owner, login.new_login.handle, except_for=kept)
    return source


def _make(work: SessionWork, login: SharedLogin, source: Record | None) -> Committed | None:
    """Store the session of a shared login, and return it. Return None if another request has stored or ended it."""
    work.new_login = login.new_login
    if source is None:
        made = work.create(login.changes, login.ticket)
        return None if made is None else Committed(made, False, ())
    fence = source.header.fence if work.holds_lock and source is work.record else None
    changes = dict.fromkeys(_deleted_keys(work)) | dict(login.changes)
    return work.repository.rotate(source, changes, login=login.new_login, ticket=login.ticket, fence=fence)


def _deleted_keys(work: SessionWork) -> set[str]:
    """Return the session keys that every rotation deletes."""
    return set(work.interface.app.extensions.get(DELETED_AT_ROTATION, ()))


def _switch_to(work: SessionWork, record: Record, login: SharedLogin, *, is_made: bool) -> None:
    """Use the session of ``record`` from now on, and merge this request's changes into it.

    If this request called ``clear()``, keep only the keys of the login and the keys that were set after ``clear()``.
    ``is_made``: this request has made the session.
    """
    dropped = set(login.changes)
    if is_made and work.record is not None:
        dropped |= _deleted_keys(work)  # the secrets of the session before the rotation
    changes = work.changes()
    kept = {key: packed for key, packed in changes.items() if key not in dropped}
    strategies = work.repository.strategies
    values, conflicts = rebase(as_secrets(work.stored_values), as_secrets(record.values), kept, strategies)
    if work.cleared:
        values = {key: packed for key, packed in values.items() if key in kept or key in dropped}
    work.start_over_from(record, changes, values, was_stored=not is_made)
    work.send_conflicts(Committed(record, True, conflicts))
