"""Each group of operations in Flask-Redis's documentation, on a real server."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest

from flask_cloakroom import FlaskRedis
from support import ROOT
from support.processes import run
from support.redis.clients import make_app, make_client
from support.redis.operations import GROUPS, Talk
from support.servers.special import GuardedRedisServer, VolatileRedisServer


@pytest.fixture
def prefix() -> str:
    """Return a prefix of the test's own."""
    return secrets.token_hex(4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"decode_responses": True},
        {"protocol": 3},
        {"decode_responses": True, "protocol": 2},
        {"max_connections": 4},
    ],
    ids=str,
)
@pytest.mark.parametrize("group", GROUPS)
def test_operations(shared_server: VolatileRedisServer, prefix: str, group: str, options: dict[str, Any]) -> None:
    """Answers are what the driver's client answers; with decode_responses they are text."""
    client = make_client(shared_server.url, **options)
    GROUPS[group](Talk(client, decodes=options.get("decode_responses", False), prefix=prefix))


@pytest.mark.parametrize("group", GROUPS)
def test_operations_in_a_request(shared_server: VolatileRedisServer, prefix: str, group: str) -> None:
    """The same in a view."""
    app = make_app(shared_server.url)
    client = FlaskRedis(app)

    @app.get("/")
    def view() -> str:
        GROUPS[group](Talk(client, decodes=False, prefix=prefix))
        return "done"

    assert app.test_client().get("/").text == "done"


@pytest.mark.parametrize("group", GROUPS)
def test_operations_over_tls(guarded_server: GuardedRedisServer, prefix: str, group: str) -> None:
    """The same on TLS with a password."""
    GROUPS[group](Talk(make_client(guarded_server.tls_url), decodes=False, prefix=prefix))


#: Without redis-py in the process, on valkey-py.
ON_VALKEY = """
    import sys
    sys.modules["redis"] = None
    sys.path.insert(0, sys.argv[3])
    from flask import Flask
    from flask_cloakroom import FlaskRedis, Session
    from support.redis.operations import GROUPS, Talk
    app = Flask("x")
    for scheme in ("redis", "valkey"):
        for decodes in (False, True):
            app.config["REDIS_URL"] = scheme + sys.argv[1].removeprefix("redis")
            client = FlaskRedis(app, decode_responses=decodes, timeout=3, max_connections=5)
            assert type(client._redis_client).__name__ == "Valkey"
            for name, group in GROUPS.items():
                group(Talk(client, decodes=decodes, prefix=f"{sys.argv[2]}{scheme}{decodes}"))
            assert client.connection_pool.limit.open_count <= 5
            assert not client.connection_pool._in_use_connections
    Session(app)
    app.config["SECRET_KEY"] = "x"
    app.add_url_rule("/", view_func=lambda: str(__import__("flask").session.setdefault("n", 1)))
    assert app.test_client().get("/").text == "1"
    print(*GROUPS)
"""


def test_operations_on_valkey_py(shared_server: VolatileRedisServer, prefix: str, tmp_path: Path) -> None:
    """All of them where only valkey-py is installed, by both spellings of the URL, and a session."""
    pytest.importorskip("valkey")
    arguments = (shared_server.url, prefix, str(ROOT / "tests"))
    assert run(ON_VALKEY, *arguments, cwd=tmp_path).split() == list(GROUPS)


def test_nothing_is_held_after_any_of_them(own_server: VolatileRedisServer, prefix: str) -> None:
    """Every connection lies idle again, in the pool that it came from."""
    client = make_client(own_server.url)
    for group in GROUPS.values():
        group(Talk(client, decodes=False, prefix=prefix))
    pool: Any = client.connection_pool
    assert not pool._in_use_connections
    assert len(pool._available_connections) == pool.limit.open_count
