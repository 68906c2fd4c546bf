"""The numbers of requests, logins and conflicts in each minute, summed over all processes.

A request only increments a number in its process. It needs neither Redis nor the session for that. Every few seconds a
separate thread adds the numbers to Redis, so that no page waits for Redis, even while Redis is down.
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

#: The kinds of events: the fields of a minute's hash, ``sched:traffic:<minutes since 1970>``.
KINDS = ("requests", "logins", "conflicts")
#: The number of minutes that the charts show.
MINUTES_SHOWN = 60
#: Seconds after which a minute's numbers expire: twice the time shown, for numbers that a process sends late.
EXPIRES_AFTER = 2 * MINUTES_SHOWN * 60
#: Seconds between two deliveries of one process.
DELIVERY_INTERVAL = 2.0
#: The key of the application's :class:`Traffic` in ``app.extensions``.
EXTENSION_KEY = "sched.traffic"


class Minute(NamedTuple):
    """The numbers of one minute. ``number`` counts the minutes since 1970."""

    number: int
    requests: int
    logins: int
    conflicts: int


class Traffic:
    """The numbers of one process that are not in Redis yet. Safe for threads."""

    def __init__(self, app: Flask) -> None:
        """Count from now on. When the process ends, the numbers since the last delivery are lost."""
        self._app = app
        self._lock = threading.Lock()
        self._waiting: Counter[tuple[int, str]] = Counter()
        self._next_delivery = time.monotonic() + DELIVERY_INTERVAL
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
            is_due = now >= self._next_delivery
            if is_due:
                self._next_delivery = now + DELIVERY_INTERVAL
        if is_due:
            # A thread for one delivery. A permanent thread would not exist in a forked worker.
            threading.Thread(target=self._deliver_quietly, name="sched-traffic", daemon=True).start()

    def _deliver_quietly(self) -> None:
        try:
            self.deliver()
        except RedisError:  # which Flask-Cloakroom has logged; the numbers wait for the next delivery
            return

    def deliver(self) -> None:
        """Add the numbers to Redis. Raises RedisError, and keeps the numbers for the next delivery then."""
        with self._lock:
            waiting, self._waiting = self._waiting, Counter()
        if not waiting:
            return
        oldest = _this_minute() - MINUTES_SHOWN
        try:
            with self._app.app_context():
                pipeline = redis.pipeline()
                for (minute, kind), number in waiting.items():
                    if minute > oldest:
                        pipeline.hincrby(_key(minute), kind, number)
                        pipeline.expire(_key(minute), EXPIRES_AFTER)
                pipeline.execute()
        except RedisError:
            with self._lock:
                # Keep only the minutes that a chart still shows. Redis may be down for hours.
                self._waiting.update({key: number for key, number in waiting.items() if key[0] > oldest})
            raise


def init_app(app: Flask) -> None:
    """Count the events of the application from now on."""
    app.extensions[EXTENSION_KEY] = Traffic(app)


def last_hour(app: Flask) -> list[Minute]:
    """Return the last sixty minutes, with the current one at the end. Raises RedisError."""
    app.extensions[EXTENSION_KEY].deliver()
    now = _this_minute()
    minutes = range(now - MINUTES_SHOWN + 1, now + 1)
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
