"""The import name ``flask_wtf``, with and without Flask-WTF installed.

script/test-packages does the same with the built packages, installed and removed in either order.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest

import flask_cloakroom
from support import ROOT

FALLBACK = ROOT / "dropin" / "fallback"
SOURCE = Path(flask_cloakroom.__file__).parents[1]
INSTALLED = Path(sysconfig.get_path("purelib"))


@pytest.fixture
def without_flask_wtf(tmp_path: Path) -> Path:
    """The installed packages without Flask-WTF."""
    folder = tmp_path / "site"
    folder.mkdir()
    for path in INSTALLED.iterdir():
        if not path.name.lower().startswith("flask_wtf") and path.suffix != ".pth":
            (folder / path.name).symlink_to(path, target_is_directory=path.is_dir())
    return folder


def run(code: str, *path: Path) -> str:
    """Run code with this module path and nothing else that is installed."""
    result = subprocess.run(
        [sys.executable, "-S", "-W", "error", "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_protection(without_flask_wtf: Path) -> None:
    """The names of ``flask_wtf.csrf`` are ours."""
    code = """
        from flask_wtf import CSRFProtect
        from flask_wtf.csrf import CSRFError, CSRFProtect as same, csrf_meta_tag, generate_csrf, validate_csrf
        import flask_cloakroom
        assert CSRFProtect is same is flask_cloakroom.CSRFProtect
        assert CSRFError is flask_cloakroom.CSRFError
        assert (generate_csrf, validate_csrf) == (flask_cloakroom.generate_csrf, flask_cloakroom.validate_csrf)
        import sys
        print([name for name in sys.modules if name.startswith("wtforms")])
    """
    assert run(code, without_flask_wtf, SOURCE, FALLBACK) == "[]"


@pytest.mark.parametrize(
    "line",
    [
        "from flask_wtf import FlaskForm",
        "from flask_wtf import RecaptchaField",
        "from flask_wtf.form import FlaskForm",
        "from flask_wtf.file import FileField",
        "import flask_wtf.recaptcha",
        "import flask_wtf.i18n",
    ],
)
def test_forms(without_flask_wtf: Path, line: str) -> None:
    """What is no part of the protection is an ImportError that says what to install."""
    code = f"""
        try:
            {line}
        except ImportError as error:
            print(error)
        import flask_wtf
        assert not hasattr(flask_wtf, "no_such_thing")
        from flask import Flask
        app = Flask("shop")
        flask_wtf.CSRFProtect(app)
        app.add_url_rule("/", "index", lambda: "sent", methods=["POST"])
        assert app.test_client().post("/", headers={{"Sec-Fetch-Site": "same-origin"}}).text == "sent"
    """
    assert run(code, without_flask_wtf, SOURCE, FALLBACK).endswith("pip install Flask-WTF")


THEIRS = """
    {first}
    import sys, flask_wtf, flask_wtf.csrf
    from flask_wtf import FlaskForm
    from flask_wtf.file import FileField
    assert flask_wtf is sys.modules["flask_wtf"]
    assert not [name for name in sys.modules if name.startswith("flask_wtf._")]
    assert flask_wtf.CSRFProtect.__module__ == "flask_wtf.csrf"
    print(flask_wtf.csrf.__file__)
"""


@pytest.mark.parametrize("first", ["import flask_wtf", "import flask_wtf.csrf", "from flask_wtf.form import FlaskForm"])
@pytest.mark.parametrize("order", [[INSTALLED, FALLBACK], [FALLBACK, INSTALLED]], ids=["before", "behind"])
def test_flask_wtf_is_not_shadowed(order: list[Path], first: str) -> None:
    """Before us in the path or behind us, Flask-WTF is what is imported."""
    assert run(THEIRS.format(first=first), SOURCE, *order) == str(INSTALLED / "flask_wtf" / "csrf.py")


def test_editable_install(without_flask_wtf: Path) -> None:
    """Nor where it is found by a finder of its own, as setuptools has them for checkouts."""
    finder = f"""
    import sys
    from importlib.machinery import PathFinder
    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            return PathFinder.find_spec(name, [{str(INSTALLED)!r}]) if name == "flask_wtf" else None
    sys.meta_path.append(Finder)
    """
    code = THEIRS.format(first=finder.strip())
    assert run(code, SOURCE, FALLBACK, without_flask_wtf) == str(INSTALLED / "flask_wtf" / "csrf.py")


def test_twice_in_the_path(without_flask_wtf: Path, tmp_path: Path) -> None:
    """A checkout beside the installed package: neither takes the other for the original."""
    (tmp_path / "copy").symlink_to(FALLBACK, target_is_directory=True)
    code = "import flask_wtf; print(flask_wtf.CSRFProtect.__module__)"
    assert run(code, without_flask_wtf, SOURCE, FALLBACK, tmp_path / "copy") == "flask_cloakroom.csrf.protect"


def test_pth() -> None:
    """The file that puts the folder behind everything that is installed holds its name, and runs no code."""
    (line,) = (FALLBACK.parent / "flask_cloakroom_dropin.pth").read_text().splitlines()
    assert f'"fallback" = "{line}"' in (FALLBACK.parent / "pyproject.toml").read_text()
