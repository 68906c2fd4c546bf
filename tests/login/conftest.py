"""Sites with logins, over sessions on the server and over Flask's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_cloakroom import Session
from support.sites.login import MakeSite, Site
from support.sites.stores import stores_closed_after


@pytest.fixture(params=["server", "cookie"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of session in turn."""
    return str(request.param)


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[MakeSite]:
    """Return a function that makes a site with sessions of a kind, and the settings it is given."""

    def make(kind: str = "server", store: str = "memory://", **settings: Any) -> Site:
        app = Flask("shop", instance_path=str(tmp_path))
        app.config.update(SECRET_KEY="a key that is long enough", SESSION_STORE=store)
        app.config.update(settings)
        if kind == "server":
            Session(app)
            apps.append(app)
        return Site(app)

    with stores_closed_after() as apps:
        yield make


@pytest.fixture
def site(make_site: MakeSite, kind: str) -> Site:
    """A site of each kind with default settings."""
    return make_site(kind)


@pytest.fixture
def server_site(make_site: MakeSite) -> Site:
    """A site with sessions on the server."""
    return make_site("server")
