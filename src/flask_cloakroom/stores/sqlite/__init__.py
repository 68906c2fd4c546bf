"""The store in one SQLite file: the default."""

from .store import SQLiteStore

__all__ = ["SQLiteStore"]
