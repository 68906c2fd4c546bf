"""The size of the package, and the measures of its source on small samples."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from support.source.figures import PrivateReach, code_lines, import_circles, imports_of, modules_in, private_reaches

#: The most lines of code that the package may have. Lower the number when the test below says that it fell.
LINES_AT_MOST = 12_381

MakePackage = Callable[[dict[str, str]], Path]


@pytest.fixture
def make_package(tmp_path: Path) -> MakePackage:
    """Return a function that writes a package from sources by path, and returns the package's folder."""

    def make(sources: dict[str, str]) -> Path:
        for name, source in sources.items():
            path = tmp_path / "package" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(source))
        return tmp_path / "package"

    return make


class TestCodeLines:
    """Lines without docstrings, comments and blank lines."""

    def test_the_package_does_not_grow(self, capsys: pytest.CaptureFixture[str]) -> None:
        """It has no more lines than LINES_AT_MOST. If it has fewer, the test run prints the new number."""
        lines = code_lines()
        assert lines <= LINES_AT_MOST
        if lines < LINES_AT_MOST:
            with capsys.disabled():
                print(f"\nThe package fell from {LINES_AT_MOST} to {lines} lines of code. Lower LINES_AT_MOST.")

    def test_text_for_readers_does_not_count(self, make_package: MakePackage) -> None:
        """Docstrings of modules, classes and functions, comments and blank lines are free."""
        source = '''\
            """The module.

            Its second paragraph.
            """

            # A comment
            class Thing:
                """A class."""

                size = 1  # a comment beside code

                async def grow(self):
                    """Grow."""
                    # A comment
                    return 2
            '''
        assert code_lines(make_package({"thing.py": source})) == 4

    def test_every_line_of_a_text_that_is_data_counts(self, make_package: MakePackage) -> None:
        """A statement over three lines is three lines, also if two of these are within a string, one of them blank."""
        source = '''\
            QUERY = """

            SELECT 1"""
            values = [
                1,

                # One more
                2,
            ]
            '''
        assert code_lines(make_package({"query.py": source})) == 3 + 4

    def test_the_kit_for_tests_does_not_count(self, make_package: MakePackage) -> None:
        """Its folder is left out at any depth; a module whose name only begins like the folder's counts."""
        sources = {"testing/base.py": "a = 1\n", "part/testing/base.py": "b = 1\n", "testing_not.py": "c = 1\n"}
        assert code_lines(make_package(sources)) == 1


class TestImports:
    """What a module imports."""

    SOURCE = """\
        import os.path, package.low
        from typing import TYPE_CHECKING
        from . import low
        from .deep.inner import Inner
        from .deep import inner as renamed, other
        if TYPE_CHECKING:
            from flask import Flask
        class Thing:
            from .low import value
            def method(self):
                import sqlite3
                async def nested():
                    from package.deep import inner
        """

    @pytest.fixture
    def modules(self, make_package: MakePackage) -> dict[str, Path]:
        sources = {"user.py": self.SOURCE, "low.py": "", "deep/__init__.py": "from . import inner", "deep/inner.py": ""}
        return modules_in(make_package(sources))

    def test_modules_have_full_names(self, modules: dict[str, Path]) -> None:
        """A folder's first file has the name of the folder."""
        assert list(modules) == ["package.deep", "package.deep.inner", "package.low", "package.user"]
        assert modules["package.deep"].name == "__init__.py"

    def test_all_imports_count(self, modules: dict[str, Path]) -> None:
        """For type checkers, in a class, in functions. A name that is no module counts as the module that has it."""
        own = {"package.low", "package.deep", "package.deep.inner"}
        assert imports_of("package.user", modules) == {"os.path", "typing", "flask", "sqlite3", *own}
        assert imports_of("package.deep", modules) == {"package.deep.inner"}

    def test_late_are_those_in_functions(self, modules: dict[str, Path]) -> None:
        """At any depth, also where the import stands at the top as well; those of a class are not late."""
        assert imports_of("package.user", modules, late=True) == {"sqlite3", "package.deep.inner"}
        assert imports_of("package.deep", modules, late=True) == set()


