"""When settings are read, and from where: the configuration, Flask-Session's names, the environment."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
import redis
import redis.asyncio
from flask import Flask

from flask_cloakroom import Cloakroom, Session, SettingError
from flask_cloakroom.login.setup.settings import settings_of as login_settings_of
from flask_cloakroom.settings import Reader
from flask_cloakroom.stores.sqlite.store import SQLiteStore
from support.servers.redis_server import RedisServer
from support.sites.settings import BOOLEANS, make_app, read, refused, set_cookie


class TestWhenItIsRead:
    """Checked at Session(app), read again at the first request, fixed after that."""

    def test_what_is_set_between_start_and_the_first_request_counts(self, tmp_path: Path) -> None:
        """Applications often load a part of their configuration after their extensions."""
        app = make_app(tmp_path)
        Session(app)
        app.config.update(SESSION_TYPE="memory", SESSION_COOKIE_NAME="later", PERMANENT_SESSION_LIFETIME=60)
        header = set_cookie(app.test_client().get("/write"))
        assert header.startswith("later=")
        assert "Max-Age=60;" in header
        assert str(app.session_interface.store) == "memory of this process"  # type: ignore[attr-defined]
        assert not (tmp_path / "instance").exists()

    def test_what_is_set_after_it_does_not(self, tmp_path: Path) -> None:
        """Half of a session's life by one setting and half by another helps nobody."""
        app = make_app(tmp_path, SESSION_TYPE="memory")
        Session(app)
        client = app.test_client()
        client.get("/write")
        app.config.update(SESSION_TYPE="nonsense", SESSION_COOKIE_NAME="later")
        assert client.get("/write").text == "2"

    def test_a_wrong_value_set_in_between(self, tmp_path: Path) -> None:
        """Is the same error, at the first request."""
        app = make_app(tmp_path, SESSION_TYPE="memory")
        app.testing = True
        Session(app)
        app.config["SESSION_ID_LENGTH"] = 1
        with pytest.raises(SettingError, match="SESSION_ID_LENGTH"):
            app.test_client().get("/write")

    def test_one_object_for_two_applications(self, tmp_path: Path) -> None:
        """Each keeps its own settings: state belongs to the application."""
        sessions = Session()
        apps = [make_app(tmp_path, SESSION_TYPE="memory", SESSION_COOKIE_NAME=name) for name in ("one", "two")]
        for app in apps:
            sessions.init_app(app)
        assert [set_cookie(app.test_client().get("/write")).partition("=")[0] for app in apps] == ["one", "two"]

    def test_the_environment_is_not_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only ``app.config`` counts; who wants variables loads them there (``from_prefixed_env``)."""
        monkeypatch.setenv("SESSION_TYPE", "memory")
        monkeypatch.setenv("REDIS_URL", "redis://example.org")
        assert isinstance(read(tmp_path).make_store(), SQLiteStore)
        monkeypatch.setenv("FLASK_SESSION_ID_LENGTH", "16")
        app = make_app(tmp_path)
        app.config.from_prefixed_env()
        Session(app)
        assert len(app.session_interface.settings.tickets.issue()) == 22  # type: ignore[attr-defined]
        assert "SESSION_TYPE" in os.environ


class TestFlaskSessionsQuickstart:
    """Configurations as they stand in Flask-Session's documentation, on a real Redis."""

    def visit(self, app: Flask) -> None:
        client = app.test_client()
        assert [client.get("/write").text for _ in range(3)] == ["1", "2", "3"]
        assert str(app.session_interface.store).startswith("Redis")  # type: ignore[attr-defined]

    def test_a_client(self, tmp_path: Path, redis_server: RedisServer) -> None:
        """``SESSION_TYPE = 'redis'; SESSION_REDIS = Redis(…)``; the client stays open and usable."""
        client = redis.Redis(host="127.0.0.1", port=redis_server.port)
        app = make_app(tmp_path, SESSION_TYPE="redis", SESSION_REDIS=client, SECRET_KEY="x", SESSION_USE_SIGNER=True)
        Session(app)
        self.visit(app)
        assert client.ping()
        client.close()

    def test_a_client_from_url(self, tmp_path: Path, redis_server: RedisServer) -> None:
        """``Redis.from_url(…)``, decoding or not."""
        for options in ({}, {"decode_responses": True}):
            client = redis.Redis.from_url(redis_server.url, **options)
            app = make_app(tmp_path, SESSION_TYPE="redis", SESSION_REDIS=client, SESSION_PERMANENT=False)
            Session(app)
            self.visit(app)
            client.close()

    def test_from_object(self, tmp_path: Path, redis_server: RedisServer) -> None:
        """``app.config.from_object(__name__)``, and ``init_app`` of an object that was made before."""

        class Config:
            SESSION_TYPE = "redis"
            SESSION_REDIS = redis_server.url
            SESSION_KEY_PREFIX = "quickstart:"
            SESSION_ID_LENGTH = 32
            SESSION_SERIALIZATION_FORMAT = "msgpack"
            PERMANENT_SESSION_LIFETIME = timedelta(minutes=5)

        sessions = Session()
        app = make_app(tmp_path)
        app.config.from_object(Config)
        sessions.init_app(app)
        self.visit(app)
        with redis.Redis.from_url(redis_server.url) as client:
            assert len(list(client.scan_iter("quickstart:*"))) == 1

    @pytest.mark.parametrize(
        "kind", ["filesystem", "cachelib", "memcached", "mongodb", "sqlalchemy", "dynamodb", "null"]
    )
    def test_types_that_are_not_here_yet(self, kind: str, tmp_path: Path) -> None:
        """Are an error that lists what is, and never another store in their place."""
        error = refused(tmp_path, SESSION_TYPE=kind)
        assert repr(kind) in str(error)
        assert '"sqlite", "redis" or "memory"' in str(error)


