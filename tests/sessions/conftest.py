"""Applications on every store, and a store that can be stopped between two steps of a request."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from requests_on_app import MakeApp

from flask_cloakroom import Session
from servers import RedisServer


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A URL of each store in turn, where nothing is stored yet."""
    if request.param == "memory":
        return "memory://"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/sessions.sqlite3"
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url


@pytest.fixture
def make_app(store_url: str, tmp_path: Path) -> Iterator[MakeApp]:
    """Return a function that makes an application on the store, with the settings it is given."""
    prefix = f"test-{uuid.uuid4().hex}:"
    apps: list[Flask] = []

    def make(name: str = "shop", **settings: Any) -> Flask:
        app = Flask(name, instance_path=str(tmp_path / "instance"))
        app.config.update(TESTING=True, SESSION_STORE=store_url, SESSION_KEY_PREFIX=prefix)
        app.config.update(settings)
        Session(app)
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.session_interface.store.close()  # type: ignore[attr-defined]


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    """An application on the store with default settings."""
    return make_app()
