"""The way of a request through the package: the files that run, and the moves between these files."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from flask import Flask

from support.source.way_of_a_request import Way, make_app, way_of, way_through, ways_of_requests

#: The most files and moves that each request may take. Lower a number when the test below says that it fell.
AT_MOST = {
    "reads the session": (15, 24),
    "changes it": (20, 47),
    "page behind login_required": (25, 60),
    "login": (37, 111),
    "login with remember": (37, 118),
    "comes back by its remember token": (42, 256),
    "logout": (36, 105),
}
#: Since Python 3.12 a comprehension is no call of its own, so some ways are shorter there by a move or two.
COUNTS_COMPREHENSIONS = sys.version_info < (3, 12)


@pytest.fixture(scope="module")
def ways() -> dict[str, Way]:
    return ways_of_requests()


def test_every_request_has_its_numbers(ways: dict[str, Way]) -> None:
    """A new request is measured only together with its numbers in AT_MOST."""
    assert ways.keys() == AT_MOST.keys()


@pytest.mark.parametrize("name", AT_MOST)
def test_no_way_gets_longer(ways: dict[str, Way], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No request takes more files or moves than AT_MOST allows. If one takes fewer, the test run prints that."""
    now, most = (ways[name].files, ways[name].moves), AT_MOST[name]
    files_of_it = ", ".join(sorted(set(ways[name].trail)))
    assert now[0] <= most[0], f"{now[0]} files instead of {most[0]}: {files_of_it}"
    assert now[1] <= most[1], f"{now[1]} moves instead of {most[1]} among {files_of_it}"
    if now != most and COUNTS_COMPREHENSIONS:
        with capsys.disabled():
            print(f"\nThe way of '{name}' fell from {most} to {now} files and moves. Lower its numbers in AT_MOST.")


class TestMeasure:
    """What is counted."""

    @pytest.fixture
    def modules(self, tmp_path: Path) -> dict[str, ModuleType]:
        """Three modules: one calls another, one generates, and the third is no part of the package."""
        (tmp_path / "package" / "deep").mkdir(parents=True)
        sources = {
            "package/calls.py": "def twice(other):\n    other()\n    own()\n    other()\n\ndef own():\n    return 1\n",
            "package/deep/gives.py": "def one():\n    return 1\n\ndef some():\n    yield 1\n    yield 2\n",
            "package_of_others.py": "def one():\n    return 1\n",
        }
        modules = {}
        for name, source in sources.items():
            path = tmp_path / name
            path.write_text(source)
            spec = importlib.util.spec_from_file_location(path.stem, path)
            assert spec is not None
            assert spec.loader is not None
            modules[path.stem] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(modules[path.stem])
        return modules

    def test_calls_move_and_returns_do_not(self, modules: dict[str, ModuleType], tmp_path: Path) -> None:
        """The function calls out, then one beside it, then out: four moves between two files."""
        with way_through(tmp_path / "package") as way:
            modules["calls"].twice(modules["gives"].one)
        assert way.trail == ["calls.py", "deep/gives.py"] * 2
        assert (way.files, way.moves) == (2, 4)

    def test_a_second_call_into_the_same_file_is_no_move(self, modules: dict[str, ModuleType], tmp_path: Path) -> None:
        """Only the change from one file of the package to another counts."""
        with way_through(tmp_path / "package") as way:
            modules["gives"].one()
            modules["gives"].one()
        assert (way.files, way.moves) == (1, 1)

    def test_a_generator_is_entered_each_time(self, modules: dict[str, ModuleType], tmp_path: Path) -> None:
        """The loop enters the generator's file for every value, and once more for the end."""
        with way_through(tmp_path / "package") as way:
            for _ in modules["gives"].some():
                modules["calls"].own()
        assert way.trail == ["deep/gives.py", "calls.py"] * 2 + ["deep/gives.py"]

    def test_files_beside_the_package_do_not_count(self, modules: dict[str, ModuleType], tmp_path: Path) -> None:
        """A folder or file beside the package does not count, even if its name begins like the package's."""
        with way_through(tmp_path / "package") as way:
            modules["package_of_others"].one()
        assert way.trail == []

    def test_nothing_is_recorded_after_the_block(self, modules: dict[str, ModuleType], tmp_path: Path) -> None:
        """Recording ends also when the block raises an error, and an earlier profiler goes on."""
        calls: list[str] = []
        before = sys.getprofile()
        sys.setprofile(lambda frame, event, argument: calls.append(event))
        try:
            with pytest.raises(ZeroDivisionError), way_through(tmp_path / "package") as way:
                modules["calls"].twice(lambda: 1 / 0)
            calls.clear()
            modules["gives"].one()
        finally:
            sys.setprofile(before)
        assert way.trail == ["calls.py"]
        assert "call" in calls

    def test_a_request_that_fails_is_not_measured(self, tmp_path: Path) -> None:
        """The short way of an error page would pass for an improvement."""
        app: Flask = make_app(str(tmp_path))
        with pytest.raises(AssertionError, match="/members answered 401"):
            way_of(app.test_client(), "/members")
        app.session_interface.store.close()  # type: ignore[attr-defined]
