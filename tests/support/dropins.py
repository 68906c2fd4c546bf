"""The packages of the drop-in, as if they were installed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from support import DROPIN


def imported(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield a package of the drop-in by its import name, freshly imported, and forget it afterwards."""
    monkeypatch.syspath_prepend(str(DROPIN))
    _forget(name)
    yield importlib.import_module(name)
    _forget(name)


def _forget(name: str) -> None:
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]
