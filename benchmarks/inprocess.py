"""What a request costs inside one process: no server, no network but the store's own.

Every figure comes from one run in which the contestants take turns in many small rounds, so that a machine
that becomes slower or faster meets all of them alike. A *block* is some requests of one contestant in a row,
each timed by itself; its median is one sample. A contestant's figure is the median of its samples, and *added
cost* is that figure less the one of the same page on the bare application.
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
    Place,
    make_app,
    prepare,
    start_session,
)
from raw import RawRedis, number, redis_get, redis_get_and_replace, sqlite_read, word

Call = Callable[[], object]

#: Untimed calls at the start of a block, which bring caches back from what ran before.
WARM_UP = 5

RAW_GET = "raw GET"
RAW_REPLACE = "raw GET and compare-and-set script"
RAW_SQLITE = "raw SQLite read"

#: The same calls made by a view of the bare application. Between two requests the server has gone to sleep
#: and the caches hold other things, so a round trip takes longer there than in a loop of nothing else.
IN_A_VIEW = {RAW_GET: "bare with a raw GET", RAW_REPLACE: "bare with a raw GET and script"}


@dataclass(frozen=True)
class Samples:
    """Microseconds per request: one sample a round, in the order of the rounds."""

    series: dict[str, list[float]]

    def median(self, name: str) -> float:
        return median(self.series[name])

    def added(self, contestant: str, page: str) -> float:
        """Return the median of a page less that of the same page on the bare application."""
        return self.median(f"{contestant} {page}") - self.median(f"bare {page}")

    def added_by_round(self, contestant: str, page: str) -> list[float]:
        pairs = zip(self.series[f"{contestant} {page}"], self.series[f"bare {page}"], strict=True)
        return [ours - bare for ours, bare in pairs]


def spread(values: list[float]) -> tuple[float, float]:
    """Return the first and the third quartile."""
    first, _, third = quantiles(values, n=4)
    return first, third


def measure(contestants: list[str], place: Place, rounds: int, block: int) -> Samples:
    """Time every page of every contestant, and the raw round trips, in the same rounds."""
    return in_turns(_page_calls(contestants, place) | _raw_calls(place), rounds, block)


def measure_logins(place: Place, rounds: int, block: int) -> Samples:
    """Time the pages of the sites with logins, and those of the bare application."""
    calls: dict[str, Call] = {}
    for contestant in ("bare", *LOGIN_CONTESTANTS):
        app = make_app(contestant, place)
        cookie = BARE_COOKIE if contestant == "bare" else start_session(app, "/login")
        for page in LOGIN_PAGES:
            call = calls[f"{contestant} {page}"] = prepare(app, page, cookie)
            if call() != USER.encode():
                raise RuntimeError(f"{contestant} {page} let nobody in")
    return in_turns(calls, rounds, block)


def in_turns(calls: dict[str, Call], rounds: int, block: int) -> Samples:
    """Time some calls, a block of each in every round."""
    names = list(calls)
    series: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.freeze()  # what exists now is not looked at again by collections that fall into the timed blocks
    try:
        for number in range(rounds):
            # Each round begins with another contestant, so that none always follows the same one.
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


def _page_calls(contestants: list[str], place: Place) -> dict[str, Call]:
    calls: dict[str, Call] = {}
    for contestant in contestants:
        app = make_app(contestant, place)
        cookie = BARE_COOKIE if contestant == "bare" else start_session(app)
        for page in PAGES:
            call = calls[f"{contestant} {page}"] = prepare(app, page, cookie)
            _check(contestant, page, call)
    return calls


def _check(contestant: str, page: str, call: Callable[[], bytes]) -> None:
    """Make sure that what is timed works: a change must be there at the next request."""
    first, second = call(), call()
    keeps = contestant not in ("bare", "cookie")  # their state is in the request, which here stays the same
    expected = (b"1", b"2" if keeps else b"1") if page == "/write" else (b"ada.lovelace",) * 2
    if (first, second) != expected:
        raise RuntimeError(f"{contestant} {page} answered {first!r}, then {second!r}")


def _raw_calls(place: Place) -> dict[str, Call]:
    size = _stored_size(place)
    redis: dict[str, Call] = {
        RAW_GET: redis_get(RawRedis(place.socket, RAW_DB), size),
        RAW_REPLACE: redis_get_and_replace(RawRedis(place.socket, RAW_DB), size),
    }
    in_a_view = {f"{IN_A_VIEW[name]} /read": _in_a_view(call, place) for name, call in redis.items()}
    return redis | in_a_view | {RAW_SQLITE: sqlite_read(Path(place.folder) / "raw.sqlite", size)}


def _in_a_view(call: Call, place: Place) -> Call:
    app = make_app("bare", place)

    def read() -> str:
        call()
        return USER

    app.view_functions["name"] = read
    return prepare(app, "/read", "")


def _stored_size(place: Place) -> int:
    """Return the length of the value that the package keeps in Redis for the measured session."""
    start_session(make_app("cloakroom-redis", place))
    redis = RawRedis(place.socket, CLOAKROOM_DB)
    size = number(redis(b"STRLEN", word(redis(b"RANDOMKEY"))))
    redis.close()
    return size
