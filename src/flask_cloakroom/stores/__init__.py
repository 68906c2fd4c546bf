"""Stores, which keep entries, and the table by which a URL chooses one. CONTRIBUTING.md says how to add a store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from ..redis_connections.url import REDIS_SCHEMES
from ..secret import Secret
from .base import Claim, Conflict, Entry, Gone, Owners, Purges, Saved, Store, Walks

__all__ = [
    "SCHEMES",
    "Claim",
    "Conflict",
    "Entry",
    "Gone",
    "Owners",
    "Purges",
    "Saved",
    "Store",
    "StoreOptions",
    "Walks",
    "open_store",
]


class StoreOptions(NamedTuple):
    """The settings that a store may need besides its URL."""

    #: The instance folder, where relative SQLite paths start.
    folder: Path
    #: The key prefix, for stores that several applications share.
    prefix: str
    #: Seconds that a call may take before it is a StoreError.
    timeout: float


#: The SQLite file if the URL names none.
DEFAULT_FILE = "sessions.sqlite3"


def _sqlite(url: str, options: StoreOptions) -> Store:
    from .sqlite.store import SQLiteStore

    parts = urlsplit(url)
    if parts.netloc:
        raise ValueError(
            "The SQLite URL has the wrong number of slashes. Write sqlite:///file (in the instance folder) or "
            "sqlite:////absolute/path."
        )
    query = {name: values[-1] for name, values in parse_qs(parts.query, strict_parsing=bool(parts.query)).items()}
    unknown = query.keys() - {"synchronous"}
    if unknown:
        raise ValueError(f"Unknown option {', '.join(sorted(unknown))}. The only one is synchronous=normal|full")
    path = options.folder / (unquote(parts.path)[1:] or DEFAULT_FILE)
    return SQLiteStore(path, timeout=options.timeout, **query)


def _redis(url: str, options: StoreOptions) -> Store:
    from .redis.store import RedisStore

    return RedisStore(url, prefix=options.prefix, timeout=options.timeout, folder=options.folder)


def _memory(url: str, options: StoreOptions) -> Store:
    from .memory import MemoryStore

    return MemoryStore()


#: For each URL scheme the function that makes the store. It imports the store itself, so that only the driver in use is
#: loaded.
SCHEMES: dict[str, Callable[[str, StoreOptions], Store]] = {
    "sqlite": _sqlite,
    "memory": _memory,
    **dict.fromkeys(REDIS_SCHEMES, _redis),
}


def open_store(url: str, options: StoreOptions) -> Store:
    """Return the store for ``url``. It connects at its first use.

    Raises ValueError for a wrong URL, and ImportError, which says what to install, without the store's driver.
    """
    url = Secret(url)  # an error report must not show a password
    scheme = url.partition("://")[0]
    if "://" not in url or scheme not in SCHEMES:
        raise ValueError(
            f"This is no URL of a store. It begins with one of {', '.join(f'{name}://' for name in SCHEMES)}"
        )
    return SCHEMES[scheme](url, options)
