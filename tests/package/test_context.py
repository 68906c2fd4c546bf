"""The objects behind Flask's proxies, with the present Flask and with a merged context."""

from __future__ import annotations

import types
from typing import Any

import pytest
from flask import Flask, current_app, flash, get_flashed_messages, request, session
from flask import globals as flask_globals
from werkzeug.local import LocalProxy

from flask_cloakroom import context
from flask_cloakroom.context import clear_flash_cache, current_scope, this_app, this_request, this_session


@pytest.fixture
def app() -> Flask:
    app = Flask("site")
    app.secret_key = "a key that is long enough"
    return app


def test_the_objects_themselves(app: Flask) -> None:
    """No proxy comes out, and outside of a request the error is Flask's own."""
    with app.test_request_context("/"):
        assert this_app() is app
        assert this_request() == request
        assert this_session() == session
        assert LocalProxy not in map(type, (this_app(), this_request(), this_session()))
        assert current_scope() is this_request()
    with app.app_context():
        assert current_scope() is not None
        assert this_app() == current_app
        with pytest.raises(RuntimeError, match="outside of request context"):
            this_request()
    assert current_scope() is None


def test_forget_flashes(app: Flask) -> None:
    """The next page of the same request asks its session again."""
    with app.test_request_context("/"):
        flash("one")
        assert get_flashed_messages() == ["one"]
        flash("two")
        assert get_flashed_messages() == ["one"]
        clear_flash_cache()
        assert get_flashed_messages() == ["two"]


def test_forget_flashes_in_a_merged_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for Flask's coming version, where the messages are on the application's context, in ``_flashes``."""
    merged = types.SimpleNamespace(_flashes=[("message", "one")])
    stand_in: Any = types.ModuleType("globals")
    stand_in.app_ctx = LocalProxy(lambda: merged)
    monkeypatch.setattr(context, "globals", stand_in)
    clear_flash_cache()
    assert merged._flashes is None
    assert "request_ctx" in vars(flask_globals)  # the present version, which the test above is about
