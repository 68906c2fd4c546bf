"""Code from older and newer tutorials for Flask-Login runs unchanged on the drop-in."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, redirect, render_template_string, request, url_for

from flask_cloakroom import Cloakroom, CSRFClient
from support.dropins import imported

FORM = """
{% if current_user.is_authenticated %}in{% else %}out{% endif %}
{% if error %}{{ error }}{% endif %}<form method=post><input name=username><input name=password type=password></form>
"""


@pytest.fixture
def flask_login(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The drop-in, as if it were installed."""
    yield from imported("flask_login", monkeypatch)


def user_class(flask_login: Any, form: str) -> Any:
    """Return a user class with the flags as methods, as properties, or from the mixin."""

    class Account:
        def __init__(self, number: int, name: str, password: str) -> None:
            self.id, self.name, self.password, self.active = number, name, password, True

        @classmethod
        def authenticate(cls, query: Any, name: str, password: str) -> tuple[Any, bool]:
            user = next((user for user in query() if user.name == name), None)
            return user, user is not None and user.password == password

    class Methods(Account):
        def get_id(self) -> str:
            return str(self.id)

        def is_active(self) -> bool:
            return self.active

        def is_anonymous(self) -> bool:
            return False

        def is_authenticated(self) -> bool:
            return True

    class Mixin(flask_login.UserMixin, Account):  # type: ignore[misc]
        @property
        def is_active(self) -> Any:
            return self.active

    return Methods if form == "methods" else Mixin


def make_site(flask_login: Any, kind: str, form: str, called: bool) -> tuple[Flask, list[Any]]:
    """Return the site of the study note. ``called``: its views call the flags."""
    app = Flask(__name__)
    app.config["SECRET_KEY"] = "a key that is long enough"
    if kind == "server":
        app.config["SESSION_STORE"] = "memory://"
        Cloakroom(app)
    current_user = flask_login.current_user
    users = [user_class(flask_login, form)(1, "alice", "wonder")]

    login_manager = flask_login.LoginManager()
    login_manager.init_app(app)
    login_manager.login_view = "login"

    @login_manager.user_loader
    def load_user(user_id: str) -> Any:
        return next((user for user in users if user.id == int(user_id)), None)

    @app.route("/login/", methods=["GET", "POST"])
    def login() -> Any:
        if current_user.is_authenticated() if called else current_user.is_authenticated:
            return redirect(url_for("appointment_list"))
        error = None
        if request.method == "POST":
            name = request.form["username"].lower().strip()
            user, authenticated = type(users[0]).authenticate(lambda: users, name, request.form["password"])
            if authenticated:
                flask_login.login_user(user)
                return redirect(url_for("appointment_list"))
            error = "Incorrect username or password."
        return render_template_string(FORM, error=error)

    @app.route("/logout/")
    def logout() -> Any:
        flask_login.logout_user()
        return redirect(url_for("login"))

    @app.route("/appointments/")
    @flask_login.login_required
    def appointment_list() -> str:
        return f"appointments of {current_user.name}"

    @app.route("/anonymous/")
    def anonymous() -> str:
        return f"{bool(current_user.is_anonymous)} {bool(current_user.is_authenticated)}"

    return app, users


@pytest.mark.parametrize("called", [True, False], ids=["called", "read"])
@pytest.mark.parametrize("form", ["methods", "mixin"])
@pytest.mark.parametrize("kind", ["server", "cookie"])
def test_study_note(flask_login: Any, kind: str, form: str, called: bool) -> None:
    """The whole visit: refused, wrong password, in, out, switched off."""
    app, users = make_site(flask_login, kind, form, called)
    app.test_client_class = CSRFClient
    client = app.test_client()
    assert client.get("/anonymous/").text == "True False"
    refused = client.get("/appointments/")
    assert refused.headers["Location"] == "/login/?next=%2Fappointments%2F"
    assert "out" in client.get("/login/").text
    wrong = client.post("/login/", data={"username": "alice", "password": "x"})
    assert "Incorrect username or password." in wrong.text
    entered = client.post("/login/", data={"username": " Alice", "password": "wonder"})
    assert entered.headers["Location"] == "/appointments/"
    assert client.get("/appointments/").text == "appointments of alice"
    assert client.get("/login/").headers["Location"] == "/appointments/"
    assert client.get("/anonymous/").text == "False True"
    assert client.get("/logout/").headers["Location"] == "/login/"
    assert client.get("/appointments/").status_code == 302
    client.post("/login/", data={"username": "alice", "password": "wonder"})
    users[0].active = False
    assert client.get("/appointments/").status_code == 302
    client.post("/login/", data={"username": "alice", "password": "wonder"})
    assert client.get("/anonymous/").text == "True False"
    if kind == "server":
        app.session_interface.store.close()  # type: ignore[attr-defined]


def test_import_names(flask_login: Any) -> None:
    """What other packages import, from where they do."""
    assert set(flask_login.__all__) >= {"LoginManager", "current_user", "login_required", "user_logged_in"}
    exec("from flask_login import *", {})
    from flask_login.config import EXEMPT_METHODS
    from flask_login.utils import _get_user, login_url

    from flask_cloakroom.login.access import decorators

    assert EXEMPT_METHODS is decorators.EXEMPT_METHODS
    assert _get_user() is None
    assert login_url("/a") == "/a"
    assert flask_login.current_user is importlib.import_module("flask_cloakroom").current_user
