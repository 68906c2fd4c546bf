"""Every Python block of the documentation runs.

The blocks of one file are one program: a process of its own runs them in order, in an empty folder, with warnings as
errors. A block that cannot run has ``<!-- not run: reason -->`` right above it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import flask_cloakroom
from support import ROOT

#: Documentation, and the read-me files of what comes with it. Other folders may hold other people's files.
FILES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "dropin/*.md", "examples/*/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[^\s`{]*)(?P<rest>.*)$")
_NOT_RUN = re.compile(r"<!--\s*not run:(?P<reason>.*?)-->", re.DOTALL)
#: A link's target, whatever its text; and blocks of code, which hold none.
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^( *)(```+|~~~+).*?^ *\2 *$", re.MULTILINE | re.DOTALL)
#: Seconds that a file's program may take. Most take less than one.
LONGEST = 60


class Block(NamedTuple):
    """A fenced block: where it begins (its first line is 1), what it is said to be, and why it is not run."""

    line: int
    language: str
    source: str
    reason: str | None


def blocks_of(text: str) -> list[Block]:
    """Return the fenced blocks of a file. Raises ValueError for one that does not end."""
    blocks = []
    lines = text.splitlines()
    number = 0
    before = 0  # the line after the last block, where a comment that belongs to the next one may stand
    while number < len(lines):
        opening = _FENCE.match(lines[number])
        number += 1
        if opening is None:
            continue
        begin = number
        closing = re.compile(rf" *{re.escape(opening['fence'][0])}{{{len(opening['fence'])},}}\s*$")
        while number < len(lines) and not closing.match(lines[number]):
            number += 1
        if number == len(lines):
            raise ValueError(f"the block that begins in line {begin} does not end")
        indent = len(opening["indent"])
        source = "".join(line[min(indent, len(line) - len(line.lstrip())) :] + "\n" for line in lines[begin:number])
        blocks.append(Block(begin + 1, opening["language"], source, _reason(lines[before : begin - 1])))
        number += 1
        before = number
    return blocks


def _reason(above: list[str]) -> str | None:
    """Return what the last thing above a block says, if that is a comment that it is not run."""
    last = "\n".join(above).rstrip().rpartition("<!--")
    found = _NOT_RUN.fullmatch("".join(last[1:]))
    return found["reason"].strip() if found else None


def python_blocks(path: Path) -> list[Block]:
    return [block for block in blocks_of(path.read_text("utf-8")) if block.language in ("python", "py", "python3")]


def program(blocks: list[Block]) -> str:
    """Return one program with every block on the lines that it has in the file, so that tracebacks tell them."""
    lines: list[str] = []
    for block in blocks:
        if block.reason is None:
            lines += [""] * (block.line - 1 - len(lines)) + block.source.splitlines()
    return "\n".join(lines) + "\n"


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def has_python_to_run(path: Path) -> bool:
    return any(block.reason is None for block in python_blocks(path))


@pytest.mark.parametrize("path", [path for path in FILES if has_python_to_run(path)], ids=named)
def test_every_python_block_runs(path: Path, tmp_path: Path) -> None:
    """In order and in one namespace, without a warning; a traceback's line numbers are those of the file."""
    source = tmp_path / "app.py"  # documentation says `flask --app app`
    source.write_text(program(python_blocks(path)), "utf-8")
    result = subprocess.run(
        [sys.executable, "-W", "error", source.name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(flask_cloakroom.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert result.returncode == 0, f"{named(path)} (line numbers are its own):\n{result.stderr}"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_blocks_say_what_they_are(path: Path) -> None:
    """Each block has a language, or it could be Python that nobody runs; and Python is called ``python``."""
    for block in blocks_of(path.read_text("utf-8")):
        assert block.language, f"{named(path)}, line {block.line}: a block without a language"
        assert block.language not in ("py", "python3", "Python", "pycon"), f"{named(path)}, line {block.line}"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_what_is_not_run_is_python_all_the_same(path: Path) -> None:
    """It has a reason and no mistake in its grammar."""
    for block in python_blocks(path):
        if block.reason is not None:
            assert len(block.reason) > 3, f"{named(path)}, line {block.line}: no reason"
            compile("\n" * (block.line - 1) + block.source, named(path), "exec")


@pytest.mark.parametrize("path", FILES, ids=named)
def test_links_lead_somewhere(path: Path) -> None:
    """Each link to a file of the checkout, and to a heading in one, finds it."""
    for target in _LINK.findall(_FENCED.sub("", path.read_text("utf-8"))):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, heading = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{named(path)}: there is no {name}"
        if heading:
            assert heading in headings_of(file.read_text("utf-8")), f"{named(path)}: {name} has no heading #{heading}"


def headings_of(text: str) -> set[str]:
    """Return the anchors of a file's headings, as the usual viewers make them."""
    titles = re.findall(r"^#+ (.*)$", _FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_most_blocks_run() -> None:
    """What is not run is counted, and stays the exception."""
    blocks = [block for path in FILES for block in python_blocks(path)]
    skipped = [block for block in blocks if block.reason is not None]
    print(f"{len(blocks)} Python blocks in {len(FILES)} files, {len(skipped)} of them not run")
    assert len(skipped) <= max(1, len(blocks) // 5)


class TestReading:
    """The reader of Markdown above, which must not overlook a block."""

    def test_blocks(self) -> None:
        """Fences of both kinds, longer ones around shorter ones, indented in a list, with options behind the name."""
        text = (
            "```python\na = 1\n```\n"
            "~~~python\nb = 2\n~~~\n"
            "- item\n\n  ```python title=x\n  if True:\n      c = 3\n  ```\n"
            "````markdown\n```python\nnot this\n```\n````\n"
            "```\nplain\n```\n"
        )
        found = blocks_of(text)
        assert [block.language for block in found] == ["python", "python", "python", "markdown", ""]
        assert [block.source for block in found[:3]] == ["a = 1\n", "b = 2\n", "if True:\n    c = 3\n"]
        assert [block.line for block in found[:3]] == [2, 5, 10]
        assert program(found[:3]).splitlines()[9:] == ["if True:", "    c = 3"]

    def test_comments(self) -> None:
        """Only right above a block, over several lines too; it counts for that block alone."""
        text = (
            "<!-- not run: far away -->\n\ntext\n\n```python\n1\n```\n"
            "<!-- not run: needs\n     a server -->\n\n```python\n2\n```\n"
            "```python\n3\n```\n"
            "<!-- something else -->\n```python\n4\n```\n"
        )
        reasons = [block.reason for block in blocks_of(text)]
        assert reasons[0] is None
        assert " ".join(str(reasons[1]).split()) == "needs a server"
        assert reasons[2:] == [None, None]

    def test_a_block_without_an_end(self) -> None:
        """Would swallow the rest of the file."""
        with pytest.raises(ValueError, match="line 2"):
            blocks_of("text\n```python\n1\n")
