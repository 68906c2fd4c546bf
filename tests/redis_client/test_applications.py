"""FlaskRedis on several applications, in copies, and in ``repr()``."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import Flask

from flask_cloakroom import FlaskRedis, Session
from support.redis.clients import Outside, limit_of, make_app
from support.servers.special import GuardedRedisServer, VolatileRedisServer


class TestApplications:
    """One instance on several."""

    @pytest.fixture
    def apps(self, shared_server: VolatileRedisServer) -> list[Flask]:
        """Return two, each with its own database."""
        return [make_app(shared_server.url.removesuffix("0") + str(db), name=f"app{db}") for db in (7, 8)]

    def test_each_has_its_client(self, apps: list[Flask]) -> None:
        """The present application decides, also in contexts within contexts, and in requests within them."""
        client = FlaskRedis()
        for app in apps:
            client.init_app(app)
            app.add_url_rule("/", view_func=lambda: client["who"])
        first, second = apps
        with first.app_context():
            client["who"] = "first"
            with second.app_context():
                client["who"] = "second"
                assert first.test_client().get("/").text == "first"
                with first.test_request_context():
                    assert client["who"] == b"first"
                assert client["who"] == b"second"
            assert client["who"] == b"first"

    def test_outside_of_any_context(self, apps: list[Flask]) -> None:
        """The only application's; with several, an error that says what to do. None before init_app, which says so."""
        client = FlaskRedis(config_prefix="REDIS")
        for use in (lambda: client.get("a"), lambda: client["a"], client.multi, lambda: "a" in client):
            with pytest.raises(RuntimeError, match="call init_app"):
                use()
        assert client._redis_client is None
        client.init_app(apps[0])
        assert client.ping()
        client.init_app(apps[1])
        with pytest.raises(RuntimeError, match=r"2 applications.*app\.app_context"):
            client.ping()
        with apps[1].app_context():
            assert client.ping()

    def test_an_application_that_it_does_not_know(self, apps: list[Flask]) -> None:
        """Is named, even if there is only one that it knows: a wrong database would be worse than an error."""
        client = FlaskRedis(apps[0])
        with apps[1].app_context(), pytest.raises(RuntimeError, match=r"'app8'.*init_app"):
            client.get("a")

    def test_an_application_that_nobody_kept(self, shared_server: VolatileRedisServer) -> None:
        """Is gone with its client, and the error says so."""
        client = FlaskRedis(make_app(shared_server.url))
        gc.collect()
        with pytest.raises(RuntimeError, match="store the application"):
            client.ping()

    def test_an_application_that_goes_away(self, own_server: VolatileRedisServer, outside: Outside) -> None:
        """Takes its client, its pool and its connections with it, and the instance serves the other one alone."""
        client = FlaskRedis(max_connections=3)
        gone, stays = make_app(own_server.url, name="gone"), make_app(own_server.url, name="stays")
        client.init_app(gone, decode_responses=True)
        client.init_app(stays)
        with gone.app_context():
            client.ping()
            pool = weakref.ref(client.connection_pool)
        outside.wait_for(1)
        reference = weakref.ref(gone)
        del gone
        gc.collect()
        assert reference() is None
        assert pool() is None
        outside.wait_for(0)
        assert client.ping()  # it is clear again which one is meant
        assert limit_of(client).open_count == 1

    def test_many_applications_leave_nothing(self, shared_server: VolatileRedisServer) -> None:
        """As in a test suite with an application factory: nothing of the earlier ones is kept."""
        client = FlaskRedis()
        references = []
        for _ in range(20):
            app = make_app(shared_server.url)
            Session(app)
            client.init_app(app)
            with app.app_context():
                client.ping()
                client.multi()
            references.append(weakref.ref(app))
        del app
        gc.collect()
        assert [each for each in references if each() is not None] == []


SECRET = "s3cret-word"


class TestAsAnObject:
    """What Python, debuggers and test tools do with any object."""

    @pytest.fixture
    def client(self, guarded_server: GuardedRedisServer) -> tuple[FlaskRedis, Flask]:
        """Return one with a password, and its application, which keeps its client."""
        app = make_app(guarded_server.url)
        return FlaskRedis(app), app

    @pytest.mark.parametrize("show", [repr, str, lambda client: repr(client.multi()), lambda client: f"{client.get}"])
    def test_no_secret_is_shown(
        self, client: tuple[FlaskRedis, Flask], guarded_server: GuardedRedisServer, show: Callable[[Any], str]
    ) -> None:
        """Not by repr, which says where it leads."""
        shown = show(client[0])
        assert guarded_server.password not in shown
        assert shown
        assert f"127.0.0.1:{guarded_server.port}" in repr(client[0])

    def test_wrong_password(self, guarded_server: GuardedRedisServer) -> None:
        """The error holds neither the right nor the wrong one."""
        client = FlaskRedis(app := make_app(f"redis://:{SECRET}@127.0.0.1:{guarded_server.port}/0"))
        with app.app_context(), pytest.raises(redis.AuthenticationError) as caught:
            client.get("a")
        assert SECRET not in f"{caught.value!r}{client!r}"

    def test_unknown_attributes(self, client: tuple[FlaskRedis, Flask]) -> None:
        """AttributeError, so that hasattr and mocks can ask; set or not."""
        instance, _ = client
        assert not hasattr(instance, "no_such_command")
        assert not hasattr(instance, "__html__")
        assert not hasattr(FlaskRedis(), "__html__")
        assert callable(getattr(instance, "get", None))
        with pytest.raises(AttributeError, match="no_such_command"):
            _ = instance.no_such_command  # type: ignore[attr-defined]

    def test_copies(self, client: tuple[FlaskRedis, Flask]) -> None:
        """A copy is the same client. What can't be pickled says so, and tells no secret."""
        instance, app = client
        instance.set("copied", "yes")
        assert copy.copy(instance).get("copied") == b"yes"
        for work in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError, match="pickle"):
                work(instance)
        assert app.extensions["redis"] is instance

    def test_is_what_it_is(self, client: tuple[FlaskRedis, Flask]) -> None:
        """Its class is its own, it is true, hashable, equal to itself alone, and shows its methods to completion."""
        instance, _ = client
        assert type(instance) is FlaskRedis
        assert isinstance(instance, FlaskRedis)
        assert instance
        assert instance in {instance}
        assert instance != FlaskRedis()
        assert {"get", "set", "multi", "exec", "pipeline", "init_app"} <= set(dir(instance))
        assert "init_app" in dir(FlaskRedis())
