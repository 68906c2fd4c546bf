"""What the tests of FlaskRedis share: applications, looks at the server from outside, and processes of their own."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_cloakroom import FlaskRedis
from flask_cloakroom.redis_connections.limit import ConnectionLimit
from support.servers.groups import wait_until
from support.servers.redis_server import RedisServer
from support.servers.special import admin


def make_app(url: str | None = None, *, name: str = "shop", **config: Any) -> Flask:
    """Return an application with this ``REDIS_URL``, and other settings."""
    app = Flask(name)
    app.config.update(SECRET_KEY="for tests", TESTING=True, **config)
    if url is not None:
        app.config["REDIS_URL"] = url
    return app


def make_client(url: str | None = None, /, **options: Any) -> FlaskRedis:
    """Return an instance on an application of its own, which lives as long as it."""
    app = make_app(url)
    client = FlaskRedis(app, **options)
    setattr(client, "application_of_this_test", app)  # noqa: B010 (it is none of its attributes)
    return client


def limit_of(client: FlaskRedis) -> ConnectionLimit:
    """Return the limit that a client's connections count under."""
    limit: ConnectionLimit = getattr(client.connection_pool, "limit")  # noqa: B009 (the driver's type knows nothing of it)
    return limit


class Outside:
    """Looks at a server's clients on a connection that is none of theirs."""

    def __init__(self, server: RedisServer) -> None:
        self._client = admin(server)
        self._me = str(self._client.client_id())
        self._server = server

    def clients(self) -> list[dict[str, Any]]:
        """Return what the server says of each connection but this one."""
        return [each for each in self._client.client_list() if each["id"] != self._me]

    def count(self) -> int:
        """Return how many connections others have."""
        return len(self.clients())

    def wait_for(self, count: int) -> None:
        """Return when others have so many connections. The server may hear of an end a moment later."""
        wait_until(lambda: self.count() == count, f"{count} connections")

    def kill_all(self) -> None:
        """End every connection but this one."""
        self._client.client_kill_filter(_type="normal", skipme=True)
        self._client.client_kill_filter(_type="pubsub", skipme=True)

    def command(self, *command: str | int | bytes) -> Any:
        """Run a command."""
        return self._client.execute_command(*command)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def sockets_of(pid: int) -> set[str]:
    """Return the sockets that a process has, from outside; none if it has ended."""
    found: set[str] = set()
    with contextlib.suppress(FileNotFoundError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                found.add(str(descriptor.readlink()))
    return {each for each in found if each.startswith("socket:")}


class Observer:
    """Counts the sockets of forked children all the time, without those that they had from the beginning."""

    def __init__(self, inherited: dict[int, set[str]], limit: int) -> None:
        self._inherited = inherited
        self._limit = limit
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        #: By process: the most that there were at once.
        self.highest: Counter[int] = Counter()
        self.looks = 0

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._over.set()
        self._thread.join(30)

    def _look(self) -> None:
        while not self._over.wait(0.005):
            for child, inherited in self._inherited.items():
                counted = len(sockets_of(child) - inherited)
                if counted > self._limit:
                    # A list that was made while one was closed for another has both. Too many stay too many.
                    counted = min(counted, *(len(sockets_of(child) - inherited) for _ in range(3)))
                self.highest[child] = max(self.highest[child], counted)
            self.looks += 1


def in_threads(*works: Callable[[], Any]) -> list[threading.Thread]:
    """Start each in a thread of its own."""
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    return threads


def join(threads: Iterable[threading.Thread]) -> None:
    """Wait for threads; one that hangs is an error."""
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "a thread hangs"


def require_or_skip(module: str) -> None:
    """Skip the test without a package, or fail where CI promised it."""
    if os.environ.get("CI"):
        __import__(module)
    else:
        pytest.importorskip(module)
