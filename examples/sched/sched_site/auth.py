"""Signing in and out, and showing once more who one is."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from flask_cloakroom import Cloakroom, confirm_login, current_user, login_required, login_user, logout_user, safe_next

from . import accounts, cart, rate_limits, recent
from .accounts import User
from .catalogue import things
from .database import db
from .forms import ConfirmForm, LoginForm

blueprint = Blueprint("auth", __name__)

WRONG = "Incorrect username or password."
NOT_YOURS = "That is not your password."


def init_app(cloakroom: Cloakroom) -> None:
    """Tell who a user is, and where one signs in."""
    cloakroom.user_loader(accounts.load_user)
    manager = cloakroom.login_manager
    manager.login_view = "auth.login"
    manager.refresh_view = "auth.confirm"
    # The pages say it themselves: a message begins a session, also for robots that follow a link.
    manager.login_message = manager.needs_refresh_message = None


@blueprint.route("/login", methods=["GET", "POST"], strict_slashes=False)
def login() -> ResponseReturnValue:
    """Show the form, or check what was sent with it.

    A wrong password answers 200 with the form and a message: 401 would have to name a scheme of HTTP
    authentication (RFC 9110, 15.5.2), and there is none here.
    """
    if current_user.is_authenticated:
        return redirect(safe_next(url_for("shop.index")))
    form = LoginForm(request.form)
    error = None
    if request.method == "POST" and form.validate():
        user, authenticated = User.authenticate(db.session.query, form.username.data, form.password.data)
        had = cart.count()
        if user and authenticated and login_user(user, remember=form.remember.data):
            # Who is not remembered may be at somebody else's computer: the session ends with the browser.
            session.permanent = form.remember.data
            rate_limits.forgive()
            # What the visitor had is in the user's cart from here on, and this reads that.
            _welcome(user, cart.brought() if had else 0)
            return redirect(safe_next(url_for("shop.index")))
        error = WRONG
    return render_template("login.html", form=form, error=error, samples=accounts.SAMPLES)


def _welcome(user: User, brought: int) -> None:
    welcome = f"Welcome, {user.name}. Your session has a new id."
    if brought:
        are = "is" if brought == 1 else "are"
        flash(f"{welcome} {things(brought)} from this browser {are} in your cart now.", "merged")
    else:
        flash(welcome, "success")


@blueprint.route("/confirm", methods=["GET", "POST"])
@login_required
def confirm() -> ResponseReturnValue:
    """Ask for the password once more, and mark the login as fresh.

    Whose password it must be is what the session says, and nothing that is sent with the form.
    """
    form = ConfirmForm(request.form)
    error = None
    if request.method == "POST" and form.validate():
        if current_user.has_password(form.password.data):
            confirm_login()
            rate_limits.forgive()
            return redirect(safe_next(url_for("account.show")))
        error = NOT_YOURS
    return render_template("confirm.html", form=form, error=error)


@blueprint.post("/logout")
def logout() -> ResponseReturnValue:
    """End the session, and forget what the visitor looked at. The cart is the user's, and waits for them.

    A stale button of somebody who is signed out already ends nothing: what they have is a session of their own.
    """
    if current_user.is_authenticated:
        recent.forget()
        logout_user()
        flash("You are signed out, and your session is gone.", "success")
    return redirect(url_for("auth.login"))
