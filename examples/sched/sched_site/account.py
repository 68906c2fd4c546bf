"""The account pages: the user's devices, with buttons that sign them out, and the change of the password."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from flask_cloakroom import (
    ActiveSession,
    active_sessions,
    current_user,
    fresh_login_required,
    login_required,
    logout_everywhere,
    revoke_session,
    update_session_auth_hash,
)

from . import passwords
from .database import db
from .forms import NewPasswordForm

blueprint = Blueprint("account", __name__, url_prefix="/account")

#: A user whose last password check is longer ago must enter the old password before a change.
CONFIRM_WITHIN = timedelta(minutes=10)


@blueprint.get("", strict_slashes=False)
@login_required
def show() -> ResponseReturnValue:
    """Show the user and all devices on which they are signed in."""
    return render_template("account.html", devices=active_sessions())


@blueprint.app_template_filter()
def device_name(device: ActiveSession) -> str:
    """Return a name for a device, such as "Firefox 140 on Windows 10"."""
    return " on ".join(filter(None, (device.browser, device.system))) or "Unknown browser"


@blueprint.app_template_filter()
def devices_text(number: int) -> str:
    """Return a number of devices in words, such as "1 device" or "2 devices"."""
    return "1 device" if number == 1 else f"{number} devices"


@blueprint.post("/devices/end")
@login_required
def end_device() -> ResponseReturnValue:
    """Sign out one device. A handle of another user's session ends nothing."""
    if revoke_session(request.form.get("handle", "")):
        flash("The device was signed out.", "success")
    else:
        flash("The device was already signed out.", "info")
    return redirect(url_for("account.show"))


@blueprint.post("/devices/end-others")
@login_required
def end_other_devices() -> ResponseReturnValue:
    """Sign out all devices but this one, also devices that only have a remember token."""
    flash(_signed_out_text(logout_everywhere(keep_current=True)), "success")
    return redirect(url_for("account.show"))


@blueprint.route("/password", methods=["GET", "POST"])
@fresh_login_required(max_age=CONFIRM_WITHIN)
def password() -> ResponseReturnValue:
    """Change the password, and sign out all devices but this one.

    The user's new ``stamp`` alone would sign them out at their next request. Without ``logout_everywhere`` they
    would stay in the list of devices until then.
    """
    form = NewPasswordForm(request.form)
    if request.method == "POST" and form.validate():
        current_user.set_password(form.password.data)
        db.session.commit()
        update_session_auth_hash()  # keeps this device signed in
        ended = logout_everywhere(keep_current=True)
        flash(f"Your password was changed. {_signed_out_text(ended)}", "success")
        return redirect(url_for("account.show"))
    return render_template("password.html", form=form, min_length=passwords.MIN_LENGTH)


def _signed_out_text(number: int) -> str:
    if number == 0:
        return "You were not signed in on any other device."
    return f"You were signed out on {number} other device{'' if number == 1 else 's'}."
