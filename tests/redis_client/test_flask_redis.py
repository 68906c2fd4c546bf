"""The settings of FlaskRedis, and the clients that it makes."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import fakeredis
import pytest
import redis
from flask import Flask, session

from flask_cloakroom import FlaskRedis, Session, SettingError
from support.processes import run
from support.redis.clients import limit_of, make_app, make_client
from support.servers.special import GuardedRedisServer, VolatileRedisServer


@pytest.fixture
def app(shared_server: VolatileRedisServer) -> Flask:
    """Return an application on the shared server."""
    return make_app(shared_server.url)


def refused(app: Flask, **options: Any) -> str:
    """Return what is said of a setting or an option that is wrong, at start."""
    with pytest.raises(SettingError) as caught:
        FlaskRedis(app, **options)
    return str(caught.value)


class TestSettings:
    """What can be said, and where."""

    @pytest.mark.parametrize("strict", [True, False])
    def test_both_ways_to_set_up(self, app: Flask, strict: bool) -> None:
        """With the application, or by init_app later; ``strict`` changes nothing."""
        at_once = FlaskRedis(app, strict)
        later = FlaskRedis(strict=strict)
        later.init_app(app)
        for each in (at_once, later):
            assert each.set("both", "ways")
            assert each.get("both") == b"ways"
            assert type(each._redis_client) is redis.Redis

    def test_default_url(self) -> None:
        """Flask-Redis's: the local server, database 0."""
        options = make_client().connection_pool.connection_kwargs
        assert (options["host"], options["port"], options["db"]) == ("localhost", 6379, 0)

    def test_instances_side_by_side(self, shared_server: VolatileRedisServer) -> None:
        """REDIS, CACHE and SESSION, each with its URL, and found in app.extensions by its prefix in lower case."""
        base = shared_server.url.removesuffix("/0")
        app = make_app(base + "/1", CACHE_URL=base + "/2", SESSION_URL=base + "/3")
        made = {prefix: FlaskRedis(app, config_prefix=prefix) for prefix in ("REDIS", "CACHE", "SESSION")}
        for prefix, each in made.items():
            each.set("side by side", prefix)
            assert app.extensions[prefix.lower()] is each
        assert [each.get("side by side") for each in made.values()] == [b"REDIS", b"CACHE", b"SESSION"]
        assert [each.connection_pool.connection_kwargs["db"] for each in made.values()] == [1, 2, 3]

    @pytest.mark.parametrize(
        "prefix", ["SESSION", "CLOAKROOM", "Cloakroom.redis", "CLOAKROOM.REDIS", "cloakroom", "LOGIN", "CSRF", "", "é"]
    )
    def test_no_prefix_gets_in_the_way(self, shared_server: VolatileRedisServer, prefix: str) -> None:
        """The package keeps its own notes in app.extensions where no prefix leads, with sessions on the same app."""
        app = make_app(shared_server.url, SESSION_STORE="memory://", **{f"{prefix}_URL": shared_server.url})
        Session(app)
        ordinary = FlaskRedis(app)
        mine = FlaskRedis(app, config_prefix=prefix)
        app.add_url_rule("/", view_func=lambda: str(session.setdefault("n", 1)))
        assert app.test_client().get("/").text == "1"
        assert app.extensions[prefix.lower()] is mine
        assert app.extensions["redis"] is ordinary
        assert mine.ping()
        assert ordinary.ping()

    def test_init_app_twice(self, shared_server: VolatileRedisServer) -> None:
        """The last one counts, for this application, and the client of the first is gone."""
        app = make_app(shared_server.url)
        client = FlaskRedis(app)
        client.set("twice", "x")
        first = weakref.ref(client._redis_client)
        client.init_app(app, decode_responses=True)
        assert client.get("twice") == "x"
        gc.collect()
        assert first() is None

    def test_options_of_one_application_stay_there(self, shared_server: VolatileRedisServer) -> None:
        """Keywords of init_app do not leak to the next application; those of the constructor hold for all."""
        client = FlaskRedis(socket_timeout=3)
        apps = [make_app(shared_server.url) for _ in range(3)]
        client.init_app(apps[0])
        client.init_app(apps[1], decode_responses=True)
        client.init_app(apps[2])
        answers = []
        for app in apps:
            with app.app_context():
                client.set("leak", "é")
                answers.append(client.get("leak"))
                assert client.connection_pool.connection_kwargs["socket_timeout"] == 3
        assert answers == ["é".encode(), "é", "é".encode()]

    def test_the_url_wins(self, shared_server: VolatileRedisServer) -> None:
        """Over keyword arguments, as the driver has it: for options, and for the database, also if it is 0."""
        app = make_app(shared_server.url + "?decode_responses=true&socket_timeout=3")
        client = FlaskRedis(app, decode_responses=False, db=5, socket_timeout=9, socket_connect_timeout=7)
        client.set("wins", "url")
        assert client.get("wins") == "url"
        options = client.connection_pool.connection_kwargs
        assert (options["db"], options["socket_timeout"], options["socket_connect_timeout"]) == (0, 3.0, 7)

    def test_what_the_url_does_not_say(self, guarded_server: GuardedRedisServer) -> None:
        """Database and password may stand in the keywords then."""
        app = make_app(f"redis://127.0.0.1:{guarded_server.port}")
        client = FlaskRedis(app, db=5, password=guarded_server.password, username="default")
        assert client.ping()
        assert client.connection_pool.connection_kwargs["db"] == 5

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"max_connections": 0}, "max_connections"),
            ({"max_connections": -1}, "max_connections"),
            ({"max_connections": "5"}, "max_connections"),
            ({"max_connections": True}, "max_connections"),
            ({"timeout": None}, "timeout"),
            ({"timeout": -1}, "timeout"),
            ({"timeout": float("nan")}, "timeout"),
            ({"timeout": float("inf")}, "timeout"),
            ({"decode_response": True}, "decode_response"),
            ({"protocol": 7}, "protocol"),
            ({"host": "elsewhere"}, "host"),
            ({"ssl_cert_reqs": "none"}, "ssl_cert_reqs"),
        ],
    )
    def test_wrong_options(self, shared_server: VolatileRedisServer, options: dict[str, Any], words: str) -> None:
        """An error at start that names the setting and the option, and others on the same server are not concerned."""
        app = make_app(shared_server.url)
        healthy = FlaskRedis(app)
        found = refused(app, **options)
        assert found.startswith("REDIS_URL: ")
        assert words in found
        assert app.extensions["redis"] is healthy
        assert healthy.ping()
        assert limit_of(healthy).maximum > 0

    @pytest.mark.parametrize("url", [None, "", b"redis://localhost", 6379, "localhost:6379", "http://localhost"])
    def test_wrong_urls(self, url: Any) -> None:
        """An error at start that names the setting."""
        assert refused(make_app(SHOP_URL=url), config_prefix="SHOP").startswith("SHOP_URL: ")

    def test_ways_to_one_server(self, guarded_server: GuardedRedisServer) -> None:
        """TCP, a Unix socket with its password in the URL, TLS with its options in the URL or as keywords."""
        tls, _, certificate = guarded_server.tls_url.partition("?ssl_ca_certs=")
        socket_url = f"unix://:{guarded_server.password}@{guarded_server.socket}?db=2"
        base = guarded_server.url.removesuffix("0")
        clients = [
            make_client(base + "2"),
            make_client(socket_url),
            make_client(f"{tls.removesuffix('0')}2?ssl_ca_certs={certificate}"),
            make_client(tls.removesuffix("0") + "2", ssl_ca_certs=certificate, ssl_min_version=None),
            make_client("valkey" + (base + "2").removeprefix("redis")),
        ]
        for number, each in enumerate(clients):
            each.set("way", number)
            assert [other.get("way") for other in clients] == [b"%d" % number] * len(clients)
        with pytest.raises(redis.ConnectionError) as caught:
            make_client(tls, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0)).ping()
        assert guarded_server.password not in str(caught.value)


