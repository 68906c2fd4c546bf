"""Draw docstrings, comments and errors of the package by a seed: ``python tests/support/source/drawn_texts.py SEED``.

A reader who does not know the code says what each text means. A text whose meaning the reader gets wrong is rewritten.
"""

from __future__ import annotations

import ast
import io
import random
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[3] / "src" / "flask_cloakroom"
EXPLANATIONS = 30
ERRORS = 10
#: Characters of the shortest text that is drawn. Shorter ones, such as "Return the name.", say nothing that is unclear.
SHORTEST = 60


def docstrings_in(tree: ast.Module) -> Iterator[str]:
    """Yield the docstrings of a module, its classes and its functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield f"{getattr(node, 'name', 'module')}: {text}"


def comments_in(source: str) -> Iterator[str]:
    """Yield the comments of a module. Comments on successive lines are one text."""
    block: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith(("# type:", "# noqa", "# --")):
            if token.start[0] != last + 1 and block:
                yield " ".join(block)
                block = []
            block.append(token.string.lstrip("#: "))
            last = token.start[0]
    if block:
        yield " ".join(block)


def errors_in(tree: ast.Module) -> Iterator[str]:
    """Yield the texts of the errors that a module raises, with a placeholder for each value."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            parts = [ast.unparse(part) for part in node.exc.args if isinstance(part, ast.Constant | ast.JoinedStr)]
            if parts:
                yield f"{ast.unparse(node.exc.func)}: {' '.join(parts)}"


def texts() -> tuple[list[str], list[str]]:
    """Return all explanations and all error texts, each with the file's path."""
    explanations, errors = [], []
    for path in sorted(PACKAGE.rglob("*.py")):
        source = path.read_text()
        tree = ast.parse(source)
        place = path.relative_to(PACKAGE)
        explanations += [f"{place}: {text}" for text in (*docstrings_in(tree), *comments_in(source))]
        errors += [f"{place}: {text}" for text in errors_in(tree)]
    return [text for text in explanations if len(text) >= SHORTEST], errors


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.randrange(10_000)
    explanations, errors = texts()
    draw = random.Random(seed)
    print(f"seed {seed}: {EXPLANATIONS} of {len(explanations)} explanations and {ERRORS} of {len(errors)} errors\n")
    drawn = [*draw.sample(explanations, EXPLANATIONS), *draw.sample(errors, ERRORS)]
    for number, text in enumerate(drawn, 1):
        print(f"--- {number}\n{text}\n")


if __name__ == "__main__":
    main()
