"""The site without any setting: everything is in a private server that starts and ends with the site."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from redis import Redis

from support.sched.processes import Site, eventually

REDIS = "redis"


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The site's folder, with a name that is short enough for a socket's."""
    folder = tmp_path_factory.mktemp("site")
    monkeypatch.setenv("SCHED_INSTANCE_PATH", str(folder))
    return folder


def server_of(folder: Path) -> int:
    """Return the process id of the server that keeps its data there."""
    with Redis(unix_socket_path=str(folder / REDIS / "server.sock")) as client:
        return int(client.info("server")["process_id"])


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ends_with_the_site_and_keeps_all(folder: Path, how: signal.Signals) -> None:
    """However the site ends, its server ends too; the next start has the carts, the stock and the counts."""
    with Site() as site:
        cookie = site.request("POST", "/cart/add", product="desk-bell").cookie
        site.request("GET", "/product/tea-for-two", cookie=cookie)
        other = site.request("POST", "/cart/add", product="fountain-pen").cookie
        site.request("POST", "/cart/buy", cookie=other)
        server = server_of(folder)
        assert is_running(server)
        _, said = site.stop(how)
        assert "Traceback" not in said
    eventually(lambda: not is_running(server))
    with Site() as site:
        page = site.request("GET", "/cart", cookie=cookie).text
        assert 'id="desk-bell-quantity"' in page
        assert "Viewed 2 times" in site.request("GET", "/product/tea-for-two").text
        assert "Sold out" in site.request("GET", "/product/fountain-pen").text
        assert server_of(folder) != server


def test_two_processes(folder: Path) -> None:
    """Two processes of one folder share the server, which stays until the second one ends."""
    with Site() as one, Site() as other:
        cookie = one.request("POST", "/cart/add", product="desk-bell").cookie
        assert other.request("GET", "/cart", cookie=cookie).status == 200
        server = server_of(folder)
        one.stop()
        assert 'id="desk-bell-quantity"' in other.request("GET", "/cart", cookie=cookie).text
        assert server_of(folder) == server
    eventually(lambda: not is_running(server))


def test_greeting(folder: Path) -> None:
    """The terminal tells where everything is, in a calm voice, and has no warning."""
    with Site() as site:
        assert site.request("GET", "/").status == 200
        _, said = site.stop()
    assert "Session store     Redis (embedded/0)" in said
    assert "A private server for the demo." in said
    assert f"{folder}/{REDIS}" in said
    assert "production" not in said


def test_greeting_of_another_server(empty_redis: str) -> None:
    """With REDIS_URL the terminal names that server, without its password, and no other."""
    with Site(REDIS_URL=empty_redis.replace("://", "://default:@")) as site:
        assert site.request("GET", "/").status == 200
        _, said = site.stop()
    address = empty_redis.partition("://")[2]
    assert f"Session store     Redis ({address})" in said
    assert f"Redis client      {address}" in said
    assert "private server" not in said
    assert "default" not in said
