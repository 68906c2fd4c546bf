"""A site with protection, over each kind of session."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from support.sites.csrf import make_app


@pytest.fixture(params=["server", "cookie"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of session in turn."""
    return str(request.param)


@pytest.fixture
def app(kind: str) -> Flask:
    """The site with default settings."""
    return make_app(kind)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """One visitor, whose client says nothing of where its requests come from."""
    return app.test_client()
