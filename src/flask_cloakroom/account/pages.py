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

    ``kind``: a user kind whose sessions the page shows, instead of those of the application's own users.
    ``confirm_within``: a timedelta or a number of seconds. A user who gave the password longer ago is redirected to the
    ``refresh_view`` of the login manager first. ``texts``: messages that replace those of :data:`TEXTS`, by name. Lazy
    strings are allowed.

    A template of the application replaces this package's template of the same name: the page is
    ``cloakroom_account/sessions.html``, ``cloakroom_account/end_all.html`` asks for confirmation, and
    ``cloakroom_account/base.html`` is the layout of both. The forms contain the token of
    :class:`~flask_cloakroom.CSRFProtect`, so the application needs ``CSRFProtect(app)`` or ``Cloakroom(app)``.

    Raises ValueError for a ``confirm_within`` of zero or less, and for an unknown name in ``texts``.
    """
    messages = {**TEXTS, **(texts or {})}
    if unknown := messages.keys() - TEXTS.keys():
        raise ValueError(f"the argument texts has the unknown names {sorted(unknown)}. Use only {sorted(TEXTS)}")
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
        """End one session. The answer for another user's session is the same as for a session that has ended."""
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
        """Ask for confirmation (GET), or end all sessions of the user, also this session, and redirect (POST)."""
        if request.method != "POST":
            return page("end_all")
        logins.logout_everywhere()
        return redirect(url_for(".sessions"))

    return pages
