"""The operator's page: who is signed in where, to end it, and what goes on.

Operators are those whose usernames OPERATORS holds: nobody, unless ``python -m sched_site`` or SCHED_OPERATORS say so.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from flask import Blueprint, Flask, abort, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from flask_cloakroom import (
    active_sessions,
    fresh_login_required,
    logout_everywhere,
    passive,
    permission_required,
    revoke_session,
)

from . import traffic
from .accounts import LAST_ID, User, normal
from .database import db

blueprint = Blueprint("operators", __name__, url_prefix="/operator")

#: How long after they have shown who they are operators may go on without showing it again.
SUDO = timedelta(minutes=10)
#: Users on a page: each costs a question to the store of the sessions.
USERS = 20
#: The least that a chart's height stands for, so that a single login is no mountain.
LEAST = 4


class Chart(NamedTuple):
    """What one chart draws: numbers from 0 to ``top``, the oldest first."""

    name: str
    numbers: list[int]
    top: int

    @property
    def total(self) -> int:
        return sum(self.numbers)


def init_app(app: Flask) -> None:
    """Take the names of the operators: a list, or text with commas between them."""
    names = app.config.get("OPERATORS") or ()
    app.config["OPERATORS"] = frozenset(
        normal(name) for name in (names.split(",") if isinstance(names, str) else names)
    )
    app.jinja_env.globals["is_operator"] = is_operator
    app.register_blueprint(blueprint)


def is_operator(user: Any) -> bool:
    """Tell whether somebody who is signed in is an operator."""
    return user.username in current_app.config["OPERATORS"]


def for_operators(view: Callable[[], ResponseReturnValue]) -> Callable[[], ResponseReturnValue]:
    """Let only operators see a view, who have lately shown who they are."""
    return permission_required(is_operator)(fresh_login_required(max_age=SUDO)(view))


@blueprint.get("", strict_slashes=False)
@for_operators
def show() -> ResponseReturnValue:
    """Show all of it."""
    users = db.paginate(select(User).order_by(User.username), per_page=USERS, max_per_page=USERS)
    return render_template(
        "operator.html", users=users, sessions={user.id: active_sessions(user) for user in users}, **_charts()
    )


@blueprint.get("/charts")
@permission_required(is_operator)
@passive  # an open page is no activity
def charts() -> ResponseReturnValue:
    """Show the charts alone, for the page's script."""
    return render_template("charts.html", **_charts())


@blueprint.post("/end")
@for_operators
def end() -> ResponseReturnValue:
    """End one session of anybody's."""
    if revoke_session(request.form.get("handle", ""), operator=True):
        flash("That session is ended.", "success")
    else:
        flash("That session was over already.", "info")
    return redirect(url_for("operators.show"))


@blueprint.post("/end-all")
@for_operators
def end_all() -> ResponseReturnValue:
    """End all sessions of a user, and what remembers them."""
    number = request.form.get("user", 0, type=int)
    user = (number <= LAST_ID and db.session.get(User, number)) or abort(404)
    ended = logout_everywhere(user)
    flash(f"{user.name} is signed out everywhere: {ended} session{'' if ended == 1 else 's'}.", "success")
    return redirect(url_for("operators.show"))


def _charts() -> dict[str, Any]:
    minutes = traffic.last_hour(current_app._get_current_object())  # type: ignore[attr-defined]
    columns = {kind: [getattr(minute, kind) for minute in minutes] for kind in traffic.KINDS}
    return {
        "charts": [Chart(kind, numbers, max(LEAST, *numbers)) for kind, numbers in columns.items()],
        "minutes": [
            (datetime.fromtimestamp(minute.number * 60, UTC), minute) for minute in reversed(minutes) if any(minute[1:])
        ],
    }
