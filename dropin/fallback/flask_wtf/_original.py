"""Find Flask-WTF itself, wherever it is installed."""

import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder


def find_original() -> ModuleSpec | None:
    """Return the place of ``flask_wtf`` as if this package were not installed; None if there is no other."""
    found = [PathFinder.find_spec("flask_wtf", [entry]) for entry in sys.path]
    for finder in sys.meta_path:  # an editable install may have a finder of its own
        if finder not in (BuiltinImporter, FrozenImporter, PathFinder) and hasattr(finder, "find_spec"):
            found.append(finder.find_spec("flask_wtf", None))
    return next((spec for spec in found if spec is not None and _is_original(spec)), None)


def _is_original(spec: ModuleSpec) -> bool:
    # A folder without an __init__.py has no origin. Only this package has a module with this module's name.
    folders = spec.submodule_search_locations
    return spec.origin is not None and PathFinder.find_spec(__name__, folders) is None
