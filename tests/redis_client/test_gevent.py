"""Greenlets in the place of threads: a greenlet that waits for a connection does not block the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.processes import run
from support.redis.clients import require_or_skip
from support.servers.special import VolatileRedisServer

GREENLETS = """
    from gevent import monkey
    monkey.patch_all()
    import sys
    import gevent
    from flask import Flask, session
    from flask_cloakroom import FlaskRedis, Session

    app = Flask("x")
    app.config.update(REDIS_URL=sys.argv[1], SECRET_KEY="x", SESSION_STORE_TIMEOUT=30)
    client = FlaskRedis(app, max_connections=5, timeout=30)
    Session(app)
    limit = client.connection_pool.limit

    @app.get("/<int:number>")
    def page(number):
        session["number"] = number
        client.multi()
        client.set(f"page{number}", number)
        gevent.sleep(0)
        client.get(f"page{number}")
        return str(client.exec()[1].decode())

    def work(number):
        for turn in range(3):
            client.set(f"k{number}", f"{number}:{turn}")
            assert client.get(f"k{number}") == f"{number}:{turn}".encode()
            assert limit.open_count <= 5
        browser = app.test_client()
        assert browser.get(f"/{number}").text == str(number)
        with browser.session_transaction() as found:
            assert found["number"] == number

    def blocked(number):
        client.blpop(["never"], timeout=30)

    greenlets = [gevent.spawn(work, number) for number in range(200)]
    gevent.joinall(greenlets, timeout=50, raise_error=True)
    assert all(each.successful() for each in greenlets)

    # Killed, or timed out, between command and answer: connections come back, and answers stay with their questions.
    waiting = [gevent.spawn(blocked, number) for number in range(5)]
    gevent.sleep(0.2)
    gevent.killall(waiting)
    for number in range(20):
        with gevent.Timeout(0.0005 * (number % 4), False):
            client.get(f"k{number}")
        assert client.get("k7") == b"7:2"
    assert not client.connection_pool._in_use_connections
    assert limit.open_count <= 5, limit.open_count
    assert not limit.waiters
    print("done", limit.open_count)
"""


def test_two_hundred_greenlets(own_server: VolatileRedisServer, tmp_path: Path) -> None:
    """On five connections, with sessions and transactions: nobody gets another's answer, and nobody is left behind."""
    require_or_skip("gevent")
    options = ["-W", "ignore::DeprecationWarning", "-W", "ignore::ResourceWarning"]
    assert run(GREENLETS, own_server.url, options=options, cwd=tmp_path).startswith("done")


KILLED = """
    from gevent import monkey
    monkey.patch_all()
    import os, signal, sys
    import gevent
    from flask import Flask
    from flask_cloakroom import FlaskRedis
    from flask_cloakroom.stores.redis.store import RedisStore

    url, server = sys.argv[1], int(sys.argv[2])
    app = Flask("x")
    app.config["REDIS_URL"] = url
    client = FlaskRedis(app, max_connections=3, timeout=30, socket_timeout=30, socket_connect_timeout=30)
    store = RedisStore(url, prefix="g:", timeout=60)
    entries = {key: store.create(key, b"data of " + key, 60) for key in (b"a", b"b")}
    limit, pool, idle = client.connection_pool.limit, client.connection_pool, store._transport._idle

    def right():
        assert limit.open_count == len(idle) + len(pool._available_connections), limit.open_count
        assert not limit.waiters
        assert not pool._in_use_connections
        for key, version in entries.items():
            found = store.load(key)
            assert (found.data, found.version) == (b"data of " + key, version)

    # With connections that lie idle, and with none: some wait for an answer, some for a connection to be made, and
    # some for room.
    for turn in range(12):
        client.ping()
        right()
        if turn % 2:
            limit.close_idle()
        os.kill(server, signal.SIGSTOP)
        greenlets = [gevent.spawn(work, b"a") for _ in range(4) for work in (store.load, client.get)]
        gevent.sleep(0.01 * (turn % 4))
        gevent.killall(greenlets[turn % 3 :: 2])
        gevent.killall(greenlets)
        os.kill(server, signal.SIGCONT)
        assert limit.open_count == len(idle) + len(pool._available_connections), limit.open_count
        assert not limit.waiters
        right()

    # An answer that nobody waits for: gevent's sockets are looked at too.
    client.ping()
    wire = idle[-1]
    wire._socket.sendall(b"PING\\r\\n")
    with gevent.Timeout(10):
        while not wire.unread():
            gevent.sleep(0.001)
    right()
    assert wire not in idle
    print("done")
"""


def test_killed_greenlets(own_server: VolatileRedisServer, tmp_path: Path) -> None:
    """In the middle of a command, of connecting and of waiting: every count is right, and every answer one's own."""
    require_or_skip("gevent")
    assert own_server._process is not None
    options = ["-W", "ignore"]
    assert run(KILLED, own_server.url, str(own_server._process.pid), options=options, cwd=tmp_path) == "done"


@pytest.mark.parametrize("first", ["gevent", "package"])
def test_patched_late(own_server: VolatileRedisServer, tmp_path: Path, first: str) -> None:
    """Also where the package was imported before gevent took the place of the threads, as with some servers."""
    require_or_skip("gevent")
    lines = ["from gevent import monkey; monkey.patch_all()", "from flask_cloakroom import FlaskRedis"]
    code = "\n".join(lines if first == "gevent" else reversed(lines))
    code += """
import sys, gevent
from flask import Flask
app = Flask("x")
app.config["REDIS_URL"] = sys.argv[1]
client = FlaskRedis(app, max_connections=2, timeout=20)
jobs = [gevent.spawn(client.set, f"k{number}", number) for number in range(50)]
gevent.joinall(jobs, timeout=30, raise_error=True)
print(sum(job.value for job in jobs))
"""
    options = ["-W", "ignore"]
    assert run(code, own_server.url, options=options, cwd=tmp_path) == "50"
