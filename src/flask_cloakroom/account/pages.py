"""A blueprint with the list of a user's sessions. The application can replace its templates and texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from flask import Blueprint, flash, redirect, render_template, request, url_for

from .. import login
from ..login import UserKind

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

Guard: TypeAlias = "Callable[[Callable[[], ResponseReturnValue]], Callable[[], ResponseReturnValue]]"

#: The flash messages of the pages, by name. ``{number}`` is the number of sessions that ended.
TEXTS: Final[Mapping[str, Any]] = {
    "ended": "The device was signed out.",
    "already_ended": "The device was already signed out.",
    "none_ended": "You were not signed in on any other device.",
    "one_ended": "You were signed out on one other device.",
    "others_ended": "You were signed out on {number} other devices.",
}


def account_blueprint(
    name: str = "account",
    *,
    url_prefix: str = "/account",
    kind: UserKind | None = None,
    confirm_within: timedelta | float | None = None,
    texts: Mapping[str, Any] | None = None,
) -> Blueprint:
    """Return a blueprint with the page ``<name>.sessions`` and the views that its forms need.

    ``kind`` is a user kind, to show the sessions of its users instead of the application's own. ``confirm_within`` is a
    time, or a number of seconds: a user whose last password check is longer ago is sent to the login's
    ``refresh_view`` first. ``texts`` replaces messages of :data:`TEXTS`; it may contain lazy strings.

    A template of the application replaces the template of the same name here: ``cloakroom_account/sessions.html`` is
    the page, ``cloakroom_account/end_all.html`` asks for confirmation before all sessions are ended, and
    ``cloakroom_account/base.html`` is the layout of both. The forms contain the token of
    :class:`~flask_cloakroom.CSRFProtect`, so the application needs it, or ``Cloakroom(app)``.

    Raises ValueError for a ``confirm_within`` that is not above zero, and for an unknown name in ``texts``.
    """
    messages = {**TEXTS, **(texts or {})}
    if unknown := messages.keys() - TEXTS.keys():
        raise ValueError(f"texts knows {', '.join(TEXTS)}; not {', '.join(sorted(unknown))}")
    # The functions for the application's own users are methods of a user kind, under the same names.
    logins: Any = login if kind is None else kind
    guard: Guard = logins.login_required
    if confirm_within is not None:
        guard = logins.fresh_login_required(max_age=confirm_within)
    pages = Blueprint(name, __name__, url_prefix=url_prefix, template_folder="templates", static_folder="static")

    def page(template: str) -> str:
        context = {"user": logins.current_user, "sessions": logins.active_sessions(), "pages": name}
        return render_template(f"cloakroom_account/{template}.html", **context)

    @pages.get("", strict_slashes=False)
    @guard
    def sessions() -> ResponseReturnValue:
        return page("sessions")

    @pages.post("/end")
    @guard
    def end() -> ResponseReturnValue:
        """End one session. The handle of another user's session is answered like one of an ended session."""
        is_ended = logins.revoke_session(request.form.get("handle", ""))
        flash(str(messages["ended" if is_ended else "already_ended"]), "success" if is_ended else "info")
        return redirect(url_for(".sessions"))

    @pages.post("/end-others")
    @guard
    def end_others() -> ResponseReturnValue:
        """End all sessions and remember tokens of the user, except for this session."""
        number: int = logins.logout_everywhere(keep_current=True)
        text = messages[{0: "none_ended", 1: "one_ended"}.get(number, "others_ended")]
        flash(str(text).format(number=number), "success" if number else "info")
        return redirect(url_for(".sessions"))

    @pages.route("/end-all", methods=["GET", "POST"])
    @guard
    def end_all() -> ResponseReturnValue:
        """Ask for confirmation, then end all sessions of the user with this one, and redirect to the login view."""
        if request.method != "POST":
            return page("end_all")
        logins.logout_everywhere()
        return redirect(url_for(".sessions"))

    return pages
