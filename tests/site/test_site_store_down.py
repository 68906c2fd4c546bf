"""The site while its store cannot be reached, and afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sched_processes import RedisServer
from sched_site import create_app


def check_down(client: FlaskClient) -> None:
    """What needs the session says that it is not to be had, and the rest goes on."""
    for path in ("/", "/cart", "/session", "/login"):
        response = client.get(path)
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert "Our cloakroom does not answer" in response.text
        assert "Set-Cookie" not in response.headers
    for path, status in (
        ("/health", 200),
        ("/static/sched.css", 200),
        ("/dark.css", 200),
        ("/nothing-here", 404),
    ):
        with client.get(path) as other:
            assert other.status_code == status


def test_redis_stopped(own_redis: RedisServer) -> None:
    """While Redis is away pages answer 503 and health goes on; afterwards the visitor is still signed in."""
    client = create_app({"SESSION_STORE": own_redis.url}).test_client()
    client.post("/cart/add", data={"product": "desk-bell"})
    client.post("/login", data={"username": "mira", "password": "half-past-nine"})
    client.get("/")
    own_redis.stop()
    check_down(client)
    for path in ("/cart/add", "/logout"):
        response = client.post(path, data={"product": "sand-timer"})
        assert response.status_code == 503
        assert "Set-Cookie" not in response.headers
    own_redis.start()
    page = client.get("/cart").text
    assert "Mira" in page
    assert "Desk bell" in page
    assert "Sand timer" not in page


def test_new_visitor_while_redis_is_stopped(own_redis: RedisServer) -> None:
    """Without a session one can look around while Redis is away, and is told what can't be kept."""
    client = create_app({"SESSION_STORE": own_redis.url}).test_client()
    own_redis.stop()
    assert client.get("/").status_code == 200
    response = client.post("/cart/add", data={"product": "desk-bell"})
    assert response.status_code == 503
    assert "Our cloakroom does not answer" in response.text
    assert "Set-Cookie" not in response.headers
    own_redis.start()


@pytest.mark.parametrize("debug", [False, True])
def test_sqlite_file_cannot_be_opened(tmp_path: Path, debug: bool) -> None:
    """A SQLite file that cannot be opened is the same to visitors as a Redis that is away."""
    (tmp_path / "sessions.sqlite3").mkdir()
    app = create_app({"SESSION_STORE": f"sqlite:///{tmp_path}/sessions.sqlite3", "DEBUG": debug})
    client = app.test_client()
    client.set_cookie("sched_session", "A" * 43)
    check_down(client)
