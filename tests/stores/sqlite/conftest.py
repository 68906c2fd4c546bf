"""A store in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_cloakroom.stores.sqlite.store import SQLiteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the file shall be: in a folder that is not there yet."""
    return tmp_path / "instance" / "s.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    """Return a store that has not been used yet."""
    store = SQLiteStore(path, timeout=0.4)
    yield store
    store.close()
