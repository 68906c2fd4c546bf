"""``multi()``, ``exec()`` and ``discard()``: which thread owns a transaction, and when the transaction is over."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import Flask, stream_with_context

from flask_cloakroom import CloakroomError, FlaskRedis, TransactionError
from flask_cloakroom.testing.parallel import run_in_threads
from support.redis.clients import Outside, make_app, make_client
from support.servers.special import VolatileRedisServer


@pytest.fixture
def app(shared_server: VolatileRedisServer) -> Flask:
    """Return an application on the shared server."""
    app = make_app(shared_server.url)
    app.add_url_rule("/", "view", lambda: "")
    return app


@pytest.fixture
def client(app: Flask) -> FlaskRedis:
    """Return its client, with keys of a test before gone."""
    client = FlaskRedis(app)
    client.delete("a", "b", "n")
    return client


def in_view(app: Flask, view: Callable[[], object]) -> str:
    """Run it as a view of the application, in a request."""
    app.view_functions["view"] = lambda: str(view())
    return app.test_client().get("/").text


def one_transaction(client: FlaskRedis) -> list[Any]:
    """Queue and run; look from another client in between."""
    plain = client._redis_client
    client.multi()
    client.set("a", "1")
    client.incr("n")
    client["b"] = "2"
    del client["b"]
    assert (plain.get("a"), plain.get("n")) == (None, None)
    return client.exec()


PLACES: dict[str, Callable[[Flask, Callable[[], Any]], Any]] = {
    "outside": lambda app, work: work(),
    "request": in_view,
    "command": lambda app, work: app.test_cli_runner().invoke(app.cli.command("work")(lambda: print(work()))).output,
}


@pytest.mark.parametrize("place", PLACES)
def test_a_transaction(app: Flask, client: FlaskRedis, place: str) -> None:
    """Nothing is sent before exec(), which returns the results in their order; then the instance answers at once."""
    found = PLACES[place](app, lambda: (one_transaction(client), client.get("a"), client.exists("b")))
    assert str(found).strip() == "([True, 1, True, 1], b'1', 0)"


def test_in_an_application_context(app: Flask, client: FlaskRedis) -> None:
    """The same; and one context's transaction is not the other's, however they are nested."""
    with app.app_context():
        client.multi()
        client.set("a", "outer")
        with app.app_context():
            assert client.get("a") is None
            client.multi()
            client.set("a", "inner")
            assert client.exec() == [True]
            assert client.get("a") == b"inner"
        client.get("a")
        assert client.exec() == [True, b"outer"]
    assert client.get("a") == b"outer"


@pytest.mark.parametrize("place", PLACES)
def test_out_of_turn(app: Flask, client: FlaskRedis, place: str) -> None:
    """exec() and discard() without multi(), and multi() in multi(), are errors that say so, and change nothing."""

    def work() -> None:
        for call in (client.exec, client.discard):
            with pytest.raises(TransactionError, match=r"no transaction is open"):
                call()
        client.multi()
        client.set("a", "1")
        with pytest.raises(TransactionError, match=r"exec\(\) or discard\(\)"):
            client.multi()
        assert client.exec() == [True]
        client.multi()
        assert client.exec() == []
        client.multi()
        client.set("a", "discarded")
        client.discard()
        assert client.get("a") == b"1"
        with pytest.raises(CloakroomError):
            client.exec()

    PLACES[place](app, work)
    assert client.get("a") == b"1"


def test_what_needs_an_answer_at_once(client: FlaskRedis) -> None:
    """client[key] and ``in`` would not have one: an error, and no wrong answer. Setting and deleting are queued."""
    client.multi()
    for work in (lambda: client["a"], lambda: "a" in client):
        with pytest.raises(TransactionError, match=r"get\(\)"):
            work()
    client["a"] = "x"
    del client["a"]
    assert client.exec() == [True, 1]


def test_what_is_never_queued(client: FlaskRedis) -> None:
    """A lock inside of a transaction is held at once, or refused; a command that is only queued would not tell."""
    client.multi()
    client.incr("n")
    lock = client.lock("a", timeout=10, blocking_timeout=0)
    assert lock.acquire()
    assert not client.lock("a", timeout=10, blocking_timeout=0).acquire()
    assert list(client.scan_iter("a")) == [b"a"]
    lock.release()
    assert client.exec() == [1]


def test_an_error_within(app: Flask, client: FlaskRedis, outside_of: Callable[[FlaskRedis], int]) -> None:
    """A command that fails raises at exec(); the others are done, as Redis has it; the transaction is over."""
    client.set("a", "text")
    client.multi()
    client.incr("a")
    client.set("b", "done")
    with pytest.raises(redis.ResponseError):
        client.exec()
    assert client.get("b") == b"done"
    client.multi()
    client.execute_command("NO SUCH COMMAND")  # type: ignore[no-untyped-call]
    client.set("b", "not done")
    with pytest.raises(redis.ResponseError):
        client.exec()
    assert client.get("b") == b"done"
    assert outside_of(client) == 0


@pytest.fixture
def outside_of() -> Callable[[FlaskRedis], int]:
    """Return what counts the connections that somebody holds."""
    return lambda client: len(client.connection_pool._in_use_connections)


def test_two_threads(client: FlaskRedis) -> None:
    """Each has its own, or none, at the same time."""
    opened, answered = threading.Event(), threading.Event()

    def work(number: int) -> None:
        if number == 0:
            client.multi()
            client.set("a", "queued")
            opened.set()
            assert answered.wait(30)
            assert client.exec() == [True]
        else:
            assert opened.wait(30)
            try:
                assert client.get("a") is None
                client.multi()
                client.set("b", "mine")
                assert client.exec() == [True]
                with pytest.raises(TransactionError):
                    client.exec()
            finally:
                answered.set()

    run_in_threads(2, work)
    assert (client.get("a"), client.get("b")) == (b"queued", b"mine")


def test_two_requests_in_flight(app: Flask, client: FlaskRedis) -> None:
    """In threads, as a server has them, and in one thread, as tests have them."""
    barrier = threading.Barrier(2, timeout=30)

    @app.get("/<name>")
    def queue(name: str) -> str:
        client.multi()
        client.set(name, name)
        barrier.wait()
        client.get(name)
        return str(client.exec())

    found = run_in_threads(2, lambda number: app.test_client().get(f"/{'ab'[number]}").text)
    assert found == ["[True, b'a']", "[True, b'b']"]
    with app.test_request_context("/"):
        client.multi()
        with app.test_request_context("/"):
            assert client.get("a") == b"a"
            with pytest.raises(TransactionError):
                client.exec()
        client.get("b")
        assert client.exec() == [b"b"]


def test_a_request_that_forgets_exec(app: Flask, client: FlaskRedis) -> None:
    """Leaves nothing for the next request of the thread, sends nothing, and holds nothing; also if it raised."""

    def forget() -> str:
        client.multi()
        client.set("a", "never")
        return "forgotten"

    def fail() -> str:
        forget()
        raise ZeroDivisionError

    assert in_view(app, forget) == "forgotten"
    with pytest.raises(ZeroDivisionError):
        in_view(app, fail)
    assert in_view(app, lambda: client.get("a")) == "None"
    assert in_view(app, lambda: client.multi() is not None) == "True"
    gc.collect()
    assert len(client._transactions) == 0


def test_a_watch_that_nobody_ends(app: Flask, own_server: VolatileRedisServer, outside: Outside) -> None:
    """The connection on which a request watched a key, and which it forgot, is free for the next one."""
    app.config["REDIS_URL"] = own_server.url
    client = FlaskRedis(app, max_connections=1, timeout=5)

    def watch() -> str:
        client.multi().watch("a")
        return "watched"

    for _ in range(3):
        assert in_view(app, watch) == "watched"
        gc.collect()
        assert in_view(app, lambda: client.set("a", "1")) == "True"
    assert outside.count() == 1
    assert not client.connection_pool._in_use_connections


def test_watching(client: FlaskRedis) -> None:
    """With what multi() returns, a transaction can depend on a key: WatchError if somebody changed it."""
    plain = client._redis_client
    for others, expected in ((None, [True]), ("somebody's", redis.WatchError)):
        client.set("a", "1")
        pipeline = client.multi()
        pipeline.watch("a")
        assert pipeline.get("a") == b"1"
        pipeline.multi()
        pipeline.set("a", "2")
        if others is None:
            assert client.exec() == expected
        else:
            plain.set("a", others)
            with pytest.raises(redis.WatchError):
                client.exec()
    assert client.get("a") == b"somebody's"


def test_two_instances(app: Flask, client: FlaskRedis, shared_server: VolatileRedisServer) -> None:
    """In one request: what one of them queues does not concern the other, even on the same pool."""
    app.config["CACHE_URL"] = shared_server.url
    cache = FlaskRedis(app, config_prefix="CACHE")
    assert cache.connection_pool is client.connection_pool

    def view() -> tuple[object, ...]:
        client.multi()
        client.set("a", "1")
        before = cache.get("a")
        cache.multi()
        cache.set("b", "2")
        return before, client.exec(), cache.exec()

    assert in_view(app, view) == "(None, [True], [True])"


def test_another_application_within_a_request(app: Flask, shared_server: VolatileRedisServer) -> None:
    """Whose context is pushed while the first one's transaction is open: it has its own client, and none open."""
    client = FlaskRedis(app)
    client.delete("a")
    other = make_app(shared_server.url.removesuffix("0") + "9", name="other")
    client.init_app(other)

    def view() -> tuple[object, ...]:
        client.multi()
        client.set("a", "first")
        with other.app_context():
            client.set("a", "other")
            assert client.get("a") == b"other"
            client.multi()
            client.get("a")
            assert client.exec() == [b"other"]
        client.get("a")
        return tuple(client.exec())

    assert in_view(app, view) == "(True, b'first')"


def test_a_stream_goes_on_with_its_request(app: Flask, client: FlaskRedis) -> None:
    """What a view opened, its streamed answer can run."""

    def view() -> Any:
        client.multi()
        client.set("a", "streamed")
        return app.response_class(stream_with_context(str(each) for each in [client.exec()]))

    app.add_url_rule("/stream", "stream", view)
    assert app.test_client().get("/stream").text == "[True]"


def test_connections_are_given_back(own_server: VolatileRedisServer, outside: Outside) -> None:
    """However many transactions, and however they end: one thread needs one connection."""
    client = make_client(own_server.url, max_connections=1, timeout=1)
    for turn in range(30):
        client.multi()
        client.set("a", "1")
        if turn % 3 == 0:
            client.exec()
        elif turn % 3 == 1:
            client.discard()
        else:
            client.execute_command("NO SUCH COMMAND")  # type: ignore[no-untyped-call]
            with pytest.raises(redis.ResponseError):
                client.exec()
        assert client.ping()
    assert outside.count() == 1
