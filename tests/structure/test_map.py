"""The map, the tree of tests and the way of a request in CONTRIBUTING.md, compared with the files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from support import ROOT
from support.source.figures import PACKAGE, TESTING
from support.source.layers import ENTRIES_AT_MOST, LAYERS, LAYERS_INSIDE, stands_below
from support.source.way_of_a_request import Way, second_round

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
#: The request whose way each section tells.
SECTIONS = {"A page that changes the session": "changes it", "A login": "login"}

_LINE = re.compile(r"(?P<indent>(?:  )*)(?P<name>[a-z_]+(?:/|\.py)) +\S.*")


def section(title: str) -> str:
    """Return the text below a heading of CONTRIBUTING.md, up to the next heading."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", CONTRIBUTING, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def paths_in_map(title: str = "The map") -> Iterator[str]:
    """Yield the paths of a tree in CONTRIBUTING.md, from its top folder on. Those of folders end with a slash."""
    block = re.search(r"^```text\n(.*?)^```", section(title), re.MULTILINE | re.DOTALL)
    assert block is not None
    above: list[str] = []
    for line in block[1].splitlines():
        entry = _LINE.fullmatch(line)
        assert entry is not None, f"no path and what is there: {line!r}"
        depth = len(entry["indent"]) // 2
        assert depth <= len(above), f"stands in no folder: {line!r}"
        del above[depth:]
        yield "".join(above) + entry["name"]
        if entry["name"].endswith("/"):
            above.append(entry["name"])


def files_on_the_way(title: str) -> list[str]:
    """Return the files that a section names, in its order."""
    return re.findall(r"`([a-z_/]+\.py)`", section(title))


def missing_step(named: Iterable[str], trail: Iterable[str]) -> str | None:
    """Return the first file that a request does not come to after the ones named before it; None without one."""
    ahead = iter(trail)
    return next((file for file in named if file not in ahead), None)


@pytest.fixture(scope="module")
def ways() -> dict[str, Way]:
    return second_round()


class TestMap:
    """The tree."""

    def test_every_path_exists(self) -> None:
        """Each line names a folder or a file of the package, once."""
        paths = list(paths_in_map())
        assert len(set(paths)) == len(paths)
        for path in paths:
            assert (PACKAGE / path).is_dir() if path.endswith("/") else (PACKAGE / path).is_file(), path

    def test_every_folder_and_every_file_at_the_top_is_there(self) -> None:
        """A new one gets a line."""
        modules = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")}
        folders = {f"{path.parent.as_posix()}/" for path in modules} - {"./"}
        at_the_top = {path.name for path in modules if path.parent == Path()} - {"__init__.py"}
        assert (folders | at_the_top) - set(paths_in_map()) == set()

    def test_the_order_is_that_of_the_imports(self) -> None:
        """Parts are in the order of LAYERS, folders and files inside a part in that of LAYERS_INSIDE."""
        names = [path.removesuffix(".py").rstrip("/").split("/") for path in paths_in_map()]
        parts = [name[0] for name in names if len(name) == 1 and name[0] != TESTING]
        assert out_of_order(parts, LAYERS) == []
        for part, layers in LAYERS_INSIDE.items():
            placed = {name for layer in layers for name in layer}
            inside = [name[1] for name in names if len(name) == 2 and name[0] == part]
            assert out_of_order([name if name in placed else "" for name in inside], layers) == [], part


def out_of_order(names: list[str], layers: list[set[str]]) -> list[tuple[str, str]]:
    """Return the neighbours in a list of which the later one stands below the earlier one."""
    return [(one, other) for one, other in pairwise(names) if stands_below(other, one, layers)]


class TestTreeOfTests:
    """The tree of ``tests/``."""

    def test_it_has_every_folder(self) -> None:
        """And no other one."""
        folders = {path.parent.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("*.py")}
        assert {f"{folder}/" for folder in folders} - {"./"} == set(paths_in_map("The tests"))

    def test_a_folder_is_seen_at_a_glance(self) -> None:
        """None below ``tests/`` has more than 15 files and folders."""
        for folder in {path.parent for path in (ROOT / "tests").glob("*/**/*.py")}:
            assert sum(path.name != "__pycache__" for path in folder.iterdir()) <= 15, folder

    def test_tests_follow_the_folders_of_the_source(self) -> None:
        """A folder of the package that has tests of its own has them at the same place in ``tests/``."""
        source = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
        others = {"package", "redis_client", "site", "structure", "support", "typing"}
        parts = {"sessions/one_request", "sessions/settings"}
        for path in (ROOT / "tests").rglob("test_*.py"):
            folder = path.parent.relative_to(ROOT / "tests")
            assert folder.parts[0] in others or folder.as_posix() in source | parts, path


class TestWayOfARequest:
    """The two lists of files."""

    @pytest.mark.parametrize("title", SECTIONS)
    def test_files_run_in_the_order_in_which_they_are_named(self, title: str, ways: dict[str, Way]) -> None:
        """A request that is traced comes to each of them after the one that is named before it."""
        assert missing_step(files_on_the_way(title), ways[SECTIONS[title]].trail) is None

    @pytest.mark.parametrize("title", SECTIONS)
    def test_can_be_read_in_a_dozen_lines(self, title: str) -> None:
        """Steps and files are few enough to remember the way."""
        steps = re.findall(r"^\d+\. \*\*", section(title), re.MULTILINE)
        assert 4 < len(steps) <= ENTRIES_AT_MOST
        assert len(files_on_the_way(title)) > 10

    def test_a_wrong_order_is_found(self) -> None:
        """A file that does not run, or only before the one that is named before it."""
        trail = ["a.py", "b.py", "a.py", "c.py"]
        assert missing_step(["a.py", "b.py", "c.py"], trail) is None
        assert missing_step(["b.py", "a.py", "c.py"], trail) is None
        assert missing_step(["b.py", "b.py"], trail) == "b.py"
        assert missing_step(["c.py", "a.py"], trail) == "a.py"
        assert missing_step(["a.py", "d.py"], trail) == "d.py"
