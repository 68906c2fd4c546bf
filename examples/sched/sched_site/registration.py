"""Making an account of one's own."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from flask_cloakroom import current_user, login_user, safe_next

from . import passwords
from .accounts import User
from .database import db
from .forms import RegistrationForm

blueprint = Blueprint("registration", __name__)

#: It tells that there is such an account, and must: one signs in by a name that one chooses here. What bounds how many
#: names somebody can ask for is ``rate_limits.REGISTRATIONS``.
TAKEN = "Somebody has that username already. Take another one."


@blueprint.route("/register", methods=["GET", "POST"])
def register() -> ResponseReturnValue:
    """Show the form, or make the account and sign it in."""
    if current_user.is_authenticated:
        return redirect(safe_next(url_for("appointments.index")))
    form = RegistrationForm(request.form)
    if request.method == "POST" and form.validate():
        user = _made(form)
        if user is not None:
            login_user(user)  # the session has a new id from here on
            session.permanent = False  # ends with the browser, as a login that is not remembered
            flash(f"Welcome, {user.name}. The account is yours, and you are signed in.", "success")
            return redirect(safe_next(url_for("appointments.index")))
        form.username.errors = [TAKEN]
    return render_template("register.html", form=form, shortest=passwords.SHORTEST)


def _made(form: RegistrationForm) -> User | None:
    """Make the account; None if the username is taken.

    Nobody looks first whether it is. The database refuses the second of two, however close they come; and the password
    is hashed in any case, so the time of an answer tells nothing that the answer does not.
    """
    user = User(username=form.username.data, name=form.name.data, time_zone=form.time_zone.data)
    user.set_password(form.password.data)
    db.session.add(user)
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        if db.session.scalar(select(User.id).filter_by(username=form.username.data)) is None:
            raise  # it was not the name
        return None
    return user
