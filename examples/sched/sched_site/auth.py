"""Signing in and out, with the user's name kept as ``session["user"]``."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from flask_cloakroom import session

from . import accounts, cart, recent

blueprint = Blueprint("auth", __name__)


@blueprint.app_context_processor
def _current_account() -> dict[str, object]:
    # A function and not a value: a page that does not call it leaves the session alone.
    return {"current_account": lambda: accounts.find(session.get("user"))}


@blueprint.route("/login", methods=["GET", "POST"], strict_slashes=False)
def login() -> ResponseReturnValue:
    """Show the form, or check what was sent with it.

    A wrong password answers 200 with the form and a message: 401 would have to name a scheme of HTTP
    authentication (RFC 9110, 15.5.2), and there is none here.
    """
    if accounts.find(session.get("user")):
        return redirect(url_for("shop.index"))
    if request.method == "GET":
        return render_template("login.html", samples=accounts.SAMPLE_LOGINS)

    form = request.form.to_dict()
    username = form.get("username", "").lower().strip()
    account = accounts.authenticate(username, form.get("password", ""))
    if account is None:
        flash("Incorrect username or password.", "danger")
        return render_template("login.html", samples=accounts.SAMPLE_LOGINS, username=username, failed=True)

    session["user"] = account.username
    session.rotate()  # the new ticket is one that nobody saw before the login
    kept = " Your cart came along." if cart.count() else ""
    flash(f"Welcome, {account.name}. Your session has a new id.{kept}", "success")
    return redirect(url_for("shop.index"))


@blueprint.post("/logout")
def logout() -> ResponseReturnValue:
    """End the session, cart included, and forget what the visitor looked at."""
    recent.forget()
    session.destroy()
    flash("You are signed out, and your session is gone.", "success")
    return redirect(url_for("auth.login"))
