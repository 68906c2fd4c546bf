"""Finds Flask-WTF itself, wherever it is."""

import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder


def find_original() -> ModuleSpec | None:
    """Return where the import system would find ``flask_wtf`` if this package were not there; None for nowhere."""
    found = [PathFinder.find_spec("flask_wtf", [entry]) for entry in sys.path]
    for finder in sys.meta_path:  # editable installs may have finders of their own
        if finder not in (BuiltinImporter, FrozenImporter, PathFinder) and hasattr(finder, "find_spec"):
            found.append(finder.find_spec("flask_wtf", None))
    return next((spec for spec in found if spec is not None and _is_original(spec)), None)


def _is_original(spec: ModuleSpec) -> bool:
    # A folder without an __init__.py has no loader of the package's own; and this very module is in no other package.
    folders = spec.submodule_search_locations
    return spec.origin is not None and PathFinder.find_spec(__name__, folders) is None
