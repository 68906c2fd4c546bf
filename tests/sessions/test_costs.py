"""The number of store commands of a request: promises 1 and 2, counted at the store and in Redis itself."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import redis
from flask import Flask, session

from flask_cloakroom import Session
from support.servers.redis_server import RedisServer
from support.sites.requests_on_app import MakeApp, entries, send, ticket_of
from support.sites.watched_store import watch


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    app = make_app()
    add_views(app)
    return app


def add_views(app: Flask) -> None:
    app.add_url_rule("/alone", "alone", lambda: "hello")
    app.add_url_rule("/read", "read", lambda: str(session.get("user")))
    app.add_url_rule("/read-nested", "read-nested", lambda: str(session.get("cart")))
    app.add_url_rule("/same", "same", lambda: str(session.update(user="alice")))
    app.add_url_rule("/write", "write", lambda: str(session.update(n=session.get("n", 0) + 1)))
    app.add_url_rule("/fill", "fill", lambda: str(session.update(user="alice", cart={"items": [1]})))
    app.add_url_rule("/clear", "clear", lambda: str(session.clear()))
    app.add_url_rule("/destroy", "destroy", lambda: str(session.destroy()))  # type: ignore[attr-defined]
    app.add_url_rule("/in", "in", lambda: str("user" in session))
    app.add_url_rule("/len", "len", lambda: str(len(session)))
    app.add_url_rule("/iter", "iter", lambda: str(list(session)))


@pytest.mark.promise(1, 2)
@pytest.mark.parametrize(
    ("path", "calls"),
    [
        ("/alone", []),
        ("/read", ["load"]),
        ("/read-nested", ["load"]),
        ("/in", ["load"]),
        ("/len", ["load"]),
        ("/same", ["load"]),
        ("/write", ["load", "replace"]),
        ("/destroy", ["load", "replace"]),
    ],
)
def test_store_commands(app: Flask, path: str, calls: list[str]) -> None:
    """An untouched session costs no command, reading one, changing two. Setting an equal value is reading."""
    ticket = ticket_of(send(app, "/fill"))
    store = watch(app)
    assert send(app, path, ticket).status_code == 200
    assert store.calls == calls


@pytest.mark.promise(1, 2)
@pytest.mark.parametrize("path", ["/alone", "/read", "/in", "/len", "/iter", "/clear", "/destroy"])
def test_visitor_without_cookie(app: Flask, path: str) -> None:
    """A visitor without a ticket who stores nothing costs no command, gets no cookie, and makes no entry."""
    store = watch(app)
    response = send(app, path)
    assert store.calls == []
    assert ticket_of(response) is None
    assert entries(app) == 0


@pytest.mark.promise(1)
def test_untouched_page_says_nothing(app: Flask) -> None:
    """A page that leaves the session alone has neither Vary nor Set-Cookie, also for a visitor with a ticket."""
    ticket = ticket_of(send(app, "/fill"))
    response = send(app, "/alone", ticket)
    assert "Vary" not in response.headers
    assert "Set-Cookie" not in response.headers
    assert "Cache-Control" not in response.headers


@pytest.mark.parametrize("path", ["/read", "/in", "/len", "/iter"])
@pytest.mark.parametrize("with_ticket", [True, False])
def test_access_varies_on_the_cookie(app: Flask, path: str, with_ticket: bool) -> None:
    """CVE-2026-27205: looking for a key, counting and iterating are access, and the page varies on the cookie."""
    ticket = ticket_of(send(app, "/fill")) if with_ticket else None
    assert send(app, path, ticket).headers["Vary"] == "Cookie"


def test_set_cookie_is_never_cached(app: Flask) -> None:
    """CVE-2023-30861: a response with Set-Cookie varies on the cookie and is not stored, even if the view said so."""

    @app.get("/public")
    def public() -> Any:
        session["n"] = 1
        response = app.make_response("x")
        response.cache_control.public = True
        response.cache_control.max_age = 3600
        response.vary.add("Accept-Language")
        return response

    response = send(app, "/public")
    assert ticket_of(response)
    assert response.headers.getlist("Vary") == ["Accept-Language, Cookie"]
    assert response.cache_control.no_store
    assert not response.cache_control.public
    assert response.cache_control.max_age is None


@pytest.mark.promise(2)
def test_change_sends_no_cookie(app: Flask) -> None:
    """A visitor with a ticket does not get the cookie again at each change."""
    ticket = ticket_of(send(app, "/fill"))
    assert ticket_of(send(app, "/write", ticket)) is None


@pytest.mark.promise(1)
def test_rendered_page_leaves_the_session_alone(app: Flask) -> None:
    """A template that doesn't mention the session doesn't touch it."""
    from flask import render_template_string

    app.add_url_rule("/page", "page", lambda: render_template_string("<p>{{ request.path }}</p>"))
    ticket = ticket_of(send(app, "/fill"))
    store = watch(app)
    assert "Vary" not in send(app, "/page", ticket).headers
    assert store.calls == []


@pytest.mark.promise(1, 2)
def test_commands_as_redis_counts_them(own_redis_server: RedisServer) -> None:
    """MONITOR sees 0, 1 and 2 commands of clients; what the script does inside the server is marked as such."""
    app = Flask("shop")
    app.config["SESSION_STORE"] = own_redis_server.url
    Session(app)
    add_views(app)
    ticket = ticket_of(send(app, "/fill"))
    send(app, "/write", ticket)  # loads the script
    client = redis.Redis(port=own_redis_server.port)
    counts = {}
    for path in ("/alone", "/read", "/write"):
        seen: list[Any] = []
        with client.monitor() as monitor:
            done = threading.Event()

            def listen(monitor: Any = monitor, seen: list[Any] = seen, done: threading.Event = done) -> None:
                for command in monitor.listen():
                    if "the end" in command["command"]:
                        break
                    seen.append(command)
                done.set()

            listener = threading.Thread(target=listen)
            listener.start()
            for _ in range(10):
                send(app, path, ticket)
            client.echo("the end")
            assert done.wait(10)
            listener.join()
        ours = [command for command in seen if "session:" in command["command"]]
        counts[path] = sum(command["client_type"] != "lua" for command in ours) / 10
    client.close()
    app.session_interface.store.close()  # type: ignore[attr-defined]
    assert counts == {"/alone": 0, "/read": 1, "/write": 2}
