"""Flask-Login's own tests, unchanged, run on the drop-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import DROPIN, ROOT
from support.processes import SOURCE
from support.suites import fetch, run_suite

RELEASE = "Flask-Login==0.6.3"
TESTS = 114

#: Each stands in docs/differences.md with the reason why the other behaviour is right.
DIFFERENT = {
    "test_remember_me_refresh_each_request",
    "test_session_protection_modes",
    "test_session_protection_strong_fires_signal_x_forwarded_for",
    "test_set_cookie_with_invalid_duration_raises_exception",
    "test_user_login_confirmed_signal_fired",
}

#: And those on the server, where "strong" is strong for every session and what is in a session goes with its login.
DIFFERENT_ON_THE_SERVER = {
    "test_permanent_strong_session_protection_marks_session_unfresh",
    "test_session_protection_strong_deletes_session",
}

#: Gives every application of the suite sessions on the server.
CONFTEST = """
import flask
from flask_cloakroom import Session

init = flask.Flask.__init__

def init_with_sessions(self, *arguments, **keywords):
    init(self, *arguments, **keywords)
    self.config["SESSION_STORE"] = "memory://"
    Session(self)

flask.Flask.__init__ = init_with_sessions
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test module of the release, in a folder of its own."""
    folder = tmp_path_factory.mktemp("flask-login")
    return (fetch(RELEASE, folder) / "test_login.py").rename(folder / "test_login.py")


@pytest.mark.parametrize("kind", ["cookie", "server"])
def test_flask_logins_own_tests(suite: Path, kind: str) -> None:
    """All pass but those that differ on purpose: exactly those."""
    (suite.parent / "conftest.py").write_text(CONFTEST if kind == "server" else "")
    outcome = run_suite(suite.parent, [suite.name], [DROPIN, SOURCE], [])
    assert outcome.count == TESTS
    expected = DIFFERENT | DIFFERENT_ON_THE_SERVER if kind == "server" else DIFFERENT
    assert {name for _, name in outcome.bad} == expected, outcome.output


@pytest.mark.parametrize("name", sorted(DIFFERENT | DIFFERENT_ON_THE_SERVER))
def test_each_difference_is_explained(name: str) -> None:
    """In the documentation, by the test's name."""
    assert f"`{name}`" in (ROOT / "docs" / "differences.md").read_text("utf-8")
