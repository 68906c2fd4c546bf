"""The contestants: one small site with three pages, under each way of keeping sessions.

Every contestant runs with the settings that its documentation starts with, and with nothing tuned. For
Flask-Session that means that each request writes the session back (``SESSION_REFRESH_EACH_REQUEST``), and for
Flask's cookie that it lasts as long as the browser is open and is signed anew only when it changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

from flask import Flask, session
from redis import Redis
from werkzeug.test import Client, EnvironBuilder

#: What every measured session holds: a name, a counter and a small cart.
USER = "ada.lovelace"
CONTENTS: dict[str, Any] = {
    "user": USER,
    "n": 0,
    "cart": {
        "currency": "EUR",
        "items": [
            {"sku": "LAMP-1001", "name": "Desk lamp", "quantity": 1, "price": "39.90"},
            {"sku": "CHAIR-204", "name": "Oak chair", "quantity": 4, "price": "129.00"},
            {"sku": "PEN-77", "name": "Pencil, HB", "quantity": 12, "price": "0.80"},
        ],
    },
}

#: The measured pages, by what they do with the session.
PAGES = {"/alone": "leaves it alone", "/read": "reads", "/write": "changes"}
#: Those of a site with logins, by what they ask of the login.
LOGIN_PAGES = {"/alone": "asks nothing of the login", "/members": "behind login_required"}


@dataclass(frozen=True)
class Place:
    """Where the contestants may keep their sessions."""

    socket: str
    folder: str

    def redis(self, database: int) -> str:
        """Return the URL of one of the databases of the Redis, so that no contestant sees another's keys."""
        return f"unix://{self.socket}?db={database}"

    @property
    def sqlite(self) -> Path:
        return Path(self.folder) / "sessions.sqlite"


def _bare(app: Flask, place: Place) -> None:
    """No secret key, no session."""


def _cookie(app: Flask, place: Place) -> None:
    app.secret_key = "a secret of the benchmark, 32+ characters"


def _flask_session(app: Flask, place: Place) -> None:
    from flask_session import Session

    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=Redis.from_url(place.redis(FLASK_SESSION_DB)))
    Session(app)


def _cloakroom(app: Flask, **config: object) -> None:
    from flask_cloakroom import Session

    app.config.update(config)
    Session(app)


def _cloakroom_redis(app: Flask, place: Place) -> None:
    _cloakroom(app, SESSION_TYPE="redis", SESSION_REDIS=Redis.from_url(place.redis(CLOAKROOM_DB)))


def _cloakroom_sqlite(app: Flask, place: Place) -> None:
    _cloakroom(app, SESSION_STORE=f"sqlite:///{place.sqlite}")


def _cloakroom_memory(app: Flask, place: Place) -> None:
    _cloakroom(app, SESSION_TYPE="memory")


def _flask_login(app: Flask, place: Place) -> None:
    import flask_login

    _flask_session(app, place)
    _member_pages(app, flask_login)


def _cloakroom_login(app: Flask, place: Place) -> None:
    import flask_cloakroom

    _cloakroom_redis(app, place)
    _member_pages(app, flask_cloakroom)


FLASK_SESSION_DB = 1
CLOAKROOM_DB = 2
RAW_DB = 3

CONTESTANTS: dict[str, Callable[[Flask, Place], None]] = {
    "bare": _bare,
    "cookie": _cookie,
    "flask-session": _flask_session,
    "cloakroom-redis": _cloakroom_redis,
    "cloakroom-sqlite": _cloakroom_sqlite,
    "cloakroom-memory": _cloakroom_memory,
}

#: With logins; both have the loader that costs least.
LOGIN_CONTESTANTS: dict[str, Callable[[Flask, Place], None]] = {
    "flask-session + flask-login": _flask_login,
    "cloakroom, logins": _cloakroom_login,
}

#: What the bare application is sent, and does not look at: a header of the usual length.
BARE_COOKIE = f"session={'t' * 43}"

#: Contestants whose sessions are not seen by another worker process.
ONE_PROCESS = {"cloakroom-memory"}


def make_app(contestant: str, place: Place) -> Flask:
    """Return the site of the benchmark under ``contestant``."""
    app = Flask("benchmark", static_folder=None, instance_path=place.folder)
    (CONTESTANTS | LOGIN_CONTESTANTS)[contestant](app, place)
    if contestant == "bare":
        _constant_pages(app)
    else:
        _session_pages(app)
    return app


def _session_pages(app: Flask) -> None:
    @app.get("/start")
    def start() -> str:
        session.update(CONTENTS)
        return "started"

    @app.get("/alone")
    def alone() -> str:
        return USER

    @app.get("/read")
    def read() -> str:
        return str(session["user"])

    @app.get("/write")
    def write() -> str:
        session["n"] = session.get("n", 0) + 1
        return str(session["n"])


def _member_pages(app: Flask, login: Any) -> None:
    """Add the same views over either package: their names are the same."""
    manager = login.LoginManager(app)

    class Member(login.UserMixin):  # type: ignore[misc]
        id = USER

    member = Member()

    @manager.user_loader  # type: ignore[untyped-decorator]
    def load_user(user_id: str) -> Any:
        return member if user_id == USER else None

    @app.get("/login")
    def log_in() -> str:
        session.update(CONTENTS)
        return str(login.login_user(member))

    @app.get("/members")
    @login.login_required  # type: ignore[untyped-decorator]
    def members() -> str:
        return USER


def _constant_pages(app: Flask) -> None:
    """The same answers with no session behind them: what the others' time is compared with."""

    @app.get("/alone")
    @app.get("/members")
    @app.get("/read")
    def name() -> str:
        return USER

    @app.get("/write")
    def count() -> str:
        return str(1)


def start_session(app: Flask, path: str = "/start") -> str:
    """Begin a session with the measured contents; return the ``Cookie`` header that a browser would send.

    ``path``: "/login" for one in which somebody is logged in.
    """
    response = Client(app).get(path)
    if response.status_code != 200:
        raise RuntimeError(f"no session could be started: {response.status}")
    jar = SimpleCookie(response.headers["Set-Cookie"])
    return "; ".join(f"{morsel.key}={morsel.value}" for morsel in jar.values())


def prepare(app: Flask, page: str, cookie: str) -> Callable[[], bytes]:
    """Return a function that sends one request for ``page`` through the WSGI interface and gives the body."""
    environ = EnvironBuilder(path=page, headers=[("Cookie", cookie)]).get_environ()
    wsgi: Any = app.wsgi_app

    def start_response(status: str, headers: object, exc_info: object = None) -> None:
        if not status.startswith("200"):
            raise RuntimeError(f"{page} answered {status}")

    def request() -> bytes:
        body = wsgi(environ.copy(), start_response)
        try:
            return b"".join(body)
        finally:
            body.close()

    return request


def serve() -> Flask:
    """Return the site that the environment names: what gunicorn's workers call."""
    place = Place(socket=os.environ["BENCHMARK_SOCKET"], folder=os.environ["BENCHMARK_FOLDER"])
    return make_app(os.environ["BENCHMARK_CONTESTANT"], place)
