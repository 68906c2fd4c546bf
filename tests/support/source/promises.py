"""The tests that prove each promise of ``docs/promises.md``, found by their mark ``pytest.mark.promise(number)``.

``script/promises`` runs this file with any Python, so it imports the standard library only.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]
TESTS = ROOT / "tests"
PAGE = ROOT / "docs" / "promises.md"


class Proof(NamedTuple):
    """A test, a class of tests or a whole file, and the number of a promise that it proves."""

    promise: int
    #: As pytest takes it: ``tests/sessions/test_races.py::test_logout_wins``.
    node: str


def titles() -> dict[int, str]:
    """Return the numbers and titles of the promises on the page, in its order."""
    found = re.findall(r"^## (\d+)\. (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {int(number): title for number, title in found}


def files_on_page() -> dict[int, set[str]]:
    """Return the files of tests that the page names as the proof of each promise."""
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    numbered = {int(section.split(".")[0]): section for section in sections if section[:1].isdigit()}
    return {number: set(re.findall(r"\(\.\./(tests/[\w/]+\.py)\)", section)) for number, section in numbered.items()}


def proofs() -> list[Proof]:
    """Return all marks in the tests, in the order of promises and files.

    Raise ValueError for a mark without a number.
    """
    found: list[Proof] = []
    for path in sorted(TESTS.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += _proofs_in(tree, path.relative_to(ROOT).as_posix())
    return sorted(found)


def _proofs_in(tree: ast.Module | ast.ClassDef, node: str) -> Iterator[Proof]:
    """Yield the marks of a file or class, and of all that it contains."""
    for child in tree.body:
        if isinstance(child, ast.Assign) and ast.unparse(child.targets[0]) == "pytestmark":
            yield from _marks(child.value, node)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for decorator in child.decorator_list:
                yield from _marks(decorator, f"{node}::{child.name}")
            if isinstance(child, ast.ClassDef):
                yield from _proofs_in(child, f"{node}::{child.name}")


def _marks(expression: ast.expr, node: str) -> Iterator[Proof]:
    """Yield the numbers in a decorator, or in what is assigned to ``pytestmark``."""
    for call in ast.walk(expression):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.promise":
            numbers = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
            if not numbers or not all(isinstance(number, int) for number in numbers):
                raise ValueError(f"The mark of {node} names no promise. Write its number: pytest.mark.promise(4).")
            yield from (Proof(int(str(number)), node) for number in numbers)


def main(arguments: list[str]) -> None:
    """Print the tests of the promises with these numbers, or of all promises with their titles."""
    found = proofs()
    if arguments:
        print(*(proof.node for proof in found if str(proof.promise) in arguments), sep="\n")
        return
    for number, title in titles().items():
        print(f"{number}. {title}")
        print(*(f"   {proof.node}" for proof in found if proof.promise == number), "", sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
