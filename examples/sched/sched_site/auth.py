"""Sign in, sign out, and confirm the password."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from flask_cloakroom import Cloakroom, confirm_login, current_user, login_required, login_user, logout_user, safe_next

from . import accounts, cart, rate_limits, recent
from .accounts import User
from .catalogue import items_text
from .database import db
from .forms import ConfirmForm, LoginForm

blueprint = Blueprint("auth", __name__)

LOGIN_FAILED = "Incorrect username or password."
CONFIRMATION_FAILED = "Incorrect password."


def init_app(cloakroom: Cloakroom) -> None:
    """Register the function that loads a user, and name the views for login and confirmation."""
    cloakroom.user_loader(accounts.load_user)
    manager = cloakroom.login_manager
    manager.login_view = "auth.login"
    manager.refresh_view = "auth.confirm"
    # No flash messages: a message would create a session for every robot that follows a link. The pages have the text.
    manager.login_message = manager.needs_refresh_message = None


@blueprint.route("/login", methods=["GET", "POST"], strict_slashes=False)
def login() -> ResponseReturnValue:
    """Show the login form, or check the username and password that were sent.

    A wrong password is answered with 200, the form and a message. A 401 would have to name a scheme of HTTP
    authentication (RFC 9110, 15.5.2), and this site uses none.
    """
    if current_user.is_authenticated:
        return redirect(safe_next(url_for("shop.index")))
    form = LoginForm(request.form)
    error = None
    if request.method == "POST" and form.validate():
        user, authenticated = User.authenticate(db.session.query, form.username.data, form.password.data)
        had_items = cart.count() > 0
        if user and authenticated and login_user(user, remember=form.remember.data):
            # Without "Remember me" the computer may be a shared one, so the session ends with the browser.
            session.permanent = form.remember.data
            rate_limits.reset_name_limit()
            # After login_user() the visitor's items are in the user's cart, so they can be counted now.
            _welcome(user, cart.merged_count() if had_items else 0)
            return redirect(safe_next(url_for("shop.index")))
        error = LOGIN_FAILED
    return render_template("login.html", form=form, error=error, samples=accounts.SAMPLES)


def _welcome(user: User, merged: int) -> None:
    welcome = f"Welcome, {user.name}. Your session has a new id."
    if merged:
        were = "was" if merged == 1 else "were"
        flash(f"{welcome} {items_text(merged)} from this browser {were} added to your cart.", "merged")
    else:
        flash(welcome, "success")


@blueprint.route("/confirm", methods=["GET", "POST"])
@login_required
def confirm() -> ResponseReturnValue:
    """Ask for the password again, and mark the login as fresh.

    The session alone decides whose password is checked. A username in the form is ignored.
    """
    form = ConfirmForm(request.form)
    error = None
    if request.method == "POST" and form.validate():
        if current_user.has_password(form.password.data):
            confirm_login()
            rate_limits.reset_name_limit()
            return redirect(safe_next(url_for("account.show")))
        error = CONFIRMATION_FAILED
    return render_template("confirm.html", form=form, error=error)


@blueprint.post("/logout")
def logout() -> ResponseReturnValue:
    """End the session and delete the list of recently viewed products. The cart stays with the account.

    A visitor who is already signed out, and presses the button of an old page, keeps their anonymous session.
    """
    if current_user.is_authenticated:
        recent.clear()
        logout_user()
        flash("You are signed out. Your session was deleted.", "success")
    return redirect(url_for("auth.login"))
