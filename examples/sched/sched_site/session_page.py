"""A page for developers: the contents of the session and of the user's data, and the place of the store."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from flask import Blueprint, current_app, render_template, session
from flask.typing import ResponseReturnValue

from flask_cloakroom import user_session

from .redis_client import redis

blueprint = Blueprint("session_page", __name__)

#: The most characters of a value that the page shows.
MAX_TEXT_LENGTH = 2_000
#: The most spaces before a line. Values that are nested more deeply are written on one line.
MAX_INDENT = 20
#: The text for a secret.
HIDDEN = "(secret, not shown)"


class Item(NamedTuple):
    """One key of the session, or of ``user_session``, as the page shows it."""

    #: "session" or "user_session".
    source: str
    key: str
    type_name: str
    text: str


@blueprint.get("/session")
def show() -> ResponseReturnValue:
    """Show the session without its ticket. The session object does not know the ticket, so no page can show it."""
    return render_template(
        "session.html",
        # The user_session of an anonymous visitor is stored in the session, and is shown below as user_session.
        items=[_item("session", key, value) for key, value in session.items() if not _is_visitor_data(key)],
        user_items=[_item("user_session", key, value) for key, value in user_session.items()],
        store=str(current_app.session_interface.store),  # type: ignore[attr-defined]
        redis=redis.connector_for().label,
        idle=current_app.permanent_session_lifetime,
        absolute=current_app.config.get("SESSION_ABSOLUTE_LIFETIME"),
    )


@blueprint.app_template_filter()
def duration(span: timedelta) -> str:
    """Return a duration in words if it is a number of whole days, such as "31 days", else as ``str()`` does."""
    if span.seconds or span.microseconds:
        return str(span)
    return f"{span.days} day{'' if span.days == 1 else 's'}"


def _item(source: str, key: object, value: object) -> Item:
    # The secret would let others make valid tokens, and people post screenshots of such pages.
    is_secret = source == "session" and key in (current_app.config["WTF_CSRF_FIELD_NAME"], "_login_secret")
    name = key if isinstance(key, str) and key.isprintable() else _repr(key)
    return Item(source, name, type(value).__name__, HIDDEN if is_secret else _text(value))


def _is_visitor_data(key: object) -> bool:
    return isinstance(key, str) and key.startswith("_user_session")


def _text(value: object) -> str:
    text = _indented(value)
    return text if len(text) <= MAX_TEXT_LENGTH else f"{text[:MAX_TEXT_LENGTH]} … ({len(text)} characters)"


def _indented(value: object, indent: str = "") -> str:
    """Return ``repr(value)`` with the items of nested dicts and lists on lines of their own, up to MAX_INDENT."""
    inner = f"{indent}  "
    match value:
        case dict() | list() if len(indent) > MAX_INDENT:
            return _repr(value)
        case dict() if value:
            rows = [f"{inner}{_repr(key)}: {_indented(item, inner)},\n" for key, item in value.items()]
            return f"{{\n{''.join(rows)}{indent}}}"
        case list() if value:
            rows = [f"{inner}{_indented(item, inner)},\n" for item in value]
            return f"[\n{''.join(rows)}{indent}]"
        case _:
            return _repr(value)


def _repr(value: object) -> str:
    """Return ``repr(value)``, or a text for a value that Python refuses to write."""
    try:
        return repr(value)
    except (ValueError, RecursionError):
        return "(too long or too deeply nested to be shown)"
