"""Pages for when something is wrong. None of them needs the session, because it may be what is wrong."""

from __future__ import annotations

from flask import Flask, current_app, render_template, request
from flask.typing import ResponseReturnValue
from redis.exceptions import RedisError
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException, ServiceUnavailable

from flask_cloakroom import CSRFError, generate_csrf

Text = tuple[str, str, str]

#: By status: icon, heading, what to do.
TEXTS: dict[int, Text] = {
    400: ("patch-question", "That request made no sense to us", "Go back, and try it once more."),
    403: ("door-closed", "This page is not for you", "It is for those who run the site."),
    404: ("signpost-split", "There is nothing at this address", "It may have moved, or the link is wrong."),
    405: ("sign-turn-left", "This address is not for visiting", "It takes a button on one of our pages."),
    429: (
        "hourglass-top",
        "That was too many tries",
        "For your safety we take only so many in a while. Please wait some minutes, and try again.",
    ),
    500: ("tools", "Something broke on our side", "It has been noted down. Please try again in a while."),
    503: (
        "hourglass-split",
        "Our cloakroom does not answer",
        "We cannot reach your session just now. Nothing in it is lost, and you are neither signed in nor out "
        "by it. Please try again in a moment.",
    ),
}
REDIS_IS_AWAY: Text = (
    "box-seam",
    "Our stock room does not answer",
    "We cannot see what there is just now. Your cart is as it was. Please try again in a moment.",
)
DATABASE_IS_AWAY: Text = (
    "person-badge",
    "Our guest book does not answer",
    "We cannot see who you are just now. You are neither signed in nor out by it. Please try again in a moment.",
)
NOT_MEANT: Text = (
    "shield-exclamation",
    "We are not sure that you meant this",
    "Nothing was changed. Another site’s page sent it, or your browser did not say which page it came from. If it was "
    "you: open our page again, and repeat what you did.",
)


def init_app(app: Flask) -> None:
    """Show a friendly page for every HTTP error, those made from unexpected exceptions included."""
    app.register_error_handler(HTTPException, show)
    app.register_error_handler(CSRFError, _show_not_meant)
    app.register_error_handler(RedisError, _show_redis_is_away)
    app.register_error_handler(OperationalError, _show_database_is_away)


def show(error: HTTPException) -> ResponseReturnValue:
    """Show the page for an error."""
    text = TEXTS.get(error.code or 500, ("exclamation-circle", error.name, error.description or ""))
    return _page(error, text)


def _show_not_meant(error: CSRFError) -> ResponseReturnValue:
    if not {"Sec-Fetch-Site", "Origin"} & set(request.headers.keys()):
        # A browser that says nothing needs tokens, which pages have once there is a session.
        generate_csrf()
    return _page(error, NOT_MEANT, error.description, again=error.return_path)


def _show_redis_is_away(error: RedisError) -> ResponseReturnValue:
    return _page(ServiceUnavailable(retry_after=5), REDIS_IS_AWAY)


def _show_database_is_away(error: OperationalError) -> ResponseReturnValue:
    current_app.logger.error("the database does not answer: %s", error.orig)
    return _page(ServiceUnavailable(retry_after=5), DATABASE_IS_AWAY)


def _page(error: HTTPException, text: Text, reason: str | None = None, again: str | None = None) -> ResponseReturnValue:
    response = error.get_response()
    icon, heading, advice = text
    # Headers stay as they are: Allow of a 405 and Retry-After of a 503 are part of the answer.
    response.data = render_template(
        "error.html", code=error.code, icon_name=icon, heading=heading, advice=advice, reason=reason, again=again
    )
    response.content_type = "text/html; charset=utf-8"
    return response
