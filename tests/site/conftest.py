"""Fixtures for the sched site: its application, with the sessions in Redis and beside it, and a Redis."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser, sync_playwright
from sched_site import create_app, passwords, traffic

from flask_cloakroom import CSRFClient
from support.sched.browsing import ARGUMENTS, chromium
from support.sched.processes import RedisServer, Site, missing
from support.servers.postgres import PostgresServer


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let no setting of the one who runs the tests reach the site, nor what it writes the checkout."""
    for name in list(os.environ):
        if name in ("REDIS_URL", "DATABASE_URL", "PORT") or name.startswith("SCHED_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SCHED_INSTANCE_PATH", str(tmp_path / "instance"))


@pytest.fixture(autouse=True)
def _cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords as weakly as argon2 can: the tests sign in hundreds of times. Processes have the site's own."""
    monkeypatch.setattr(passwords, "HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture(autouse=True)
def _no_deliveries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is counted be brought to Redis when a test says so, and not in between. Processes do as they do."""
    monkeypatch.setattr(traffic, "DELIVERY_INTERVAL", 1e9)


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


@pytest.fixture(scope="module")
def redis_of_module(redis_url: str) -> str:
    """The same for a whole file of tests, whose sites live as long as that: nothing of other tests is in it."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    return redis_url


@pytest.fixture(params=["sqlite", "redis"])
def stores(request: pytest.FixtureRequest, empty_redis: str, tmp_path: Path) -> dict[str, str]:
    """The settings for sessions in the site's Redis, and for sessions in a file beside it."""
    if request.param == "redis":
        return {"REDIS_URL": empty_redis}
    return {"REDIS_URL": empty_redis, "SESSION_STORE": f"sqlite:///{tmp_path}/sessions.sqlite3"}


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for as long as the tests run."""
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, of each kind that the site is made for."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.sqlite3"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database()


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


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, as the system has it, kept from speaking to anybody but the site."""
    path = chromium()
    if path is None:
        missing("Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots go: the environment's SCREENSHOTS, or a temporary folder."""
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
