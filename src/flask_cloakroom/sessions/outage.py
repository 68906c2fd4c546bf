"""What a visitor gets when the store is down: 503, whatever the view made of it."""

from __future__ import annotations

import logging
from typing import Final

from flask import Flask, Response
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import ServiceUnavailable

from ..errors import StoreError

log = logging.getLogger("flask_cloakroom.sessions")

#: Seconds after which a client may try again (the Retry-After header): about what a restart of Redis takes.
RETRY_AFTER: Final = 5


class SessionUnavailable(ServiceUnavailable):
    """The session was needed and the store did not answer. An error handler for 503 can give it a page."""

    description = "The service cannot look up your session at the moment. Please try again shortly."

    def __init__(self) -> None:
        super().__init__(retry_after=RETRY_AFTER)


def answer_store_errors(app: Flask) -> None:
    """Let a StoreError that leaves a view be a 503, as it is where the session cannot be loaded.

    A view may ask the store for more than its session, such as for the list of a user's sessions. The application's own
    handler for StoreError takes the place of this.
    """

    def answer(error: StoreError) -> ResponseReturnValue:
        log.error("the session store failed: %s", error)
        return app.handle_user_exception(SessionUnavailable())

    if StoreError not in app.error_handler_spec[None][None]:
        app.register_error_handler(StoreError, answer)


def make_unavailable(app: Flask, response: Response) -> None:
    """Turn ``response`` into a 503 in place, with the application's own page for it if there is one.

    A response that says so already keeps its page. Any other was made without knowing the session, or promises
    that something was saved which was not.
    """
    if response.status_code != 503:
        made = app.make_response(app.handle_user_exception(SessionUnavailable()))
        given_up = response.response
        made.direct_passthrough = response.direct_passthrough = False
        response.status_code = 503  # whatever the page says of itself
        response.headers.clear()
        response.headers.extend(made.headers)
        response.set_data(made.get_data())
        close = getattr(given_up, "close", None)
        if close is not None:
            close()
    response.headers.setdefault("Retry-After", str(RETRY_AFTER))
    response.headers["Cache-Control"] = "no-store"
