"""How requests of one browser that begin the same login at the same time end on one session."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from .. import signals
from ..core.entries.record import Absence, Committed, Record
from ..core.values import codec
from ..core.values.rebase import Changes, Values, rebase
from ..secret import hidden

if TYPE_CHECKING:
    from .session import ServerSession

#: How long a request waits for another one of the same browser to make the session in which both go on; seconds. That
#: takes a few store commands. One that waited in vain is nobody's, and the next is somebody's again.
PATIENCE: Final = 1.0


def adopt(session: ServerSession, ticket: str, contents: Mapping[str, Any], *, first: bool) -> bool:
    """Go on as the session of this ticket; where there is none, make it of the present one and ``contents``.

    Whoever comes first makes it, and what each of the requests has changed so far stays. A session that is stored
    already is moved there only by the request that is ``first``; the others wait for that. False: the session of that
    ticket has ended, or was never made; then ``contents`` may be in the present session, which is to be cleaned.

    Raises SessionUnavailable, SessionValueError, SessionTooLargeError, SessionLimitError.
    """
    session._opened()
    begins = session._record is None and not session.superseded
    with session._outage():
        found = _await(session, ticket, 0 if first or begins else PATIENCE)
        if found is None and begins:
            if _begin(session, ticket, contents):
                return True
            found = _await(session, ticket, 0)
    if found is not None:
        _become(session, found, contents)
    elif first and session._record is not None:
        session._destination = ticket
        session.update(contents)
        session.rotate()
        session.save_now()
    return session._record is not None and (found is not None or first)


def _begin(session: ServerSession, ticket: str, contents: Mapping[str, Any]) -> bool:
    session.update(contents)
    values = {key: packed for key, packed in session._changes().items() if packed is not None}
    repository = session._interface.repository
    made = repository.create_at(ticket, values, permanent=session.permanent, begun=session._login)
    if made is None:
        return False
    session._cookie = ticket
    session._record = made
    session._rebase(made.values)
    session._send(signals.session_created, sid=made.sid)
    return True


def _await(session: ServerSession, ticket: str, patience: float) -> Record | None:
    """Return the session of a ticket; if there is none, wait for who is making it, for so many seconds."""
    deadline = time.monotonic() + patience
    while True:
        found = session._interface.repository.load(ticket)
        if isinstance(found, Record):
            return found
        if found is not Absence.UNKNOWN or time.monotonic() >= deadline:
            return None
        time.sleep(random.uniform(0.005, 0.02))  # noqa: S311  spreads the tries, hides nothing


def _become(session: ServerSession, record: Record, login: Mapping[str, Any]) -> None:
    """Go on as another session, with what this request has changed so far merged into it.

    A request that cleared its session has cleared this one too, but for the ``login``.
    """
    changes = session._changes()
    strategies = session._interface.repository.strategies
    values, contested = rebase(hidden(session._base), hidden(record.values), changes, strategies)
    _go_on(session, record, changes, values, login)
    session._report(Committed(record, True, contested))


def _go_on(session: ServerSession, record: Record, changes: Changes, values: Values, login: Mapping[str, Any]) -> None:
    data = session._data or {}
    live = {key: data[key] for key, packed in changes.items() if packed is not None}
    cleared = session._cleared
    session._record, session._absence, session._cookie, session._found = record, None, record.ticket, True
    session._rotating = session._cleared = False
    session._begin(record.values)
    for key in changes:
        if key not in values:
            session.pop(key, None)
        elif values[key] != record.values.get(key):
            # The view's own object where it can be, because the view may go on changing it.
            session[key] = live[key] if values[key] == changes[key] else codec.unpack(values[key])
    if cleared:
        for key in record.values.keys() - changes.keys() - login.keys():
            session.pop(key, None)
