"""How many examples hypothesis tries, and how long; stores that fail where a test says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from flask_cloakroom.core.entries.tickets import Tickets
from flask_cloakroom.core.sessions.repository import Repository
from flask_cloakroom.core.user_data.repository import UserDataSettings
from support.stores.backends import Backend, Surroundings, named
from support.stores.faulty import FaultyStore

# Machines are shared, so no single example has a deadline; pytest-timeout bounds each test as a whole.
settings.register_profile(
    "cloakroom",
    deadline=None,
    max_examples=100,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("cloakroom")


@pytest.fixture(params=named("memory", "sqlite", "redis-url"), ids=lambda backend: backend.name)
def faulty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FaultyStore]:
    """Return a store that fails where the test says so, on each kind of store."""
    backend: Backend = request.param
    with backend.open(Surroundings(tmp_path, request.getfixturevalue)) as store:
        yield FaultyStore(store)


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def repository(request: pytest.FixtureRequest, faulty: FaultyStore) -> Repository:
    """Return a repository on the faulty store, without and with encryption."""
    settings: dict[str, Any] = {"encrypt": request.param}
    if request.param:
        pytest.importorskip("cryptography")
        settings["user_data"] = UserDataSettings(secrets=(b"a secret key of a test",))
    return Repository(faulty, Tickets("app"), **settings)
