"""The operator's page: who is signed in where, buttons that end sessions, and charts of the last hour.

The setting OPERATORS holds the usernames of the operators. There are none unless ``python -m sched_site`` or
SCHED_OPERATORS names some.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, ParamSpec

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
from .accounts import MAX_USER_ID, User, normalize_username
from .database import db

blueprint = Blueprint("operators", __name__, url_prefix="/operator")

P = ParamSpec("P")

#: An operator whose last password check is longer ago must enter the password again.
CONFIRM_WITHIN = timedelta(minutes=10)
#: Users on one page. Each of them costs one query to the session store.
USERS_PER_PAGE = 20
#: The smallest scale of a chart. With a smaller one a single login would fill the whole chart.
MIN_CHART_TOP = 4


class Chart(NamedTuple):
    """The data of one chart: numbers from 0 to ``top``, the oldest first."""

    name: str
    numbers: list[int]
    top: int

    @property
    def total(self) -> int:
        return sum(self.numbers)


def init_app(app: Flask) -> None:
    """Read OPERATORS, a list of usernames or a text with commas between them, and register the pages."""
    names = app.config.get("OPERATORS") or ()
    app.config["OPERATORS"] = frozenset(
        normalize_username(name) for name in (names.split(",") if isinstance(names, str) else names)
    )
    app.jinja_env.globals["is_operator"] = is_operator
    app.register_blueprint(blueprint)


def is_operator(user: Any) -> bool:
    """Return whether a user, or a sample account, is an operator."""
    return user.username in current_app.config["OPERATORS"]


def operator_required(view: Callable[P, ResponseReturnValue]) -> Callable[P, ResponseReturnValue]:
    """Protect a view: only operators who entered their password within CONFIRM_WITHIN may see it."""
    guarded: Callable[P, ResponseReturnValue] = permission_required(is_operator)(
        fresh_login_required(max_age=CONFIRM_WITHIN)(view)
    )
    return guarded


@blueprint.get("", strict_slashes=False)
@operator_required
def show() -> ResponseReturnValue:
    """Show the charts, and the users with their sessions."""
    users = db.paginate(select(User).order_by(User.username), per_page=USERS_PER_PAGE, max_per_page=USERS_PER_PAGE)
    return render_template(
        "operator.html", users=users, sessions={user.id: active_sessions(user) for user in users}, **_charts()
    )


@blueprint.get("/charts")
@permission_required(is_operator)
@passive  # an open page loads the charts by itself, and must not keep the session from expiring
def charts() -> ResponseReturnValue:
    """Return the charts as a fragment of HTML, for the page's script."""
    return render_template("charts.html", **_charts())


@blueprint.post("/end")
@operator_required
def end() -> ResponseReturnValue:
    """End one session of any user."""
    if revoke_session(request.form.get("handle", ""), operator=True):
        flash("The session was ended.", "success")
    else:
        flash("The session had already ended.", "info")
    return redirect(url_for("operators.show"))


@blueprint.route(f"/users/<int(max={MAX_USER_ID}):user_id>/end-all", methods=["GET", "POST"])
@operator_required
def end_all(user_id: int) -> ResponseReturnValue:
    """Ask for confirmation, then end all sessions and remember tokens of a user."""
    user = db.session.get(User, user_id) or abort(404)
    if request.method == "GET":
        return render_template("end_all.html", user=user, sessions=active_sessions(user))
    name, ended = user.name, logout_everywhere(user)
    flash(f"{name} was signed out everywhere: {ended} session{'' if ended == 1 else 's'} ended.", "success")
    return redirect(url_for("operators.show"))


def _charts() -> dict[str, Any]:
    minutes = traffic.last_hour(current_app._get_current_object())  # type: ignore[attr-defined]
    columns = {kind: [getattr(minute, kind) for minute in minutes] for kind in traffic.KINDS}
    return {
        "charts": [Chart(kind, numbers, max(MIN_CHART_TOP, *numbers)) for kind, numbers in columns.items()],
        "minutes": [
            (datetime.fromtimestamp(minute.number * 60, UTC), minute) for minute in reversed(minutes) if any(minute[1:])
        ],
    }
