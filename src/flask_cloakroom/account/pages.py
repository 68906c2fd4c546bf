"""A blueprint with the list of a user's sessions. Its templates are the project's wherever that has its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from flask import Blueprint, flash, redirect, render_template, request, url_for

from .. import login
from ..login import UserKind

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

View: TypeAlias = "Callable[[], ResponseReturnValue]"
Guard: TypeAlias = Callable[[View], View]

#: What the pages flash, by name. ``{number}`` is how many sessions ended.
TEXTS: Final[Mapping[str, Any]] = {
    "ended": "That device is signed out.",
    "already_ended": "That device was not signed in any more.",
    "none_ended": "You were not signed in anywhere else.",
    "one_ended": "You are signed out on one other device.",
    "others_ended": "You are signed out on {number} other devices.",
}


def account_blueprint(
    name: str = "account",
    *,
    url_prefix: str = "/account",
    kind: UserKind | None = None,
    confirm_within: timedelta | float | None = None,
    texts: Mapping[str, Any] | None = None,
) -> Blueprint:
    """Return a blueprint with the page ``<name>.sessions`` and the forms that it sends.

    ``kind``: whose sessions, if not those of the application's own users. ``confirm_within``: a time, or seconds; who
    showed who they are longer ago must do so again before they see the page (the login's ``refresh_view``). ``texts``:
    what to say instead of :data:`TEXTS`; lazy strings are taken.

    A template of the project counts before one of the same name here: ``cloakroom_account/sessions.html`` is the
    page, ``cloakroom_account/base.html`` what stands around it. The forms carry the token of
    :class:`~flask_cloakroom.CSRFProtect`; have that, or ``Cloakroom(app)``.

    Raises ValueError for an age that is not above zero, and for a text that there is none of.
    """
    said = {**TEXTS, **(texts or {})}
    if unknown := said.keys() - TEXTS.keys():
        raise ValueError(f"texts knows {', '.join(TEXTS)}; not {', '.join(sorted(unknown))}")
    # The functions for the application's own users are the methods of other kinds, under the same names.
    logins: Any = login if kind is None else kind
    guard: Guard = logins.login_required
    if confirm_within is not None:
        guard = logins.fresh_login_required(max_age=confirm_within)
    pages = Blueprint(name, __name__, url_prefix=url_prefix, template_folder="templates", static_folder="static")

    @pages.get("", strict_slashes=False)
    @guard
    def sessions() -> ResponseReturnValue:
        return render_template(
            "cloakroom_account/sessions.html", user=logins.current_user, sessions=logins.active_sessions(), pages=name
        )

    @pages.post("/end")
    @guard
    def end() -> ResponseReturnValue:
        """End one session. A handle that is not of the user's own ends nothing, and is answered as one that is over."""
        if logins.revoke_session(request.form.get("handle", "")):
            flash(str(said["ended"]), "success")
        else:
            flash(str(said["already_ended"]), "info")
        return redirect(url_for(".sessions"))

    @pages.post("/end-others")
    @guard
    def end_others() -> ResponseReturnValue:
        """End all sessions but this one, and what remembers them."""
        number: int = logins.logout_everywhere(keep_current=True)
        text = said[{0: "none_ended", 1: "one_ended"}.get(number, "others_ended")]
        flash(str(text).format(number=number), "success" if number else "info")
        return redirect(url_for(".sessions"))

    @pages.post("/end-all")
    @guard
    def end_all() -> ResponseReturnValue:
        """End all sessions, this one too. Then the page sends to the login view."""
        logins.logout_everywhere()
        return redirect(url_for(".sessions"))

    return pages
