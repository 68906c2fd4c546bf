"""What Flask-Redis's documentation shows, group by group, as functions that any client must pass.

Imports neither pytest nor a driver, because a process without redis-py runs them as well.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any


class Talk:
    """A client, and what its answers look like: bytes, or text with ``decode_responses``."""

    def __init__(self, client: Any, *, decodes: bool, prefix: str) -> None:
        self.client = client
        self._decodes = decodes
        self._prefix = prefix

    def name(self, name: str) -> str:
        """Return a key of this test's own."""
        return f"{self._prefix}:{name}"

    def text(self, text: str) -> Any:
        """Return what the client answers where the server has this text."""
        return text if self._decodes else text.encode()


def strings(talk: Talk) -> None:
    """set with its options, get, getset, incr, decr."""
    client, key, text = talk.client, talk.name("key"), talk.text
    assert client.get(key) is None
    assert client.set(key, "välue") is True
    assert client.get(key) == text("välue")
    assert client.getset(key, "new") == text("välue")
    assert client.set(key, "other", nx=True) is None
    assert client.set(talk.name("missing"), "x", xx=True) is None
    assert client.set(key, "seconds", ex=100, xx=True) is True
    assert 0 < client.ttl(key) <= 100
    assert client.set(key, "milliseconds", px=100_000) is True
    assert 0 < client.pttl(key) <= 100_000
    assert client.set(key, b"\x00\xff" if not talk._decodes else "plain") is True
    number = talk.name("number")
    assert [client.incr(number), client.incr(number, amount=5), client.decr(number), client.decr(number, 2)] == [
        1,
        6,
        5,
        3,
    ]
    assert client.mget([number, talk.name("missing")]) == [text("3"), None]


def keys(talk: Talk) -> None:
    """delete, exists, expire, ttl, keys."""
    client, first, second = talk.client, talk.name("keys:a"), talk.name("keys:b")
    client.mset({first: 1, second: 2})
    assert client.exists(first) == 1
    assert client.exists(first, second, talk.name("keys:c")) == 2
    assert client.ttl(first) == -1
    assert client.expire(first, 10) is True
    assert 0 < client.ttl(first) <= 10
    assert client.ttl(talk.name("keys:c")) == -2
    assert sorted(client.keys(talk.name("keys:*"))) == [talk.text(first), talk.text(second)]
    assert sorted(client.scan_iter(match=talk.name("keys:*"))) == [talk.text(first), talk.text(second)]
    assert client.delete(first, second, talk.name("keys:c")) == 2
    assert client.keys(talk.name("keys:*")) == []


def hashes(talk: Talk) -> None:
    """hset, hget, hgetall, hdel, hkeys."""
    client, key, text = talk.client, talk.name("hash"), talk.text
    assert client.hset(key, "field", "value") == 1
    assert client.hset(key, mapping={"one": 1, "two": 2}) == 2
    assert client.hget(key, "field") == text("value")
    assert client.hget(key, "none") is None
    assert client.hgetall(key) == {text("field"): text("value"), text("one"): text("1"), text("two"): text("2")}
    assert sorted(client.hkeys(key)) == [text("field"), text("one"), text("two")]
    assert client.hdel(key, "one", "two", "three") == 2
    assert client.hgetall(key) == {text("field"): text("value")}


def lists(talk: Talk) -> None:
    """lpush, rpush, lpop, rpop, llen, lrange."""
    client, key, text = talk.client, talk.name("list"), talk.text
    assert client.lpush(key, 1, 2) == 2
    assert client.rpush(key, 3) == 3
    assert client.llen(key) == 3
    assert client.lrange(key, 0, -1) == [text("2"), text("1"), text("3")]
    assert client.lpop(key) == text("2")
    assert client.rpop(key) == text("3")
    assert list(client.blpop([key], timeout=1)) == [text(key), text("1")]  # a list by RESP3
    assert client.lpop(key) is None


def sets(talk: Talk) -> None:
    """sadd, smembers, srem, scard."""
    client, key, text = talk.client, talk.name("set"), talk.text
    assert client.sadd(key, 1, 2, 2) == 2
    assert set(client.smembers(key)) == {text("1"), text("2")}  # valkey-py answers with a list
    assert client.srem(key, 1, 5) == 1
    assert client.scard(key) == 1
    assert client.zadd(talk.name("sorted"), {"a": 1, "b": 2}) == 2
    scores = client.zrange(talk.name("sorted"), 0, -1, withscores=True)
    assert [tuple(each) for each in scores] == [(text("a"), 1.0), (text("b"), 2.0)]


def pub_sub(talk: Talk) -> None:
    """publish, pubsub: what is published comes to whoever listens, in a thread of its own as well."""
    client, channel = talk.client, talk.name("channel")
    with client.pubsub() as listener:
        listener.subscribe(channel)
        assert listener.get_message(timeout=10)["type"] == "subscribe"
        assert client.publish(channel, "message") == 1
        message = listener.get_message(timeout=10)
        assert (message["type"], message["channel"], message["data"]) == (
            "message",
            talk.text(channel),
            talk.text("message"),
        )
    with client.pubsub(ignore_subscribe_messages=True) as listener:
        heard = threading.Event()
        listener.subscribe(**{talk.name("other"): lambda message: heard.set()})
        thread = listener.run_in_thread(sleep_time=0.01)
        while not client.publish(talk.name("other"), "x"):
            time.sleep(0.01)
        assert heard.wait(10)
        thread.stop()
        thread.join(10)
        assert not thread.is_alive()
    assert client.publish(channel, "nobody") == 0


def transactions(talk: Talk) -> None:
    """pipeline, multi, exec, and the driver's own ways."""
    client, key, text = talk.client, talk.name("n"), talk.text
    with client.pipeline() as pipeline:
        assert pipeline.set(key, 1).incr(key).get(key).execute() == [True, 2, text("2")]
    client.multi()
    client.set(key, 10)
    client.incr(key)
    client.get(key)
    assert client.exec() == [True, 11, text("11")]

    def double(pipeline: Any) -> None:
        found = int(pipeline.get(key))
        pipeline.multi()
        pipeline.set(key, found * 2)

    assert client.transaction(double, key) == [True]
    assert client.get(key) == text("22")
    assert client.eval("return redis.call('GET', KEYS[1])", 1, key) == text("22")
    assert client.register_script("return ARGV[1]")(args=["x"]) == text("x")
    with client.lock(talk.name("lock"), timeout=10):
        assert not client.lock(talk.name("lock"), timeout=10).acquire(blocking=False)


def items(talk: Talk) -> None:
    """client[key], its setting and its deletion; a missing one is a KeyError."""
    client, key = talk.client, talk.name("item")
    client[key] = "value"
    assert client[key] == talk.text("value")
    assert key in client
    del client[key]
    assert key not in client
    assert _missing(client, key) == (key,)


def _missing(client: Any, key: str) -> tuple[Any, ...]:
    try:
        client[key]
    except KeyError as error:
        return error.args
    return ("it is there",)


GROUPS: dict[str, Callable[[Talk], None]] = {
    each.__name__: each for each in (strings, keys, hashes, lists, sets, pub_sub, transactions, items)
}
