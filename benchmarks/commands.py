"""Count the commands that a page sends to Redis, by the server's own figures.

``INFO commandstats`` also counts the commands that a script runs inside the server. ``MONITOR`` marks these with the
word ``lua``. So the clients' commands are the statistics minus the marked lines, and must equal the unmarked lines.
"""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from apps import LOGIN_CONTESTANTS, LOGIN_PAGES, PAGES, Environment, make_app, prepare, start_session
from raw import RawRedis, word

REQUESTS = 100

#: The sender and the command in `+1700000000.123456 [2 unix:/tmp/redis.sock] "GET" "session:…"`.
_LINE = re.compile(r"^\+[0-9.]+ \[\d+ (\S+)\] \"([^\"]+)\"")

#: Commands of the measurement itself.
_OURS = {"info", "monitor", "ping", "echo"}


@dataclass(frozen=True)
class Counts:
    """Commands for one request of one page."""

    #: Sent by clients. The request waits for their answers.
    sent: float
    #: Run by a script inside the server.
    in_scripts: float
    #: By name, as in ``INFO commandstats``.
    by_name: dict[str, float]


class _Monitor:
    """A connection that receives a line for every command that the server runs."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._socket.sendall(b"MONITOR\r\n")
        self._lines = self._socket.makefile("r", encoding="utf-8", errors="replace")
        self._lines.readline()
        self._seen: Counter[str] = Counter()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._lines:
            match = _LINE.match(line)
            if match is None:
                continue
            source, command = match[1], match[2].lower()
            if command == "echo":
                self._end.set()
                return
            if command not in _OURS:
                self._seen["script" if source == "lua" else "client"] += 1

    def stop(self, redis: RawRedis) -> Counter[str]:
        """Wait until all lines up to now have arrived, and return the number of lines of each source."""
        redis(b"ECHO", b"end")
        if not self._end.wait(10):
            raise TimeoutError("MONITOR sent nothing for 10 s. Check the Redis server.")
        self._socket.close()
        return self._seen


def count(contestants: list[str], environment: Environment) -> dict[str, dict[str, Counts]]:
    """Return the commands for one request, by contestant and page."""
    return {name: _count_pages(name, environment, "/start", PAGES) for name in contestants}


def count_logins(environment: Environment) -> dict[str, dict[str, Counts]]:
    """Return the same for the sites with logins."""
    return {name: _count_pages(name, environment, "/login", LOGIN_PAGES) for name in LOGIN_CONTESTANTS}


def _count_pages(contestant: str, environment: Environment, start: str, pages: Iterable[str]) -> dict[str, Counts]:
    app = make_app(contestant, environment)
    cookie = start_session(app, start)
    found = {}
    for page in pages:
        request = prepare(app, page, cookie)
        request()  # connects, and makes the server load the script
        found[page] = count_page(environment.socket, request)
    return found


def count_page(path: str, request: Callable[[], object]) -> Counts:
    """Return the commands of one call of ``request``. ``path`` is the Redis server's socket."""
    redis = RawRedis(path, 0)
    before = _statistics(redis)
    monitor = _Monitor(path)
    for _ in range(REQUESTS):
        request()
    seen = monitor.stop(redis)
    after = _statistics(redis)
    redis.close()
    by_name = {name: number - before[name] for name, number in after.items() if number != before[name]}
    sent = sum(by_name.values()) - seen["script"]
    if sent != seen["client"]:
        raise RuntimeError(f"Redis counts {sent} commands of clients, MONITOR showed {seen['client']}")
    return Counts(
        sent=sent / REQUESTS,
        in_scripts=seen["script"] / REQUESTS,
        by_name={name: number / REQUESTS for name, number in by_name.items()},
    )


def _statistics(redis: RawRedis) -> Counter[str]:
    """Return how often each command has run since the server started."""
    text = word(redis(b"INFO", b"commandstats")).decode()
    found = re.findall(r"^cmdstat_(\S+?):calls=(\d+)", text, re.MULTILINE)
    return Counter({name: int(number) for name, number in found if name not in _OURS})
