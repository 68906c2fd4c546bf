"""The cost of a request inside one process: without a server, and without a network except the store's own.

Every figure comes from one run. The contestants take turns in many small rounds, so that a change in the machine's
speed affects all of them. A *block* is some requests of one contestant in a row, each timed alone; its median is one
sample. A contestant's figure is the median of its samples. *Added cost* is that figure minus the figure of the same
page on the bare application.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from apps import (
    BARE_COOKIE,
    CLOAKROOM_DB,
    LOGIN_CONTESTANTS,
    LOGIN_PAGES,
    PAGES,
    RAW_DB,
    USER,
    Environment,
    make_app,
    prepare,
    start_session,
)
from raw import RawRedis, number, redis_get, redis_get_and_replace, sqlite_read, word

Call = Callable[[], object]

#: Untimed calls at the start of a block, which fill the caches again after the other contestants' blocks.
WARM_UP = 5

RAW_GET = "raw GET"
RAW_REPLACE = "raw GET and compare-and-set script"
RAW_SQLITE = "raw SQLite read"

#: The same calls in a view of the bare application. Between two requests the server goes to sleep and the caches fill
#: with other data, so a round trip takes longer in a view than in a loop.
IN_A_VIEW = {RAW_GET: "bare with a raw GET", RAW_REPLACE: "bare with a raw GET and script"}


@dataclass(frozen=True)
class Samples:
    """Microseconds of a request: one sample for each round, in the order of the rounds."""

    series: dict[str, list[float]]

    def median(self, name: str) -> float:
        return median(self.series[name])

    def added(self, contestant: str, page: str) -> float:
        """Return the median of a page minus that of the same page on the bare application."""
        return self.median(f"{contestant} {page}") - self.median(f"bare {page}")

    def added_by_round(self, contestant: str, page: str) -> list[float]:
        pairs = zip(self.series[f"{contestant} {page}"], self.series[f"bare {page}"], strict=True)
        return [ours - bare for ours, bare in pairs]


def spread(values: list[float]) -> tuple[float, float]:
    """Return the first and the third quartile."""
    first, _, third = quantiles(values, n=4)
    return first, third


def measure(contestants: list[str], environment: Environment, rounds: int, block: int) -> Samples:
    """Time every page of every contestant, and the raw round trips, in the same rounds."""
    return in_turns(_page_calls(contestants, environment) | _raw_calls(environment), rounds, block)


def measure_logins(environment: Environment, rounds: int, block: int) -> Samples:
    """Time the pages of the sites with logins, and those of the bare application."""
    calls: dict[str, Call] = {}
    for contestant in ("bare", *LOGIN_CONTESTANTS):
        app = make_app(contestant, environment)
        cookie = BARE_COOKIE if contestant == "bare" else start_session(app, "/login")
        for page in LOGIN_PAGES:
            call = calls[f"{contestant} {page}"] = prepare(app, page, cookie)
            if call() != USER.encode():
                raise RuntimeError(f"{contestant} {page} refused the user. Check the login.")
    return in_turns(calls, rounds, block)


def in_turns(calls: dict[str, Call], rounds: int, block: int) -> Samples:
    """Time some calls, a block of each in every round."""
    names = list(calls)
    series: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.freeze()  # so that collections during the timed blocks do not check the objects that exist now
    try:
        for number in range(rounds):
            # Each round begins with another contestant, so that no contestant always follows the same one.
            start = number % len(names)
            for name in names[start:] + names[:start]:
                series[name].append(_block_median(calls[name], block))
    finally:
        gc.unfreeze()
    return Samples(series)


def _block_median(call: Call, count: int) -> float:
    for _ in range(WARM_UP):
        call()
    clock = time.perf_counter_ns
    times = []
    for _ in range(count):
        start = clock()
        call()
        times.append(clock() - start)
    return median(times) / 1000


def _page_calls(contestants: list[str], environment: Environment) -> dict[str, Call]:
    calls: dict[str, Call] = {}
    for contestant in contestants:
        app = make_app(contestant, environment)
        cookie = BARE_COOKIE if contestant == "bare" else start_session(app)
        for page in PAGES:
            call = calls[f"{contestant} {page}"] = prepare(app, page, cookie)
            _check(contestant, page, call)
    return calls


def _check(contestant: str, page: str, call: Callable[[], bytes]) -> None:
    """Check that the timed page works: the next request must see a change."""
    first, second = call(), call()
    keeps = contestant not in ("bare", "cookie")  # their state is in the request, which is the same each time
    expected = (b"1", b"2" if keeps else b"1") if page == "/write" else (b"ada.lovelace",) * 2
    if (first, second) != expected:
        raise RuntimeError(f"{contestant} {page} answered {first!r}, then {second!r}")


def _raw_calls(environment: Environment) -> dict[str, Call]:
    size = _stored_size(environment)
    redis: dict[str, Call] = {
        RAW_GET: redis_get(RawRedis(environment.socket, RAW_DB), size),
        RAW_REPLACE: redis_get_and_replace(RawRedis(environment.socket, RAW_DB), size),
    }
    in_a_view = {f"{IN_A_VIEW[name]} /read": _in_a_view(call, environment) for name, call in redis.items()}
    return redis | in_a_view | {RAW_SQLITE: sqlite_read(Path(environment.folder) / "raw.sqlite", size)}


def _in_a_view(call: Call, environment: Environment) -> Call:
    app = make_app("bare", environment)

    def read() -> str:
        call()
        return USER

    app.view_functions["name"] = read
    return prepare(app, "/read", "")


def _stored_size(environment: Environment) -> int:
    """Return the length of the value that the package stores in Redis for the measured session."""
    start_session(make_app("cloakroom-redis", environment))
    redis = RawRedis(environment.socket, CLOAKROOM_DB)
    size = number(redis(b"STRLEN", word(redis(b"RANDOMKEY"))))
    redis.close()
    return size
