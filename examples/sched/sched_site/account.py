"""The account: on which devices one is signed in, to end each of them, and the password."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from flask_cloakroom import (
    ActiveSession,
    active_sessions,
    current_user,
    fresh_login_required,
    login_remembered,
    login_required,
    login_user,
    logout_everywhere,
    revoke_session,
)

from . import passwords
from .database import db
from .forms import NewPasswordForm

blueprint = Blueprint("account", __name__, url_prefix="/account")

#: How long after one has shown who one is the password may be changed without showing it again.
SUDO = timedelta(minutes=10)


@blueprint.get("", strict_slashes=False)
@login_required
def show() -> ResponseReturnValue:
    """Show who is signed in, and where."""
    return render_template("account.html", devices=active_sessions())


@blueprint.app_template_filter()
def in_words(device: ActiveSession) -> str:
    """Name a device by its browser and its system."""
    return " on ".join(filter(None, (device.browser, device.system))) or "A browser that does not say which"


@blueprint.post("/devices/end")
@login_required
def end_device() -> ResponseReturnValue:
    """Sign out on one device. A handle that is not of the user's own sessions ends nothing."""
    if revoke_session(request.form.get("handle", "")):
        flash("That device is signed out.", "success")
    else:
        flash("That device was not signed in any more.", "info")
    return redirect(url_for("account.show"))


@blueprint.post("/devices/end-others")
@login_required
def end_other_devices() -> ResponseReturnValue:
    """Sign out on all devices but this one, those too that are only remembered."""
    ended = logout_everywhere(keep_current=True)
    flash(f"You are signed out everywhere else: {_devices(ended)}.", "success")
    return redirect(url_for("account.show"))


@blueprint.route("/password", methods=["GET", "POST"])
@fresh_login_required(max_age=SUDO)
def password() -> ResponseReturnValue:
    """Change the password, and end what was signed in by the old one, but for this device.

    The user's new stamp ends the others at their next request; ending them here takes them off the list at once.
    """
    form = NewPasswordForm(request.form)
    if request.method == "POST" and form.validate():
        remembered = login_remembered()
        current_user.set_password(form.password.data)
        db.session.commit()
        ended = logout_everywhere(keep_current=True)
        login_user(current_user, remember=remembered)  # this device, by the new password
        flash(f"Your password is changed. You are signed out everywhere else: {_devices(ended)}.", "success")
        return redirect(url_for("account.show"))
    return render_template("password.html", form=form, shortest=passwords.SHORTEST)


def _devices(number: int) -> str:
    return "1 device" if number == 1 else f"{number or 'no'} devices"
