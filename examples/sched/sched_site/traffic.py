"""How many requests, logins and conflicts there are in each minute, of all processes together.

A request adds to a number of its process and goes on: it asks neither Redis nor the session for that. Every few seconds
a thread of its own brings what has come together to Redis, so no page waits for it, also while Redis is away.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any, NamedTuple

from flask import Flask, request_finished
from redis.exceptions import RedisError

from flask_cloakroom import session_conflict, user_logged_in, user_session_conflict

from .redis_client import redis

#: What is counted: the fields of a minute's hash, ``sched:traffic:<minutes since 1970>``.
KINDS = ("requests", "logins", "conflicts")
#: Minutes that are shown,
SHOWN = 60
#: and seconds that a minute's numbers are kept: some longer, for a process that could not bring them at once.
KEPT = 2 * SHOWN * 60
#: Seconds between two times that a process brings its numbers.
PAUSE = 2.0
#: Where the application keeps its :class:`Traffic`.
EXTENSION_KEY = "sched.traffic"


class Minute(NamedTuple):
    """A minute, since 1970, and what was counted in it."""

    number: int
    requests: int
    logins: int
    conflicts: int


class Traffic:
    """The numbers of one process that are not in Redis yet. Any thread may use it."""

    def __init__(self, app: Flask) -> None:
        """Count from now on. What is not brought when the process ends is lost: the last seconds at most."""
        self._app = app
        self._lock = threading.Lock()
        self._waiting: Counter[tuple[int, str]] = Counter()
        self._next = time.monotonic() + PAUSE
        for signal, kind in (
            (request_finished, "requests"),
            (user_logged_in, "logins"),
            (session_conflict, "conflicts"),
            (user_session_conflict, "conflicts"),
        ):
            signal.connect(self._counter(kind), app, weak=False)

    def _counter(self, kind: str) -> Any:
        def count(sender: Flask, **about: Any) -> None:
            self._count(kind)

        return count

    def _count(self, kind: str) -> None:
        now = time.monotonic()
        with self._lock:
            self._waiting[_this_minute(), kind] += 1
            is_due = now >= self._next
            if is_due:
                self._next = now + PAUSE
        if is_due:
            # Ends after one delivery: a thread that stayed would not be there in a forked worker.
            threading.Thread(target=self._deliver_quietly, name="sched-traffic", daemon=True).start()

    def _deliver_quietly(self) -> None:
        try:
            self.deliver()
        except RedisError:  # the package has logged it, and what was not brought waits for the next time
            return

    def deliver(self) -> None:
        """Bring the numbers to Redis. Raises RedisError, and then they are kept for the next time."""
        with self._lock:
            waiting, self._waiting = self._waiting, Counter()
        if not waiting:
            return
        oldest = _this_minute() - SHOWN
        try:
            with self._app.app_context():
                pipeline = redis.pipeline()
                for (minute, kind), number in waiting.items():
                    if minute > oldest:
                        pipeline.hincrby(_key(minute), kind, number)
                        pipeline.expire(_key(minute), KEPT)
                pipeline.execute()
        except RedisError:
            with self._lock:
                # Without those that nobody will look at any more: Redis may be away for long.
                self._waiting.update({key: number for key, number in waiting.items() if key[0] > oldest})
            raise


def init_app(app: Flask) -> None:
    """Count what happens in the application."""
    app.extensions[EXTENSION_KEY] = Traffic(app)


def last_hour(app: Flask) -> list[Minute]:
    """Return the last sixty minutes, the present one last. Raises RedisError."""
    app.extensions[EXTENSION_KEY].deliver()
    now = _this_minute()
    minutes = range(now - SHOWN + 1, now + 1)
    pipeline = redis.pipeline()
    for minute in minutes:
        pipeline.hmget(_key(minute), KINDS)
    return [
        Minute(minute, *(int(number or 0) for number in numbers))
        for minute, numbers in zip(minutes, pipeline.execute(), strict=True)
    ]


def _this_minute() -> int:
    return int(time.time()) // 60


def _key(minute: int) -> str:
    return f"sched:traffic:{minute}"
