"""The setting of the store: a URL, a client or a store."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis
import redis.asyncio
import valkey

from flask_cloakroom import Session
from flask_cloakroom.stores.memory import MemoryStore
from flask_cloakroom.stores.redis.store import RedisStore
from flask_cloakroom.stores.sqlite.store import SQLiteStore
from support.sites.settings import SECRET, make_app, read, refused


class TestStore:
    """Which of the four settings decides where sessions are kept."""

    def store(self, folder: Path, **config: Any) -> Any:
        return read(folder, **config).make_store()

    def test_sqlite_is_the_default(self, tmp_path: Path) -> None:
        """One file in the instance folder, which is not made before the first session."""
        store = self.store(tmp_path)
        assert isinstance(store, SQLiteStore)
        assert store.path == tmp_path / "instance" / "sessions.sqlite3"
        assert not (tmp_path / "instance").exists()

    def test_by_type(self, tmp_path: Path) -> None:
        """Flask-Session's name for it."""
        assert isinstance(self.store(tmp_path, SESSION_TYPE="memory"), MemoryStore)
        assert isinstance(self.store(tmp_path, SESSION_TYPE="sqlite"), SQLiteStore)
        assert str(self.store(tmp_path, SESSION_TYPE="redis")) == "Redis (localhost:6379/0)"

    def test_by_url(self, tmp_path: Path) -> None:
        """SESSION_STORE, in words."""
        for url, words in {
            "memory://": "memory of this process",
            "sqlite:///mine.db": "SQLite (mine.db)",
            "redis://cache.example:7000/3": "Redis (cache.example:7000/3)",
            f"redis://:{SECRET}@cache.example/3": "Redis (cache.example:6379/3)",
            "unix:///run/redis.sock": "Redis (/run/redis.sock/0)",
            "valkey://cache.example": "Redis (cache.example:6379/0)",
        }.items():
            assert str(self.store(tmp_path, SESSION_STORE=url)) == words

    def test_by_object(self, tmp_path: Path) -> None:
        """A store is used as it is, and is its owner's to close."""
        store = MemoryStore()
        assert self.store(tmp_path, SESSION_STORE=store) is store

    def test_one_memory_store_per_application(self, tmp_path: Path) -> None:
        """Not one for all of a process."""
        apps = [make_app(tmp_path, SESSION_TYPE="memory") for _ in range(2)]
        for app in apps:
            Session(app)
        assert len({id(app.session_interface.store) for app in apps}) == 2  # type: ignore[attr-defined]
        assert apps[0].session_interface.store is apps[0].session_interface.store  # type: ignore[attr-defined]

    @pytest.mark.parametrize("client_class", [redis.Redis, valkey.Valkey, fakeredis.FakeStrictRedis])
    def test_by_client(self, client_class: Any, tmp_path: Path) -> None:
        """SESSION_REDIS takes a client of any driver, and with one, SESSION_TYPE need not be said."""
        for config in ({}, {"SESSION_TYPE": "redis"}):
            assert isinstance(self.store(tmp_path, SESSION_REDIS=client_class(), **config), RedisStore)

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            ({"SESSION_REDIS": "redis://a", "REDIS_URL": "redis://b"}, "Redis (a:6379/0)"),
            ({"SESSION_TYPE": "redis", "SESSION_REDIS": "redis://a", "REDIS_URL": "redis://b"}, "Redis (a:6379/0)"),
            ({"SESSION_TYPE": "redis", "REDIS_URL": "redis://b"}, "Redis (b:6379/0)"),
            ({"SESSION_TYPE": "redis", "REDIS_URL": ""}, "Redis (localhost:6379/0)"),
            ({"REDIS_URL": "redis://b"}, "Redis (b:6379/0)"),
            ({"REDIS_URL": ""}, "SQLite (sessions.sqlite3)"),
            ({"SESSION_TYPE": "sqlite", "REDIS_URL": "redis://b"}, "SQLite (sessions.sqlite3)"),
            ({"SESSION_TYPE": "memory", "SESSION_REDIS": "redis://a"}, "memory of this process"),
            ({"SESSION_STORE": "memory://", "REDIS_URL": "redis://b"}, "memory of this process"),
            ({"SESSION_STORE": "sqlite:///s.db", "SESSION_REDIS": "redis://a"}, "SQLite (s.db)"),
        ],
    )
    def test_precedence(self, config: dict[str, Any], words: str, tmp_path: Path) -> None:
        """SESSION_STORE, then SESSION_TYPE, then SESSION_REDIS, then REDIS_URL."""
        assert str(self.store(tmp_path, **config)) == words

    def test_two_that_contradict(self, tmp_path: Path) -> None:
        """SESSION_STORE and SESSION_TYPE together leave open what was meant."""
        error = refused(tmp_path, SESSION_STORE="memory://", SESSION_TYPE="redis")
        assert error.setting == "SESSION_STORE"
        assert "SESSION_TYPE" in str(error)

    def test_the_setting_that_is_wrong_is_named(self, tmp_path: Path) -> None:
        """Not another one that could have been used."""
        for value in ("http://x", "redis://x:port", 5, object()):
            assert refused(tmp_path, SESSION_TYPE="redis", REDIS_URL=value).setting == "REDIS_URL"
            assert refused(tmp_path, SESSION_TYPE="redis", SESSION_REDIS=value).setting == "SESSION_REDIS"
            assert refused(tmp_path, SESSION_STORE=value).setting == "SESSION_STORE"

    @pytest.mark.parametrize(
        "url",
        [
            f"redis://:{SECRET}/x@host:6379/0",
            f"redis://user:{SECRET}#x@host:6379/0",
            f"redis://:{SECRET}?@host:6379/0",
            f"redis://:{SECRET}@host:port/0",
            f"redis://:{SECRET}@ho℀st:6379/0",
            f"redis://:{SECRET}@[host:6379/0",
            f"redis://:{SECRET}@host:99999/0",
            f"redis://:{SECRET}@host/0?socket_timeout={SECRET}",
            f"rediss://:{SECRET}@host:port",
            f"valkey://:{SECRET}@host:port",
            f"http://:{SECRET}@host",
            f"redis:/:{SECRET}@host",
            f"{SECRET}",
        ],
    )
    def test_no_password_in_an_error(self, url: str, tmp_path: Path) -> None:
        """Neither in its text nor in those of the errors that led to it, which a traceback shows."""
        for config in (
            {"SESSION_STORE": url},
            {"SESSION_REDIS": url},
            {"SESSION_TYPE": "redis", "SESSION_REDIS": url},
            {"SESSION_TYPE": "redis", "REDIS_URL": url},
            {"SESSION_TYPE": url},
        ):
            refused(tmp_path, **config)

    def test_an_asyncio_client(self, tmp_path: Path) -> None:
        """Its commands would return coroutines that nobody awaits."""
        for client in (redis.asyncio.Redis(), redis.asyncio.Redis.from_url(f"redis://:{SECRET}@host")):
            error = refused(tmp_path, SESSION_REDIS=client)
            assert error.setting == "SESSION_REDIS"
            assert "Pass the synchronous client" in str(error)
            asyncio.run(client.aclose())

    def test_what_a_store_lacks_is_named(self, tmp_path: Path) -> None:
        """An object that is nearly a store."""

        class Half:
            def load(self, key: bytes) -> None:
                return None

            def delete(self, key: bytes) -> bool:
                return False

        assert "Half has no create, replace, touch()" in str(refused(tmp_path, SESSION_STORE=Half()))

    def test_the_key_prefix(self, tmp_path: Path) -> None:
        """Stands before every key in Redis."""
        store = self.store(tmp_path, SESSION_TYPE="redis", SESSION_KEY_PREFIX="shop:")
        assert store._key(b"\x01") == b"shop:01"
        assert self.store(tmp_path, SESSION_REDIS=redis.Redis(), SESSION_KEY_PREFIX="")._key(b"\x01") == b"01"

    @pytest.mark.parametrize(
        "config", [{"SESSION_TYPE": "redis"}, {"SESSION_STORE": "redis://h"}, {"SESSION_REDIS": "valkey://h"}]
    )
    def test_without_a_driver(self, config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error says what to install. A driver that is there is enough, whichever it is."""
        monkeypatch.setitem(sys.modules, "redis", None)
        assert type(self.store(tmp_path, **config).connector.client).__module__.startswith("valkey")
        monkeypatch.setitem(sys.modules, "valkey", None)
        assert "pip install flask-cloakroom[redis]" in str(refused(tmp_path, **config))

    def test_without_cryptography(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """SESSION_ENCRYPTION says what to install, and sessions don't quietly stay in the clear."""
        monkeypatch.setitem(sys.modules, "cryptography", None)
        error = refused(tmp_path, SESSION_ENCRYPTION=True)
        assert error.setting == "SESSION_ENCRYPTION"
        assert "pip install flask-cloakroom[encryption]" in str(error)
        assert not read(tmp_path, SESSION_ENCRYPTION=False).encrypt

    def test_nothing_is_opened_at_start(self, tmp_path: Path) -> None:
        """No connection and no file: an application starts while its store is still starting."""
        read(tmp_path, SESSION_STORE="redis://192.0.2.1:1/0", SESSION_STORE_TIMEOUT=60)
        read(tmp_path)
        assert list(tmp_path.iterdir()) == []
