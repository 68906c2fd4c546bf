"""One table of the stores that are tested, and of what each is tested on. The benchmarks can read it too.

A new store is one row here: a name, and a context manager that gives the store and cleans up behind it. The tests
that every store must pass then run on it.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis

from flask_cloakroom.stores import Store, StoreOptions, open_store
from flask_cloakroom.stores.memory import MemoryStore
from flask_cloakroom.stores.redis.store import RedisStore


class Surroundings(NamedTuple):
    """What a backend may use."""

    folder: Path
    #: Return a server of the whole run by the name of its fixture: "shared_server", "guarded_server".
    server: Callable[[str], Any]


class Backend(NamedTuple):
    """A way to keep sessions."""

    name: str
    open: Callable[[Surroundings], AbstractContextManager[Store]]
    #: The program that must be installed, or None.
    needs: str | None = None
    #: What a stand-in stands in for: it says less than the real thing.
    stands_in_for: str | None = None
    #: False where the application's client is called as it is, and its locks, or a stand-in's, don't bear a fork beside
    #: another thread's call: redis-py's pool may then wait in the child for a thread that is not there.
    bears_fork_in_a_call: bool = True
    #: Makes what is stored so many seconds older, where other tests have really waited for the same thing to expire.
    age: Callable[[Any, float], None] | None = None


def prefix() -> str:
    """Return a prefix of one's own, so that tests on one server keep apart. It has a pattern's characters in it."""
    return f"[t]*{secrets.token_hex(4)}?:"


@contextmanager
def _by_url(url: str, folder: Path) -> Iterator[Store]:
    store = open_store(url, StoreOptions(folder, prefix(), 5.0))
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _by_client(client: Any) -> Iterator[Store]:
    store = RedisStore(client, prefix=prefix(), timeout=5.0)
    try:
        yield store
    finally:
        store.close()
        client.close()


class ClientOfOurOwn(redis.Redis):
    """A subclass, as applications have them: the store calls it as it is, because it may do something of its own."""


def age_redis(store: RedisStore, seconds: float) -> None:
    """Make every entry expire ``seconds`` earlier; those that should have expired by now do."""
    for name in list(store._names()):
        left = store.connector.client.pttl(name)
        if left > 0:
            store.connector.client.pexpire(name, max(1, left - int(seconds * 1000)))
    client = store.connector.client
    escaped = store._prefix.replace(b"[", b"\\[").replace(b"*", b"\\*").replace(b"?", b"\\?")
    for name in list(client.scan_iter(match=escaped + b"owner:*", _type="zset")):
        for member in client.zrange(name, 0, -1):
            client.zincrby(name, -seconds * 1e6, member)
    time.sleep(0.005)


def age_memory(store: MemoryStore, seconds: float) -> None:
    """Make every entry expire ``seconds`` earlier."""
    for key, (entry, expires) in store._entries.items():
        store._entries[key] = (entry, expires - seconds)
    for claims in store._owned.values():
        for key in claims:
            claims[key] -= seconds


def _memory(around: Surroundings) -> AbstractContextManager[Store]:
    return _by_url("memory://", around.folder)


def _sqlite(around: Surroundings) -> AbstractContextManager[Store]:
    return _by_url("sqlite:///sessions.sqlite3", around.folder)


def _redis_url(around: Surroundings) -> AbstractContextManager[Store]:
    return _by_url(around.server("shared_server").url, around.folder)


def _redis_client(around: Surroundings) -> AbstractContextManager[Store]:
    return _by_client(redis.Redis.from_url(around.server("shared_server").url))


def _redis_resp3(around: Surroundings) -> AbstractContextManager[Store]:
    return _by_client(redis.Redis.from_url(around.server("shared_server").url, protocol=3))


def _redis_decoding(around: Surroundings) -> AbstractContextManager[Store]:
    return _by_client(redis.Redis.from_url(around.server("shared_server").url, decode_responses=True))


def _redis_subclass(around: Surroundings) -> AbstractContextManager[Store]:
    return _by_client(ClientOfOurOwn.from_url(around.server("shared_server").url))


def _redis_subclass_decoding(around: Surroundings) -> AbstractContextManager[Store]:
    return _by_client(ClientOfOurOwn.from_url(around.server("shared_server").url, decode_responses=True))


def _redis_unix(around: Surroundings) -> AbstractContextManager[Store]:
    return _by_url(around.server("guarded_server").unix_url, around.folder)


def _redis_tls(around: Surroundings) -> AbstractContextManager[Store]:
    return _by_url(around.server("guarded_server").tls_url, around.folder)


def _redis_password(around: Surroundings) -> AbstractContextManager[Store]:
    return _by_url(around.server("guarded_server").url, around.folder)


@contextmanager
def _redis_cluster(around: Surroundings) -> Iterator[Store]:
    store = RedisStore(around.server("redis_cluster").client, prefix=prefix())
    yield store
    store.close()


@contextmanager
def _redis_sentinel(around: Surroundings) -> Iterator[Store]:
    make: Any = redis.Sentinel
    sentinel = make([("127.0.0.1", around.server("redis_sentinel").port)])
    try:
        with _by_client(sentinel.master_for("cloakroom")) as store:
            yield store
    finally:
        for each in sentinel.sentinels:
            each.close()


def _valkey_client(around: Surroundings) -> AbstractContextManager[Store]:
    valkey = pytest.importorskip("valkey")
    return _by_client(valkey.Valkey.from_url(around.server("shared_server").url.replace("redis://", "valkey://")))


def _fakeredis(around: Surroundings) -> AbstractContextManager[Store]:
    if importlib.util.find_spec("lupa") is None:
        reason = "fakeredis runs scripts with the package lupa, which is not installed (fakeredis[lua])"
        if os.environ.get("CI"):
            pytest.fail(f"CI=true and {reason}")
        pytest.skip(reason)
    fakeredis = pytest.importorskip("fakeredis")
    return _by_client(fakeredis.FakeRedis(server=fakeredis.FakeServer()))


BACKENDS = [
    Backend("memory", _memory, age=age_memory),
    Backend("sqlite", _sqlite),
    Backend("redis-url", _redis_url, needs="redis-server"),
    Backend("redis-client", _redis_client, needs="redis-server", age=age_redis),
    Backend("redis-client-resp3", _redis_resp3, needs="redis-server", age=age_redis),
    Backend("redis-client-decoding", _redis_decoding, needs="redis-server", age=age_redis),
    Backend("redis-subclass", _redis_subclass, needs="redis-server", bears_fork_in_a_call=False, age=age_redis),
    Backend(
        "redis-subclass-decoding",
        _redis_subclass_decoding,
        needs="redis-server",
        bears_fork_in_a_call=False,
        age=age_redis,
    ),
    Backend("redis-unix-socket", _redis_unix, needs="redis-server", age=age_redis),
    Backend("redis-tls", _redis_tls, needs="redis-server", age=age_redis),
    Backend("redis-password", _redis_password, needs="redis-server", age=age_redis),
    Backend("redis-cluster", _redis_cluster, needs="redis-server", bears_fork_in_a_call=False, age=age_redis),
    Backend("redis-sentinel", _redis_sentinel, needs="redis-server", bears_fork_in_a_call=False, age=age_redis),
    Backend("valkey-client", _valkey_client, needs="redis-server", age=age_redis),
    Backend("fakeredis", _fakeredis, stands_in_for="Redis", bears_fork_in_a_call=False),
]


def named(*names: str) -> list[Backend]:
    """Return the rows of these names, for tests that need not run on all."""
    rows = [backend for backend in BACKENDS if backend.name in names]
    assert len(rows) == len(names), "no such backend"
    return rows
