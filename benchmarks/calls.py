"""What a call costs: of the Redis client that a Flask application shares, and of the sessions' store."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import redis
from flask import Flask

from apps import Place
from flask_cloakroom import FlaskRedis
from flask_cloakroom.stores.redis.store import RedisStore
from raw import RawRedis, redis_get
from tools import say

#: Calls between two looks at the clock.
BLOCK = 50
#: What a stored session of the benchmark has, about.
SIZE = 300


@dataclass(frozen=True)
class Calls:
    """Microseconds of a call, one figure for each round."""

    series: dict[str, list[float]]

    def ratio(self, ours: str, theirs: str) -> list[float]:
        """Return the ratio of two, round by round."""
        return [mine / other for mine, other in zip(self.series[ours], self.series[theirs], strict=True)]

    def more(self, ours: str, theirs: str) -> list[float]:
        """Return how many microseconds more one takes than the other, round by round."""
        return [mine - other for mine, other in zip(self.series[ours], self.series[theirs], strict=True)]


BARE, OURS = "redis-py: get", "FlaskRedis: get"
BARE_SET, OURS_SET = "redis-py: set", "FlaskRedis: set"
RAW, LOAD = "GET on a raw socket", "the store's load"


def measure(place: Place, rounds: int) -> Calls:
    """Call each in turns, so that what the machine does meanwhile does not fall on one of them alone."""
    url = f"unix://{place.socket}?db=5"
    app = Flask("calls", instance_path=place.folder)
    app.config["REDIS_URL"] = url
    shared: Any = FlaskRedis(app)
    bare = redis.Redis.from_url(url)
    raw = RawRedis(place.socket, 5)
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
                taken = _block(call)
                if number >= 0:
                    series[name].append(taken)
    store.close()
    raw.close()
    bare.close()
    return Calls(series)


def _block(call: Callable[[], object]) -> float:
    """Return the median of a block's calls, in microseconds."""
    clock = time.perf_counter_ns
    taken = []
    for _ in range(BLOCK):
        began = clock()
        call()
        taken.append(clock() - began)
    return median(taken) / 1000
