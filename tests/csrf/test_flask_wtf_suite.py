"""Flask-WTF's own tests of its CSRF protection, unchanged, run on this package."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import ROOT
from support.processes import SOURCE
from support.suites import fetch, run_suite

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
    """The folder of tests of the release, with the shim beside them."""
    tests = fetch(RELEASE, tmp_path_factory.mktemp("flask-wtf"))
    (tests / "shim.py").write_text(CONFTEST)
    return tests


def test_flask_wtfs_own_tests(suite: Path) -> None:
    """All pass but those that differ on purpose: exactly those."""
    outcome = run_suite(suite, list(MODULES), [SOURCE, suite], ["-p", "shim"])
    assert outcome.count == TESTS
    assert {name for _, name in outcome.bad} == DIFFERENT | {DIFFERENT_IN_EXTENSION}, outcome.output
    assert len(outcome.bad) == len(DIFFERENT) + 1
    assert ("test_csrf_extension", DIFFERENT_IN_EXTENSION) in outcome.bad


@pytest.mark.parametrize("name", sorted(DIFFERENT | {DIFFERENT_IN_EXTENSION}))
def test_each_difference_is_explained(name: str) -> None:
    """In the documentation, by the test's name."""
    assert f"`{name}`" in (ROOT / "docs" / "differences.md").read_text("utf-8")
