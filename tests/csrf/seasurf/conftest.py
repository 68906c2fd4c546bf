"""A site with the drop-in of Flask-SeaSurf, over each kind of session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, render_template_string
from flask.testing import FlaskClient

from flask_cloakroom import (
    LoginManager,
    Session,
    login_user,
    logout_user,
)
from support.dropins import imported
from support.sites.seasurf import UNSAFE, Make, User


@pytest.fixture
def flask_seasurf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The drop-in, as if it were installed."""
    yield from imported("flask_seasurf", monkeypatch)


@pytest.fixture
def make(flask_seasurf: Any, kind: str) -> Make:
    """Makes a site: a page with a form, one without, a view that changes something; with some settings."""

    def make_site(**settings: Any) -> Flask:
        app = Flask("shop")
        app.config.update(TESTING=True, SESSION_STORE="memory://")
        app.config.update(settings)
        if kind == "server":
            Session(app)
        app.config["SECRET_KEY"] = "a key that is long enough for tokens"
        LoginManager(app).user_loader(User)
        flask_seasurf.SeaSurf(app)
        app.add_url_rule("/form", "form", lambda: render_template_string("{{ csrf_token() }}"))
        app.add_url_rule("/plain", "plain", lambda: "plain")
        app.add_url_rule("/change", "change", lambda: "changed", methods=["GET", *UNSAFE])
        app.add_url_rule("/login/<user>", "login", lambda user: str(login_user(User(user))))
        app.add_url_rule("/logout", "logout", lambda: str(logout_user()))
        return app

    return make_site


@pytest.fixture
def app(make: Make) -> Flask:
    """The site with default settings."""
    return make()


@pytest.fixture
def csrf(app: Flask) -> Any:
    """Its protection."""
    return app.extensions["csrf"]


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """One visitor, whose client says nothing of where its requests come from."""
    return app.test_client()
