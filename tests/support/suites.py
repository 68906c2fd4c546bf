"""The own tests of a replaced package, which another pytest runs on this package."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

#: Seconds for the download, and for the tests.
TIMEOUT = 100


def fetch(release: str, folder: Path) -> Path:
    """Return the folder ``tests`` of a release's source distribution, as pip fetches it into a folder.

    Skip the test by name where pip cannot fetch it, or fail with CI=true.
    """
    download = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(folder), release]
    result = subprocess.run(
        [sys.executable, "-m", "pip", *download], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    archives = list(folder.glob("*.tar.gz"))
    if result.returncode or not archives:
        reason = f"{release} cannot be fetched: {result.stderr.strip()[-500:]}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder / "sdist", filter="data")
    (tests,) = (folder / "sdist").glob("*/tests")
    return tests


class Outcome:
    """What became of the tests: how many there were, those that did not pass, and pytest's output."""

    def __init__(self, report: Path, output: str) -> None:
        assert report.exists(), output
        cases = list(ElementTree.parse(report).iter("testcase"))
        self.count = len(cases)
        self.output = output[-3000:]
        #: Pairs of the module and the test's name.
        self.bad = {
            (case.get("classname"), case.get("name"))
            for case in cases
            if any(child.tag in ("failure", "error", "skipped") for child in case)
        }


def run_suite(folder: Path, modules: list[str], paths: list[Path], options: list[str]) -> Outcome:
    """Run modules of tests in their folder, with these folders in the import path and these options of pytest."""
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    options = ["-q", *options, "-p", "no:cacheprovider", "--rootdir", str(folder), f"--junitxml={report}"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *modules],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return Outcome(report, result.stdout + result.stderr)
