"""Flask-WTF's own tests of its protection, unchanged, against this one."""

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

RELEASE = "Flask-WTF==1.3.0"
MODULES = ("test_csrf_extension.py", "test_csrf_form.py")
TESTS = 25

#: Each stands in docs/differences.md with the reason why the other behaviour is right.
DIFFERENT = {
    "test_csrf_requires_secret_key",
    "test_exempt_view",
    "test_protect",
    "test_same_origin",
}
#: A test of this name is in both modules; this one is of requests.
DIFFERENT_IN_EXTENSION = "test_validate_error_logged"

#: Puts this protection under Flask-WTF's import name. What is more in it than an import: Flask-WTF's function raises an
#: error of WTForms, and its logger is called once for a form and once for a request.
CONFTEST = """
import logging
import sys
import types

import flask_cloakroom
from flask_cloakroom.csrf.forms import CloakroomCSRF
from wtforms import ValidationError

shim = types.ModuleType("flask_wtf.csrf")
shim.logger = logging.getLogger("flask_cloakroom.csrf")
for name in ("CSRFError", "CSRFProtect", "csrf_meta_tag", "generate_csrf"):
    setattr(shim, name, getattr(flask_cloakroom, name))


def validate_csrf(*arguments, **keywords):
    try:
        flask_cloakroom.validate_csrf(*arguments, **keywords)
    except flask_cloakroom.CSRFError as error:
        raise ValidationError(error.description) from error


shim.validate_csrf = validate_csrf
shim._FlaskFormCSRF = CloakroomCSRF
sys.modules["flask_wtf.csrf"] = shim
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of tests of the release's source distribution, as pip fetches it."""
    folder = tmp_path_factory.mktemp("flask-wtf")
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
    (tests,) = (folder / "sdist").glob("*/tests")
    (tests / "shim.py").write_text(CONFTEST)
    return tests


def test_flask_wtfs_own_tests(suite: Path) -> None:
    """All pass but those that differ on purpose: exactly those."""
    report = suite / "report.xml"
    options = ["-q", "-p", "shim", "-p", "no:cacheprovider", "--rootdir", str(suite), f"--junitxml={report}"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *MODULES],
        cwd=suite,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(flask_cloakroom.__file__).parents[1]), str(suite)])},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert report.exists(), result.stdout + result.stderr
    cases = list(ElementTree.parse(report).iter("testcase"))
    bad = {
        (case.get("classname"), case.get("name"))
        for case in cases
        if any(child.tag in ("failure", "error", "skipped") for child in case)
    }
    assert len(cases) == TESTS
    assert {name for _, name in bad} == DIFFERENT | {DIFFERENT_IN_EXTENSION}, result.stdout[-3000:]
    assert len(bad) == len(DIFFERENT) + 1
    assert ("test_csrf_extension", DIFFERENT_IN_EXTENSION) in bad


@pytest.mark.parametrize("name", sorted(DIFFERENT | {DIFFERENT_IN_EXTENSION}))
def test_each_difference_is_explained(name: str) -> None:
    """In the documentation, by the test's name."""
    assert f"`{name}`" in (ROOT / "docs" / "differences.md").read_text("utf-8")
