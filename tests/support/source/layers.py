"""The layers of the package, from the bottom to the top: who may import whom."""

from __future__ import annotations

#: Who may import whom: a part, which is a folder or a file of the package, imports from itself and from parts in the
#: lines before its own.
LAYERS = [
    {"errors", "signals", "hooks", "forking", "context", "caching", "secret"},
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


def stands_below(name: str, other: str, layers: list[set[str]]) -> bool:
    """Tell whether a name stands in a layer before another one's."""
    (level,) = (level for level, names in enumerate(layers) if other in names)
    return any(name in names for names in layers[:level])
