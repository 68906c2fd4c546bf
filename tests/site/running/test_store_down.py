"""The site while its Redis or its session store is down, and afterwards."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sched_site import create_app

from support.sched.processes import RedisServer, eventually

pytestmark = pytest.mark.promise(10)


@contextmanager
def stopped(server: RedisServer) -> Iterator[None]:
    """Nobody listens."""
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def paused(server: RedisServer) -> Iterator[None]:
    """It accepts connections and says nothing."""
    server.send(signal.SIGSTOP)
    try:
        yield
    finally:
        server.send(signal.SIGCONT)


def check_down(client: FlaskClient) -> None:
    """What needs the session says that it is not to be had, and the rest goes on."""
    for path in ("/", "/cart", "/session", "/login"):
        response = client.get(path)
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert "Your session is temporarily unavailable" in response.text
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
    client = create_app({"REDIS_URL": own_redis.url}).test_client()
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


@pytest.mark.parametrize("fault", [stopped, paused])
def test_new_visitor_while_redis_is_away(own_redis: RedisServer, fault: Any) -> None:
    """Without a session one can look around while Redis is away, and is told what can't be kept."""
    client = create_app({"REDIS_URL": f"{own_redis.url}?socket_timeout=0.2"}).test_client()
    with fault(own_redis):
        for path in ("/", "/product/desk-bell", "/cart", "/login", "/session"):
            response = client.get(path)
            assert response.status_code == 200
            assert "Set-Cookie" not in response.headers
            assert 'id="visits"' not in response.text
            assert 'id="views"' not in response.text
        check_add_is_refused(client)
    eventually(lambda: 'id="visits"' in client.get("/").text)


def check_add_is_refused(client: FlaskClient) -> None:
    response = client.post("/cart/add", data={"product": "desk-bell"})
    assert response.status_code == 503
    assert "Your session is temporarily unavailable" in response.text
    assert "Set-Cookie" not in response.headers


def test_redis_is_away_and_sessions_are_elsewhere(own_redis: RedisServer, tmp_path: Path) -> None:
    """With sessions in a file, a Redis that is away takes away the numbers, buying, and no page."""
    settings = {"REDIS_URL": own_redis.url, "SESSION_STORE": f"sqlite:///{tmp_path}/sessions.sqlite3"}
    client = create_app(settings).test_client()
    client.get("/product/tea-for-two")
    client.post("/cart/add", data={"product": "desk-bell"})
    with stopped(own_redis):
        for path in ("/", "/product/sand-timer", "/cart", "/session", "/login"):
            page = client.get(path)
            assert page.status_code == 200
            for missing in ('id="visits"', 'id="views"', "Recently viewed", "Only", "Sold out"):
                assert missing not in page.text
        assert client.post("/cart/add", data={"product": "wall-calendar"}).location == "/#wall-calendar"
        for path in ("/cart/buy", "/restock"):
            refused = client.post(path)
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) > 0
            assert "The shop is temporarily unavailable" in refused.text
        page_with_cart = client.get("/cart").text
        assert "Desk bell" in page_with_cart
        assert "Wall calendar" in page_with_cart
        assert client.post("/logout").status_code == 302
    client.post("/cart/add", data={"product": "desk-bell"})
    assert "Thank you for your order" in client.post("/cart/buy", follow_redirects=True).text


@pytest.mark.parametrize("debug", [False, True])
def test_sqlite_file_cannot_be_opened(empty_redis: str, tmp_path: Path, debug: bool) -> None:
    """A SQLite file that cannot be opened is the same to visitors as a Redis that is away."""
    (tmp_path / "sessions.sqlite3").mkdir()
    store = f"sqlite:///{tmp_path}/sessions.sqlite3"
    app = create_app({"REDIS_URL": empty_redis, "SESSION_STORE": store, "DEBUG": debug})
    client = app.test_client()
    client.set_cookie("sched_session", "A" * 43)
    check_down(client)
