"""What ``Session(app)`` makes of settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask, session
from werkzeug.test import TestResponse

from flask_cloakroom import Session, SettingError
from flask_cloakroom.sessions.interface import ServerSessionInterface
from flask_cloakroom.sessions.settings import SessionSettings

SECRET = "s3cr3t-pa55"

BOOLEANS = [
    "SESSION_PERMANENT",
    "SESSION_REFRESH_EACH_REQUEST",
    "SESSION_ENCRYPTION",
    "SESSION_COOKIE_SECURE",
    "SESSION_COOKIE_HTTPONLY",
    "SESSION_COOKIE_PARTITIONED",
]


def make_app(folder: Path, **config: Any) -> Flask:
    app = Flask("site", instance_path=str(folder / "instance"))
    app.config.update(config)

    @app.get("/write")
    def write() -> str:
        session["number"] = session.get("number", 0) + 1
        return str(session["number"])

    return app


def read(folder: Path, **config: Any) -> SessionSettings:
    """Return what Session(app) makes of ``config``."""
    app = make_app(folder, **config)
    Session(app)
    assert isinstance(app.session_interface, ServerSessionInterface)
    return app.session_interface.settings


def refused(folder: Path, **config: Any) -> SettingError:
    """Return the error of Session(app), having checked that it holds no secret; nor do the errors that led to it."""
    app = make_app(folder, **config)
    default = app.session_interface
    with pytest.raises(SettingError) as caught:
        Session(app)
    assert app.session_interface is default  # it was not half set up
    error: BaseException | None = caught.value
    assert str(error).startswith(f"{caught.value.setting}: ")
    while error is not None:
        assert SECRET not in f"{error} {error!r}"
        assert SECRET[:6] not in f"{error} {error!r}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return caught.value


def set_cookie(response: TestResponse) -> str:
    """Return the one Set-Cookie header."""
    (header,) = response.headers.getlist("Set-Cookie")
    return header
