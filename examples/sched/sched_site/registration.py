"""Create an account."""

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

#: The message tells strangers that the account exists. There is no way around that, because users choose the name that
#: they sign in with. ``rate_limits.REGISTRATIONS`` limits how many names one person can test.
USERNAME_TAKEN = "This username is taken. Choose another one."


@blueprint.route("/register", methods=["GET", "POST"])
def register() -> ResponseReturnValue:
    """Show the form, or create the account and sign the user in."""
    if current_user.is_authenticated:
        return redirect(safe_next(url_for("appointments.index")))
    form = RegistrationForm(request.form)
    if request.method == "POST" and form.validate():
        user = _create_user(form)
        if user is not None:
            login_user(user)  # which also rotates the session's ticket
            session.permanent = False  # ends with the browser, like a login without "Remember me"
            flash(f"Welcome, {user.name}. Your account was created, and you are signed in.", "success")
            return redirect(safe_next(url_for("appointments.index")))
        form.username.errors = [USERNAME_TAKEN]
    return render_template("register.html", form=form, min_length=passwords.MIN_LENGTH)


def _create_user(form: RegistrationForm) -> User | None:
    """Create the user; return None if the username is taken.

    There is no query for the name before the insert. The database refuses the second of two registrations even if they
    come at the same moment. The password is always hashed, so a taken name takes as long as a free one.
    """
    user = User(username=form.username.data, name=form.name.data, time_zone=form.time_zone.data)
    user.set_password(form.password.data)
    db.session.add(user)
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        if db.session.scalar(select(User.id).filter_by(username=form.username.data)) is None:
            raise  # another constraint failed
        return None
    return user
