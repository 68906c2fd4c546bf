"""The flash message for a visitor who is sent to the login page."""

from __future__ import annotations

import pytest
from flask import Flask, flash, get_flashed_messages

from flask_cloakroom import LoginManager, Session, login_required


@pytest.mark.parametrize("kind", ["server", "cookie"])
def test_message_is_not_repeated(kind: str) -> None:
    """A page that asks again and again, and shows none, does not fill the session; others' messages stay."""
    app = Flask("shop")
    app.config.update(SECRET_KEY="a key that is long enough", SESSION_STORE="memory://")
    if kind == "server":
        Session(app)
    manager = LoginManager(app)
    manager.user_loader(lambda user_id: None)
    manager.login_view = "login"
    app.add_url_rule("/login", "login", lambda: "no messages here")
    app.add_url_rule("/poll", "poll", login_required(lambda: "news"))
    app.add_url_rule("/other", "other", lambda: str(flash("Saved.")))
    app.add_url_rule("/messages", "messages", lambda: get_flashed_messages())
    client = app.test_client()
    for path in ("/poll", "/other", "/poll", "/poll"):
        client.get(path)
    assert client.get("/messages").json == [manager.login_message, "Saved."]
    client.get("/poll")
    assert client.get("/messages").json == [manager.login_message]
