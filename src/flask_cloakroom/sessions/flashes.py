"""Flash messages: each is shown once, by the response that rendered it, and by another one if that failed.

Flask keeps them in the session, as a list of category and message, and a page that shows them takes the list out. Were
that saved with the session, at the end, a page that is made at the same moment would show them too. So they are taken
in the store at once, on a lease: at the end of the request the taking is settled, after an exception they are given
back, and those of a process that died come back when the lease is over.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, Final

from flask import Flask, got_request_exception, has_request_context

from ..context import clear_flash_cache, this_session
from ..core.entries.record import Committed
from ..core.values.flashes import ShownFlashes, lease_all, merge_waiting, messages_in, with_leases_back
from ..core.values.merge import remaining_and_added
from ..core.values.own_keys import FLASH_LEASES, FLASHES
from ..core.values.rebase import Changes, Values
from ..errors import SessionTooLargeError, StoreError
from .work import SessionWork

log = logging.getLogger("flask_cloakroom.sessions")

_KEYS: Final = (FLASHES, FLASH_LEASES)


def take(work: SessionWork) -> Any:
    """Return the messages, and remove them so that no other response shows them. They must be there.

    Raises SessionUnavailable.
    """
    shown = work[FLASHES]
    if type(shown) is not list:
        del work[FLASHES]  # not of Flask's making
        return shown
    if FLASHES not in work.stored or work.record is None:
        # Nobody else can see them yet.
        del work[FLASHES]
        _note(work, None, shown)
        return shown
    read = work.stored[FLASHES]
    before = messages_in(work.stored)
    left, own = remaining_and_added(before, shown)
    # A streamed body is made when the session has been saved, and nothing will be settled any more.
    name = None if work.closed else secrets.token_hex(8)
    found: list[Any] = []

    def edit(values: Values) -> Changes:
        nonlocal found
        # Nearly always nobody has written since, and there is nothing to merge.
        found = left if values.get(FLASHES) == read else merge_waiting(before, left, values)
        return lease_all(values, name, found, work.repository.now_ms())

    with work.outage():
        try:
            committed = _edit(work, edit)
        except SessionTooLargeError:
            # The session is full, so that there is no room for a lease. Without this no page could show what is in it.
            name = None
            committed = _edit(work, edit)
    if committed is None:
        # The session is over, and so is what this request has of it: nobody else will show them.
        del work[FLASHES]
        return shown
    _note(work, name if found else None, own if name else found + own)
    return found + own


def _note(work: SessionWork, name: str | None, own: list[Any]) -> None:
    taken = work.taken = work.taken or ShownFlashes()
    taken.own = taken.own + own
    if name is not None:
        taken.names.append(name)


def settle(work: SessionWork) -> None:
    """The response is made: what it shows is gone for good when the session is saved."""
    taken, work.taken = work.taken, None
    if taken is None or not taken.names or type(claims := work.get(FLASH_LEASES)) is not dict:
        return
    others = {name: claim for name, claim in claims.items() if name not in taken.names}
    if others:
        work[FLASH_LEASES] = others
    else:
        del work[FLASH_LEASES]


def give_back(work: SessionWork) -> None:
    """What was taken is not shown: the page that was to show it failed."""
    taken, work.taken = work.taken, None
    later = work.get(FLASHES, [])  # flashed since
    if taken is None or type(later) is not list:
        return
    before: list[Any] = []
    if taken.names and work.record is not None and not work.failed:
        _, later = remaining_and_added(messages_in(work.stored), later)
        try:
            _edit(work, lambda values: with_leases_back(values, taken.names))
        except StoreError as error:
            log.warning("flash messages come back only when their lease is over: %s", error)
        before = work.get(FLASHES, [])
    if taken.own or later:
        work[FLASHES] = before + taken.own + later


def _edit(work: SessionWork, edit: Callable[[Values], Changes]) -> Committed | None:
    """Change the stored messages; whatever else this request has changed stays its own, and is merged at its end."""
    record = work.record
    assert record is not None
    committed = work.repository.edit(record, edit)
    if committed is not None:
        now = committed.record
        values = {key: packed for key, packed in record.values.items() if key not in _KEYS}
        values |= {key: now.values[key] for key in _KEYS if key in now.values}
        # Where others have written too, the version stays what was read, so that the commit finds that out and merges.
        work.restate(replace(record if committed.merged else now, values=values), _KEYS)
    return committed


# -- the seam to Flask ------------------------------------------------------------------------------------


def watch_failures(app: Flask) -> None:
    """Give messages back when a request fails, before the page is made that says so: that one may show them."""
    handle: Any = app.handle_user_exception

    @wraps(handle)
    def handle_user_exception(*arguments: Any) -> Any:
        _on_failure()
        return handle(*arguments)

    app.handle_user_exception = handle_user_exception  # type: ignore[method-assign, assignment]
    got_request_exception.connect(_on_failure, app)  # what fails after the view


def _on_failure(*_: Any, **__: Any) -> None:
    found: Any = this_session() if has_request_context() else None
    if isinstance(found, SessionWork) and found.taken is not None:
        give_back(found)
        clear_flash_cache()
