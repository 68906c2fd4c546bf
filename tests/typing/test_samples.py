"""Type checkers find no error in two sample sites, and every mistake in two other files."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import DROPIN
from support.processes import PACKAGE, SOURCE

HERE = Path(__file__).parent
SITES = ["sample_site.py", "sample_redis.py"]
#: Each line there with the comment ``# error`` is a mistake.
MISTAKES = ["sample_site_mistakes.py", "sample_redis_mistakes.py"]

#: Lines with an error, by the name of the file.
Errors = dict[str, set[int]]


def check(command: list[str], folder: Path, packages: Path) -> str:
    """Run a type checker, to which only the packages in a folder belong to no project; return its output."""
    environment = {**os.environ, "MYPYPATH": str(packages)}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return result.stdout or result.stderr


def ask_mypy(folder: Path, packages: Path) -> Errors:
    """Return the lines with an error under ``mypy --strict``."""
    pytest.importorskip("mypy")
    options = ["--strict", "--follow-imports=silent", "--cache-dir", str(SOURCE.parent / ".cache" / "mypy-of-samples")]
    found = check([sys.executable, "-m", "mypy", *options, *SITES, *MISTAKES], folder, packages)
    assert re.search(r"^Found \d+ errors in 2 files \(checked 4 source files\)", found, re.MULTILINE), found
    errors: Errors = {}
    for file, line in re.findall(r"^(\w+\.py):(\d+): error:", found, re.MULTILINE):
        errors.setdefault(file, set()).add(int(line))
    return errors


def ask_pyright(folder: Path, packages: Path) -> Errors:
    """Return the lines with an error under pyright's rules; the PyPI package basedpyright brings its own Node.js."""
    pytest.importorskip("basedpyright")
    settings = {"typeCheckingMode": "standard", "extraPaths": [str(packages)], "include": [*SITES, *MISTAKES]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable]
    found = json.loads(check(command, folder, packages))
    assert found["summary"]["filesAnalyzed"] == 4, found
    errors: Errors = {}
    for each in found["generalDiagnostics"]:
        if each["severity"] == "error":
            errors.setdefault(Path(each["file"]).name, set()).add(each["range"]["start"]["line"] + 1)
    return errors


@pytest.fixture(scope="module", params=[ask_mypy, ask_pyright])
def errors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Errors:
    """Let each checker read copies of the samples, beside which the packages are not a part of the project."""
    folder = tmp_path_factory.mktemp("samples")
    packages = tmp_path_factory.mktemp("packages")
    (packages / "flask_cloakroom").symlink_to(PACKAGE, target_is_directory=True)
    (packages / "flask_redis").symlink_to(DROPIN / "flask_redis", target_is_directory=True)
    for name in [*SITES, *MISTAKES]:
        shutil.copy(HERE / name, folder)
    found: Errors = request.param(folder, packages)
    return found


@pytest.mark.parametrize("site", SITES)
def test_a_users_project_checks_strictly(site: str, errors: Errors) -> None:
    """Everything public is used with no ``type: ignore`` and no cast."""
    assert errors.get(site, set()) == set()


@pytest.mark.parametrize("mistakes", MISTAKES)
def test_mistakes_are_found(mistakes: str, errors: Errors) -> None:
    """Every line marked as an error is one, and no other line: the types are not all Any."""
    lines = (HERE / mistakes).read_text().splitlines()
    assert errors[mistakes] == {number for number, line in enumerate(lines, 1) if line.endswith("# error")}


def test_the_package_says_that_it_is_typed() -> None:
    """PEP 561: without this file, type checkers see nothing of it."""
    assert (PACKAGE / "py.typed").exists()
