"""The embedded server hangs (SIGSTOP): a page is a 503 within SESSION_STORE_TIMEOUT."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask, session

from flask_cloakroom import FlaskRedis, Session
from flask_cloakroom.redis_connections.embedded import server as embedded
from flask_cloakroom.redis_connections.embedded.keeper import USERS_LOCK
from flask_cloakroom.redis_connections.embedded.server import EmbeddedServer, EmbeddedServerLateError
from support.clock import wait_until
from support.redis.clients import in_threads, join
from support.redis.embedded_users import Processes, User, can_lock

#: Seconds: the default of SESSION_STORE_TIMEOUT, which the tests leave as it is.
TIMEOUT = 2.0


@pytest.fixture
def app(folder: Path, processes: Processes) -> Iterator[Flask]:
    """Return an application with sessions in the embedded server of the folder, not used yet."""
    app = Flask("shop", instance_path=str(folder.parent))
    app.config.update(SESSION_STORE="embedded://", TESTING=True)
    Session(app)
    app.add_url_rule("/write/<value>", "write", lambda value: str(session.update(value=value)))
    app.add_url_rule("/read", "read", lambda: str(session.get("value")))
    app.add_url_rule("/alone", "alone", lambda: "alone")
    yield app
    store: Any = app.session_interface.store  # type: ignore[attr-defined]
    store.close()
    use_no_more(store.connector.direct_access[0])


def use_no_more(endpoint: Any) -> None:
    """Let the server end before its last user, which is this process, does."""
    endpoint._address["route"]._server.close()


def visitor(app: Flask) -> Any:
    """Return a browser with a session cookie, which makes every page that uses the session ask the store."""
    browser = app.test_client()
    browser.set_cookie("session", "A" * 43)
    return browser


def a_503_in_time(browser: Any) -> float:
    """Ask for a page; return how long it took."""
    began = time.monotonic()
    response = browser.get("/read")
    took = time.monotonic() - began
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert took < TIMEOUT
    assert browser.get("/alone").text == "alone"
    return took


class Stopped:
    """A process that hangs, until the end of the block."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def __enter__(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def __exit__(self, *details: object) -> None:
        os.kill(self._pid, signal.SIGCONT)


@pytest.mark.parametrize("connections", ["idle", "none"])
def test_while_it_runs(app: Flask, processes: Processes, connections: str) -> None:
    """With connections that lie idle, and with none: every page in time, and afterwards the data is there."""
    browser = app.test_client()
    assert browser.get("/write/1").status_code == 200
    if connections == "none":
        app.session_interface.store.close()  # type: ignore[attr-defined]
    with Stopped(processes.server()):
        for _ in range(3):
            a_503_in_time(browser)
    assert browser.get("/read").text == "1"


def test_many_pages_at_once(app: Flask, processes: Processes) -> None:
    """Each waits for its own time, not for that of one another."""
    app.test_client().get("/write/1")
    took: list[float] = []
    with Stopped(processes.server()):
        join(in_threads(*[lambda: took.append(a_503_in_time(visitor(app)))] * 6))
    assert len(took) == 6


def wrapped(program: str, place: Path) -> str:
    """Return a program that stops itself before it is what it should be."""
    script = place / f"python-stopped-{Path(program).name}"
    script.write_text(f'#!/bin/sh\necho $$ > "{place}/pid"\nkill -STOP $$\nexec "{program}" "$@"\n')
    script.chmod(0o700)
    return str(script)


def the_stopped_one(place: Path) -> int:
    """Return the process id of what :func:`wrapped` runs."""
    wait_until(lambda: (place / "pid").exists() and (place / "pid").read_text().endswith("\n"), "it was started")
    return int((place / "pid").read_text())


@pytest.mark.parametrize("part", ["keeper", "server"])
def test_at_its_start(
    app: Flask, processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """Pages in time; when it goes on, that same start succeeds, and no second one was begun meanwhile."""
    if part == "keeper":
        stopped = wrapped(sys.executable, tmp_path)
        monkeypatch.setattr(embedded, "_interpreter", lambda: stopped)
    else:
        stopped = wrapped(embedded.find_program(), tmp_path)
        monkeypatch.setattr(embedded, "find_program", lambda: stopped)
    browser = visitor(app)
    a_503_in_time(browser)
    pid = the_stopped_one(tmp_path)
    a_503_in_time(browser)
    assert the_stopped_one(tmp_path) == pid
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: browser.get("/write/1").status_code == 200, "the start went on")
    assert browser.get("/read").text == "1"
    assert len(processes.servers()) == 1


def test_a_keeper_that_hangs_for_good_is_ended(
    server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a longer time than a page has; then there can be a new start."""
    monkeypatch.setattr(embedded, "_KEEPER_TIMEOUT", 0.2)
    with monkeypatch.context() as patch:
        stopped = wrapped(sys.executable, tmp_path)
        patch.setattr(embedded, "_interpreter", lambda: stopped)
        with pytest.raises(EmbeddedServerLateError, match="has not started after"):
            server.ensure_running(0.2)
    wait_until(lambda: not Path(f"/proc/{the_stopped_one(tmp_path)}").exists(), "the keeper was killed")
    server.ensure_running()


def test_while_it_is_being_ended(app: Flask, new_user: Callable[[], User], processes: Processes, folder: Path) -> None:
    """The server of earlier processes hangs before its end."""
    earlier = new_user()
    earlier.do("use")
    with Stopped(processes.server()):
        earlier.end()
        wait_until(lambda: not can_lock(folder / USERS_LOCK), "the keeper has begun to end the server")
        browser = visitor(app)
        a_503_in_time(browser)
    wait_until(lambda: browser.get("/write/1").status_code == 200, "there is a new server")


def test_the_client(folder: Path, processes: Processes) -> None:
    """FlaskRedis waits for as long as it waits for any server, and does not try a time-out again."""
    app = Flask("shop", instance_path=str(folder.parent))
    app.config["REDIS_URL"] = "embedded://?socket_timeout=0.5&socket_connect_timeout=0.5"
    client = FlaskRedis(app)

    def write() -> bool:
        try:
            return bool(client.set("k", "v"))
        except redis.TimeoutError:
            return False  # on a busy machine the server needs more than half a second to start

    wait_until(write, "the server has started")
    with Stopped(processes.server()):
        for what in ("reading", "gives no answer"):
            began = time.monotonic()
            with pytest.raises(redis.TimeoutError, match=what):
                client.get("k")
            assert time.monotonic() - began < 1.5
    assert client.get("k") == b"v"
    client.connection_pool.disconnect()
    use_no_more(getattr(client.connection_pool, "endpoint"))  # noqa: B009 (the driver's type knows nothing of it)
