"""Imports of the package point one way."""

from __future__ import annotations

import pytest

from support.source.figures import (
    PACKAGE,
    TESTING,
    PrivateReach,
    import_circles,
    imports_of,
    private_reaches,
)
from support.source.layers import (
    ENTRIES_AT_MOST,
    FLASKS,
    LATE,
    LAYERS,
    LAYERS_INSIDE,
    MODULES,
    OPTIONAL,
    SLOW,
    TOP,
    WITHOUT_FLASK,
    may_import,
    name_in_package,
    of_ours,
    part_of,
)


@pytest.fixture(scope="module")
def circles() -> list[list[str]]:
    return import_circles()


@pytest.fixture(scope="module")
def reaches() -> list[PrivateReach]:
    return private_reaches()


class TestArrows:
    """Imports point one way. All count: also those for type checkers, and those inside functions."""

    @pytest.mark.parametrize("module", [name for name in MODULES if part_of(name) not in ("", TESTING)])
    def test_a_part_knows_only_what_stands_below_it(self, module: str) -> None:
        """errors ← stores ← core ← sessions ← login, csrf ← extension; and the same inside each of these."""
        assert {imported for imported in of_ours(module) if not may_import(module, imported)} == set()

    @pytest.mark.parametrize(
        ("module", "may", "may_not"),
        [
            ("login", ["login.request.state", "sessions.session", "redirects"], ["csrf", "redis_client", "account"]),
            ("login.remember.tokens", ["login.remember.stored", "core"], ["login.setup.users", "login", "login.kinds"]),
            ("stores.memory", ["stores.base", "errors"], ["stores", "stores.redis.store", "core.clock"]),
            ("core.entries.record", ["core.values.codec", "stores"], ["core.sessions.lease", "core", "sessions"]),
            ("csrf.protect", ["csrf.settings", "cookies"], ["csrf", "csrf.seasurf.protect", "login"]),
            ("extension", ["account", "login.manager"], ["cli", "testing"]),
        ],
    )
    def test_layers_say_who_may_import_whom(self, module: str, may: list[str], may_not: list[str]) -> None:
        """Neither a part, folder or file that stands above, nor one beside it."""
        ours = f"flask_cloakroom.{module}"
        assert [name for name in may if not may_import(ours, f"flask_cloakroom.{name}")] == []
        assert [name for name in may_not if may_import(ours, f"flask_cloakroom.{name}")] == []

    def test_every_part_has_its_place(self) -> None:
        """A new one gets a line in LAYERS, a new folder in a part one in LAYERS_INSIDE; what is gone leaves none."""
        assert {part_of(module) for module in MODULES} - {"", TESTING} == {part for layer in LAYERS for part in layer}
        for part in sorted({part_of(module) for module in MODULES} - {"", TESTING}):
            placed = {name for layer in LAYERS_INSIDE.get(part, ()) for name in layer}
            folders = {path.parent.name for path in (PACKAGE / part).glob("*/__init__.py")}
            assert folders <= placed, part
            assert placed <= {*folders, "", *(path.stem for path in (PACKAGE / part).glob("*.py"))}, part

    def test_nothing_imports_the_testing_kit(self) -> None:
        """It needs pytest, which a site does not have."""
        for module in MODULES:
            if part_of(module) != TESTING:
                assert TESTING not in {part_of(name) for name in of_ours(module)}

    @pytest.mark.parametrize("first", TOP)
    def test_no_circles(self, first: str, circles: list[list[str]]) -> None:
        """No two modules need each other, directly or through others."""
        assert [circle for circle in circles if first in {part_of(module) for module in circle}] == []

    @pytest.mark.parametrize("first", TOP)
    def test_no_module_uses_private_names_of_another(self, first: str, reaches: list[PrivateReach]) -> None:
        """A name that starts with an underscore is used in its own file only. ruff's SLF001 finds more such uses."""
        assert [reach for reach in reaches if reach.file.startswith((f"{first}/", f"{first}.py"))] == []

    @pytest.mark.parametrize("module", MODULES)
    def test_functions_import_only_what_may_be_missing(self, module: str) -> None:
        """All else stands at the top of the file, where a reader looks for it."""
        for imported in imports_of(module, MODULES, late=True):
            pair = (name_in_package(module), name_in_package(imported))
            assert pair in LATE or imported in SLOW or imported.partition(".")[0] in OPTIONAL, imported

    def test_what_functions_import_is_still_so(self) -> None:
        """A row that nobody needs any more is taken out of LATE."""
        for module, imported in LATE:
            assert f"flask_cloakroom.{imported}" in imports_of(f"flask_cloakroom.{module}", MODULES, late=True)

    @pytest.mark.parametrize("place", WITHOUT_FLASK)
    def test_what_knows_no_flask(self, place: str) -> None:
        """Neither in its own source nor in that of what it imports."""
        full = f"flask_cloakroom.{place}"
        waiting = [name for name in MODULES if name == full or name.startswith(f"{full}.")]
        assert waiting
        seen: set[str] = set()
        while waiting:
            module = waiting.pop()
            seen.add(module)
            imported = imports_of(module, MODULES)
            assert not {name.partition(".")[0] for name in imported} & FLASKS, module
            waiting += [name for name in imported & MODULES.keys() if name not in seen and name != "flask_cloakroom"]

    def test_a_folder_is_seen_at_a_glance(self) -> None:
        """Below the top, none has more than ENTRIES_AT_MOST files and folders."""
        folders = [path for path in PACKAGE.rglob("*") if path.is_dir() and path.name != "__pycache__"]
        sizes = {
            folder.relative_to(PACKAGE).as_posix(): sum(path.name != "__pycache__" for path in folder.iterdir())
            for folder in folders
        }
        assert {folder: size for folder, size in sizes.items() if size > ENTRIES_AT_MOST} == {}
