"""Let parallel requests of one browser that make the same login share one session.

A browser whose session has expired may send several requests with the same remember token. All of them log in to the
session of one ticket, which each request derives from that token.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any, Final

from .. import signals
from ..core.entries.record import Absence, Committed, Record
from ..core.values import codec
from ..core.values.rebase import Changes, Values, rebase
from ..secret import as_secrets
from .work import SessionWork

#: The longest wait in seconds until a parallel request has made the shared session, which takes a few store commands.
#: If the wait times out, this request goes on as anonymous; the browser's next request is logged in again.
JOIN_PATIENCE: Final = 1.0


def join(work: SessionWork, ticket: str, login: Mapping[str, Any], *, first: bool) -> bool:
    """Use the session of ``ticket`` from now on, or create it with the session keys in ``login``.

    This request's own changes stay in the session. The first request without a stored session creates the session of
    ``ticket``. A request with a stored session moves that session to ``ticket`` only if ``first`` is True, and waits
    for the move by the first request otherwise.

    Return True if this request uses the session of ``ticket`` now. Return False if that session has ended or was never
    made. Then the keys of ``login`` may be in the request's present session, and the caller must remove these keys.

    Raises SessionUnavailable, SessionValueError, SessionTooLargeError, SessionLimitError.
    """
    may_create = work.record is None and not work.superseded
    with work.outage():
        found = _wait_for(work, ticket, 0 if first or may_create else JOIN_PATIENCE)
        if found is None and may_create:
            work.update(login)
            made = work.create(work.changes(), ticket)
            if made is not None:
                work.continue_from(made)
                work.send(signals.session_created, made)
                return True
            found = _wait_for(work, ticket, 0)
    if found is not None:
        _switch_to(work, found, login)
    elif first and work.record is not None:
        work.next_ticket = ticket
        work.update(login)
        work.rotate()
        work.save_now()
    return work.record is not None and (found is not None or first)


def _wait_for(work: SessionWork, ticket: str, patience: float) -> Record | None:
    """Return the session of a ticket. Wait up to ``patience`` seconds until it is stored. After that return None.

    Return None immediately if the session of the ticket has ended.
    """
    deadline = time.monotonic() + patience
    while True:
        found = work.repository.load(ticket)
        if isinstance(found, Record):
            return found
        if found is not Absence.UNKNOWN or time.monotonic() >= deadline:
            return None
        time.sleep(random.uniform(0.005, 0.02))  # noqa: S311  random, or all waiting requests ask at the same time


def _switch_to(work: SessionWork, record: Record, login: Mapping[str, Any]) -> None:
    """Use the session of ``record`` from now on, and merge this request's changes into it.

    If this request called ``clear()``, keep only the keys of ``login`` and the keys that were set after ``clear()``.
    """
    changes = work.changes()
    strategies = work.repository.strategies
    values, conflicts = rebase(as_secrets(work.stored_values), as_secrets(record.values), changes, strategies)
    _apply(work, record, changes, values, login)
    work.send_conflicts(Committed(record, True, conflicts))


def _apply(work: SessionWork, record: Record, changes: Changes, values: Values, login: Mapping[str, Any]) -> None:
    objects = {key: work[key] for key, packed in changes.items() if packed is not None}
    cleared = work.cleared
    work.start_over_from(record)
    for key in changes:
        if key not in values:
            work.pop(key, None)
        elif values[key] != record.values.get(key):
            # Keep the view's own object if the merge did not change its value: the view may change that object later.
            work[key] = objects[key] if values[key] == changes[key] else codec.unpack(values[key])
    if cleared:
        for key in record.values.keys() - changes.keys() - login.keys():
            work.pop(key, None)
