"""Save all that one request changed, or nothing of it.

1. Pack and check everything, so that only the store can fail later.
2. Save the companions, such as the user's data.
3. Save the sessions of user kinds, and then the session of the application's own users.
4. If a save fails, undo the saves before it by compare-and-set.

The response gets a cookie only if all saves succeeded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from flask import Flask, Response

from ..caching import add_vary
from .flashes import confirm_shown
from .outage import SessionUnavailable, make_unavailable
from .response import roll_back_parts
from .work import Companion, SessionWork


def finish(app: Flask, works: Sequence[SessionWork], response: Response) -> None:
    """Save the sessions ``works`` of a request with their companions, and set their cookies in ``response``.

    If the store fails, ``response`` becomes a 503. Raises SessionValueError, SessionTooLargeError, SessionLimitError,
    and the errors of merge strategies. Then nothing is saved, and the page for the error can use the sessions.
    """
    (works[0].main_work or works[0]).first_use.run(partial(_save_or_roll_back, app, works))
    if works[0].failed:
        make_unavailable(app, response)  # after the run, because the error page may use the session
    for work in works:
        _set_cookie(work, response)


def _save_or_roll_back(app: Flask, works: Sequence[SessionWork]) -> None:
    """Save the sessions with their companions, or none of them. Raises the errors of :func:`finish`."""
    shown = [work.shown_flashes for work in works]
    for work in works:
        if not work.failed:
            confirm_shown(work)
        work.closed = True
    try:
        if not works[0].failed:
            save_together(works)
    except SessionUnavailable:
        pass  # the works have failed now
    except Exception:
        for work, flashes in zip(works, shown, strict=True):
            work.rollback()
            # Flask makes an error response, and calls finish() for it again.
            work.shown_flashes, work.closed = flashes, False
        roll_back_parts(app)
        raise
    if works[0].failed:
        for work in works:
            work.rollback()
        roll_back_parts(app)


def save_together(works: Sequence[SessionWork]) -> None:
    """Save the sessions and their companions. Raises SessionUnavailable and the errors of :func:`finish`."""
    if len(works) == 1 and not works[0].companions:
        works[0].save()  # nearly all requests end here: one write is all or nothing by itself
        return
    parts: list[Companion] = [part for work in works for part in (work.companions or {}).values()]
    writers = [part for part in (*parts, *works) if part.has_changes]
    if len(writers) > 1:
        for part in writers:
            part.check()
    for part in writers:
        part.save()


def _set_cookie(work: SessionWork, response: Response) -> None:
    ticket, interface = work.response_ticket, work.interface
    if work.failed and not ticket:
        return
    if ticket is None:
        if work.is_opened:
            add_vary(response, "Cookie")
        return
    cookie, record = interface.settings.cookie, work.last_record
    if not ticket or record is None:
        cookie.delete(response)
        return
    lifetimes, now = interface.repository.lifetimes, interface.repository.clock()
    cookie.set(response, ticket, lifetimes.remaining(record.header, now) if record.header.permanent else None)
