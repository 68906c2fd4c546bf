"""How requests of one browser that begin the same login at the same time end on one session."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any, Final

from ..core.entries.record import Absence, Committed, Record
from ..core.values import codec
from ..core.values.rebase import Changes, Values, rebase
from ..secret import as_secrets
from .work import SessionWork

#: How long a request waits for another one of the same browser to make the session in which both go on; seconds. That
#: takes a few store commands. One that waited in vain is nobody's, and the next is somebody's again.
PATIENCE: Final = 1.0


def adopt(work: SessionWork, ticket: str, contents: Mapping[str, Any], *, first: bool) -> bool:
    """Go on as the session of this ticket; where there is none, make it of the present one and ``contents``.

    Whoever comes first makes it, and what each of the requests has changed so far stays. A session that is stored
    already is moved there only by the request that is ``first``; the others wait for that. False: the session of that
    ticket has ended, or was never made; then ``contents`` may be in the present session, which is to be cleaned.

    Raises SessionUnavailable, SessionValueError, SessionTooLargeError, SessionLimitError.
    """
    begins = work.record is None and not work.superseded
    with work.outage():
        found = _await(work, ticket, 0 if first or begins else PATIENCE)
        if found is None and begins:
            work.update(contents)
            if work.create_at(ticket):
                return True
            found = _await(work, ticket, 0)
    if found is not None:
        _become(work, found, contents)
    elif first and work.record is not None:
        work.destination = ticket
        work.update(contents)
        work.rotate()
        work.save_now()
    return work.record is not None and (found is not None or first)


def _await(work: SessionWork, ticket: str, patience: float) -> Record | None:
    """Return the session of a ticket; if there is none, wait for who is making it, for so many seconds."""
    deadline = time.monotonic() + patience
    while True:
        found = work.repository.load(ticket)
        if isinstance(found, Record):
            return found
        if found is not Absence.UNKNOWN or time.monotonic() >= deadline:
            return None
        time.sleep(random.uniform(0.005, 0.02))  # noqa: S311  spreads the tries, hides nothing


def _become(work: SessionWork, record: Record, login: Mapping[str, Any]) -> None:
    """Go on as another session, with what this request has changed so far merged into it.

    A request that cleared its session has cleared this one too, but for the ``login``.
    """
    changes = work.changes()
    strategies = work.repository.strategies
    values, conflicts = rebase(as_secrets(work.stored), as_secrets(record.values), changes, strategies)
    _go_on(work, record, changes, values, login)
    work.report(Committed(record, True, conflicts))


def _go_on(work: SessionWork, record: Record, changes: Changes, values: Values, login: Mapping[str, Any]) -> None:
    live = {key: work[key] for key, packed in changes.items() if packed is not None}
    cleared = work.cleared
    work.switch_to(record)
    for key in changes:
        if key not in values:
            work.pop(key, None)
        elif values[key] != record.values.get(key):
            # The view's own object where it can be, because the view may go on changing it.
            work[key] = live[key] if values[key] == changes[key] else codec.unpack(values[key])
    if cleared:
        for key in record.values.keys() - changes.keys() - login.keys():
            work.pop(key, None)
