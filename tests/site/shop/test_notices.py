"""The streams of notices: their contents, their length, and the limit on their number."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from redis import Redis
from sched_site import notices, stock

from support.sched.processes import TEST_TIMEOUT, RedisServer, Site, Stream, eventually, site_environment

PEN_IS_SOLD = (
    'event: sold-out\ndata: {"slug": "fountain-pen", "text": "Fountain pen has just sold out. It is in your cart."}\n'
)


@pytest.fixture
def keys(empty_redis: str) -> Iterator[Redis]:
    """A plain client, to look at what is there."""
    with Redis.from_url(empty_redis, decode_responses=True) as client:
        yield client


def listeners(client: Redis) -> int:
    return int(client.pubsub_numsub(stock.SOLD_OUT)[0][1])


def visitor_with(site: Site, *slugs: str) -> str:
    """Return the cookie of somebody with that in the cart."""
    cookie = ""
    for slug in slugs:
        cookie = site.request("POST", "/cart/add", cookie=cookie, product=slug).cookie or cookie
    return cookie


def buy(site: Site, *slugs: str) -> None:
    """Let somebody else buy that."""
    assert site.request("POST", "/cart/buy", cookie=visitor_with(site, *slugs)).status == 302


def open_stream(site: Site, cookie: str) -> Stream:
    stream = site.listen(cookie)
    assert stream.response.status == 200
    assert stream.next() == f"retry: {notices.RETRY_SECONDS * 1000}\n"
    return stream


def test_told_at_once(site: Site, keys: Redis) -> None:
    """What is sold out is told to those who have it in the cart, as a stream that nothing on the way keeps."""
    with open_stream(site, visitor_with(site, "fountain-pen", "tea-for-two")) as stream:
        headers = stream.response.headers
        assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Accel-Buffering"] == "no"
        assert headers["Set-Cookie"] is None
        eventually(lambda: listeners(keys) == 1)
        began = time.monotonic()
        buy(site, "fountain-pen")
        assert stream.next() == PEN_IS_SOLD
        assert time.monotonic() - began < 5


def test_of_other_carts_nothing(site: Site, keys: Redis) -> None:
    """What is sold out and in somebody else's cart is not told."""
    with open_stream(site, visitor_with(site, "fountain-pen")) as stream:
        eventually(lambda: listeners(keys) == 1)
        buy(site, "desk-bell", "desk-bell")
        buy(site, "fountain-pen")
        assert stream.next() == PEN_IS_SOLD


def test_sold_before_the_stream_began(site: Site) -> None:
    """What was sold between the making of the page and the opening of its stream is told at the beginning."""
    cookie = visitor_with(site, "fountain-pen")
    buy(site, "fountain-pen")
    with open_stream(site, cookie) as stream:
        assert stream.next() == (
            'event: gone\ndata: {"slug": "fountain-pen", "text": "Fountain pen is sold out. It is in your cart."}\n'
        )


def test_empty_cart(client: FlaskClient) -> None:
    """Who has nothing in the cart has nothing to hear, and is told not to come again; no session begins."""
    response = client.get("/notices")
    assert (response.status_code, response.data) == (204, b"")
    assert "Set-Cookie" not in response.headers


def test_other_process(empty_redis: str, keys: Redis) -> None:
    """It does not matter which process of the site the buyer was served by."""
    with (
        Site(REDIS_URL=empty_redis) as one,
        Site(REDIS_URL=empty_redis) as other,
        open_stream(one, visitor_with(one, "fountain-pen")) as stream,
    ):
        eventually(lambda: listeners(keys) == 1)
        buy(other, "fountain-pen")
        assert stream.next() == PEN_IS_SOLD


def test_heartbeat(empty_redis: str) -> None:
    """While nothing happens a comment comes now and then, so that whoever is gone is noticed."""
    with (
        Site(REDIS_URL=empty_redis, SCHED_NOTICE_HEARTBEAT="0.1") as site,
        open_stream(site, visitor_with(site, "desk-bell")) as stream,
    ):
        assert [stream.next() for _ in range(2)] == [": still here\n"] * 2


def test_ends(empty_redis: str, keys: Redis) -> None:
    """A stream ends after a while, for the browser to open it again, and then nobody listens to Redis any more."""
    with Site(REDIS_URL=empty_redis, SCHED_NOTICE_LONGEST="0.1") as site:
        with open_stream(site, visitor_with(site, "desk-bell")) as stream:
            assert stream.next() == ""
        eventually(lambda: listeners(keys) == 0)
        with open_stream(site, visitor_with(site, "desk-bell")) as stream:
            assert stream.next() == ""


