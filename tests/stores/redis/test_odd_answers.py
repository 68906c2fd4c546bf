"""An answer that RedisStore does not expect is a StoreError, on its own sockets and through a client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flask_cloakroom.errors import StoreError
from flask_cloakroom.stores import Claim, Conflict, Entry, Saved
from flask_cloakroom.stores.redis.store import RedisStore
from flask_cloakroom.stores.redis.transport import DelegatedTransport
from support.servers.special import GuardedRedisServer, Proxy
from support.stores import redis_tools
from support.stores.backends import ClientOfOurOwn, prefix

VERBS: dict[str, Callable[[RedisStore], object]] = {
    **redis_tools.VERBS,
    "claim": lambda store: store.claim(b"o", b"k", 60),
    "release": lambda store: store.release(b"o", b"k"),
    "owned": lambda store: store.owned(b"o"),
}

NIL, OK, ONE, ENTRY = b"$-1\r\n", b"+OK\r\n", b":1\r\n", b"$12\r\n12345678data\r\n"
CLAIMS = b"$23\r\nclaims 1000 6b 61001000\r\n"

#: What each verb may be answered. "walk" asks for names first, which the driver reads.
EXPECTED: dict[str, set[bytes]] = {
    "load": {NIL, ENTRY, b"_\r\n"},
    "create": {NIL, OK, b"_\r\n"},
    "replace": {b":0\r\n", ONE, ENTRY},
    "touch": {b":0\r\n", ONE},
    "delete": {b":0\r\n", ONE},
    "claim": {b":0\r\n", ONE},
    "release": {b":0\r\n", ONE},
    "owned": {CLAIMS},
    "walk": set(),
}

ODD: dict[str, bytes] = {
    "one": ONE,
    "zero": b":0\r\n",
    "two": b":2\r\n",
    "minus one": b":-1\r\n",
    "OK": OK,
    "another status": b"+QUEUED\r\n",
    "an empty status": b"+\r\n",
    "nothing": NIL,
    "an empty string": b"$0\r\n\r\n",
    "a string too short for a version": b"$7\r\n1234567\r\n",
    "OK as a string": b"$2\r\nOK\r\n",
    "an entry": ENTRY,
    "claims": CLAIMS,
    "a number as a string": b"$4\r\n1000\r\n",
    "claims at no time": b"$10\r\nclaims nan\r\n",
    "claims alone": b"$6\r\nclaims\r\n",
    "claims without an end": b"$14\r\nclaims 1000 6b\r\n",
    "claims of no key": b"$19\r\nclaims 1000 xyz 200\r\n",
    "claims for ever": b"$18\r\nclaims 1000 6b inf\r\n",
    "an array": b"*2\r\n$1\r\n0\r\n*0\r\n",
    "an empty array": b"*0\r\n",
    "no array": b"*-1\r\n",
    "a length below zero": b"$-7\r\n",
    "a string that does not end": b"$2\r\nNOxx",
    "a number that is none": b":1.5\r\n",
    "no script": b"-NOSCRIPT No matching script. Please use EVAL.\r\n",
    "a refusal": b"-ERR no\r\n",
    "the wrong type": b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
}


def odd_answers(verb: str, through_a_client: bool) -> dict[str, bytes]:
    """Return what no server answers to a verb, without those that cannot be told from what it answers."""
    odd = {name: answer for name, answer in ODD.items() if answer not in EXPECTED[verb]}
    if verb in ("load", "replace"):  # an entry's content is any
        odd = {name: answer for name, answer in odd.items() if not name.startswith("claims")}
    elif verb == "create":
        del odd["OK as a string"]  # the drivers make no difference
    elif verb == "walk":
        del odd["an array"]  # it is what SCAN answers when there is nothing
    if through_a_client and verb in ("load", "create"):
        del odd["no array"]  # to a driver it is the same as nothing
    return odd


@contextmanager
def direct(proxy: Proxy) -> Iterator[RedisStore]:
    """On the store's own sockets."""
    store = RedisStore(proxy.url, prefix=prefix(), timeout=1.0)
    yield store
    store.close()


@contextmanager
def delegated(proxy: Proxy) -> Iterator[RedisStore]:
    """Through a client that somebody else made, with its own patience."""
    with ClientOfOurOwn(port=proxy.port, socket_timeout=1.0, retry=Retry(NoBackoff(), 0)) as client:
        yield RedisStore(client, prefix=prefix())


TRANSPORTS = {"sockets": direct, "a client": delegated}


@pytest.fixture(params=TRANSPORTS.values(), ids=TRANSPORTS.keys())
def store(request: pytest.FixtureRequest, proxy: Proxy) -> Iterator[RedisStore]:
    """Return a store behind the proxy, which was used."""
    with request.param(proxy) as store:
        assert store.load(b"nothing") is None
        yield store


@pytest.mark.parametrize("verb", VERBS)
def test_every_odd_answer(store: RedisStore, proxy: Proxy, verb: str) -> None:
    """StoreError with no part of the answer in it, and no other error; the next call works as ever."""
    version = store.create(b"k", b"data of k", 60)
    through_a_client = isinstance(store._transport, DelegatedTransport)
    for name, odd in odd_answers(verb, through_a_client).items():
        proxy.on_answer = lambda number, real, odd=odd: real if is_a_greeting(proxy, number) else odd  # type: ignore[misc]
        with pytest.raises(StoreError) as caught:
            pytest.fail(f"{name} is taken for {VERBS[verb](store)}")
        assert "1234567" not in str(caught.value)
        proxy.on_answer = lambda number, real: real
        assert store.load(b"nothing") is None, name
        # A command may have been done before its answer was replaced.
        store.delete(b"new")
        if verb in ("delete", "replace"):
            store.delete(b"k")
            version = store.create(b"k", b"data of k", 60)
        assert store.load(b"k") == Entry(b"data of k", version or b""), name


