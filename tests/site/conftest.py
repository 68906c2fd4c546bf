"""Fixtures for the sched site: its application, with the sessions in Redis and beside it, and a Redis."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "examples" / "sched")]

from sched_processes import RedisServer, Site, missing  # noqa: E402
from sched_site import create_app  # noqa: E402

from flask_cloakroom import CSRFClient  # noqa: E402


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let no setting of the one who runs the tests reach the site, nor what it writes the checkout."""
    for name in list(os.environ):
        if name in ("REDIS_URL", "PORT") or name.startswith("SCHED_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SCHED_INSTANCE_PATH", str(tmp_path / "instance"))


@pytest.fixture(autouse=True)
def _own_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what test clients post come from the site's own pages."""
    monkeypatch.setattr(Flask, "test_client_class", CSRFClient)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis for as long as the tests run."""
    if shutil.which("redis-server") is None:
        missing("redis-server")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server.url
    server.stop()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis for one test, which may stop it."""
    if shutil.which("redis-server") is None:
        missing("redis-server")
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    yield server
    server.stop()


@pytest.fixture
def empty_redis(redis_url: str) -> str:
    """The address of the Redis, with nothing in it."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    return redis_url


@pytest.fixture(params=["sqlite", "redis"])
def stores(request: pytest.FixtureRequest, empty_redis: str, tmp_path: Path) -> dict[str, str]:
    """The settings for sessions in the site's Redis, and for sessions in a file beside it."""
    if request.param == "redis":
        return {"REDIS_URL": empty_redis}
    return {"REDIS_URL": empty_redis, "SESSION_STORE": f"sqlite:///{tmp_path}/sessions.sqlite3"}


@pytest.fixture
def make_app(stores: dict[str, str]) -> Callable[..., Flask]:
    """Make the application, as often as wanted, on the same stores."""

    def make(**config: Any) -> Flask:
        return create_app({**stores, **config})

    return make


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """The application."""
    return make_app(TESTING=True)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """One visitor."""
    return app.test_client()


@pytest.fixture
def site(empty_redis: str) -> Iterator[Site]:
    """The site as a process of its own, on a Redis with nothing in it."""
    with Site(REDIS_URL=empty_redis) as site:
        yield site
