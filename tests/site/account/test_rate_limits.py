"""The limit on attempts to guess a password."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from sched_site import create_app, passwords
from werkzeug.test import TestResponse

from support.sched.processes import RedisServer, Site

TRIES = 10  # for a name
MORE_TRIES = 60  # from an address
RIGHT = "half-past-nine"


def attempt(app: Flask, username: str, password: str = "wrong", address: str = "198.51.100.7") -> TestResponse:
    form = {"username": username, "password": password}
    return app.test_client().post("/login", data=form, environ_base={"REMOTE_ADDR": address})


def use_up(app: Flask, username: str = "mira", tries: int = TRIES) -> None:
    for _ in range(tries):
        assert attempt(app, username).status_code == 200


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare nothing: where it is only counted."""
    monkeypatch.setattr(passwords, "matches", lambda stored, password: False)


def test_for_each_name(app: Flask) -> None:
    """After ten tries a name is not tried any more for some minutes: not from elsewhere, not with the right password.
    Other names are."""
    use_up(app)
    for response in (
        attempt(app, "mira"),
        attempt(app, " MIRA"),
        attempt(app, "mira", RIGHT),
        attempt(app, "mira", address="203.0.113.1"),
    ):
        assert response.status_code == 429
        assert 0 < int(response.headers["Retry-After"]) <= 600
        assert "Too many attempts" in response.text
        assert "Set-Cookie" not in response.headers
    assert attempt(app, "tomas", "tea-at-four").status_code == 302


def test_tells_nothing_of_the_name(app: Flask) -> None:
    """A name that there is not is counted as one that there is, and answered with the same page."""
    pages = []
    for name in ("mira", "nobody"):
        use_up(app, name)
        response = attempt(app, name)
        pages.append((response.status_code, response.text, sorted(response.headers.keys())))
    assert pages[0] == pages[1]


@pytest.mark.usefixtures("cheap")
@pytest.mark.parametrize(
    ("one", "another", "is_shared"),
    [
        ("198.51.100.7", "198.51.100.7", True),
        ("198.51.100.7", "198.51.100.8", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("unix:", "unix:", True),
    ],
)
def test_for_each_address(app: Flask, one: str, another: str, is_shared: bool) -> None:
    """After sixty tries with whatever names an address waits, with IPv6 its network; others don't."""
    for number in range(MORE_TRIES):
        assert attempt(app, f"name {number}", address=one).status_code == 200
    assert attempt(app, "one more", address=one).status_code == 429
    assert attempt(app, "one more", address=another).status_code == (429 if is_shared else 200)


def test_right_password_takes_back_its_name(app: Flask) -> None:
    """Who signs in begins anew, and only for that name: the address goes on counting."""
    with mock.patch.object(passwords, "matches", side_effect=lambda stored, password: password == RIGHT):
        for _ in range(6):
            use_up(app, tries=TRIES - 1)
            assert attempt(app, "mira", RIGHT).status_code == 302
        assert attempt(app, "tomas").status_code == 429


def test_looking_at_the_form_is_no_try(app: Flask, client: FlaskClient) -> None:
    """Only what is sent counts."""
    for _ in range(TRIES * 2):
        assert client.get("/login").status_code == 200
    use_up(app)


def test_at_the_same_moment(app: Flask) -> None:
    """Of many tries at once no more than ten are compared."""
    with (
        mock.patch.object(passwords, "matches", side_effect=lambda stored, password: bool(time.sleep(0.05))) as matches,
        ThreadPoolExecutor(30) as threads,
    ):
        statuses = list(threads.map(lambda _: attempt(app, "mira").status_code, range(30)))
    assert matches.call_count == TRIES
    assert sorted(statuses) == [200] * TRIES + [429] * (30 - TRIES)


@pytest.mark.parametrize("part_of_second", [0.0, 0.001, 0.5, 0.999])
def test_ends_by_itself(app: Flask, monkeypatch: pytest.MonkeyPatch, part_of_second: float) -> None:
    """A refusal tells how long to wait: never longer than the limit's ten minutes, wherever in a second the first try
    was made. When that time has passed, and not before, one may try again."""
    clock = int(time.time()) + part_of_second
    monkeypatch.setattr(time, "time", lambda: clock)
    use_up(app)
    for passed, told in ((0.01, "600"), (300, "300"), (299, "1")):
        clock += passed
        refused = attempt(app, "mira", RIGHT)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, told)
    clock += int(told)
    assert attempt(app, "mira", RIGHT).status_code == 302


def test_one_count_for_all_processes(make_app: Callable[..., Flask]) -> None:
    """Where there is one Redis, there is one count, and it outlives the process."""
    use_up(make_app())
    assert attempt(make_app(), "mira").status_code == 429


def test_embedded(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """It works on the private server, too, and is there after a start."""
    monkeypatch.setenv("SCHED_INSTANCE_PATH", str(tmp_path_factory.mktemp("site")))
    with Site() as site:
        for _ in range(TRIES):
            assert site.request("POST", "/login", username="nobody", password="wrong").status == 200
        assert site.request("POST", "/login", username="nobody", password="wrong").status == 429
    with Site() as site:
        assert site.request("POST", "/login", username="nobody", password="wrong").status == 429
        assert site.request("POST", "/login", username="mira", password=RIGHT).status == 302


def test_redis_is_away(own_redis: RedisServer, tmp_path: Path) -> None:
    """While Redis is away one can sign in, if the sessions are elsewhere, and guess no more often than else."""
    store = f"sqlite:///{tmp_path}/sessions.sqlite3"
    app = create_app({"REDIS_URL": own_redis.url, "SESSION_STORE": store})
    own_redis.stop()
    assert attempt(app, "tomas", "tea-at-four").status_code == 302
    use_up(app)
    assert attempt(app, "mira").status_code == 429


def test_names_cannot_be_read(app: Flask, empty_redis: str) -> None:
    """What is typed as a name, which may be a password, is in no key."""
    attempt(app, "hunter2")
    with Redis.from_url(empty_redis, decode_responses=True) as client:
        keys = client.keys("sched:limits:*")
        assert len(keys) == 2
        assert not [key for key in keys if "hunter2" in key]
        assert all(0 < client.ttl(key) <= 600 for key in keys)


def test_confirming(app: Flask) -> None:
    """The question who one is can be answered ten times, too; that keeps nobody from signing in, or the reverse."""
    client = app.test_client()
    client.post("/login", data={"username": "mira", "password": RIGHT})
    for _ in range(TRIES):
        assert client.post("/confirm", data={"password": "wrong"}).status_code == 200
    refused = client.post("/confirm", data={"password": RIGHT})
    assert refused.status_code == 429
    assert re.fullmatch(r"\d+", refused.headers["Retry-After"])
    assert client.get("/account").status_code == 200
    assert attempt(app, "mira", RIGHT).status_code == 302


def test_confirming_begins_anew(app: Flask) -> None:
    """The own password takes the count back."""
    client = app.test_client()
    client.post("/login", data={"username": "mira", "password": RIGHT})
    for _ in range(3):
        for _ in range(TRIES - 1):
            assert client.post("/confirm", data={"password": "wrong"}).status_code == 200
        assert client.post("/confirm", data={"password": RIGHT}).status_code == 302