class Provider:
    """A client of somebody's own."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self.url, self.options = url, options

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Provider:
        return cls(url, options)

    def __getitem__(self, name: str) -> str:
        return f"value of {name}"

    def answer(self) -> int:
        return 42


class TestProviders:
    """Clients that somebody else makes."""

    def test_a_class_of_ones_own(self) -> None:
        """Gets the URL and the options as they are, and hands on whatever it has, once it was set up."""
        app = make_app(SHOP_URL="anything goes")
        client = FlaskRedis.from_custom_provider(Provider, app, config_prefix="SHOP", colour="red")
        assert client._redis_client.url == "anything goes"
        assert client._redis_client.options == {"colour": "red"}
        assert client.answer() == 42  # type: ignore[attr-defined]
        assert client["a"] == "value of a"
        assert app.extensions["shop"] is client
        later = FlaskRedis.from_custom_provider(Provider)
        assert later._redis_client is None
        later.init_app(app, size=5)
        assert later.options == {"size": 5}  # type: ignore[attr-defined]

    def test_fakeredis(self) -> None:
        """A stand-in, with transactions and sessions on it."""
        app = make_app("redis://nowhere.invalid:1/0")
        client = FlaskRedis.from_custom_provider(fakeredis.FakeRedis, app)
        Session(app)
        app.add_url_rule("/", view_func=lambda: str(session.setdefault("n", 1)))
        client["k"] = "v"
        client.multi()
        client.get("k")
        assert client.exec() == [b"v"]
        assert app.test_client().get("/").text == "1"
        assert client.keys("session:*")

    def test_a_mock(self) -> None:
        """As tests of applications do it."""
        provider = MagicMock()
        app = make_app("redis://mock")
        client = FlaskRedis.from_custom_provider(provider, app)
        client.set("a", 1)
        client.multi()
        client.get("a")
        client.exec()
        provider.from_url.assert_called_once_with("redis://mock")
        provider.from_url.return_value.set.assert_called_once_with("a", 1)
        provider.from_url.return_value.pipeline.return_value.execute.assert_called_once_with()

    @pytest.mark.parametrize("options", [[], ["-O"]])
    def test_none(self, options: list[str], tmp_path: Path) -> None:
        """An AssertionError, also where assertions are left out."""
        code = """
            from flask_cloakroom import FlaskRedis
            try:
                FlaskRedis.from_custom_provider(None)
            except AssertionError as error:
                print(error)
        """
        assert "provider is None" in run(code, options=options, cwd=tmp_path)

    def test_without_any_driver(self, tmp_path: Path) -> None:
        """A custom provider works; the default says what to install. Also by the drop-in's name."""
        code = """
            import sys
            sys.modules["redis"] = sys.modules["valkey"] = None
            from flask import Flask
            from flask_redis import *
            class Provider:
                @classmethod
                def from_url(cls, url, **options):
                    return cls()
                def get(self, key):
                    return key.upper()
            app = Flask("x")
            print(FlaskRedis.from_custom_provider(Provider, app).get("custom"))
            try:
                FlaskRedis(app)
            except ImportError as error:
                print(error)
        """
        custom, default = run(code, cwd=tmp_path).splitlines()
        assert custom == "CUSTOM"
        assert "pip install flask-cloakroom[redis]" in default


def test_star_import(tmp_path: Path) -> None:
    """Gives every public name, and the class."""
    code = (
        "from flask_cloakroom import *; import flask_cloakroom; assert set(flask_cloakroom.__all__) <= set(globals())"
    )
    assert run(code + "; print(FlaskRedis.__name__)", cwd=tmp_path) == "FlaskRedis"
