"""A Redis server restarts, hangs, refuses or closes connections, and what RedisStore does then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flask_cloakroom.errors import StoreError
from flask_cloakroom.redis_connections.limit import Permit
from flask_cloakroom.stores import Conflict, Entry, Gone, Saved
from flask_cloakroom.stores.redis.store import RedisStore
from flask_cloakroom.testing.parallel import run_in_threads
from support.servers.redis_server import RedisServer
from support.servers.special import Proxy, VolatileRedisServer, admin
from support.stores.backends import ClientOfOurOwn, prefix
from support.stores.redis_tools import MARGIN, REQUEST_VERBS, TIMEOUT, VERBS, open_connections, seconds_to_fail


@pytest.fixture
def store(own_server: VolatileRedisServer) -> Iterator[RedisStore]:
    """Return a store on a server of the test's own, which was used: a connection lies idle."""
    store = RedisStore(own_server.url, prefix=prefix(), timeout=TIMEOUT)
    assert store.load(b"nothing") is None
    yield store
    store.close()


# -- the connection ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_connections_that_the_server_closed(store: RedisStore, own_server: VolatileRedisServer, verb: str) -> None:
    """The next call works, whichever it is, and so does the one after it."""
    version = store.create(b"k", b"data", 60)
    with admin(own_server) as client:
        client.client_kill_filter(_type="normal", skipme=True)
    VERBS[verb](store)
    assert verb == "delete" or store.load(b"k") == Entry(b"data", version or b"")


def test_many_idle_connections_that_the_server_closed(store: RedisStore, own_server: VolatileRedisServer) -> None:
    """One call finds out for all of them: those that lay beside the first are not tried."""
    open_connections(store, 8)
    with admin(own_server) as client:
        client.client_kill_filter(_type="normal", skipme=True)
        assert store.load(b"k") is None
        assert len(store._transport._idle) == 1  # type: ignore[attr-defined]


def test_idle_connections_that_lead_nowhere(proxy: Proxy) -> None:
    """Something on the way forgot them without a word: one call waits in vain, and the next gets a new connection."""
    store = RedisStore(proxy.url, prefix=prefix(), timeout=TIMEOUT)
    open_connections(store, 8)
    forgotten = len(proxy.sent)
    proxy.on_answer = lambda number, answer: b"" if number < forgotten else answer
    assert seconds_to_fail(lambda: store.load(b"k")) < TIMEOUT + MARGIN
    assert store.create(b"k", b"data", 60) is not None
    store.close()


