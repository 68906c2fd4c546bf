"""FlaskRedis and sessions on a real cluster and a real Sentinel setup, without failures."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask, session

from flask_cloakroom import FlaskRedis, Session
from support.servers.groups import ServerGroup, SixNodeCluster
from support.servers.sentinel import SentinelSetup
from support.sites.requests_on_app import send, ticket_of


@pytest.fixture(params=["six_node_cluster", "sentinel_setup"], ids=["cluster", "sentinel"])
def group(request: pytest.FixtureRequest) -> SixNodeCluster | SentinelSetup:
    """Both in turn."""
    found: SixNodeCluster | SentinelSetup = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def app(group: SixNodeCluster | SentinelSetup) -> Flask:
    """An application that knows nothing but the URL."""
    app = Flask("shop")
    app.config.update(TESTING=True, REDIS_URL=group.url, SESSION_KEY_PREFIX=f"{uuid.uuid4().hex}:")
    return app


@pytest.fixture
def client(app: Flask) -> FlaskRedis:
    """The application's client."""
    return FlaskRedis(app)


@pytest.fixture
def name() -> str:
    """A key of the test's own, whose tag puts all that begin with it into one slot."""
    return f"{{{uuid.uuid4().hex}}}"


class TestOperations:
    """What applications do with a client."""

    def test_strings(self, client: FlaskRedis) -> None:
        """Of many keys, which lie on all masters of a cluster; also as items."""
        names = [uuid.uuid4().hex for _ in range(30)]
        for number, each in enumerate(names):
            assert client.set(each, number, ex=60)
        assert [client.get(each) for each in names] == [str(number).encode() for number in range(30)]
        assert client.incrby(names[5], 10) == 15
        assert client.append(names[6], "!") == 2
        assert 0 < client.ttl(names[7]) <= 60
        client[names[8]] = "item"
        assert client[names[8]] == b"item"
        assert names[8] in client
        del client[names[8]]
        assert names[8] not in client
        assert client.exists(names[8]) == 0
        assert {each.decode() for each in client.scan_iter(count=1000)} >= set(names) - {names[8]}
        assert client.delete(*names) == 29

    def test_several_keys_at_once(self, client: FlaskRedis, name: str) -> None:
        """That share a hash tag."""
        assert client.mset({f"{name}a": 1, f"{name}b": 2})
        assert client.mget(f"{name}a", f"{name}b", f"{name}c") == [b"1", b"2", None]
        assert client.rename(f"{name}a", f"{name}c")
        assert client.exists(f"{name}a", f"{name}b", f"{name}c") == 2

    def test_hashes(self, client: FlaskRedis, name: str) -> None:
        """Fields are set, counted and taken away."""
        assert client.hset(name, mapping={"sku": "tea", "quantity": 2}) == 2
        assert client.hincrby(name, "quantity", 3) == 5
        assert client.hgetall(name) == {b"sku": b"tea", b"quantity": b"5"}
        assert client.hdel(name, "sku") == 1
        assert client.hkeys(name) == [b"quantity"]

    def test_lists(self, client: FlaskRedis, name: str) -> None:
        """Both ends, and waiting for what another thread puts in."""
        assert client.rpush(name, "b", "c") == 2
        assert client.lpush(name, "a") == 3
        assert client.lrange(name, 0, -1) == [b"a", b"b", b"c"]
        assert client.lpop(name) == b"a"
        assert client.rpoplpush(name, f"{name}other") == b"c"
        later = threading.Timer(0.2, lambda: client.rpush(f"{name}queue", "work"))
        later.start()
        assert client.blpop(f"{name}queue", timeout=3)[1] == b"work"
        later.join()

    def test_sets(self, client: FlaskRedis, name: str) -> None:
        """Of both kinds."""
        assert client.sadd(name, "a", "b") == 2
        assert client.sadd(f"{name}2", "b", "c") == 2
        assert client.sinter(name, f"{name}2") == {b"b"}
        assert client.smembers(name) == {b"a", b"b"}
        assert client.zadd(f"{name}scores", {"alice": 3, "bob": 1}) == 2
        assert client.zrange(f"{name}scores", 0, -1) == [b"bob", b"alice"]

    def test_publishing(self, client: FlaskRedis, name: str) -> None:
        """What one publishes comes to who subscribed to it, by name and by pattern."""
        with client.pubsub() as subscriber:
            subscriber.subscribe(f"{name}news")
            subscriber.psubscribe(f"{name[:-1]}*")
            received = listen(subscriber, 2)
            assert {message["type"] for message in received} == {"subscribe", "psubscribe"}
            client.publish(f"{name}news", "hello")
            received = listen(subscriber, 2)
            assert {(message["type"], message["data"]) for message in received} == {
                ("message", b"hello"),
                ("pmessage", b"hello"),
            }

    def test_transactions(self, client: FlaskRedis, name: str) -> None:
        """All or nothing, in the driver's way; one whose watched key was changed meanwhile is not done."""
        with client.pipeline(transaction=True) as pipeline:
            pipeline.incr(f"{name}n").incr(f"{name}n").rpush(f"{name}log", "done")
            assert pipeline.execute() == [1, 2, 1]
        with client.pipeline(transaction=True) as pipeline:
            pipeline.watch(f"{name}n")
            seen = int(pipeline.get(f"{name}n"))
            client.set(f"{name}n", 100)
            pipeline.multi()
            pipeline.set(f"{name}n", seen + 1)
            with pytest.raises(redis.exceptions.WatchError):
                pipeline.execute()
        assert client.get(f"{name}n") == b"100"

    def test_transactions_by_multi_and_exec(self, client: FlaskRedis, app: Flask, name: str) -> None:
        """The same with what is called on the instance itself; discarded, nothing of it is done."""
        with app.app_context():
            client.multi()
            client.hset(f"{name}h", "a", 1)
            client.incr(f"{name}n")
            assert client.exec() == [1, 1]
            client.multi()
            client.incr(f"{name}n")
            client.discard()
            assert client.get(f"{name}n") == b"1"

    def test_scripts_and_locks(self, client: FlaskRedis, name: str) -> None:
        """The driver's own helpers go where their keys are."""
        double = client.register_script("return redis.call('GET', KEYS[1]) * ARGV[1]")
        client.set(name, 21)
        assert double(keys=[name], args=[2]) == 42
        with client.lock(f"{name}lock", timeout=10) as lock:
            assert lock.owned()
            assert not client.lock(f"{name}lock", timeout=10).acquire(blocking=False)
        assert client.exists(f"{name}lock") == 0

    def test_many_threads(self, client: FlaskRedis, name: str) -> None:
        """No increment is lost or done twice."""

        def work() -> None:
            for number in range(50):
                client.incr(f"{name}{number % 5}")

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [int(client.get(f"{name}{number}")) for number in range(5)] == [80] * 5


