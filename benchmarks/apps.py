"""The contestants: one small site with three pages, for each way to keep sessions.

Every contestant has the first settings of its documentation, without any tuning. So Flask-Session writes the session at
each request (``SESSION_REFRESH_EACH_REQUEST``). Flask's cookie lasts until the browser window is closed, and is signed
again only when it has changed.
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

#: The contents of every measured session: a name, a counter and a small cart.
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

#: The measured pages, and what each does with the session.
PAGES = {"/alone": "leaves it alone", "/read": "reads", "/write": "changes"}
#: The pages of a site with logins, and what each does with the login.
LOGIN_PAGES = {"/alone": "asks nothing of the login", "/members": "behind login_required"}


@dataclass(frozen=True)
class Environment:
    """The Redis server and the folder that the contestants may use."""

    socket: str
    folder: str

    def redis(self, database: int) -> str:
        """Return the URL of one database of the Redis server. Each contestant has its own."""
        return f"unix://{self.socket}?db={database}"

    @property
    def sqlite(self) -> Path:
        return Path(self.folder) / "sessions.sqlite"


def _bare(app: Flask, environment: Environment) -> None:
    """No secret key and no session."""


def _cookie(app: Flask, environment: Environment) -> None:
    app.secret_key = "a secret of the benchmark, 32+ characters"


def _flask_session(app: Flask, environment: Environment) -> None:
    from flask_session import Session

    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=Redis.from_url(environment.redis(FLASK_SESSION_DB)))
    Session(app)


def _cloakroom(app: Flask, **config: object) -> None:
    from flask_cloakroom import Session

    app.config.update(config)
    Session(app)


def _cloakroom_redis(app: Flask, environment: Environment) -> None:
    _cloakroom(app, SESSION_TYPE="redis", SESSION_REDIS=Redis.from_url(environment.redis(CLOAKROOM_DB)))


def _cloakroom_sqlite(app: Flask, environment: Environment) -> None:
    _cloakroom(app, SESSION_STORE=f"sqlite:///{environment.sqlite}")


def _cloakroom_memory(app: Flask, environment: Environment) -> None:
    _cloakroom(app, SESSION_TYPE="memory")


def _flask_login(app: Flask, environment: Environment) -> None:
    import flask_login

    _flask_session(app, environment)
    _member_pages(app, flask_login)


def _cloakroom_login(app: Flask, environment: Environment) -> None:
    import flask_cloakroom

    _cloakroom_redis(app, environment)
    _member_pages(app, flask_cloakroom)


FLASK_SESSION_DB = 1
CLOAKROOM_DB = 2
RAW_DB = 3

CONTESTANTS: dict[str, Callable[[Flask, Environment], None]] = {
    "bare": _bare,
    "cookie": _cookie,
    "flask-session": _flask_session,
    "cloakroom-redis": _cloakroom_redis,
    "cloakroom-sqlite": _cloakroom_sqlite,
    "cloakroom-memory": _cloakroom_memory,
}

#: The contestants with logins. Both have the cheapest possible loader.
LOGIN_CONTESTANTS: dict[str, Callable[[Flask, Environment], None]] = {
    "flask-session + flask-login": _flask_login,
    "cloakroom, logins": _cloakroom_login,
}

#: The bare application gets a Cookie header of the usual length, which it does not read.
BARE_COOKIE = f"session={'t' * 43}"

#: Contestants whose sessions other worker processes do not see.
ONE_PROCESS = {"cloakroom-memory"}


def make_app(contestant: str, environment: Environment) -> Flask:
    """Return the site of the benchmark for ``contestant``."""
    app = Flask("benchmark", static_folder=None, instance_path=environment.folder)
    (CONTESTANTS | LOGIN_CONTESTANTS)[contestant](app, environment)
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
    """Add the same views for either package: both have the same names."""
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
    """Add the same answers without a session. The other sites' times are compared with these."""

    @app.get("/alone")
    @app.get("/members")
    @app.get("/read")
    def name() -> str:
        return USER

    @app.get("/write")
    def count() -> str:
        return str(1)


def start_session(app: Flask, path: str = "/start") -> str:
    """Start a session with the measured contents, and return the ``Cookie`` header that a browser would send.

    ``path``: "/login" for the session of a logged-in user.
    """
    response = Client(app).get(path)
    if response.status_code != 200:
        raise RuntimeError(f"no session could be started: {response.status}")
    jar = SimpleCookie(response.headers["Set-Cookie"])
    return "; ".join(f"{morsel.key}={morsel.value}" for morsel in jar.values())


def prepare(app: Flask, page: str, cookie: str) -> Callable[[], bytes]:
    """Return a function that sends one request for ``page`` through the WSGI interface and returns the body."""
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
    """Return the site that the environment variables name, for gunicorn's workers."""
    environment = Environment(socket=os.environ["BENCHMARK_SOCKET"], folder=os.environ["BENCHMARK_FOLDER"])
    return make_app(os.environ["BENCHMARK_CONTESTANT"], environment)
