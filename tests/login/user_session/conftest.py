"""Sites with ``user_session`` on every store."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from support.sites.stores import stores_closed_after
from support.sites.user_session import MERGE, MakeSite, Site


@pytest.fixture
def make_site(store_url: str, tmp_path: Path) -> Iterator[MakeSite]:
    """Return a function that makes a site on the store, with the settings it is given."""
    prefix = f"test-{uuid.uuid4().hex}:"

    def make(**settings: Any) -> Site:
        app = Flask("shop", instance_path=str(tmp_path / "instance"))
        app.config.update(TESTING=True, SESSION_STORE=store_url, SESSION_KEY_PREFIX=prefix, USER_SESSION_MERGE=MERGE)
        app.config.update(settings)
        apps.append(app)
        return Site(app)

    with stores_closed_after() as apps:
        yield make


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """A site with default settings."""
    return make_site()
