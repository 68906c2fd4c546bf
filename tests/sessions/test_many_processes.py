"""Eight processes change one session: no update is lost under a load that no browser makes."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, session

from flask_cloakroom import Session
from support.servers.redis_server import RedisServer
from support.sites.requests_on_app import send, ticket_of

pytestmark = pytest.mark.promise(3)

PROCESSES = 8
REQUESTS = 500


def make_app(url: str) -> Flask:
    app = Flask("shop")
    app.config.update(SESSION_STORE=url, SESSION_KEY_PREFIX="many-processes:", SESSION_MAX_BYTES=4 * 1024 * 1024)
    Session(app)

    @app.post("/append/<entry>")
    def append(entry: str) -> str:
        session["shared"]["list"].append(entry)
        return "ok"

    @app.post("/set/<key>")
    def set_key(key: str) -> str:
        session[key] = key
        return "ok"

    @app.post("/begin")
    def begin() -> str:
        session["shared"] = {"list": []}
        return "ok"

    @app.get("/show")
    def show() -> dict[str, Any]:
        return dict(session)

    return app


def hammer(url: str, ticket: str, number: int, results: Any) -> None:
    """What one process does; puts the status codes other than 200 into ``results``."""
    app = make_app(url)
    failures = []
    for i in range(REQUESTS):
        for path in (f"/append/{number}-{i}", f"/set/key-{number}-{i}"):
            response = send(app, path, ticket, method="POST")
            if response.status_code != 200:
                failures.append((path, response.status_code))
    results.put(failures)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_eight_processes(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """8 × 500 requests that append to one nested list and 8 × 500 that set a key: all is there at the end."""
    if store == "sqlite":
        url = f"sqlite:///{tmp_path}/sessions.sqlite3"
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        url = server.url
    app = make_app(url)
    ticket = ticket_of(send(app, "/begin", method="POST"))
    assert ticket
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    processes = [context.Process(target=hammer, args=(url, ticket, number, results)) for number in range(PROCESSES)]
    for process in processes:
        process.start()
    failures = [results.get() for _ in processes]
    for process in processes:
        process.join()
    stored = send(app, "/show", ticket).json
    app.session_interface.store.close()  # type: ignore[attr-defined]
    assert failures == [[]] * PROCESSES
    expected = {f"{number}-{i}" for number in range(PROCESSES) for i in range(REQUESTS)}
    entries = stored.pop("shared")["list"]
    assert len(entries) == len(expected)
    assert set(entries) == expected
    assert stored == {f"key-{entry}": f"key-{entry}" for entry in expected}
    for number in range(PROCESSES):
        mine = [entry for entry in entries if entry.startswith(f"{number}-")]
        assert mine == [f"{number}-{i}" for i in range(REQUESTS)]  # each process's own order is kept
