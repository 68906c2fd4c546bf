"""``flask sessions count`` and ``flask sessions purge``."""

from __future__ import annotations

import pytest
from flask import Flask, session

from flask_cloakroom.cli import sessions
from support.sites.requests_on_app import MakeApp, send


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    app = make_app(PERMANENT_SESSION_LIFETIME=3600)
    app.add_url_rule("/fill", "fill", lambda: str(session.__setitem__("user", "alice")))
    return app


def run(app: Flask, *arguments: str) -> tuple[int, str]:
    result = app.test_cli_runner().invoke(sessions, list(arguments))
    return result.exit_code, result.output


def test_count(app: Flask) -> None:
    """The number of live sessions, and where they are."""
    for _ in range(3):
        send(app, "/fill")
    code, output = run(app, "count")
    assert code == 0
    assert output == f"{app.session_interface.store}: live sessions: 3; entries that cannot be read: 0\n"  # type: ignore[attr-defined]


def test_purge(app: Flask) -> None:
    """Expired entries are deleted, live ones stay; a store that expires by itself says so."""
    store = app.session_interface.store  # type: ignore[attr-defined]
    send(app, "/fill")
    code, output = run(app, "purge")
    assert code == 0
    expected = (
        "deletes expired entries itself, nothing to purge." if "Redis" in str(store) else "0 expired entries deleted."
    )
    assert output == f"{store}: {expected}\n"
    assert run(app, "count")[1] == f"{store}: live sessions: 1; entries that cannot be read: 0\n"


def test_application_with_other_sessions() -> None:
    """On an application with Flask's own sessions the commands say what is missing."""
    code, output = run(Flask("other"), "count")
    assert code == 1
    assert "does not use Session(app) of flask_cloakroom" in output
