"""An outage is reported once in the log and once as a signal, however many connections fail."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from flask import Flask, session

from flask_cloakroom import FlaskRedis, Session, redis_lost, redis_restored
from flask_cloakroom.redis_connections.watch import ServerWatch
from support.redis.clients import Outside, in_threads, join, make_app
from support.servers.special import VolatileRedisServer

#: Fails at once, so that a test of outages need not wait for the pauses between tries.
AT_ONCE = redis.retry.Retry(redis.backoff.NoBackoff(), 0)


class Heard:
    """What was told: the signal, who sent it, of which client, and the rest."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any, Any, dict[str, Any]]] = []

    def lost(self, sender: Any, client: Any, **details: Any) -> None:
        self.events.append(("lost", sender, client, details))

    def restored(self, sender: Any, client: Any, **details: Any) -> None:
        self.events.append(("restored", sender, client, details))

    def names(self) -> list[str]:
        """Return the signals' names, and forget them."""
        names = [event[0] for event in self.events]
        self.events.clear()
        return names


@pytest.fixture
def heard() -> Iterator[Heard]:
    """Return what is told from now on."""
    heard = Heard()
    with redis_lost.connected_to(heard.lost), redis_restored.connected_to(heard.restored):
        yield heard


@pytest.fixture
def app(own_server: VolatileRedisServer) -> Flask:
    """Return an application on a server of its own."""
    return make_app(own_server.url)


def fails(client: FlaskRedis) -> None:
    """Ask a server that is down."""
    with pytest.raises(redis.ConnectionError):
        client.ping()


def open_five(client: FlaskRedis) -> None:
    """Let five connections lie idle."""
    pool = client.connection_pool
    for connection in [pool.get_connection() for _ in range(5)]:
        pool.release(connection)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings of the package, and forget them."""
    found = [
        record.getMessage()
        for record in caplog.records
        if record.name == "flask_cloakroom.redis" and record.levelno >= logging.WARNING
    ]
    caplog.clear()
    return found


def test_an_outage(app: Flask, own_server: VolatileRedisServer, heard: Heard, caplog: pytest.LogCaptureFixture) -> None:
    """Lost once, restored once, with sender, client, cause and time, though many threads have connections."""
    client = FlaskRedis(app, retry=AT_ONCE)
    for _ in range(2):
        open_five(client)
        assert heard.names() == []
        own_server.stop()
        join(in_threads(*[lambda: fails(client)] * 5))
        fails(client)
        ((name, sender, of, details),) = heard.events
        assert (name, sender, of, list(details)) == ("lost", app, client, ["cause"])
        assert details["cause"] == "ConnectionError" or "Error" in details["cause"]
        heard.events.clear()
        (line,) = lines(caplog)
        assert f"127.0.0.1:{own_server.port}/0" in line
        assert "connection lost" in line
        own_server.start()
        join(in_threads(*[client.ping] * 5))
        open_five(client)
        ((name, sender, of, details),) = heard.events
        assert (name, sender, of, list(details)) == ("restored", app, client, ["seconds"])
        assert 0 < details["seconds"] < 60
        heard.events.clear()
        (line,) = lines(caplog)
        assert "connected again" in line


def test_a_restart_that_nobody_saw(app: Flask, own_server: VolatileRedisServer, heard: Heard) -> None:
    """All idle connections turn out to be closed: told once, with 0.0 seconds."""
    client = FlaskRedis(app)
    open_five(client)
    own_server.stop()
    own_server.start()
    join(in_threads(*[client.ping] * 5))
    open_five(client)
    ((name, _, _, details),) = heard.events
    assert (name, details) == ("restored", {"seconds": 0.0})


def test_sessions_and_clients_tell_together(app: Flask, own_server: VolatileRedisServer, heard: Heard) -> None:
    """They are one application's connections to one server: what the one has noticed, the other need not tell."""
    client = FlaskRedis(app, retry=AT_ONCE)
    Session(app)
    app.add_url_rule("/", view_func=lambda: str(session.setdefault("n", 1)))
    browser = app.test_client()
    assert browser.get("/").status_code == 200
    client.ping()
    own_server.stop()
    assert browser.get("/").status_code == 503
    fails(client)
    assert heard.names() == ["lost"]
    own_server.start()
    assert browser.get("/").status_code == 200
    assert client.ping()
    assert heard.names() == ["restored"]


def test_init_app_twice(app: Flask, own_server: VolatileRedisServer, heard: Heard) -> None:
    """Does not make it two."""
    client = FlaskRedis(app, retry=AT_ONCE)
    client.init_app(app)
    client.init_app(app, decode_responses=True)
    gc.collect()
    own_server.stop()
    fails(client)
    assert heard.names() == ["lost"]


def test_each_client_of_each_application(app: Flask, own_server: VolatileRedisServer, heard: Heard) -> None:
    """Is told of, as each application may do something of its own; one that is gone is not."""
    client = FlaskRedis(retry=AT_ONCE)
    other = make_app(own_server.url, name="other")
    gone = make_app(own_server.url, name="gone")
    for each in (app, other, gone):
        client.init_app(each)
    cache = FlaskRedis(app, config_prefix="CACHE")
    assert cache.config_prefix == "CACHE"  # another URL: not concerned
    del each, gone
    gc.collect()
    own_server.stop()
    with app.app_context():
        fails(client)
    assert {(name, sender.name) for name, sender, _, _ in heard.events} == {("lost", "shop"), ("lost", "other")}
    assert len(heard.events) == 2


def test_a_receiver_that_fails(
    app: Flask, own_server: VolatileRedisServer, outside: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    """Is logged, and spoils no command."""
    client = FlaskRedis(app)
    client.ping()

    def fail(sender: Any, **details: Any) -> None:
        raise ZeroDivisionError

    with redis_restored.connected_to(fail):
        outside.kill_all()
        outside.wait_for(0)
        assert client.ping()
    assert any("a receiver" in record.getMessage() for record in caplog.records)


def test_a_receiver_that_asks_the_server(app: Flask, own_server: VolatileRedisServer, heard: Heard) -> None:
    """As one that counts outages would: no endless round."""
    client = FlaskRedis(app, retry=AT_ONCE)
    asked: list[Any] = []

    def ask(sender: Any, client: FlaskRedis, **details: Any) -> None:
        with contextlib.suppress(redis.ConnectionError):
            asked.append(client.incr("outages"))

    own_server.stop()
    with redis_lost.connected_to(ask), redis_restored.connected_to(ask):
        fails(client)
        own_server.start()
        assert client.ping()
    assert heard.names() == ["lost", "restored"]
    assert asked == [1]


def test_news_that_comes_late() -> None:
    """Forced: what a thread noticed before another one was connected again is no new outage."""
    watch = ServerWatch("server")
    told: list[str] = []

    def listener(event: str, **details: Any) -> None:
        told.append(event)

    watch.listen(listener)
    began = watch.generation
    watch.report_lost(OSError(), began)
    watch.report_lost(OSError(), began)
    watch.report_connected()
    watch.report_lost(OSError(), began)
    watch.report_replaced(began)
    watch.report_connected()
    assert told == ["lost", "restored"]
    watch.report_replaced(watch.generation)
    watch.report_lost(OSError(), watch.generation)
    assert told == ["lost", "restored", "restored", "lost"]


def test_a_listener_that_is_gone() -> None:
    """Is not called, and not kept."""
    watch = ServerWatch("server")
    watch.listen(lambda event, **details: None)
    gc.collect()
    watch.report_lost(OSError(), watch.generation)
    assert watch._listeners == []
