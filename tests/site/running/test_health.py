"""Health checks, and the headers of proxies that the site trusts."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from sched_site import create_app
from sched_site.database import db

from flask_cloakroom import SettingError
from support.sched.processes import RedisServer, run_site

ALL = {"redis": "ok", "sessions": "ok", "database": "ok"}


def test_ready(client: FlaskClient) -> None:
    """When all answer it says so, sets no cookie, and may not be kept."""
    response = client.get("/health/ready")
    assert (response.status_code, response.json) == (200, {"status": "ok", **ALL})
    assert "Set-Cookie" not in response.headers
    assert client.get("/health").json == {"status": "ok"}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_redis_is_away(own_redis: RedisServer, tmp_path: Path, elsewhere: bool) -> None:
    """Without Redis it is not ready, whether the sessions are there too or elsewhere; the cheap page says ok."""
    settings = {"SESSION_STORE": f"sqlite:///{tmp_path}/sessions.sqlite3"} if elsewhere else {}
    client = create_app({"REDIS_URL": own_redis.url, **settings}).test_client()
    own_redis.stop()
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert response.json == {**ALL, "status": "away", "redis": "away", "sessions": "ok" if elsewhere else "away"}
    assert client.get("/health").status_code == 200
    own_redis.start()
    assert client.get("/health/ready").status_code == 200


def test_sessions_are_away(empty_redis: str, tmp_path: Path) -> None:
    """A store of the sessions that cannot be had is told as what it is."""
    (tmp_path / "sessions.sqlite3").mkdir()
    store = f"sqlite:///{tmp_path}/sessions.sqlite3"
    response = create_app({"REDIS_URL": empty_redis, "SESSION_STORE": store}).test_client().get("/health/ready")
    assert (response.status_code, response.json) == (503, {**ALL, "status": "away", "sessions": "away"})


def test_database_is_away(app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    """So is the database. Neither the answer nor the log says where it is."""
    with app.app_context():
        path = Path(str(db.engine.url.database))
        db.engine.dispose()
    path.unlink()
    path.mkdir()
    response = client.get("/health/ready")
    assert (response.status_code, response.json) == (503, {**ALL, "status": "away", "database": "away"})
    assert "not ready: database: OperationalError" in caplog.text
    assert str(path) not in response.text + caplog.text


@pytest.mark.parametrize(
    ("proxies", "address", "scheme"),
    [(0, "127.0.0.1", "http"), (1, "203.0.113.9", "https"), (2, "198.51.100.7", "http")],
)
def test_proxies(empty_redis: str, proxies: int, address: str, scheme: str) -> None:
    """As many proxies are believed as there are said to be, and what a visitor writes into their headers is not."""
    app = create_app({"REDIS_URL": empty_redis, "TRUSTED_PROXIES": proxies})
    app.add_url_rule(
        "/tests/who", view_func=lambda: [request.remote_addr, request.scheme, request.host], endpoint="who"
    )
    headers = {
        "X-Forwarded-For": "192.0.2.1, 198.51.100.7, 203.0.113.9",
        "X-Forwarded-Proto": "http, https",
        "X-Forwarded-Host": "evil.example",
    }
    assert app.test_client().get("/tests/who", headers=headers).json == [address, scheme, "localhost"]


@pytest.mark.parametrize("proxies", [-1, "one", True, 1.5])
def test_proxies_make_no_sense(empty_redis: str, proxies: object) -> None:
    """A number that is none is an error that names the setting."""
    with pytest.raises(SettingError, match="TRUSTED_PROXIES: must be the number of proxies"):
        create_app({"REDIS_URL": empty_redis, "TRUSTED_PROXIES": proxies})


def test_proxies_by_the_environment() -> None:
    """The setting comes from SCHED_TRUSTED_PROXIES, and a wrong one is told in one sentence."""
    done = run_site("--port=0", SCHED_TRUSTED_PROXIES="one")
    assert done.returncode == 1
    assert done.stderr.startswith("The site cannot start. TRUSTED_PROXIES: ")
