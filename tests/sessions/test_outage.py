"""Promise 10: Redis is stopped before and during a request, hangs, and starts again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from flask import Flask, Response, session

from flask_cloakroom import Session, StoreError
from support.clock import CalmClock
from support.servers.redis_server import RedisServer
from support.sites.requests_on_app import MakeApp, send, ticket_of

pytestmark = pytest.mark.promise(10)

#: Seconds, as configured below, and what a slow CI machine may add to it.
TIMEOUT = 0.6
MARGIN = 1.0


def configured_with_url(server: RedisServer) -> Any:
    return server.url


def configured_with_client(server: RedisServer) -> Any:
    # With the driver's own patience, which must not lengthen ours.
    return redis.Redis(port=server.port, socket_timeout=None, decode_responses=True)


@pytest.fixture(params=[configured_with_url, configured_with_client])
def app(request: pytest.FixtureRequest, own_redis_server: RedisServer) -> Iterator[Flask]:
    client = request.param(own_redis_server)
    app = Flask("shop")
    app.config.update(SESSION_REDIS=client, SESSION_STORE_TIMEOUT=TIMEOUT)
    Session(app)
    app.add_url_rule("/alone", "alone", lambda: "hello")
    app.add_url_rule("/read", "read", lambda: str(session.get("user")))
    app.add_url_rule("/fill", "fill", lambda: str(session.update(user="alice", n=0)))
    app.add_url_rule("/write", "write", lambda: str(session.update(n=session.get("n", 0) + 1)))
    app.add_url_rule("/n", "n", lambda: str(session.get("n")))
    app.add_url_rule("/logout", "logout", lambda: str(session.destroy()))  # type: ignore[attr-defined]

    @app.get("/swallow")
    def swallow() -> str:
        try:
            return str(session.get("user"))
        except Exception:
            return f"anonymous {session.get('user')}"

    yield app
    app.session_interface.store.close()  # type: ignore[attr-defined]
    if not isinstance(client, str):
        client.close()


def timed(app: Flask, path: str, ticket: str | None) -> Any:
    with CalmClock() as clock:
        began = clock.time()
        response = send(app, path, ticket)
        assert clock.time() - began < TIMEOUT + MARGIN
    return response


def assert_unavailable(response: Any) -> None:
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert response.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("outage", ["stop", "pause"])
def test_store_down(app: Flask, own_redis_server: RedisServer, outage: str, caplog: pytest.LogCaptureFixture) -> None:
    """Pages that use the session are a 503 with Retry-After, other pages work, and no data is lost."""
    ticket = ticket_of(send(app, "/fill"))
    assert ticket
    send(app, "/write", ticket)
    getattr(own_redis_server, outage)()
    for path in ("/read", "/write", "/logout", "/swallow"):
        assert_unavailable(timed(app, path, ticket))
    assert_unavailable(timed(app, "/fill", None))
    for visitor in (ticket, None):
        assert timed(app, "/alone", visitor).status_code == 200
    assert timed(app, "/read", None).status_code == 200  # nobody has to be asked who has no ticket
    if outage == "stop":
        own_redis_server.start()
    else:
        own_redis_server.resume()
    assert send(app, "/n", ticket).text == "1"
    assert send(app, "/write", ticket).status_code == 200
    assert send(app, "/n", ticket).text == "2"
    assert ticket not in caplog.text
    assert "alice" not in caplog.text


def test_store_goes_down_during_a_request(app: Flask, own_redis_server: RedisServer) -> None:
    """The store stops after the read: the page is a 503, and the stored session stays."""

    @app.get("/slow")
    def slow() -> Response:
        session["n"] = session["n"] + 1
        own_redis_server.stop()
        response = Response("saved!", headers={"X-Secret": "of the page that must not be shown"})
        response.set_cookie("other", "value")
        return response

    ticket = ticket_of(send(app, "/fill"))
    response = timed(app, "/slow", ticket)
    assert_unavailable(response)
    assert "saved" not in response.text
    assert "X-Secret" not in response.headers
    own_redis_server.start()
    assert send(app, "/n", ticket).text == "0"


def test_refresh_that_fails(own_redis_server: RedisServer) -> None:
    """A page that cannot write "last seen" any more is a 503, although it has read its session."""
    app = Flask("shop")
    app.config.update(SESSION_STORE=own_redis_server.url, SESSION_STORE_TIMEOUT=TIMEOUT, SESSION_REFRESH_AFTER=0)
    Session(app)

    @app.get("/slow")
    def slow() -> str:
        user = session.get("user")
        own_redis_server.stop()
        return str(user)

    app.add_url_rule("/fill", "fill", lambda: str(session.update(user="alice")))
    ticket = ticket_of(send(app, "/fill"))
    assert_unavailable(timed(app, "/slow", ticket))


@pytest.mark.parametrize("uses_session", [False, True])
def test_own_page_for_503(app: Flask, own_redis_server: RedisServer, uses_session: bool) -> None:
    """The application's error handler makes the 503 page. If the handler uses the session, a plain page is sent."""

    @app.errorhandler(503)
    def page(error: Any) -> Any:
        return f"sorry, {session.get('user') if uses_session else 'visitor'}", 503

    ticket = ticket_of(send(app, "/fill"))
    own_redis_server.stop()
    response = timed(app, "/read", ticket)
    assert_unavailable(response)
    assert ("sorry" in response.text) is not uses_session


def test_errors_are_logged_without_secrets(
    app: Flask, own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names the store's place and the error, and no secret."""
    ticket = ticket_of(send(app, "/fill"))
    assert ticket
    own_redis_server.stop()
    with caplog.at_level(logging.DEBUG):
        send(app, "/read", ticket)
    assert f":{own_redis_server.port}/0: the server cannot be reached" in caplog.text
    key = app.session_interface.repository.tickets.fingerprint(ticket).hex()  # type: ignore[attr-defined]
    for secret in (ticket, key, "alice"):
        assert secret not in caplog.text


def test_an_error_that_leaves_a_view(make_app: MakeApp) -> None:
    """Of what a view asks the store for besides its session: a 503, unless the application has an answer of its own."""
    app = make_app()

    @app.get("/list")
    def list_sessions() -> str:
        raise StoreError("down")

    response = send(app, "/list")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    own = make_app()
    own.add_url_rule("/list", view_func=list_sessions)
    own.register_error_handler(StoreError, lambda error: ("ours", 502))
    Session(own)  # a second time, and behind it
    assert send(own, "/list").status_code == 502
