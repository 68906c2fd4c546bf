"""Save all that one request changed, or nothing of it, and finish its response.

1. Pack and check everything, so that only the store can fail later.
2. Save the companions, such as the user's data.
3. Save the sessions of user kinds, and then the session of the application's own users.
4. If a save fails, undo the saves before it by compare-and-set.
5. If all saves succeeded, add the headers and cookies of this package to the response.

Flask has no hook that is called after the save of the session, and none for an error page that fails itself. So this
module replaces three methods of the application by functions that call the replaced method.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from functools import partial, wraps
from typing import Any, Final, Protocol

from flask import Flask, Request, Response, got_request_exception

from ..caching import add_vary
from ..context import peek_at_session, this_request
from ..first_use import FirstUse
from .flashes import confirm_shown, put_back_on_failure
from .outage import SessionUnavailable, make_unavailable
from .work import Companion, SessionWork

log = logging.getLogger("flask_cloakroom.sessions")

#: The key in ``app.extensions`` of the parts of a response, a dict.
_PARTS: Final = "flask_cloakroom.sessions response parts"
#: The name of the attribute of the request object that is True after the response got all headers and cookies.
_FINISHED: Final = "_flask_cloakroom_response_finished"
#: The name of the attribute of the request object that is True if the response is a 503, because the store failed.
_UNAVAILABLE: Final = "_flask_cloakroom_response_unavailable"
#: The name of the attribute of the request object that is True after a response could not be made.
_FAILED: Final = "_flask_cloakroom_response_failed"


def finish(app: Flask, works: Sequence[SessionWork], response: Response) -> None:
    """Save the sessions ``works`` of a request with their companions, and set their cookies in ``response``.

    If the store fails, ``response`` becomes a 503. Raises SessionValueError, SessionTooLargeError, SessionLimitError,
    and the errors of merge strategies. Then nothing is saved, and the page for the error can use the sessions.
    """
    works[-1].run_alone(partial(_save_or_roll_back, app, works))
    # After the run, because the error page and the functions after the save may use the session.
    if works[0].failed:
        this_request().__dict__[_UNAVAILABLE] = True
        make_unavailable(app, response)
    for work in works:
        if not work.failed:
            work.make_saves_final()
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
            work.shown_flashes = flashes
        for work in works[0].works_of_request():
            work.closed = False  # Flask makes an error response, and calls finish() for it again
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


# -- the other parts of this package, and Flask ----------------------------------------------------------------


class ResponsePart(Protocol):
    """A part of this package that adds headers or cookies to a response, such as the logins."""

    def finish_response(self, request: Request, response: Response) -> None:
        """Add headers and cookies to the response of ``request``, whose session was saved."""

    def roll_back(self, request: Request) -> None:
        """Discard the headers and cookies for ``request``, because its session could not be saved."""


def add_response_part(app: Flask, key: Hashable, part: ResponsePart) -> None:
    """Call ``part`` for each response of ``app``, in place of an earlier part with the same ``key``."""
    parts: dict[Hashable, ResponsePart] = app.extensions.setdefault(_PARTS, {})
    if not parts:
        _finish_responses(app, parts)
    parts[key] = part


def roll_back_parts(app: Flask) -> None:
    """Call :meth:`ResponsePart.roll_back` of each part of ``app``. Signals are sent after all of these calls."""

    def roll_back() -> None:
        for part in app.extensions.get(_PARTS, {}).values():
            part.roll_back(this_request())

    FirstUse().run_alone(roll_back)


def has_finished(request: Request) -> bool:
    """Return True if the response of ``request`` has all its cookies, so that no other cookie can be sent."""
    return _FINISHED in request.__dict__


def _discard_unsaved(app: Flask) -> None:
    """Let the error page that Flask makes now save and send nothing of the request before.

    An ``after_request`` function has failed, or the session cannot be saved. Only with Flask's own session the error
    page sends the changes of the session, so it sends the login's cookies too, unless the error page fails itself.
    """
    # A function of its own, because an error report shows the local variables of the caller, and Flask's own session is
    # a dict.
    session, request = peek_at_session(), this_request()
    is_on_server = isinstance(session, SessionWork)
    for work in session.works_of_request() if is_on_server else ():
        if not work.closed:
            work.rollback()
    if not session.closed if is_on_server else _FAILED in request.__dict__:
        roll_back_parts(app)
    request.__dict__[_FAILED] = True


def _finish_responses(app: Flask, parts: dict[Hashable, ResponsePart]) -> None:
    process: Any = app.process_response

    @wraps(process)
    def process_response(*arguments: Any) -> Any:
        try:
            response = process(*arguments)
        except Exception:
            _discard_unsaved(app)
            raise
        request = this_request()
        if _UNAVAILABLE not in request.__dict__:
            for part in parts.values():
                part.finish_response(request, response)
        request.__dict__[_FINISHED] = True
        return response

    app.process_response = process_response  # type: ignore[method-assign, assignment]


def answer_failures(app: Flask) -> None:
    """Answer a failed store with a 503, even if the error page of ``app`` or an ``after_request`` function fails too.

    Before each error page, put the flash messages of the failed response back, because the error page may show them.
    """
    handle_in_view: Any = app.handle_user_exception
    handle: Any = app.handle_exception

    @wraps(handle_in_view)
    def handle_user_exception(*arguments: Any) -> Any:
        put_back_on_failure()
        failure = arguments[-1] if isinstance(arguments[-1], SessionUnavailable) else None
        try:
            return handle_in_view(*arguments)
        except SessionUnavailable as error:
            if failure is None:
                return handle_user_exception(*arguments[:-1], error)
        except Exception:
            if failure is None:
                raise
            log.exception("the application's page for the status 503 failed, so a plain page is sent")
        return failure.get_response()

    @wraps(handle)
    def handle_exception(*arguments: Any) -> Any:
        if not isinstance(arguments[-1], SessionUnavailable):
            try:
                return handle(*arguments)
            except SessionUnavailable as error:  # the error page for 500 uses the session too
                arguments = (*arguments[:-1], error)
        answer: Any = app.handle_user_exception
        response = app.make_response(answer(*arguments))
        make_unavailable(app, response)
        finalize: Any = app.finalize_request
        return finalize(*arguments[:-1], response, from_error_handler=True)

    app.handle_user_exception = handle_user_exception  # type: ignore[method-assign, assignment]
    app.handle_exception = handle_exception  # type: ignore[method-assign, assignment]
    got_request_exception.connect(put_back_on_failure, app)  # for errors after the view, such as in after_request