def test_one_connection_for_all(site: Site, keys: Redis) -> None:
    """However many streams are open in a process, Redis has one subscriber, and none when they are closed."""
    streams = [open_stream(site, visitor_with(site, "fountain-pen")) for _ in range(5)]
    eventually(lambda: listeners(keys) == 1)
    buy(site, "fountain-pen")
    assert [stream.next() for stream in streams] == [PEN_IS_SOLD] * 5
    assert listeners(keys) == 1
    for stream in streams:
        stream.close()
    eventually(lambda: listeners(keys) == 0)


def test_too_many(empty_redis: str) -> None:
    """Beyond the bound a stream ends at once and says when to come again; pages go on; who leaves makes room."""
    with Site(REDIS_URL=empty_redis, SCHED_NOTICE_STREAMS="2") as site:
        cookie = visitor_with(site, "desk-bell")
        streams = [open_stream(site, cookie) for _ in range(2)]
        with site.listen(cookie) as refused:
            assert refused.response.status == 200
            assert refused.next() == f"retry: {notices.BUSY_RETRY_SECONDS * 1000}\n"
            assert refused.next() == ""
        assert site.request("GET", "/cart", cookie=cookie).status == 200
        streams.pop().close()

        def is_let_in() -> bool:
            with site.listen(cookie) as another:
                return another.next() == f"retry: {notices.RETRY_SECONDS * 1000}\n"

        eventually(is_let_in)
        streams.pop().close()


def test_streams_take_no_thread_from_pages(site: Site) -> None:
    """With all the streams open that may be, pages are served as ever."""
    cookie = visitor_with(site, "desk-bell")
    streams = [open_stream(site, cookie) for _ in range(16)]
    assert site.request("GET", "/", cookie=cookie).status == 200
    for stream in streams:
        stream.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_site_stops(site: Site, how: signal.Signals) -> None:
    """Open streams do not keep the site from stopping; they end with it, in good order."""
    with open_stream(site, visitor_with(site, "desk-bell")) as stream:
        code, said = site.stop(how)
        assert stream.next() == ""
    assert code == 0
    assert "still running" not in said, "which Waitress says after five seconds"
    assert said.endswith("\nStopped.\n")


def test_redis_restarted(own_redis: RedisServer) -> None:
    """A stream stays open while Redis is away, and goes on when it is back."""
    with (
        Site(REDIS_URL=own_redis.url) as site,
        Redis.from_url(own_redis.url) as client,
        open_stream(site, visitor_with(site, "fountain-pen")) as stream,
    ):
        eventually(lambda: listeners(client) == 1)
        own_redis.stop()
        assert site.request("GET", "/health").status == 200
        own_redis.start()
        eventually(lambda: listeners(client) == 1)
        buy(site, "fountain-pen")
        assert stream.next() == PEN_IS_SOLD


def test_redis_away_at_the_beginning(own_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A stream that is opened while Redis is away begins all the same, and tells what is sold when Redis is back."""
    store = f"sqlite:///{tmp_path_factory.mktemp('store')}/sessions.sqlite3"
    with Site(REDIS_URL=own_redis.url, SCHED_SESSION_STORE=store) as site, Redis.from_url(own_redis.url) as client:
        cookie = visitor_with(site, "fountain-pen")
        own_redis.stop()
        with open_stream(site, cookie) as stream:
            own_redis.start()
            eventually(lambda: listeners(client) == 1)
            buy(site, "fountain-pen")
            assert "Fountain pen" in stream.next()


FORKING = f"""
import os
from sched_site import create_app, notices, stock
from sched_site.redis_client import redis

app = create_app()
announcements = app.extensions[notices.EXTENSION_KEY]
inbox = announcements.subscribe()
assert announcements.wait_until_listening({TEST_TIMEOUT})
with announcements._lock:  # as if another thread held it
    child = os.fork()
if child == 0:
    own = announcements.subscribe()
    assert announcements.wait_until_listening({TEST_TIMEOUT})
    redis.publish(stock.SOLD_OUT, "from the child")
    assert own.get(timeout={TEST_TIMEOUT}) == "from the child"
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert inbox.get(timeout={TEST_TIMEOUT}) == "from the child"
announcements.unsubscribe(inbox)
"""


def test_fork(empty_redis: str) -> None:
    """A worker that is forked from a process with listeners has its own, and those of the parent go on."""
    environment = site_environment(REDIS_URL=empty_redis)
    done = subprocess.run([sys.executable, "-c", FORKING], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
