"""Every promise in ``docs/promises.md`` has a test with its mark."""

from __future__ import annotations

import subprocess

import pytest

from support import ROOT
from support.source.promises import Proof, files_on_page, proofs, titles

SCRIPT = ROOT / "script" / "promises"


@pytest.fixture(scope="module")
def found() -> list[Proof]:
    return proofs()


def test_every_promise_is_proved(found: list[Proof]) -> None:
    """Each promise of the page has a test, and each mark names a promise of the page."""
    assert {proof.promise for proof in found} == titles().keys()
    assert list(titles()) == list(range(1, len(titles()) + 1))


@pytest.mark.parametrize("promise", titles())
def test_files_on_the_page_hold_a_proof(promise: int, found: list[Proof]) -> None:
    """A file that the page names for a promise has a test that is marked with its number."""
    marked = {proof.node.partition("::")[0] for proof in found if proof.promise == promise}
    assert files_on_page()[promise] - marked == set()
    assert files_on_page()[promise]


@pytest.mark.skipif(not SCRIPT.exists(), reason="script/ is not a part of the source distribution")
def test_script_prints_them(found: list[Proof]) -> None:
    """Without numbers the script prints every promise, with numbers it prints what pytest takes."""
    all_of_them = subprocess.run([SCRIPT], capture_output=True, text=True, check=True).stdout
    assert [f"{number}. {title}" for number, title in titles().items()] == [
        line for line in all_of_them.splitlines() if line[:1].isdigit()
    ]
    of_one = subprocess.run([SCRIPT, "4"], capture_output=True, text=True, check=True).stdout.split()
    assert of_one == [proof.node for proof in found if proof.promise == 4]