def is_a_greeting(proxy: Proxy, number: int) -> bool:
    """Tell whether nothing but the driver's own commands went to the server on a connection so far."""
    sent = bytes(proxy.sent[number])
    return not any(b"\r\n%b\r\n" % command in sent for command in COMMANDS)


COMMANDS = (b"GET", b"SET", b"EVALSHA", b"EVAL", b"DEL", b"ZREM", b"SCAN")


def test_each_expected_answer_is_taken(store: RedisStore, proxy: Proxy) -> None:
    """So the test above refuses no answer that a server gives."""
    results = {
        ("load", ENTRY): Entry(b"data", b"12345678"),
        ("touch", ONE): True,
        ("delete", b":0\r\n"): False,
        ("claim", b":0\r\n"): False,
        ("release", ONE): True,
        ("owned", CLAIMS): [Claim(b"k", 61.0)],
        ("replace", ENTRY): Conflict(Entry(b"data", b"12345678")),
    }
    for (verb, answer), result in results.items():
        proxy.on_answer = lambda number, real, answer=answer: answer  # type: ignore[misc]
        assert VERBS[verb](store) == result
    proxy.on_answer = lambda number, real: ONE
    assert isinstance(VERBS["replace"](store), Saved)


def test_no_script_twice(store: RedisStore, proxy: Proxy) -> None:
    """A server that says so to the whole script too is a StoreError."""
    proxy.on_answer = lambda number, real: b"-NOSCRIPT No matching script.\r\n"
    for verb in ("replace", "touch", "claim", "owned"):
        with pytest.raises(StoreError):
            VERBS[verb](store)


def wait_for_bytes(store: RedisStore) -> None:
    """Return when something has come on the connection that lies idle."""
    transport: Any = store._transport
    deadline = time.monotonic() + 5
    while not transport._idle[-1].unread():
        assert time.monotonic() < deadline


class TestStrayAnswers:
    """An answer that comes although nobody waits for it."""

    @pytest.mark.parametrize("later", [False, True], ids=["with the answer", "later"])
    def test_a_second_answer_is_taken_for_no_other(self, proxy: Proxy, later: bool) -> None:
        """Two keys are read in turn; each answer that is taken is the key's own."""
        with direct(proxy) as store:
            entries = {}
            for key in (b"a", b"b"):
                version = store.create(key, b"data of " + key, 60)
                assert version is not None
                entries[key] = Entry(b"data of " + key, version)

            def twice(number: int, answer: bytes) -> bytes:
                if is_a_greeting(proxy, number):
                    return answer
                if not later:
                    return answer + answer
                proxy._sockets[1 + 2 * number].sendall(answer)
                time.sleep(0.02)
                return answer

            for key in [*entries] * 5:
                proxy.on_answer = twice
                if later:
                    assert store.load(key) == entries[key]
                    wait_for_bytes(store)
                else:
                    with pytest.raises(StoreError):
                        store.load(key)
                proxy.on_answer = lambda number, answer: answer
                for other in (b"b", b"a", key):
                    assert store.load(other) == entries[other]

    def test_the_connection_is_replaced_and_nothing_sent_on_it(self, proxy: Proxy) -> None:
        """The command goes out once, on a new connection."""
        with direct(proxy) as store:
            assert store.load(b"a") is None
            proxy._sockets[1].sendall(ENTRY)
            wait_for_bytes(store)
            before = len(proxy.sent[0])
            assert store.load(b"b") is None
            assert len(proxy.sent) == 2
            assert len(proxy.sent[0]) == before

    def test_at_the_beginning_of_a_connection(self, proxy: Proxy) -> None:
        """More answers than greetings: StoreError, and no answer to the first command."""
        with direct(proxy) as store:
            proxy.on_answer = lambda number, answer: answer + OK
            for verb in ("create", "load"):
                with pytest.raises(StoreError):
                    VERBS[verb](store)
            proxy.on_answer = lambda number, answer: answer
            assert store.load(b"nothing") is None

    @pytest.mark.parametrize("kind", ["url", "unix_url", "tls_url"])
    def test_over_every_kind_of_socket(self, guarded_server: GuardedRedisServer, kind: str) -> None:
        """TCP, Unix and TLS: what a server sends unasked is noticed before the next command."""
        store = RedisStore(getattr(guarded_server, kind), prefix=prefix(), timeout=5.0)
        version = store.create(b"k", b"data", 60)
        transport: Any = store._transport
        # Of this server, which other tests use as well: their connections are under the same bound.
        connections = transport._limit.open_count
        for _ in range(3):
            wire = transport._idle[-1]
            assert not wire.unread()
            wire._socket.sendall(b"PING\r\n")
            wait_for_bytes(store)
            assert store.load(b"k") == Entry(b"data", version or b"")
            assert transport._idle[-1] is not wire
            assert transport._limit.open_count <= connections
            assert len(transport._idle) == 1
        store.close()


def test_what_a_driver_makes_of_an_answer() -> None:
    """If a driver's release turns answers to a command into something else, this says so before the tests above."""
    callbacks: Any = redis.Redis().response_callbacks
    assert not {"GET", "DEL", "ZREM", "EVAL", "EVALSHA"} & {name.upper() for name in callbacks}
