"""Pages for errors. They show who is signed in if the session can be read, and work without the session otherwise."""

from __future__ import annotations

from flask import Flask, current_app, render_template, request
from flask.typing import ResponseReturnValue
from redis.exceptions import RedisError
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException, ServiceUnavailable

from flask_cloakroom import CSRFError, current_user, generate_csrf

from . import health

#: Icon, heading and advice of an error page.
Text = tuple[str, str, str]

#: The text for each status.
TEXTS: dict[int, Text] = {
    400: ("patch-question", "We could not read this request", "Please go back and try again."),
    403: ("door-closed", "You do not have access to this page", "Only operators can see this page."),
    404: ("signpost-split", "Page not found", "The page may have moved, or the link is wrong."),
    405: ("sign-turn-left", "This address cannot be opened directly", "Please use the buttons on our pages."),
    429: (
        "hourglass-top",
        "Too many attempts",
        "To protect our users we limit the number of attempts. Please wait some minutes and try again.",
    ),
    500: ("tools", "Something went wrong", "The error was logged. Please try again later."),
    503: (
        "hourglass-split",
        "Your session is temporarily unavailable",
        "Your data is safe, and you have not been signed out. Please try again in a moment.",
    ),
}
REDIS_IS_DOWN: Text = (
    "box-seam",
    "The shop is temporarily unavailable",
    "We cannot check the stock at the moment. Your cart is unchanged. Please try again in a moment.",
)
DATABASE_IS_DOWN: Text = (
    "person-badge",
    "Accounts are temporarily unavailable",
    "We cannot load your account at the moment. You have not been signed out. Please try again in a moment.",
)
BLOCKED: Text = (
    "shield-exclamation",
    "We blocked this request",
    "Nothing was changed. The request came from another site, or your browser did not report which page sent it. "
    "If you meant to do this, open our page again and repeat the action.",
)


def init_app(app: Flask) -> None:
    """Register a page for every HTTP error and for every unexpected exception."""
    app.register_error_handler(HTTPException, show_error_page)
    app.register_error_handler(CSRFError, _show_blocked)
    app.register_error_handler(RedisError, _show_redis_is_down)
    app.register_error_handler(OperationalError, _show_database_is_down)


def show_error_page(error: HTTPException) -> ResponseReturnValue:
    """Return the page for an HTTP error."""
    text = TEXTS.get(error.code or 500, ("exclamation-circle", error.name, error.description or ""))
    return _page(error, text)


def _show_blocked(error: CSRFError) -> ResponseReturnValue:
    if not {"Sec-Fetch-Site", "Origin"} & set(request.headers.keys()):
        # This browser does not report origins, so it needs a token. Pages have tokens once there is a session.
        generate_csrf()
    return _page(error, BLOCKED, error.description, return_path=error.return_path)


def _show_redis_is_down(error: RedisError) -> ResponseReturnValue:
    return _page(ServiceUnavailable(retry_after=5), REDIS_IS_DOWN)


def _show_database_is_down(error: OperationalError) -> ResponseReturnValue:
    current_app.logger.error("the database does not answer: %s", error.orig)
    return _page(ServiceUnavailable(retry_after=5), DATABASE_IS_DOWN)


def _page(
    error: HTTPException, text: Text, reason: str | None = None, return_path: str | None = None
) -> ResponseReturnValue:
    response = error.get_response()
    icon, heading, advice = text
    # The headers stay: Allow of a 405 and Retry-After of a 503 are part of the answer.
    response.data = render_template(
        "error.html",
        can_read_session=error.code != 503 and _can_read_session(),
        code=error.code,
        icon_name=icon,
        heading=heading,
        advice=advice,
        reason=reason,
        return_path=return_path,
    )
    response.content_type = "text/html; charset=utf-8"
    return response


def _can_read_session() -> bool:
    """Return whether the session and its user can be loaded now.

    The store is asked first, apart from the session. A session that fails to load would turn the whole response, such
    as a 404, into a 503. A request without cookies has no session, so the store is not asked.
    """
    try:
        if request.cookies:
            health.check_session_store()
        current_user.get_id()  # loads the user now, because the template could not handle an error of the database
    except Exception as error:
        # The cause of the first error may strike here again, such as a table that is missing in the database.
        current_app.logger.warning("an error page is shown without the user: %s", type(error).__name__)
        return False
    return True
