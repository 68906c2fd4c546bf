"""The cost of one call: of the application's Redis client, and of the sessions' store."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import redis
from flask import Flask

from apps import Environment
from flask_cloakroom import FlaskRedis
from flask_cloakroom.stores.redis.store import RedisStore
from raw import RawRedis, redis_get
from tools import say

#: Calls in one block.
BLOCK = 50
#: Bytes: about the size of the benchmark's stored session.
SIZE = 300


@dataclass(frozen=True)
class Calls:
    """Microseconds of each call, one figure for each round."""

    series: dict[str, list[float]]

    def ratio(self, ours: str, theirs: str) -> list[float]:
        """Return the ratio of two calls, round by round."""
        return [mine / other for mine, other in zip(self.series[ours], self.series[theirs], strict=True)]

    def difference(self, ours: str, theirs: str) -> list[float]:
        """Return by how many microseconds one call takes longer than the other, round by round."""
        return [mine - other for mine, other in zip(self.series[ours], self.series[theirs], strict=True)]


BARE, OURS = "redis-py: get", "FlaskRedis: get"
BARE_SET, OURS_SET = "redis-py: set", "FlaskRedis: set"
RAW, LOAD = "GET on a raw socket", "the store's load"


def measure(environment: Environment, rounds: int) -> Calls:
    """Measure all calls in turns, so that a disturbance of the machine affects all of them."""
    url = f"unix://{environment.socket}?db=5"
    app = Flask("calls", instance_path=environment.folder)
    app.config["REDIS_URL"] = url
    shared: Any = FlaskRedis(app)
    bare = redis.Redis.from_url(url)
    raw = RawRedis(environment.socket, 5)
    store = RedisStore(url)
    key = bytes(32)
    store.create(key, bytes(SIZE - 8), 3600)
    bare.set("key", b"v" * SIZE)
    calls: dict[str, Callable[[], object]] = {
        BARE: lambda: bare.get("key"),
        OURS: lambda: shared.get("key"),
        BARE_SET: lambda: bare.set("other", b"value"),
        OURS_SET: lambda: shared.set("other", b"value"),
        RAW: redis_get(raw, SIZE),
        LOAD: lambda: store.load(key),
    }
    say(f"cost of a call: {rounds} rounds")
    series: dict[str, list[float]] = {name: [] for name in calls}
    with app.app_context():
        for number in range(-2, rounds):  # two to warm up
            for name, call in calls.items():
                duration = _block(call)
                if number >= 0:
                    series[name].append(duration)
    store.close()
    raw.close()
    bare.close()
    return Calls(series)


def _block(call: Callable[[], object]) -> float:
    """Return the median of a block's calls, in microseconds."""
    clock = time.perf_counter_ns
    durations = []
    for _ in range(BLOCK):
        start = clock()
        call()
        durations.append(clock() - start)
    return median(durations) / 1000
