"""Where sessions are kept. A new store is one file here, one line in the table below and one row in the tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from ..redis_connections.url import SCHEMES as REDIS_SCHEMES
from ..secret import Secret
from .base import Claim, Conflict, Entry, Gone, Owners, Purges, Saved, Store, Walks

__all__ = [
    "SCHEMES",
    "Claim",
    "Conflict",
    "Entry",
    "Gone",
    "Owners",
    "Place",
    "Purges",
    "Saved",
    "Store",
    "Walks",
    "open_store",
]


class Place(NamedTuple):
    """What a store may need to know besides its URL."""

    #: Relative SQLite paths start here: the instance folder.
    folder: Path
    #: Key prefix, for stores that share one room of names with others.
    prefix: str
    #: Seconds that a call may take before it is a StoreError.
    timeout: float


#: SQLite's file when none is named.
DEFAULT_FILE = "sessions.sqlite3"


def _sqlite(url: str, place: Place) -> Store:
    from .sqlite.store import SQLiteStore

    parts = urlsplit(url)
    if parts.netloc:
        raise ValueError(
            "write sqlite:///file (in the instance folder) or sqlite:////absolute/path, with three or four slashes"
        )
    options = {name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
    unknown = options.keys() - {"synchronous"}
    if unknown:
        raise ValueError(f"unknown option {', '.join(sorted(unknown))}; the only one is synchronous=normal|full")
    path = place.folder / (unquote(parts.path)[1:] or DEFAULT_FILE)
    return SQLiteStore(path, timeout=place.timeout, **options)


def _redis(url: str, place: Place) -> Store:
    from .redis.store import RedisStore

    return RedisStore(url, prefix=place.prefix, timeout=place.timeout, folder=place.folder)


def _memory(url: str, place: Place) -> Store:
    from .memory import MemoryStore

    return MemoryStore()


#: URL scheme to what opens it. The import is inside, so that no driver is loaded that is not used.
SCHEMES: dict[str, Callable[[str, Place], Store]] = {
    "sqlite": _sqlite,
    "memory": _memory,
    **dict.fromkeys(REDIS_SCHEMES, _redis),
}


def open_store(url: str, place: Place) -> Store:
    """Return the store that ``url`` names. It connects at its first use, not here.

    Raises ValueError for a URL that names none, ImportError (with what to install) without its driver.
    """
    url = Secret(url)  # an error report must not show a password
    scheme = url.partition("://")[0]
    if "://" not in url or scheme not in SCHEMES:
        raise ValueError(f"a store's URL begins with one of {', '.join(f'{name}://' for name in SCHEMES)}")
    return SCHEMES[scheme](url, place)
