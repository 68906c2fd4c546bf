"""No error, no report with local variables and no name of a store shows a key, data or a password."""

from __future__ import annotations

import contextlib
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from flask_cloakroom.errors import StoreError
from flask_cloakroom.secret import SecretBytes
from flask_cloakroom.stores import Store, StoreOptions, open_store
from flask_cloakroom.stores.redis.store import RedisStore
from flask_cloakroom.stores.sqlite.store import SQLiteStore
from support.reports.reporters import REPORTERS
from support.servers.special import GuardedRedisServer, Proxy, VolatileRedisServer, admin
from support.stores.backends import ClientOfOurOwn

KEY = SecretBytes(b"Key-That-Nobody-May-See")
ANOTHER_KEY = SecretBytes(KEY + b"2")
DATA = SecretBytes(b"Data-That-Nobody-May-See")
PASSWORD = GuardedRedisServer.password
SECRETS = [KEY.decode(), KEY.hex(), DATA.decode(), DATA.hex(), PASSWORD]


def texts(error: BaseException | None) -> Iterator[str]:
    """Yield all that can be read in an error and in those that led to it."""
    while error is not None:
        yield str(error)
        yield repr(error)
        yield repr(error.args)
        yield from getattr(error, "__notes__", [])
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def check(error: BaseException) -> None:
    reports = [text for reporter in REPORTERS.values() for text in reporter(error)]
    told = "\n".join([*texts(error), *reports, "".join(traceback.format_exception_only(error))])
    for secret in SECRETS:
        assert secret.lower() not in told.lower()


def fail_in_every_verb(store: Store, *, reads: bool = True, version: bytes = b"12345678") -> None:
    """Call each verb, which must be a StoreError, and look at what it tells."""
    verbs: list[Callable[[], object]] = [
        lambda: store.create(ANOTHER_KEY, DATA, 60),
        lambda: store.replace(KEY, DATA, 60, version),
        lambda: store.touch(KEY, 60),
        lambda: store.delete(KEY),
    ]
    if reads:
        verbs += [lambda: store.load(KEY), lambda: list(store.walk())]  # type: ignore[attr-defined]
    for verb in verbs:
        with pytest.raises(StoreError) as caught:
            verb()
        check(caught.value)
    check_names(store)


def check_names(store: Store) -> None:
    inside = [str(store), repr(store), repr(getattr(store, "_transport", None))]
    for secret in SECRETS:
        assert not any(secret.lower() in text.lower() for text in inside)


def test_a_redis_server_with_a_password(guarded_server: GuardedRedisServer) -> None:
    """Nothing of the URL but where the server is stands in the name of the store."""
    for url in (guarded_server.url, guarded_server.unix_url, guarded_server.tls_url):
        store = RedisStore(url, timeout=1.0)
        store.create(KEY, DATA, 60)
        check_names(store)
        assert "Redis" in str(store)
        store.delete(KEY)
        store.close()
        check_names(store)


@pytest.mark.parametrize("kind", [redis.Redis, ClientOfOurOwn])
def test_a_wrong_password(guarded_server: GuardedRedisServer, kind: type[redis.Redis]) -> None:
    """Neither the one that was tried nor the right one is told."""
    url = guarded_server.url.replace(PASSWORD, "x" + PASSWORD)
    with kind.from_url(url) as client:
        store = RedisStore(client, timeout=1.0)
        fail_in_every_verb(store)
        store.close()


@pytest.mark.parametrize("kind", [redis.Redis, ClientOfOurOwn])
@pytest.mark.parametrize(
    "host", ["127.0.0.1:1", "no-such-host.invalid:6379", "a" * 70 + ":6379", "[::1]:1"], ids=lambda host: host[:10]
)
def test_a_server_that_is_not_there(host: str, kind: type[redis.Redis]) -> None:
    """An address that nobody answers at, or that is none."""
    with kind.from_url(f"redis://user:{PASSWORD}@{host}/0", socket_timeout=1, socket_connect_timeout=1) as client:
        store = RedisStore(client, timeout=1.0)
        fail_in_every_verb(store)
        store.close()


@pytest.mark.parametrize("kind", [redis.Redis, ClientOfOurOwn])
def test_a_server_that_refuses_for_reasons(own_server: VolatileRedisServer, kind: type[redis.Redis]) -> None:
    """Out of memory, read-only, another type under the key, no permission, no scripts: each with the key in hand."""
    with admin(own_server) as outside, kind.from_url(own_server.url) as client:
        store = RedisStore(client, prefix="p:", timeout=1.0)
        version = store.create(KEY, DATA, 60)
        assert version is not None
        outside.replicaof("127.0.0.1", 1)
        fail_in_every_verb(store, reads=False, version=version)
        outside.replicaof("NO", "ONE")

        outside.config_set("maxmemory", "1mb")
        for work in (
            lambda: store.create(ANOTHER_KEY, DATA, 60),
            lambda: store.replace(KEY, SecretBytes(DATA * 1000), 60, version),
        ):
            with pytest.raises(StoreError) as caught:
                work()
            check(caught.value)
        outside.config_set("maxmemory", "0")

        outside.delete("p:" + KEY.hex())
        outside.rpush("p:" + KEY.hex(), DATA)
        for verb in (lambda: store.load(KEY), lambda: store.replace(KEY, DATA, 60, b"12345678")):
            with pytest.raises(StoreError) as caught:
                verb()
            check(caught.value)
        store.close()

        for permissions in (["+@all", "~other:*"], ["-@all", "+auth", "+hello", "+client", "+select", "~*"]):
            outside.execute_command("ACL", "SETUSER", "limited", "reset", "on", f">{PASSWORD}", *permissions)
            with kind(port=own_server.port, username="limited", password=PASSWORD) as limited:
                store = RedisStore(limited, prefix="p:", timeout=1.0)
                fail_in_every_verb(store, reads=False)
                with pytest.raises(StoreError) as caught:
                    store.load(KEY)
                check(caught.value)
                store.close()


