"""Sites with ``user_session`` on every store."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from user_sites import MERGE, MakeSite, Site


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A URL of each store in turn, where nothing is stored yet."""
    if request.param == "memory":
        return "memory://"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/sessions.sqlite3"
    return str(request.getfixturevalue("redis_server").url)


@pytest.fixture
def make_site(store_url: str, tmp_path: Path) -> Iterator[MakeSite]:
    """Return a function that makes a site on the store, with the settings it is given."""
    prefix = f"test-{uuid.uuid4().hex}:"
    apps: list[Flask] = []

    def make(**settings: Any) -> Site:
        app = Flask("shop", instance_path=str(tmp_path / "instance"))
        app.config.update(TESTING=True, SESSION_STORE=store_url, SESSION_KEY_PREFIX=prefix, USER_SESSION_MERGE=MERGE)
        app.config.update(settings)
        apps.append(app)
        return Site(app)

    yield make
    for app in apps:
        app.session_interface.store.close()  # type: ignore[attr-defined]


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """A site with default settings."""
    return make_site()