class TestEnvironment:
    """Environment variables as ``app.config.from_prefixed_env()`` reads them: as JSON, and otherwise as text."""

    NAMES = (
        *BOOLEANS,
        *(f"REMEMBER_COOKIE_{part}" for part in ("SECURE", "HTTPONLY", "PARTITIONED", "REFRESH_EACH_REQUEST")),
        "REMEMBER_COOKIE_ACCEPT_LEGACY",
        "LOGIN_DISABLED",
        "USE_SESSION_FOR_NEXT",
        "WTF_CSRF_ENABLED",
        "WTF_CSRF_CHECK_DEFAULT",
        "WTF_CSRF_SSL_STRICT",
        "CSRF_REQUIRE_TOKEN",
    )

    def make_app(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> Flask:
        monkeypatch.setenv(f"SITE_{name}", text)
        app = make_app(tmp_path, SESSION_STORE="memory://")
        app.config.from_prefixed_env("SITE")
        Cloakroom(app)
        return app

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(("text", "means"), [("1", True), ("true", True), ("0", False), ("false", False)])
    def test_yes_and_no(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, means: bool
    ) -> None:
        """A number is as good as the word, for each setting that is True or False."""
        app = self.make_app(tmp_path, monkeypatch, name, text)
        assert Reader(app.config).boolean(name) is means

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("text", ["True", "False", "yes", "2", "-1", "1.0", "null", "[]"])
    def test_anything_else(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
        """Is an error that names the setting, and says what to write where it is a text."""
        if text == "null" and name in ("REMEMBER_COOKIE_SECURE", "REMEMBER_COOKIE_PARTITIONED"):
            pytest.skip("None is the session cookie's")
        with pytest.raises(SettingError, match=f"^{name}: must be True or False") as caught:
            self.make_app(tmp_path, monkeypatch, name, text)
        if text.isalpha() and text != "null":
            assert "In an environment variable write true, false, 1 or 0" in str(caught.value)

    def test_cookies_are_secure(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The session's, and the one that remembers a login, which takes it from there."""
        app = self.make_app(tmp_path, monkeypatch, "SESSION_COOKIE_SECURE", "1")
        assert "Secure" in app.test_client().get("/write").headers["Set-Cookie"]
        assert login_settings_of(app).cookie.secure is True