@pytest.mark.parametrize("kind", [redis.Redis, ClientOfOurOwn])
def test_a_server_that_repeats_what_it_was_sent(proxy: Proxy, kind: type[redis.Redis]) -> None:
    """As "unknown command" does, with the arguments: our text is cut off before they come."""
    with kind(port=proxy.port) as client:
        store = RedisStore(client, timeout=5.0)
        store.load(KEY)
        proxy.on_answer = lambda number, answer: (
            b"-ERR unknown command 'EVALSHA', with args beginning with: '%b' '%b' '%b'\r\n"
            % (KEY, DATA, PASSWORD.encode())
        )
        with pytest.raises(StoreError) as caught:
            store.replace(KEY, DATA, 60, b"12345678")
        for secret in SECRETS:
            assert secret.lower() not in str(caught.value).lower()
        proxy.on_answer = lambda number, answer: answer
        store.close()


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{PASSWORD}/slash@127.0.0.1:6379/0",
        f"redis://:{PASSWORD}#hash@127.0.0.1:6379/0",
        f"redis://:{PASSWORD}?mark@127.0.0.1:6379/0",
        f"redis://:{PASSWORD}@127.0.0.1:port/0",
        f"redis://:{PASSWORD}@127.0.0.1:99999999/0",
        f"redis://:{PASSWORD}@[::1/0",
        f"redis://:x@127.0.0.1:6379/0?password={PASSWORD}&socket_timeout=soon",
        f"rediss://:{PASSWORD}@127.0.0.1:port/0",
        f"valkey://:{PASSWORD}/slash@127.0.0.1:6379/0",
        f"mongodb://:{PASSWORD}@127.0.0.1/0",
        f":{PASSWORD}@127.0.0.1",
        f"unix://:{PASSWORD}@/no/such/socket?db=one",
    ],
)
def test_a_url_that_is_wrong(tmp_path: Path, url: str) -> None:
    """With a password that has to be escaped and is not, or a mistake elsewhere: a ValueError that repeats neither."""
    for name in ("", "session:"):
        try:
            store = open_store(url, StoreOptions(tmp_path, name, 0.3))
        except ValueError as error:
            check(error)
        else:
            fail_in_every_verb(store)
            store.close()


def test_sqlite_in_trouble(tmp_path: Path) -> None:
    """A locked file, and a table of another shape."""
    path = tmp_path / "s.db"
    store = SQLiteStore(path, timeout=0.1)
    store.create(KEY, DATA, 60)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        fail_in_every_verb(store, reads=False)
        db.execute("ROLLBACK")
        db.execute("ALTER TABLE cloakroom_entries RENAME COLUMN data TO payload")
        db.execute("ALTER TABLE cloakroom_entries RENAME COLUMN expires TO ends")
        fail_in_every_verb(store)
    store.close()


def test_a_sqlite_file_with_damaged_pages(tmp_path: Path) -> None:
    """SQLite finds the damage in the middle of a call, which has the key and data in hand."""
    path = tmp_path / "s.db"
    store = SQLiteStore(path)
    for number in range(300):
        store.create(SecretBytes(KEY + b"%d" % number), SecretBytes(DATA * 20), 60)
    store.close()
    content = bytearray(path.read_bytes())
    for page in range(3, len(content) // 4096):
        content[page * 4096 : page * 4096 + 512] = b"\xff" * 512
    path.write_bytes(content)
    errors = []
    for number in range(300):
        key = SecretBytes(KEY + b"%d" % number)
        for verb in (lambda key=key: store.load(key), lambda key=key: store.create(key, DATA, 60)):
            try:
                verb()
            except StoreError as error:
                errors.append(error)
    assert errors
    for each in errors:
        check(each)
    store.close()


def test_a_sqlite_path_that_is_no_database(tmp_path: Path) -> None:
    """A file of something else, and a folder."""
    path = tmp_path / "s.db"
    store = SQLiteStore(path)
    path.write_bytes(DATA * 1000)
    fail_in_every_verb(store)
    path.unlink()
    path.mkdir()
    fail_in_every_verb(store)
    store.close()


def test_wrong_arguments(tmp_path: Path) -> None:
    """A ttl that is none, in a call that also has a key and data."""
    for url in ("memory://", "sqlite:///s.db"):
        store = open_store(url, StoreOptions(tmp_path, "", 1.0))
        with pytest.raises(ValueError, match="ttl") as caught:
            store.create(KEY, DATA, 0)
        check(caught.value)
        store.close()


def test_what_is_no_client() -> None:
    """The error says what was given by its type, not by what it holds."""
    for nonsense in (object(), {"password": PASSWORD}, PASSWORD.encode()):
        with pytest.raises(TypeError) as caught:
            RedisStore(nonsense)  # type: ignore[arg-type]
        assert PASSWORD not in "".join(texts(caught.value))  # a report shows what the caller has handed over
    with pytest.raises(ValueError, match="Begin it with") as other:
        RedisStore(PASSWORD)
    check(other.value)
