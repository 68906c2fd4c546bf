"""What the session holds, what belongs to the user, and where it is kept, for a curious developer."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from flask import Blueprint, current_app, render_template, session
from flask.typing import ResponseReturnValue

from flask_cloakroom import user_session

from .redis_client import redis

blueprint = Blueprint("session_page", __name__)

#: Longer values are cut: the page is for looking, not for exporting.
MAX_SHOWN = 2_000
#: What is shown for what the forms' tokens are made of.
NOT_SHOWN = "(a secret: the forms on these pages prove with it that they are ours)"


class Item(NamedTuple):
    """One key of the session, or of ``user_session``, as the page shows it."""

    of: str
    key: str
    type_name: str
    text: str


@blueprint.get("/session")
def show() -> ResponseReturnValue:
    """Show it. The ticket is not part of it, and nothing here could tell it: the session does not know it."""
    return render_template(
        "session.html",
        # A visitor's user_session is in the session, and shown as what it is.
        items=[
            _item("session", key, value) for key, value in session.items() if not str(key).startswith("_user_session")
        ],
        belongings=[_item("user_session", key, value) for key, value in user_session.items()],
        store=str(current_app.session_interface.store),  # type: ignore[attr-defined]
        redis=redis.connector_for().label,
        idle=current_app.permanent_session_lifetime,
        absolute=current_app.config.get("SESSION_ABSOLUTE_LIFETIME"),
    )


@blueprint.app_template_filter()
def duration(span: timedelta) -> str:
    """Write a duration in words where it is whole days, else as Python does."""
    if span.seconds or span.microseconds:
        return str(span)
    return f"{span.days} day{'' if span.days == 1 else 's'}"


def _item(of: str, key: object, value: object) -> Item:
    # Who knows the secret can make tokens of it. Pages are cached, photographed and sent to others.
    is_secret = of == "session" and key in (current_app.config["WTF_CSRF_FIELD_NAME"], "_login_secret")
    return Item(of, str(key), type(value).__name__, NOT_SHOWN if is_secret else _text(value))


def _text(value: object) -> str:
    text = _indented(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]} … ({len(text)} characters)"


def _indented(value: object, indent: str = "") -> str:
    """Write a value as Python would, nested dicts and lists on lines of their own."""
    inner = f"{indent}  "
    match value:
        case dict() if value:
            rows = [f"{inner}{key!r}: {_indented(item, inner)},\n" for key, item in value.items()]
            return f"{{\n{''.join(rows)}{indent}}}"
        case list() if value:
            rows = [f"{inner}{_indented(item, inner)},\n" for item in value]
            return f"[\n{''.join(rows)}{indent}]"
        case _:
            return repr(value)
