"""A store that counts its commands, and that can run something between two of them: forced interleavings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class WatchedStore:
    """Passes everything on. ``before[verb]`` is run once, right before the next call of that verb."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.calls: list[str] = []
        self.before: dict[str, Callable[[], Any]] = {}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        if name not in ("load", "create", "replace", "touch", "delete"):
            return found

        def call(*arguments: Any) -> Any:
            hook = self.before.pop(name, None)
            if hook is not None:
                hook()
            self.calls.append(name)
            return found(*arguments)

        return call


def watch(app: Any) -> WatchedStore:
    """Put a watched store in the place of the application's."""
    repository = app.session_interface.repository
    repository.store = WatchedStore(repository.store)
    return repository.store
