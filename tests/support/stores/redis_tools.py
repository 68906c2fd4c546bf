"""What the tests of RedisStore in trouble share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flask_cloakroom.errors import StoreError
from flask_cloakroom.stores.redis.store import RedisStore
from support.clock import CalmClock

#: Seconds that a store of these tests has for a call.
TIMEOUT = 0.8
#: What a loaded machine may add to a bound, in seconds.
MARGIN = 0.5

VERBS: dict[str, Callable[[RedisStore], object]] = {
    "load": lambda store: store.load(b"k"),
    "create": lambda store: store.create(b"new", b"data", 60),
    "replace": lambda store: store.replace(b"k", b"data", 60, b"12345678"),
    "touch": lambda store: store.touch(b"k", 60),
    "delete": lambda store: store.delete(b"k"),
    "walk": lambda store: list(store.walk()),
}
#: Those that go over the store's own connections. Walking is for operators, and takes the driver's time.
REQUEST_VERBS = [name for name in VERBS if name != "walk"]


def seconds_to_fail(work: Callable[[], object]) -> float:
    """Return how long it takes until ``work`` is a StoreError, by a clock that leaves out other programs' time."""
    with CalmClock() as clock:
        began = clock.time()
        with pytest.raises(StoreError):
            work()
        return clock.time() - began


def open_connections(store: RedisStore, count: int) -> None:
    """Let so many connections lie idle, and no other ones."""
    transport: Any = store._transport
    transport.close()
    connections = [transport._open() for _ in range(count)]
    for connection in connections:
        transport._idle.append(connection)
