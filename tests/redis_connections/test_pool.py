"""One pool for all users of a URL, seen from the server's side."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask, session

from flask_cloakroom import FlaskRedis, Session, StoreError
from flask_cloakroom.redis_connections import connect
from flask_cloakroom.stores.redis.store import RedisStore
from support.processes import run
from support.redis.clients import Outside, in_threads, join, limit_of, make_app, make_client
from support.servers.groups import wait_until
from support.servers.special import Proxy, VolatileRedisServer


def held(client: FlaskRedis) -> int:
    """Return how many connections of a pool somebody has."""
    return len(client.connection_pool._in_use_connections)


class TestSharing:
    """Who shares what."""

    def test_same_url_and_options(self, shared_server: VolatileRedisServer) -> None:
        """One pool object, for instances, applications, and whoever asks by URL; each instance has its client."""
        url = shared_server.url
        app = make_app(url, CACHE_URL=url)
        first, second = FlaskRedis(app), FlaskRedis(app, config_prefix="CACHE")
        other, plain = make_client(url), connect(url)
        pools = {id(each.connection_pool) for each in (first, second, other, plain.client)}
        assert len(pools) == 1
        assert first._redis_client is not second._redis_client

    def test_other_options_share_the_limit(self, own_server: VolatileRedisServer, outside: Outside) -> None:
        """Each kind has its pool; together they have no more connections than the bound, whoever needs one next."""
        bytes_, text = (make_client(own_server.url, decode_responses=each, max_connections=3) for each in (False, True))
        stream = make_client(own_server.url, socket_timeout=None)
        pools: list[Any] = [each.connection_pool for each in (bytes_, text, stream)]
        assert len({id(each) for each in pools}) == 3
        assert len({id(each.limit) for each in pools}) == 1
        bytes_.set("k", "v")
        for _ in range(3):
            for pool in pools:
                taken = [pool.get_connection() for _ in range(3)]
                wait_until(lambda: outside.count() <= 3, "the server has heard of it")
                for connection in taken:
                    pool.release(connection)
            assert (bytes_.get("k"), text.get("k"), stream.get("k")) == (b"v", "v", b"v")
            outside.wait_for(3)

    @pytest.mark.parametrize("how", ["REDIS_URL", "instance", "url", "its client", "plain client"])
    def test_sessions_count_as_well(self, own_server: VolatileRedisServer, outside: Outside, how: str) -> None:
        """However they are told of the server, client and sessions have no more connections together than the bound."""
        app = make_app(own_server.url)
        client = FlaskRedis(app, max_connections=2, timeout=20)
        plain = redis.Redis.from_url(own_server.url)
        ways = {"instance": client, "url": own_server.url, "its client": client._redis_client, "plain client": plain}
        if how != "REDIS_URL":
            app.config["SESSION_REDIS"] = ways[how]
        Session(app)

        @app.get("/<int:number>")
        def view(number: int) -> str:
            session["n"] = number
            client.set(f"k{number}", number)
            return f"{client.get(f'k{number}')!r} {session['n']}"

        def ask(number: int) -> None:
            browser = app.test_client()
            for _ in range(10):
                assert browser.get(f"/{number}").text == f"b'{number}' {number}"

        join(in_threads(*(lambda number=each: ask(number) for each in range(6))))
        wait_until(lambda: outside.count() <= 2, "the server has heard of it")
        assert limit_of(client).open_count <= 2
        plain.close()

    def test_the_lowest_bound_counts(self, own_server: VolatileRedisServer) -> None:
        """Whoever says it first; who says nothing takes what is."""
        clients = [make_client(own_server.url, max_connections=most) for most in (9, 4, None, 7)]
        assert {limit_of(each).maximum for each in clients} == {4}
        assert limit_of(make_client(own_server.url + "?max_connections=2")).maximum == 2

    def test_a_lower_bound_that_comes_late(self, own_server: VolatileRedisServer, outside: Outside) -> None:
        """Closes what lies idle, and holds from then on."""
        early = make_client(own_server.url)
        for connection in [early.connection_pool.get_connection() for _ in range(6)]:
            early.connection_pool.release(connection)
        outside.wait_for(6)
        late = make_client(own_server.url, max_connections=2)
        join(in_threads(*[early.ping, late.ping] * 4))
        assert limit_of(late).open_count <= 2
        outside.wait_for(limit_of(late).open_count)

    def test_other_databases_and_users_share_nothing(self, shared_server: VolatileRedisServer) -> None:
        """A connection that is signed in and has chosen its database leads nowhere else."""
        urls = [shared_server.url, shared_server.url.removesuffix("0") + "1"]
        urls.append(shared_server.url.replace("127.0.0.1", "localhost"))
        assert len({id(make_client(url).connection_pool) for url in urls}) <= 3
        clients = [make_client(url) for url in urls[:2]]
        assert limit_of(clients[0]) is not limit_of(clients[1])
        clients[0].set("db", 0)
        clients[1].delete("db")
        assert [each.get("db") for each in clients] == [b"0", None]


class TestLaziness:
    """When connections begin and end."""

    def test_nothing_connects_at_start(self, own_server: VolatileRedisServer, outside: Outside) -> None:
        """Not at init_app, not with sessions, not in a page that needs neither."""
        before = outside.command("INFO", "stats")["total_connections_received"]
        app = make_app(own_server.url)
        client = FlaskRedis(app, decode_responses=True)
        Session(app)
        RedisStore(client._redis_client)
        app.add_url_rule("/", view_func=lambda: repr(client))
        assert app.test_client().get("/").status_code == 200
        assert (outside.count(), outside.command("INFO", "stats")["total_connections_received"]) == (0, before)
        client.ping()
        assert outside.count() == 1

    def test_the_process_closes_them(self, own_server: VolatileRedisServer, outside: Outside, tmp_path: Path) -> None:
        """At its end, in order and with no warning, those that threads left behind too."""
        code = """
            import sys, threading
            from flask import Flask
            from flask_cloakroom import FlaskRedis, Session
            app = Flask("x")
            app.config["REDIS_URL"] = sys.argv[1]
            client = FlaskRedis(app)
            Session(app)
            threads = [threading.Thread(target=client.ping) for _ in range(4)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            listener = client.pubsub()
            listener.subscribe("c")
            print(client.ping())
        """
        assert run(code, own_server.url, options=["-X", "dev"], cwd=tmp_path) == "True"
        outside.wait_for(0)

    def test_collected_clients_give_their_room_back(self, own_server: VolatileRedisServer, outside: Outside) -> None:
        """And close their connections; the bound that the others share is as it was."""
        stays = make_client(own_server.url, max_connections=2, timeout=5)
        stays.ping()
        for _ in range(5):
            gone = make_client(own_server.url, client_name="gone")
            taken = gone.connection_pool.get_connection()
            gone.connection_pool.release(taken)
            store = RedisStore(own_server.url, prefix="x:")
            store.load(b"k")
            del gone, taken, store
            gc.collect()
            assert limit_of(stays).open_count == len(stays.connection_pool._available_connections)
        join(in_threads(*[stays.ping] * 2))
        outside.wait_for(limit_of(stays).open_count)


class TestBound:
    """What happens at the bound."""

    def test_waiting(self, own_server: VolatileRedisServer, outside: Outside) -> None:
        """Who needs a connection waits for one, and gets it as soon as it is free."""
        client = make_client(own_server.url, max_connections=1, timeout=30)
        pool: Any = client.connection_pool
        taken = pool.get_connection()
        got: list[Any] = []
        threads = in_threads(*[lambda: got.append(client.ping())] * 3)
        wait_until(lambda: len(pool.limit.waiters) == 3, "three wait")
        assert got == []
        pool.release(taken)
        join(threads)
        assert got == [True] * 3
        assert outside.count() == 1

    @pytest.mark.parametrize("timeout", [0, 0.1])
    def test_waiting_in_vain(self, own_server: VolatileRedisServer, timeout: float) -> None:
        """An error of the driver's, in time, that says how many, where, for how long, and what to do."""
        client = make_client(own_server.url, max_connections=1, timeout=timeout)
        taken = client.connection_pool.get_connection()
        began = time.monotonic()
        with pytest.raises(redis.ConnectionError) as caught:
            client.ping()
        assert timeout <= time.monotonic() - began < timeout + 2
        text = str(caught.value)
        assert f"All 1 connections to Redis (127.0.0.1:{own_server.port}/0) are in use" in text
        assert f"{timeout} s" in text
        assert "Raise max_connections" in text
        store = RedisStore(own_server.url, timeout=0.2)
        with pytest.raises(StoreError, match="all 1 connections are in use"):
            store.load(b"k")
        client.connection_pool.release(taken)
        assert client.ping()
        assert store.load(b"k") is None
        assert not limit_of(client).waiters

    def test_no_thread_is_left_behind(self, shared_server: VolatileRedisServer) -> None:
        """However busy the others are: each gets its turn, as those that wait have theirs in the order they came."""
        client = make_client(shared_server.url + "?client_name=turns", max_connections=2, timeout=20)
        over, all_there = threading.Event(), threading.Barrier(8)
        turns = [0] * 8

        def work(number: int) -> None:
            all_there.wait(30)
            while not over.is_set():
                client.ping()
                turns[number] += 1

        threads = in_threads(*(lambda number=each: work(number) for each in range(8)))
        wait_until(lambda: sum(turns) > 8 * 100, "everybody has had about a hundred turns")
        over.set()
        join(threads)
        assert min(turns) > 100 / 4, "somebody was passed over all the time"

    def test_giving_up_idle_ones_of_another_kind(self, own_server: VolatileRedisServer, outside: Outside) -> None:
        """Who needs a connection gets the room of one that lies idle elsewhere; who waits, as soon as one does."""
        bytes_, text = (make_client(own_server.url, decode_responses=each, max_connections=2) for each in (False, True))
        taken = [bytes_.connection_pool.get_connection() for _ in range(2)]
        threads = in_threads(text.ping, text.ping)
        wait_until(lambda: len(limit_of(bytes_).waiters) == 2, "two wait")
        for connection in taken:
            bytes_.connection_pool.release(connection)
        join(threads)
        assert bytes_.ping()
        outside.wait_for(limit_of(bytes_).open_count)


class TestBrokenConnections:
    """What is noticed, and by whom not."""

    def test_idle_ones_that_the_server_closed(self, own_server: VolatileRedisServer, outside: Outside) -> None:
        """Are replaced without an error, however many there are."""
        client = make_client(own_server.url)
        pool: Any = client.connection_pool
        for connection in [pool.get_connection() for _ in range(5)]:
            pool.release(connection)
        for _ in range(3):
            outside.kill_all()
            outside.wait_for(0)
            join(in_threads(*[client.ping] * 5))
            assert client.ping()
        assert pool.limit.open_count <= 5

    def test_a_server_that_was_restarted(self, own_server: VolatileRedisServer) -> None:
        """The next command works; one that comes while it is down waits about a second, and says where."""
        client = make_client(own_server.url, max_connections=3)
        client.ping()
        own_server.stop()
        own_server.start()
        assert client.ping()
        own_server.stop()
        began = time.monotonic()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        assert time.monotonic() - began < 4
        own_server.start()
        assert client.ping()
        assert held(client) == 0
        assert limit_of(client).open_count == 1

    def test_an_answer_that_was_lost(self, own_server: VolatileRedisServer) -> None:
        """With its connection: tried again, and the answer is the next one's."""
        proxy = Proxy(own_server.port)
        client = make_client(proxy.url)
        client.set("k", "v")
        proxy.on_answer = lambda number, answer: None if number == 0 else answer
        assert client.get("k") == b"v"
        proxy.close()

    def test_a_late_answer_is_nobodys(self, own_server: VolatileRedisServer) -> None:
        """A command that took too long ends its connection: the next one's answer is its own."""
        client = make_client(own_server.url, socket_timeout=0.2)
        client.mset({"a": "A", "b": "B"})
        own_server.pause()
        try:
            with pytest.raises(redis.TimeoutError):
                client.get("a")
        finally:
            own_server.resume()
        wait_until(lambda: client.get("b") == b"B", "it answers")
        assert [client.get(each) for each in "abab"] == [b"A", b"B", b"A", b"B"]
        assert held(client) == 0


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "pubsub": lambda client: client.pubsub().subscribe("channel"),
    "pipeline": lambda client: client.pipeline().watch("k"),
    "monitor": lambda client: client.monitor().__enter__().__exit__(None, None, None),
    "lock": lambda client: client.lock("lock", timeout=0.01).acquire(),
    "scan": lambda client: next(client.scan_iter(), None),
    "blocked": lambda client: client.blpop(["nothing"], timeout=0.01),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_holds_a_connection_gives_it_back(own_server: VolatileRedisServer, outside: Outside, holder: str) -> None:
    """Also if it was never closed, but forgotten."""
    client = make_client(own_server.url, max_connections=2, timeout=5)
    for _ in range(5):
        HOLDERS[holder](client)
        gc.collect()
        assert client.ping()
    assert held(client) == 0
    assert limit_of(client).open_count <= 2
    outside.wait_for(limit_of(client).open_count)


def test_closing_in_the_middle(own_server: VolatileRedisServer) -> None:
    """A pool that somebody disconnects while others use it can be used again, and counts right."""
    client = make_client(own_server.url, max_connections=4, timeout=10)
    over = threading.Event()
    errors: list[Exception] = []

    def work() -> None:
        while not over.is_set():
            try:
                client.ping()
            except redis.ConnectionError:
                pass  # its connection was closed under it
            except Exception as error:
                errors.append(error)

    threads = in_threads(*[work] * 6)
    for _ in range(50):
        client.connection_pool.disconnect(inuse_connections=False)
        client.close()
    over.set()
    join(threads)
    assert errors == []
    assert client.ping()
    assert held(client) == 0
    assert len(client.connection_pool._available_connections) == limit_of(client).open_count <= 4


def test_in_a_view_that_fails(own_server: VolatileRedisServer, outside: Outside) -> None:
    """A page that ends with an error in the middle of a pipeline leaves the connection to the next one."""
    app = Flask("x")
    app.config["REDIS_URL"] = own_server.url
    client = FlaskRedis(app, max_connections=1, timeout=5)

    @app.get("/")
    def view() -> str:
        with client.pipeline() as pipeline:
            pipeline.watch("a")  # type: ignore[no-untyped-call]
            raise ZeroDivisionError

    for _ in range(3):
        assert app.test_client().get("/").status_code == 500
        assert client.ping()
    assert outside.count() == 1
