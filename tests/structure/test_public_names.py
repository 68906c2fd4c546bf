"""The public names: complete, documented, and of one version."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import types
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

import flask_cloakroom
from flask_cloakroom.stores import base as stores_base
from support.source.figures import (
    PACKAGE,
)
from support.source.layers import (
    MODULES,
)


def names_in_all() -> list[str]:
    return list(flask_cloakroom.__all__)


DOCUMENTED_KINDS = (types.FunctionType, property, staticmethod, classmethod, cached_property)


def undocumented(owner: Any, where: str) -> list[str]:
    """Return the public methods and properties of a class that have no docstring, their own or one they implement."""
    protocols = [stores_base.Store, stores_base.Purges, stores_base.Walks, stores_base.Owners]
    specified = {name for protocol in protocols for name in vars(protocol) if not name.startswith("_")}
    specified.add("execute_command")  # the drivers' own
    if where.startswith("flask_cloakroom.stores.redis.transport"):
        specified |= {name for name in vars(sys.modules[where].Transport) if not name.startswith("_")}
    missing = []
    for name, member in vars(owner).items():
        if name.startswith("_") or not isinstance(member, DOCUMENTED_KINDS):
            continue
        if not inspect.getdoc(getattr(owner, name)) and name not in specified:
            missing.append(f"{where}.{owner.__name__}.{name}")
    return missing


class TestPublicNames:
    """What users may rely on."""

    def test_all_is_sorted_complete_and_true(self) -> None:
        """Every name in ``__all__`` is there, once, in order; and every public name of the package is in it."""
        listed = flask_cloakroom.__all__
        assert len(set(listed)) == len(listed)
        assert listed == sorted(listed, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
        modules = {name for _, name, _ in pkgutil.iter_modules([str(PACKAGE)])}
        public = {name for name in vars(flask_cloakroom) if not name.startswith("_")} - modules
        # A module may have the name of what is imported from it.
        assert public <= set(listed) <= public | modules

    @pytest.mark.parametrize("module", [name for name in MODULES if MODULES[name].name == "__init__.py"])
    def test_every_all_names_what_there_is(self, module: str) -> None:
        """In subpackages too."""
        loaded = importlib.import_module(module)
        for name in getattr(loaded, "__all__", ()):
            assert hasattr(loaded, name)

    @pytest.mark.parametrize("name", names_in_all())
    def test_has_a_docstring(self, name: str) -> None:
        """Classes and functions; and every public method of a class. What is no class has a ``#:`` comment."""
        found = getattr(flask_cloakroom, name)
        if inspect.isclass(found):
            assert found.__doc__
            own = [cls for cls in found.__mro__ if cls.__module__.startswith("flask_cloakroom")]
            assert [missing for cls in own for missing in undocumented(cls, cls.__module__)] == []
        elif inspect.isfunction(found):
            assert found.__doc__
        else:
            assert any(
                line.startswith("#: ") and assigned.startswith(name)
                for path in MODULES.values()
                for line, assigned in commented_assignments(path)
            )

    @pytest.mark.parametrize("module", MODULES)
    def test_modules_classes_and_functions_have_docstrings(self, module: str) -> None:
        """Each module, and each class and function in it that has no underscore."""
        loaded = importlib.import_module(module)
        assert loaded.__doc__
        own = [found for name, found in vars(loaded).items() if not name.startswith("_") and is_of(found, module)]
        assert [found.__name__ for found in own if not found.__doc__] == []
        assert [missing for found in own if inspect.isclass(found) for missing in undocumented(found, module)] == []

    def test_errors_have_one_base(self) -> None:
        """``except CloakroomError`` catches what this package raises on purpose."""
        errors = [found for found in map(flask_cloakroom.__dict__.get, flask_cloakroom.__all__) if is_error(found)]
        assert len(errors) > 5
        assert all(issubclass(error, flask_cloakroom.CloakroomError) for error in errors)

    def test_the_version_is_that_of_the_distribution(self) -> None:
        """Said in two places, so they are compared."""
        project = PACKAGE.parent.parent / "pyproject.toml"
        if not project.exists():
            pytest.skip("not run from a checkout")
        assert f'\nversion = "{flask_cloakroom.__version__}"\n' in project.read_text()


def is_error(found: Any) -> bool:
    return inspect.isclass(found) and issubclass(found, Exception)


def is_of(found: Any, module: str) -> bool:
    return (inspect.isclass(found) or inspect.isfunction(found)) and found.__module__ == module


def commented_assignments(path: Path) -> list[tuple[str, str]]:
    """Return pairs of a ``#:`` comment's first line and the line of code under that comment."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    pairs = []
    for number, line in enumerate(lines):
        if line.startswith("#: ") and not lines[number - 1].startswith("#: "):
            rest = (other for other in lines[number:] if not other.startswith("#"))
            pairs.append((line, next(rest, "")))
    return pairs