class TestImportCircles:
    """Groups of modules that import each other."""

    def test_all_imports_count(self, make_package: MakePackage) -> None:
        """One for type checkers, one inside a function, and a plain one close a circle of three."""
        package = make_package(
            {
                "__init__.py": "",
                "one.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .two import Two\n",
                "two.py": "def late():\n    from package import three\n",
                "three.py": "import package.one\n",
                "user.py": "from . import one\n",
                "used.py": "import os\n",
            }
        )
        assert import_circles(package) == [["package.one", "package.three", "package.two"]]

    def test_two_circles_stay_apart(self, make_package: MakePackage) -> None:
        """A one-way import from one circle into another does not make them one."""
        package = make_package(
            {
                "low/__init__.py": "",
                "low/a.py": "from .b import B\n",
                "low/b.py": "from . import a\n",
                "high/c.py": "from ..low.a import A\nfrom .d import D\n",
                "high/d.py": "from package.high.c import C\n",
            }
        )
        assert import_circles(package) == [["package.high.c", "package.high.d"], ["package.low.a", "package.low.b"]]

    def test_a_package_and_its_module_can_be_a_circle(self, make_package: MakePackage) -> None:
        """A name that comes from ``__init__`` is an import of the package itself."""
        package = make_package(
            {"part/__init__.py": "from .inner import Inner\n", "part/inner.py": "from package.part import Inner\n"}
        )
        assert import_circles(package) == [["package.part", "package.part.inner"]]

    def test_one_way_is_no_circle(self, make_package: MakePackage) -> None:
        """Nor is a module that imports itself, or two modules that both use a third."""
        package = make_package(
            {"a.py": "from . import b, c, a\n", "b.py": "from .c import C\n", "c.py": "from other.a import A\n"}
        )
        assert import_circles(package) == []


OWNER = """\
    _limit = 5

    def _helper(): ...

    class Owner:
        _kind: str

        def __init__(self):
            self._state = 1
    """


class TestPrivateReaches:
    """Uses of another module's private names."""

    def reaches(self, make_package: MakePackage, source: str) -> list[PrivateReach]:
        return private_reaches(make_package({"owner.py": OWNER, "deep/user.py": source}))

    @pytest.mark.parametrize(
        ("source", "name"),
        [
            ("from ..owner import _helper", "_helper"),
            ("from package.owner import _limit as limit", "_limit"),
            ("def late():  from package.owner import _helper", "_helper"),
            ("owner._helper()", "_helper"),
            ("print(given._kind)", "_kind"),
            ("given._state = 2", "_state"),
            ("given._state += 2", "_state"),
            ("del given.owner._state", "_state"),
            ("self.owner._state", "_state"),
            ("type(self)._kind", "_kind"),
            ("getattr(given, '_state', None)", "_state"),
            ("setattr(given, '_state', 1)", "_state"),
        ],
    )
    def test_found(self, make_package: MakePackage, source: str, name: str) -> None:
        """Imports, and attributes that are read, set or deleted, on whatever object."""
        assert self.reaches(make_package, f"# first line\n{source}\n") == [PrivateReach("deep/user.py", 2, name)]

    @pytest.mark.parametrize(
        "source",
        [
            "self._state",
            "cls._kind",
            "super()._state",
            "given.__class__",
            "given._replace(a=1)",
            "given.state",
            "getattr(given, name)",
            "from gettext import gettext as _\ngiven._",
            "class Other:\n    def __init__(self): self._state = 1\n    def same(self, other): return other._state",
        ],
    )
    def test_not_found(self, make_package: MakePackage, source: str) -> None:
        """What a class inherits, names of Python and of libraries, and private names of the module's own."""
        assert self.reaches(make_package, source) == []

    def test_each_use_is_listed(self, make_package: MakePackage) -> None:
        """In the order of files and lines, also twice in one line."""
        found = self.reaches(make_package, "a._state = b._state\na._kind\n")
        assert [(reach.line, reach.name) for reach in found] == [(1, "_state"), (1, "_state"), (2, "_kind")]
