"""Answer 503 while the store is down, whatever the view returns."""

from __future__ import annotations

import logging
from typing import Final

from flask import Flask, Response
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import ServiceUnavailable

from ..errors import StoreError

log = logging.getLogger("flask_cloakroom.sessions")

#: The Retry-After header in seconds: about the time that a restart of Redis takes.
RETRY_AFTER: Final = 5


class SessionUnavailable(ServiceUnavailable):
    """A request needs its session, and the store failed. The application's error handler for 503 can show a page."""

    description = "The service cannot look up your session at the moment. Please try again shortly."

    def __init__(self) -> None:
        super().__init__(retry_after=RETRY_AFTER)


class WaitedTooLong(SessionUnavailable):
    """A thread has waited too long for another thread of its request. The other thread and the request do not fail."""


def answer_store_errors(app: Flask) -> None:
    """Answer 503 if a view raises StoreError, unless the application has an error handler for StoreError.

    A view can cause a StoreError without its session, for example when it lists a user's sessions.
    """

    def answer(error: StoreError) -> ResponseReturnValue:
        log.error("the session store failed, so this request gets a 503: %s", error)
        return app.handle_user_exception(SessionUnavailable())

    if StoreError not in app.error_handler_spec[None][None]:
        app.register_error_handler(StoreError, answer)


def make_unavailable(app: Flask, response: Response) -> None:
    """Change ``response`` itself into a 503, with the page of the application's error handler for 503 if it has one.

    The view's own page would be wrong: it was made without the session, or it says that the changes were saved. A
    response that already has the status 503 keeps its page.
    """
    if response.status_code != 503:
        page = app.make_response(app.handle_user_exception(SessionUnavailable()))
        old_body = response.response
        page.direct_passthrough = response.direct_passthrough = False
        response.status_code = 503  # also if the application's page has another status
        response.headers.clear()
        response.headers.extend(page.headers)
        response.set_data(page.get_data())
        close = getattr(old_body, "close", None)
        if close is not None:
            close()
    response.headers.setdefault("Retry-After", str(RETRY_AFTER))
    response.headers["Cache-Control"] = "no-store"