def listen(subscriber: Any, count: int) -> list[Any]:
    """Return so many messages, for which this waits for seconds."""
    received: list[Any] = []
    deadline = time.monotonic() + 5
    while len(received) < count and time.monotonic() < deadline:
        message = subscriber.get_message(timeout=0.1)
        if message is not None:
            received.append(message)
    return received


def by_redis_url(app: Flask, group: ServerGroup) -> None:
    """Say nothing of sessions, and have no client either."""


def by_own_client(app: Flask, group: ServerGroup) -> None:
    """Say nothing of sessions; the application's client is found."""
    FlaskRedis(app)


def by_url(app: Flask, group: ServerGroup) -> None:
    """Name the servers for the sessions alone."""
    app.config["SESSION_REDIS"] = app.config.pop("REDIS_URL")


def by_instance(app: Flask, group: ServerGroup) -> None:
    """Hand over a FlaskRedis, which is set up after the sessions' settings were checked."""
    app.config["SESSION_REDIS"] = instance = FlaskRedis(decode_responses=True)
    instance.init_app(app)


def by_client(app: Flask, group: SixNodeCluster | SentinelSetup) -> None:
    """Hand over the driver's own client for this kind of setup."""
    if isinstance(group, SixNodeCluster):
        app.config["SESSION_REDIS"] = redis.RedisCluster(host="127.0.0.1", port=group.ports[0])
    else:
        make: Any = redis.Sentinel
        sentinel = make([("127.0.0.1", port) for port in group.sentinel_ports])
        app.config["SESSION_REDIS"] = sentinel.master_for(group.SERVICE)


WAYS: list[Callable[[Flask, Any], None]] = [by_redis_url, by_own_client, by_url, by_instance, by_client]


