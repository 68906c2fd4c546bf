"""valkey-py as the only driver: every kind of URL, for the client and for sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.processes import run
from support.servers.groups import SixNodeCluster
from support.servers.sentinel import SentinelSetup
from support.servers.special import GuardedRedisServer

pytest.importorskip("valkey")

ON_VALKEY = """
    import sys
    sys.modules["redis"] = None
    from flask import Flask, session
    from flask_cloakroom import FlaskRedis, Session
    url = sys.argv[1] + ("&" if "?" in sys.argv[1] else "?")
    app = Flask("x")
    app.config.update(REDIS_URL=url + "decode_responses=false&socket_timeout=4&health_check_interval=7")
    client = FlaskRedis(app)
    Session(app)
    client.set("{v}driver", "valkey")
    assert client.get("{v}driver") == b"valkey"
    if "cluster" not in url:  # valkey-py's cluster client has no transactions
        client.multi()
        client.set("{v}n", 1)
        client.incr("{v}n")
        assert client.exec() == [True, 2]
    app.add_url_rule("/", view_func=lambda: str(session.setdefault("n", 1)))
    assert app.test_client().get("/").text == "1"
    print(type(client._redis_client).__module__.partition(".")[0])
"""


def test_one_server(guarded_server: GuardedRedisServer, tmp_path: Path) -> None:
    """On TCP, TLS and a Unix socket, with a password."""
    for url in (guarded_server.url, guarded_server.tls_url, guarded_server.unix_url):
        assert run(ON_VALKEY, url, cwd=tmp_path) == "valkey"
    assert run(ON_VALKEY, "valkeys" + guarded_server.tls_url.removeprefix("rediss"), cwd=tmp_path) == "valkey"


def test_cluster(six_node_cluster: SixNodeCluster, tmp_path: Path) -> None:
    """By both spellings."""
    for scheme in ("redis", "valkey"):
        assert run(ON_VALKEY, scheme + six_node_cluster.url.removeprefix("redis"), cwd=tmp_path) == "valkey"


def test_sentinel(sentinel_setup: SentinelSetup, tmp_path: Path) -> None:
    """By both spellings."""
    for scheme in ("redis", "valkey"):
        assert run(ON_VALKEY, scheme + sentinel_setup.url.removeprefix("redis"), cwd=tmp_path) == "valkey"
