"""Code from a tutorial for Flask-Session runs unchanged on the drop-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, redirect, request, session, url_for
from redis import Redis

from support.dropins import imported
from support.servers.redis_server import RedisServer


@pytest.fixture
def flask_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The drop-in, as if it were installed."""
    yield from imported("flask_session", monkeypatch)


def make_site(flask_session: Any, server: RedisServer) -> Flask:
    Session = flask_session.Session
    app = Flask(__name__)
    app.config["SESSION_TYPE"] = "redis"
    app.config["SESSION_REDIS"] = Redis("127.0.0.1", server.port, db=7)
    Session(app)

    @app.route("/login", methods=["GET", "POST"], strict_slashes=False)
    def login() -> Any:
        if request.method == "POST":
            data = request.form.to_dict()
            if data.get("username") == "alice" and data.get("password") == "wonder":
                session["user"] = data["username"]
                return redirect(url_for("index"))
        return "log in"

    @app.route("/")
    def index() -> str:
        return f"{session.get('user')} {session.get('cart')}"

    @app.route("/cart/<item>")
    def add(item: str) -> str:
        session.setdefault("cart", []).append(item)
        return "ok"

    @app.route("/key")
    def key() -> str:
        session["key"] = "value"
        got = session.get("key")
        session.pop("key", None)
        return f"{got} {session.get('key')}"

    return app


def close(app: Flask) -> None:
    app.session_interface.store.close()  # type: ignore[attr-defined]
    app.config["SESSION_REDIS"].close()


def test_study_note(flask_session: Any, redis_server: RedisServer) -> None:
    """SECRET_KEY is not set; login with a form; the cart left behind is there on the next visit."""
    app = make_site(flask_session, redis_server)
    assert app.secret_key is None
    client = app.test_client()
    assert client.get("/key").text == "value None"
    for path in ("/login", "/login/"):
        assert client.get(path).text == "log in"
    client.get("/cart/apple")
    assert client.post("/login", data={"username": "alice", "password": "wrong"}).text == "log in"
    assert client.post("/login/", data={"username": "alice", "password": "wonder"}).status_code == 302
    client.get("/cart/pear")
    close(app)
    again = make_site(flask_session, redis_server)  # the server was restarted meanwhile
    again_client = again.test_client()
    cookie = client.get_cookie("session")
    assert cookie
    again_client.set_cookie("session", cookie.value)
    assert again_client.get("/").text == "alice ['apple', 'pear']"
    close(again)


def test_quickstart_of_flask_session(flask_session: Any, tmp_path: Path) -> None:
    """Its example with another store, init_app, and names that its users import."""
    app = Flask("quickstart", instance_path=str(tmp_path))
    app.config.from_mapping(SESSION_TYPE="sqlite", SESSION_PERMANENT=False, SESSION_USE_SIGNER=True)
    extension = flask_session.Session()
    extension.init_app(app)
    app.add_url_rule("/set/", "set", lambda: str(session.__setitem__("key", "value") or "ok"))
    app.add_url_rule("/get/", "get", lambda: session.get("key", "not set"))
    client = app.test_client()
    assert client.get("/get/").text == "not set"
    assert client.get("/set/").text == "ok"
    assert client.get("/get/").text == "value"
    with client:
        client.get("/get/")
        assert isinstance(session._get_current_object(), flask_session.ServerSideSession)  # type: ignore[attr-defined]
        app.session_interface.regenerate(session)  # type: ignore[attr-defined]
    app.session_interface.store.close()  # type: ignore[attr-defined]


def test_sqlite_is_what_you_get(tmp_path: Path) -> None:
    """With nothing configured sessions are in one file in the instance folder, which is made when it is needed."""
    from flask_cloakroom import Cloakroom

    app = Flask("shop", instance_path=str(tmp_path / "instance"))
    Cloakroom(app)
    assert not (tmp_path / "instance").exists()
    app.add_url_rule("/", "index", lambda: str(session.setdefault("n", 1)))
    assert app.test_client().get("/").text == "1"
    assert (tmp_path / "instance" / "sessions.sqlite3").exists()
    assert str(app.session_interface.store) == "SQLite (sessions.sqlite3)"  # type: ignore[attr-defined]
    app.session_interface.store.close()  # type: ignore[attr-defined]