class TestSessions:
    """Sessions keep their promises there."""

    @pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
    def shop(self, request: pytest.FixtureRequest, app: Flask, group: Any) -> Iterator[Flask]:
        """An application with sessions, in each way to say where they are."""
        request.param(app, group)
        Session(app)
        app.add_url_rule("/fill", "fill", lambda: str(session.update(user="alice", cart=["tea"])))
        app.add_url_rule("/show", "show", lambda: dict(session))
        app.add_url_rule("/add/<item>", "add", lambda item: str(session["cart"].append(item)))
        app.add_url_rule("/rotate", "rotate", lambda: str(session.rotate()))  # type: ignore[attr-defined]
        app.add_url_rule("/logout", "logout", lambda: str(session.destroy()))  # type: ignore[attr-defined]
        yield app
        app.session_interface.store.close()  # type: ignore[attr-defined]
        if request.param is by_client:
            app.config["SESSION_REDIS"].close()

    def test_at_the_same_time(self, shop: Flask) -> None:
        """A request that saves while another one is at work: both changes are there."""

        @shop.get("/slow")
        def slow() -> str:
            session["cart"].append("slow")
            send(shop, "/add/fast", ticket)
            return "ok"

        ticket = ticket_of(send(shop, "/fill"))
        assert send(shop, "/slow", ticket).text == "ok"
        assert send(shop, "/show", ticket).json == {"user": "alice", "cart": ["tea", "fast", "slow"]}

    def test_many_at_the_same_time(self, shop: Flask) -> None:
        """Six threads that add to one list: all that they added is there."""
        ticket = ticket_of(send(shop, "/fill"))
        statuses: list[int] = []

        def work(thread: int) -> None:
            for number in range(10):
                statuses.append(send(shop, f"/add/{thread}-{number}", ticket).status_code)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert statuses == [200] * 60
        expected = {f"{thread}-{number}" for thread in range(6) for number in range(10)}
        cart = send(shop, "/show", ticket).json["cart"]
        assert set(cart) == expected | {"tea"}
        assert len(cart) == 61

    def test_rotation(self, shop: Flask) -> None:
        """The new ticket opens what the old one did, and the old one nothing."""
        old = ticket_of(send(shop, "/fill"))
        new = ticket_of(send(shop, "/rotate", old))
        assert new not in (None, "", old)
        assert send(shop, "/show", new).json == {"user": "alice", "cart": ["tea"]}
        assert send(shop, "/show", old).json == {}

    def test_logout(self, shop: Flask) -> None:
        """A request that was at work meanwhile does not bring the session back."""

        @shop.get("/slow")
        def slow() -> str:
            session["cart"].append("slow")
            send(shop, "/logout", ticket)
            return "ok"

        ticket = ticket_of(send(shop, "/fill"))
        assert ticket_of(send(shop, "/slow", ticket)) is None
        assert send(shop, "/show", ticket).json == {}

    def test_all_can_be_listed(self, shop: Flask) -> None:
        """Also those on other nodes of a cluster."""
        tickets = {ticket_of(send(shop, "/fill")) for _ in range(20)}
        repository: Any = shop.session_interface.repository  # type: ignore[attr-defined]
        keys = {repository.tickets.fingerprint(ticket) for ticket in tickets}
        assert {key for key, _ in repository.store.walk()} == keys


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelSetup]:
    """A setup that asks for passwords, which are not the same."""
    setup = SentinelSetup(tmp_path_factory.mktemp("guarded-setup"), password="hunter2", sentinel_password="sesame/7")
    try:
        setup.start()
        yield setup
    finally:
        setup.stop()


class TestCredentials:
    """Of the servers and of the Sentinels."""

    @pytest.mark.parametrize("user", ["", "default"])
    def test_in_the_url(self, guarded: SentinelSetup, user: str) -> None:
        """The servers' before the hosts, the Sentinels' as an option."""
        app = Flask("shop")
        app.config["REDIS_URL"] = f"redis+sentinel://{user}:hunter2@{guarded.place}?sentinel_password=sesame%2F7"
        client = FlaskRedis(app)
        Session(app)
        app.add_url_rule("/fill", "fill", lambda: str(session.update(user="alice")))
        app.add_url_rule("/show", "show", lambda: dict(session))
        assert client.set("a", 1)
        ticket = ticket_of(send(app, "/fill"))
        assert send(app, "/show", ticket).json == {"user": "alice"}
        for secret in ("hunter2", "sesame"):
            assert secret not in repr(client) + str(app.session_interface.store)  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        "url",
        [
            "redis+sentinel://{place}?sentinel_password=sesame%2F7",
            "redis+sentinel://:hunter3@{place}?sentinel_password=sesame%2F7",
            "redis+sentinel://:hunter2@{place}",
            "redis+sentinel://:hunter2@{place}?sentinel_password=wrong",
        ],
    )
    def test_wrong(self, guarded: SentinelSetup, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """One that is missing or wrong is an error of the driver and a 503, and stands in no log."""
        app = Flask("shop", instance_path=str(tmp_path))
        app.config["REDIS_URL"] = url.format(place=guarded.place)
        client = FlaskRedis(app)
        Session(app)
        app.add_url_rule("/fill", "fill", lambda: str(session.update(user="alice")))
        with pytest.raises(redis.exceptions.RedisError) as caught:
            client.get("a")
        assert send(app, "/fill").status_code == 503
        for secret in ("hunter", "sesame", "wrong"):
            assert secret not in caplog.text + str(caught.value)
