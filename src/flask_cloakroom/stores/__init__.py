"""Stores, which keep entries, and the function :func:`open_store`, which returns the store for a URL.

CONTRIBUTING.md says how to add a store.
"""

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

    #: The application's instance folder. A relative path in an SQLite URL starts in this folder.
    folder: Path
    #: The beginning of every store key, for a server that several applications share.
    prefix: str
    #: The longest time of one store call, in seconds. A call that takes longer raises StoreError.
    timeout: float


#: The name of the SQLite file for a URL without a file name.
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
        raise ValueError(f"The URL has unknown options: {', '.join(sorted(unknown))}. Use only synchronous=normal|full")
    path = options.folder / (unquote(parts.path)[1:] or DEFAULT_FILE)
    return SQLiteStore(path, timeout=options.timeout, **query)


def _redis(url: str, options: StoreOptions) -> Store:
    from .redis.store import RedisStore

    return RedisStore(url, prefix=options.prefix, timeout=options.timeout, folder=options.folder)


def _memory(url: str, options: StoreOptions) -> Store:
    from .memory import MemoryStore

    return MemoryStore()


#: For each URL scheme, the function that makes the store. The function imports the store's module when it is called, so
#: that a process loads only the driver that it uses.
SCHEMES: dict[str, Callable[[str, StoreOptions], Store]] = {
    "sqlite": _sqlite,
    "memory": _memory,
    **dict.fromkeys(REDIS_SCHEMES, _redis),
}


def open_store(url: str, options: StoreOptions) -> Store:
    """Return the store for ``url``. The store connects at its first use.

    Raises ValueError for a wrong URL. Raises ImportError, which names the package to install, if the driver is missing.
    """
    url = Secret(url)  # the URL may contain a password, which an error report must not show
    scheme = url.partition("://")[0]
    if "://" not in url or scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ValueError(f"The URL's scheme is unknown. A store's URL begins with one of {known}")
    return SCHEMES[scheme](url, options)
