"""A site with protection, over sessions on the server or in Flask's cookie, and what its visitors send."""

from __future__ import annotations

from typing import Any

from flask import Flask, session
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flask_cloakroom import CSRFProtect, Session, generate_csrf

UNSAFE = ["POST", "PUT", "PATCH", "DELETE"]
FOREIGN = {"Sec-Fetch-Site": "cross-site"}
ANY_METHOD = ["GET", "HEAD", *UNSAFE]


def make_app(kind: str = "server", *, protect: bool = True, **settings: Any) -> Flask:
    """Make a site with a page that has a token, one that has none, and one that changes something."""
    app = Flask("shop")
    app.config.update(TESTING=True, SESSION_STORE="memory://")
    app.config.update(settings)
    if kind == "server":
        Session(app)
    else:
        app.secret_key = "a key that is long enough"
    if protect:
        CSRFProtect(app)
    app.add_url_rule("/form", "form", generate_csrf)
    app.add_url_rule("/plain", "plain", lambda: "plain")
    app.add_url_rule("/change", "change", lambda: "changed", methods=ANY_METHOD)
    app.add_url_rule("/login/<user>", "login", lambda user: str(session.update(_user_id=user)))
    return app


def reason_of(response: TestResponse) -> str:
    """Return the reason that a refusal's page gives."""
    assert response.status_code == 400
    return response.text.partition("<p>")[2].partition("</p>")[0]


def post(client: FlaskClient, token: str | None = None, path: str = "/change", **headers: str) -> TestResponse:
    """Post a form; with no headers, as a client that says nothing."""
    data = {} if token is None else {"csrf_token": token}
    return client.post(path, data=data, headers={name.replace("_", "-"): value for name, value in headers.items()})


class Watched:
    """Counts what is asked of a store."""

    def __init__(self, app: Flask) -> None:
        self.calls: list[str] = []
        repository = app.session_interface.repository  # type: ignore[attr-defined]
        self._store, repository.store = repository.store, self

    def __getattr__(self, name: str) -> Any:
        if name in ("load", "create", "replace", "touch", "delete"):
            self.calls.append(name)
        return getattr(self._store, name)
