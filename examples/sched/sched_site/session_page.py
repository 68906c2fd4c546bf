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
#: Spaces before a line. What is nested deeper is written in one.
DEEPEST_INDENT = 20
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
        items=[_item("session", key, value) for key, value in session.items() if not _is_of_visitor(key)],
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
    name = key if isinstance(key, str) and key.isprintable() else _written(key)
    return Item(of, name, type(value).__name__, NOT_SHOWN if is_secret else _text(value))


def _is_of_visitor(key: object) -> bool:
    return isinstance(key, str) and key.startswith("_user_session")


def _text(value: object) -> str:
    text = _indented(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]} … ({len(text)} characters)"


def _indented(value: object, indent: str = "") -> str:
    """Write a value as Python would, nested dicts and lists on lines of their own, the outer ones at least."""
    inner = f"{indent}  "
    match value:
        case dict() | list() if len(indent) > DEEPEST_INDENT:
            return _written(value)
        case dict() if value:
            rows = [f"{inner}{_written(key)}: {_indented(item, inner)},\n" for key, item in value.items()]
            return f"{{\n{''.join(rows)}{indent}}}"
        case list() if value:
            rows = [f"{inner}{_indented(item, inner)},\n" for item in value]
            return f"[\n{''.join(rows)}{indent}]"
        case _:
            return _written(value)


def _written(value: object) -> str:
    """Write a value as Python would. It refuses numbers of thousands of digits, and what is nested too deeply."""
    try:
        return repr(value)
    except (ValueError, RecursionError):
        return "(too long or too deep to be shown)"