def test_an_answer_that_stops_in_the_middle(proxy: Proxy) -> None:
    """StoreError within the timeout, never half an entry; the rest that comes later is nobody's."""
    store = RedisStore(proxy.url, prefix=prefix(), timeout=TIMEOUT)
    version = store.create(b"k", b"data" * 100, 60)
    proxy.on_answer = lambda number, answer: answer[: len(answer) // 2]
    assert seconds_to_fail(lambda: store.load(b"k")) < TIMEOUT + MARGIN
    proxy.on_answer = lambda number, answer: answer
    assert store.load(b"k") == Entry(b"data" * 100, version or b"")
    store.close()


def test_connections_do_not_pile_up(store: RedisStore, own_server: VolatileRedisServer) -> None:
    """One thread needs one connection, however often it calls and whatever is refused."""
    with admin(own_server) as client:
        before = len(client.client_list())
        for _ in range(50):
            for verb in REQUEST_VERBS:
                VERBS[verb](store)
        assert len(client.client_list()) == before


def test_close_closes_what_it_opened_and_nothing_else(own_server: VolatileRedisServer) -> None:
    """A client that was handed over stays usable, on the connections that it has."""
    client = redis.Redis.from_url(own_server.url)
    client.ping()
    mine = client.client_id()
    store = RedisStore(client, prefix=prefix(), timeout=TIMEOUT)
    store.load(b"k")
    list(store.walk())
    store.close()
    assert client.client_id() == mine
    with admin(own_server) as other:
        deadline = time.monotonic() + 5
        while len(other.client_list()) > 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(other.client_list()) == 2
    client.close()


def test_closing_while_others_use_it(shared_server: VolatileRedisServer) -> None:
    """close() in one thread, again and again, is no error and no crossed reply in the others."""
    store = RedisStore(shared_server.url, prefix=prefix(), timeout=5.0)

    def work(number: int) -> None:
        for turn in range(150):
            if number == 0:
                store.close()
            else:
                key = b"%d.%d" % (number, turn)
                version = store.create(key, key, 60)
                assert version is not None
                assert store.load(key) == Entry(key, version)

    run_in_threads(6, work)
    store.close()


def test_a_connection_that_is_given_back_while_all_are_closed(store: RedisStore) -> None:
    """Forced: another thread gives its connection back, or takes one, in the middle of close()."""
    open_connections(store, 3)
    transport: Any = store._transport
    taken = transport._idle.pop()
    pool = transport._idle
    first = pool[-1]

    class Between:
        """Stands in for a connection, and steps in when it is closed."""

        permit = Permit()

        def disconnect(self) -> None:
            first.disconnect()
            pool.append(taken)

    pool[-1] = Between()
    transport.close()
    taken.disconnect()
    transport.close()
    assert store.create(b"k", b"data", 60) is not None


# -- the server -------------------------------------------------------------------------------------------


@pytest.fixture
def durable(own_redis_server: RedisServer) -> Iterator[RedisStore]:
    """Return a store on a server that keeps what it acknowledged, and so waits for a disk."""
    store = RedisStore(own_redis_server.url, prefix=prefix(), timeout=5.0)
    assert store.load(b"nothing") is None
    yield store
    store.close()


def test_a_server_that_was_restarted(durable: RedisStore, own_redis_server: RedisServer) -> None:
    """The next call works: connections are new, scripts are sent again, and the data is there."""
    version = durable.create(b"k", b"data", 60)
    assert version is not None
    own_redis_server.stop()
    own_redis_server.start()
    saved = durable.replace(b"k", b"new", 60, version)
    assert isinstance(saved, Saved)
    assert durable.load(b"k") == Entry(b"new", saved.version)


@pytest.mark.parametrize("client", [redis.Redis, ClientOfOurOwn])
def test_a_server_that_forgot_the_script(own_server: VolatileRedisServer, client: type[redis.Redis]) -> None:
    """The script is sent again, and answers as it should."""
    with client.from_url(own_server.url) as made, admin(own_server) as outside:
        store = RedisStore(made, prefix=prefix(), timeout=TIMEOUT)
        version = store.create(b"k", b"data", 60)
        assert version is not None
        for _ in range(3):
            outside.script_flush()
            saved = store.replace(b"k", b"data", 60, version)
            assert isinstance(saved, Saved)
            outside.script_flush()
            assert store.replace(b"k", b"data", 60, version) == Conflict(Entry(b"data", saved.version))
            outside.script_flush()
            assert store.replace(b"other", b"data", 60, version) == Gone()
            version = saved.version
        store.close()


@pytest.mark.parametrize(
    ("verb", "idle"), [*((verb, True) for verb in REQUEST_VERBS), ("load", False), ("replace", False)]
)
def test_a_server_that_hangs(store: RedisStore, own_server: VolatileRedisServer, verb: str, idle: bool) -> None:
    """StoreError within the timeout; and when it goes on, no late answer is taken for another's."""
    versions = {}
    for key in (b"k", b"other"):
        version = store.create(key, b"data of " + key, 60)
        assert version is not None
        versions[key] = version
    if not idle:
        store._transport.close()
    own_server.pause()
    try:
        assert seconds_to_fail(lambda: VERBS[verb](store)) < TIMEOUT + MARGIN
    finally:
        own_server.resume()
    for _ in range(3):
        assert store.load(b"other") == Entry(b"data of other", versions[b"other"])


def test_a_client_of_ones_own_takes_its_own_time(own_server: VolatileRedisServer) -> None:
    """A client that is called as it is has its own time-outs and retries; the error is a StoreError all the same."""
    with ClientOfOurOwn(port=own_server.port, socket_timeout=0.3, retry=Retry(NoBackoff(), 0)) as client:
        store = RedisStore(client, prefix=prefix(), timeout=60)
        assert store.load(b"k") is None
        own_server.pause()
        try:
            assert seconds_to_fail(lambda: store.load(b"k")) < 0.3 + MARGIN
        finally:
            own_server.resume()
        assert store.load(b"k") is None


@pytest.mark.parametrize("kind", [redis.Redis, ClientOfOurOwn])
def test_a_client_s_database_and_name(own_server: VolatileRedisServer, kind: type[redis.Redis]) -> None:
    """Sessions are where the client that was handed over would put them, and the server knows who asks."""
    with kind(port=own_server.port, db=3, client_name="shop") as client:
        store = RedisStore(client, prefix="p:", timeout=TIMEOUT)
        began = time.monotonic()
        store.create(b"k", b"data", 60)
        with redis.Redis(port=own_server.port, db=3) as outside:
            assert outside.keys() == [b"p:" + b"k".hex().encode()]
            left = outside.pttl("p:" + b"k".hex()) / 1000
            assert 60 - (time.monotonic() - began) - 0.01 < left <= 60
            assert {(each["name"], each["db"]) for each in outside.client_list() if each["name"]} == {("shop", "3")}
        store.close()


def test_a_server_that_hangs_and_many_threads(store: RedisStore, own_server: VolatileRedisServer) -> None:
    """Each waits for its own timeout, not for one another's."""
    open_connections(store, 4)
    own_server.pause()
    try:
        waited = run_in_threads(12, lambda number: seconds_to_fail(lambda: store.load(b"k")))
    finally:
        own_server.resume()
    assert max(waited) < TIMEOUT + MARGIN
    assert store.load(b"k") is None


@pytest.mark.parametrize("verb", VERBS)
def test_a_server_that_was_stopped(durable: RedisStore, own_redis_server: RedisServer, verb: str) -> None:
    """StoreError at once; when it is back the next call works and finds what was stored before."""
    version = durable.create(b"k", b"data", 60)
    assert version is not None
    own_redis_server.stop()
    for _ in range(2):
        waited = seconds_to_fail(lambda: VERBS[verb](durable))
        assert verb == "walk" or waited < 0.3
    own_redis_server.start()
    assert durable.load(b"k") == Entry(b"data", version)


REFUSALS = [
    "LOADING Redis is loading the dataset in memory",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "CLUSTERDOWN The cluster is down",
    "MOVED 3999 127.0.0.1:6381",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "NOAUTH Authentication required.",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "ERR unknown command 'EVALSHA', with args beginning with: 'the key' 'the data'",
    "ERR",
    "",
]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_server_that_refuses(through_proxy: RedisStore, proxy: Proxy, refusal: str) -> None:
    """A StoreError with the server's first words, never "nothing is there"; the next call works."""
    version = through_proxy.create(b"k", b"data", 60)
    assert version is not None
    for verb in (name for name in REQUEST_VERBS if name != "delete"):
        greeted = len(proxy.sent)
        proxy.on_answer = lambda number, answer, greeted=greeted: (  # type: ignore[misc]
            b"-" + refusal.encode() + b"\r\n" if number < greeted else answer
        )
        with pytest.raises(StoreError) as caught:
            VERBS[verb](through_proxy)
        assert refusal.partition(" ")[0] in str(caught.value)
        assert "the key" not in str(caught.value)
        assert through_proxy.load(b"k") == Entry(b"data", version)


def test_a_server_that_became_a_replica(store: RedisStore, own_server: VolatileRedisServer) -> None:
    """Writes are a StoreError and change nothing, reads go on; when it is a master again all works."""
    version = store.create(b"k", b"data", 60)
    assert version is not None
    with admin(own_server) as client:
        client.replicaof("127.0.0.1", 1)
        for work in (
            lambda: store.create(b"new", b"data", 60),
            lambda: store.replace(b"k", b"new", 60, version),
            lambda: store.touch(b"k", 60),
            lambda: store.delete(b"k"),
        ):
            with pytest.raises(StoreError, match="READONLY"):
                work()
        assert store.load(b"k") == Entry(b"data", version)
        client.replicaof("NO", "ONE")
    assert store.load(b"new") is None
    assert isinstance(store.replace(b"k", b"new", 60, version), Saved)


def test_a_server_without_room(store: RedisStore, own_server: VolatileRedisServer) -> None:
    """With maxmemory and noeviction what would grow is a StoreError, and what was stored before stays."""
    version = store.create(b"k", b"data", 60)
    assert version is not None
    with admin(own_server) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")  # byte: an empty server may need less than a megabyte
        for work in (
            lambda: store.create(b"new", b"data", 60),
            lambda: store.replace(b"k", b"new" * 1000, 60, version),
        ):
            with pytest.raises(StoreError, match="OOM"):
                work()
        assert store.load(b"k") == Entry(b"data", version)
        assert store.load(b"new") is None
        assert store.touch(b"k", 60) is True
        client.config_set("maxmemory", "0")
    assert isinstance(store.replace(b"k", b"new", 60, version), Saved)


def test_somebody_elses_key_of_our_name(store: RedisStore, own_server: VolatileRedisServer) -> None:
    """A list or a hash where an entry should be is a StoreError, and is not overwritten, and so is a string that is too
    short for an entry. A walk passes over both, and the entry's owner can delete them."""
    name = store._prefix + b"k".hex().encode()
    with admin(own_server) as client:
        client.rpush(name, "somebody's")
        for verb in (VERBS["load"], VERBS["replace"], lambda store: store.create(b"k", b"data", 60)):
            with pytest.raises(StoreError, match="WRONGTYPE"):
                verb(store)
        assert client.lrange(name, 0, -1) == [b"somebody's"]
        client.delete(name)
        client.set(name, "shrt")
        for verb in (VERBS["load"], VERBS["replace"], lambda store: store.create(b"k", b"data", 60)):
            with pytest.raises(StoreError, match="does not fit"):
                verb(store)
        assert client.get(name) == b"shrt"
        assert list(store.walk()) == []
        assert store.delete(b"k") is True


def test_keys_of_others_beside_ours(own_server: VolatileRedisServer) -> None:
    """A walk passes over names that only begin like ours."""
    store = RedisStore(own_server.url, prefix="session:", timeout=TIMEOUT)
    version = store.create(b"k", b"data", 60)
    with admin(own_server) as client:
        client.set("session:not hexadecimal", "x")
        client.set("session:", "")
        client.set("session:" + "é", "x")
        client.set("sessions", "x")
    assert (b"k", Entry(b"data", version or b"")) in list(store.walk())
    store.close()
