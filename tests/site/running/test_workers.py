"""The site as in compose.yaml, without containers: nginx, gunicorn with two workers, PostgreSQL and Redis."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
import redis

from support.sched.processes import SITE, TEST_TIMEOUT, Stream, end, eventually, site_environment
from support.servers.nginx import listens, start_nginx
from support.servers.postgres import PostgresServer
from support.servers.redis_server import free_port

NGINX = (SITE / "deploy" / "nginx.conf").read_text()


class Served(NamedTuple):
    """Addresses of the site: that of the proxy, and that of gunicorn behind it."""

    url: str
    direct: str
    workers: list[str]


class Response(NamedTuple):
    """What came back."""

    status: int
    text: str
    cookie: str
    location: str


def ask(
    url: str, method: str, path: str, *, cookie: str = "", headers: dict[str, str] | None = None, **form: str
) -> Response:
    """Ask for something as a browser does, following no redirect."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=TEST_TIMEOUT)
    sent = {"Origin": url, "Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"} | (headers or {})
    try:
        connection.request(method, path, urlencode(form) if form or method == "POST" else None, sent)
        response = connection.getresponse()
        set_cookie = response.getheader("Set-Cookie", "").partition(";")[0]
        return Response(response.status, response.read().decode(), set_cookie, response.getheader("Location", ""))
    finally:
        connection.close()


def children(process: int) -> list[str]:
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


@pytest.fixture(scope="module")
def served(
    redis_of_module: str, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """All of it, running."""
    folder = tmp_path_factory.mktemp("served")
    inner, outer = free_port(), free_port()
    environment = site_environment(
        REDIS_URL=redis_of_module,
        DATABASE_URL=postgres.new_database(),
        SCHED_TRUSTED_PROXIES="1",
        SCHED_BIND=f"127.0.0.1:{inner}",
        SCHED_INSTANCE_PATH=str(folder / "instance"),
    )
    command = [sys.executable, "-m", "gunicorn", "--config", str(SITE / "deploy" / "gunicorn.conf.py")]
    log = (folder / "log").open("w+")
    gunicorn = subprocess.Popen(
        [*command, "sched_site:create_app()"], env=environment, cwd=SITE, stdout=log, stderr=log, text=True
    )
    conf = NGINX.replace("listen 8080", f"listen 127.0.0.1:{outer}").replace("site:8000", f"127.0.0.1:{inner}")
    proxy = start_nginx(folder, conf.replace("/dev/stdout", "access.log"), log)
    try:
        eventually(lambda: listens(inner) and listens(outer) and len(children(gunicorn.pid)) == 2)
        eventually(lambda: ask(f"http://127.0.0.1:{inner}", "GET", "/health").status == 200)
        yield Served(f"http://127.0.0.1:{outer}", f"http://127.0.0.1:{inner}", children(gunicorn.pid))
        end(proxy, signal.SIGQUIT)
        assert end(gunicorn, signal.SIGTERM) == 0
        log.seek(0)
        assert "Traceback" not in log.read()
    finally:
        for process in (proxy, gunicorn):
            if process.poll() is None:
                process.kill()
                process.wait()
        log.close()
    assert not (folder / "instance").exists(), "nothing is kept beside the servers"


def sign_in(served: Served, headers: dict[str, str] | None = None) -> str:
    answer = ask(served.url, "POST", "/login", headers=headers, username="mira", password="half-past-nine")
    assert (answer.status, answer.location) == (302, "/")
    return answer.cookie


def test_a_login_is_one_for_all_workers(served: Served) -> None:
    """Who signs in with one worker is signed in with the other: many requests at once, all of the same person."""
    cookie = sign_in(served)
    with ThreadPoolExecutor(8) as threads:
        pages = list(threads.map(lambda _: ask(served.url, "GET", "/appointments", cookie=cookie), range(40)))
    assert {page.status for page in pages} == {200}
    assert all("Mira" in page.text for page in pages)
    assert len(set(served.workers)) == 2


def test_one_time_is_given_away_once(served: Served) -> None:
    """Of requests that want one time at once, whichever workers they meet, one gets it."""
    cookie = sign_in(served)
    page = ask(served.url, "GET", "/appointments/new", cookie=cookie).text
    (token,) = set(re.findall(r'name="csrf_token"[^>]* value="([^"]+)"', page))
    times = {"starts": "2030-01-01T10:00", "ends": "2030-01-01T11:00", "csrf_token": token}
    with ThreadPoolExecutor(8) as threads:
        made = list(
            threads.map(
                lambda number: ask(
                    served.url, "POST", "/appointments/new", cookie=cookie, title=f"Request {number}", **times
                ),
                range(8),
            )
        )
    assert sorted(answer.status for answer in made) == [200] * 7 + [302]
    assert sum("You already have an appointment at that time" in answer.text for answer in made) == 7


def test_the_address_is_what_the_proxy_says(served: Served) -> None:
    """The visitor's own X-Forwarded-For reaches nobody, and neither does another name of the host."""
    lies = {"X-Forwarded-For": "192.0.2.66", "Forwarded": "for=192.0.2.66", "X-Forwarded-Host": "evil.example"}
    cookie = sign_in(served, lies)
    page = ask(served.url, "GET", "/account", cookie=cookie).text
    assert "127.0.0.1" in page
    assert "192.0.2.66" not in page


def test_forged_requests_are_refused(served: Served) -> None:
    """Through the proxy, too, the site knows which pages are its own."""
    cookie = sign_in(served)
    for origin in ("http://evil.example", served.direct, "null"):
        answer = ask(served.url, "POST", "/logout", cookie=cookie, headers={"Origin": origin})
        assert answer.status == 400 or answer.status == 403
    assert ask(served.url, "GET", "/account", cookie=cookie).status == 200


def test_health(served: Served) -> None:
    """The cheap page is for everybody; what is ready is told to those who ask the site itself."""
    assert ask(served.url, "GET", "/health").text == '{"status":"ok"}\n'
    assert ask(served.url, "GET", "/health/ready").status == 404
    answer = ask(served.direct, "GET", "/health/ready")
    ready: dict[str, Any] = json.loads(answer.text)
    assert (answer.status, ready) == (200, {"status": "ok", "redis": "ok", "sessions": "ok", "database": "ok"})


def test_notices_come_through(served: Served, redis_of_module: str) -> None:
    """What is sold out is told at once: the proxy holds nothing back, whichever worker it is bought from."""
    waiting = ask(served.url, "POST", "/cart/add", product="fountain-pen").cookie
    buying = ask(served.url, "POST", "/cart/add", product="fountain-pen").cookie
    with Stream(served.url, waiting) as stream, redis.Redis.from_url(redis_of_module) as client:
        assert stream.response.status == 200
        eventually(lambda: dict(client.pubsub_numsub("sched:sold-out"))[b"sched:sold-out"] > 0)
        page = ask(served.url, "GET", "/cart", cookie=buying).text
        token = re.findall(r'name="csrf_token"[^>]* value="([^"]+)"', page)[0]
        assert ask(served.url, "POST", "/cart/buy", cookie=buying, csrf_token=token).status == 302
        while "fountain-pen" not in (event := stream.next()):
            assert event, "the stream ended without it"
