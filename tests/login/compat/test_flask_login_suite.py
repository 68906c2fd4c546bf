"""Flask-Login's own tests, unchanged, against the drop-in."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

import flask_cloakroom
from support import ROOT

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
    """The test module of the release's source distribution, as pip fetches it."""
    folder = tmp_path_factory.mktemp("flask-login")
    download = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(folder), RELEASE]
    result = subprocess.run(
        [sys.executable, "-m", "pip", *download], capture_output=True, text=True, timeout=100, check=False
    )
    archives = list(folder.glob("*.tar.gz"))
    if result.returncode or not archives:
        reason = f"{RELEASE} cannot be fetched: {result.stderr.strip()[-500:]}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder / "sdist", filter="data")
    (module,) = (folder / "sdist").glob("*/tests/test_login.py")
    return module.rename(folder / "test_login.py")


@pytest.mark.parametrize("kind", ["cookie", "server"])
def test_flask_logins_own_tests(suite: Path, kind: str) -> None:
    """All pass but those that differ on purpose: exactly those."""
    report = suite.parent / f"{kind}.xml"
    (suite.parent / "conftest.py").write_text(CONFTEST if kind == "server" else "")
    paths = [ROOT / "dropin" / "src", Path(flask_cloakroom.__file__).parents[1]]
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(suite.parent), f"--junitxml={report}"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, suite.name],
        cwd=suite.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert report.exists(), result.stdout + result.stderr
    cases = list(ElementTree.parse(report).iter("testcase"))
    bad = {case.get("name") for case in cases if any(child.tag in ("failure", "error", "skipped") for child in case)}
    assert len(cases) == TESTS
    expected = DIFFERENT | DIFFERENT_ON_THE_SERVER if kind == "server" else DIFFERENT
    assert bad == expected, result.stdout[-3000:]


@pytest.mark.parametrize("name", sorted(DIFFERENT | DIFFERENT_ON_THE_SERVER))
def test_each_difference_is_explained(name: str) -> None:
    """In the documentation, by the test's name."""
    assert f"`{name}`" in (ROOT / "docs" / "differences.md").read_text("utf-8")
