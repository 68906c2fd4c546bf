"""The operator's page: who may see it, the sessions that it ends, and its counts."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask, session
from flask.testing import FlaskClient
from redis import Redis
from redis.exceptions import RedisError
from sched_site import create_app, operators, traffic

from support.sched.processes import TEST_TIMEOUT, RedisServer, Site, eventually

PASSWORDS = {"mira": "half-past-nine", "tomas": "tea-at-four", "vera": "a-quarter-to-six"}
PAGES = ("/operator", "/operator/charts")
END_ALL = "/operator/users/1/end-all"
FORMS = ("/operator/end", END_ALL)


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(TESTING=True, OPERATORS=["Vera "])


@pytest.fixture
def vera(app: Flask) -> FlaskClient:
    return signed_in(app, "vera")


def signed_in(app: Flask, name: str) -> FlaskClient:
    client = app.test_client()
    assert client.post("/login", data={"username": name, "password": PASSWORDS[name]}).status_code == 302
    return client


def counted(app: Flask) -> dict[str, int]:
    """What was counted in the last hour, in all."""
    with app.app_context():
        minutes = traffic.last_hour(app)
    return {kind: sum(getattr(minute, kind) for minute in minutes) for kind in traffic.KINDS}


def is_signed_in(client: FlaskClient) -> bool:
    return client.get("/account").status_code == 200


class TestAccess:
    """Operators, and nobody else."""

    @pytest.mark.parametrize("path", [*PAGES, *FORMS])
    def test_others(self, app: Flask, client: FlaskClient, path: str) -> None:
        """A stranger is sent to the login; who is signed in and no operator is told that it is not for them."""
        ask = client.post if path in FORMS else client.get
        assert ask(path).location.partition("?")[0] == "/login"
        mira = signed_in(app, "mira")
        response = (mira.post if path in FORMS else mira.get)(path)
        assert response.status_code == 403
        assert "You do not have access to this page" in response.text
        assert "Activity" not in mira.get("/account").text

    @pytest.mark.parametrize("names", [None, [], "", "veranda,mira", ["veranda"], "ver"])
    def test_who_is_not_named(self, make_app: Callable[..., Flask], names: object) -> None:
        """Nobody is an operator who is not named in full: without the setting that is nobody at all."""
        app = make_app(**({} if names is None else {"OPERATORS": names}))
        assert signed_in(app, "vera").get("/operator").status_code == 403

    @pytest.mark.parametrize("names", ["mira, VERA", ["vera"]])
    def test_who_is_named(self, make_app: Callable[..., Flask], names: object) -> None:
        """Names come as a list or as text with commas, and their page links there."""
        client = signed_in(make_app(OPERATORS=names), "vera")
        assert client.get("/operator").status_code == 200
        assert 'href="/operator"' in client.get("/account").text

    def test_lately(self, vera: FlaskClient) -> None:
        """Who has not lately shown who they are is asked for the password; the open page's charts go on."""
        with vera.session_transaction() as kept:
            kept["_fresh_at"] = 0
        for ask, path in (
            (vera.get, "/operator"),
            (vera.post, "/operator/end"),
            (vera.get, END_ALL),
            (vera.post, END_ALL),
        ):
            assert ask(path).location.partition("?")[0] == "/confirm"
        assert vera.get("/operator/charts").status_code == 200


class TestEnding:
    """Sessions of others."""

    def test_one(self, app: Flask, vera: FlaskClient) -> None:
        """The button of a session ends that one, and says so; pressed again it says that it was over."""
        desk, phone = signed_in(app, "mira"), signed_in(app, "mira")
        page = vera.get("/operator").text
        found = re.findall(r"(?:not )?signed in(?: on \d[^<]*)?", page.partition("Users and their sessions")[2])
        assert found == ["not signed in", "signed in on 2 devices", "not signed in", "signed in on 1 device"]
        part = page.partition("mira")[2].partition("tomas")[0]
        handle = re.findall(r'name="handle" value="([^"]+)"', part)[0]
        for text in ("The session was ended.", "The session had already ended."):
            assert text in vera.post("/operator/end", data={"handle": handle}, follow_redirects=True).text
        assert sorted([is_signed_in(desk), is_signed_in(phone)]) == [False, True]

    def test_all(self, app: Flask, vera: FlaskClient) -> None:
        """The button of a user ends all of theirs, and nobody else's."""
        devices, tomas = [signed_in(app, "mira") for _ in range(2)], signed_in(app, "tomas")
        (path,) = set(
            re.findall(r'href="(/operator/users/\d+/end-all)" aria-describedby="name-1"', vera.get("/operator").text)
        )
        page = vera.post(path, follow_redirects=True).text
        assert "Mira was signed out everywhere: 2 sessions ended." in page
        assert [is_signed_in(device) for device in (*devices, tomas, vera)] == [False, False, True, True]

    def test_all_is_confirmed(self, app: Flask, vera: FlaskClient) -> None:
        """The list has no button for it: a page asks first, with the user's devices, a token, and a way back."""
        mira = signed_in(app, "mira")
        assert 'end-all" method' not in vera.get("/operator").text
        assert not re.search(r"<form[^>]*end-all", vera.get("/operator").text)
        page = " ".join(vera.get(END_ALL).text.split())
        assert "<h1" in page
        assert "End all sessions of Mira?" in page
        assert "Mira will be signed out on 1 device" in page
        assert "This is your own account" not in page
        assert re.search(rf'<form method="post" action="{END_ALL}"> <input type="hidden" name="csrf_token"', page)
        assert '<a class="btn btn-outline-secondary" href="/operator">Cancel</a>' in page
        assert is_signed_in(mira)

    def test_own_sessions(self, vera: FlaskClient) -> None:
        """An operator who ends their own sessions is warned before, and signed out after."""
        (own,) = set(re.findall(r"/operator/users/\d+/end-all", vera.get("/operator").text))
        assert "This is your own account" in vera.get(own).text
        assert vera.post(own, follow_redirects=True).request.path == "/login"

    def test_nothing_to_end(self, vera: FlaskClient) -> None:
        """For a user who is not signed in the page says so."""
        assert "Mira is not signed in on any device" in vera.get(END_ALL).text

    @pytest.mark.parametrize("user", ["0", "99", "mira", "-1", "9" * 30])
    def test_no_such_user(self, vera: FlaskClient, user: str) -> None:
        """A user that there is not is a 404."""
        assert vera.get(f"/operator/users/{user}/end-all").status_code == 404
        assert vera.post(f"/operator/users/{user}/end-all").status_code == 404

    def test_pages_of_users(self, app: Flask, vera: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        """More users than fit are on further pages."""
        monkeypatch.setattr(operators, "USERS_PER_PAGE", 3)
        assert "Next page" in vera.get("/operator").text
        page = vera.get("/operator?page=2").text
        assert "vera" in page
        assert "mira" not in page
        assert vera.get("/operator?page=9").status_code == 404


class TestTraffic:
    """What is counted."""

    def test_counts(self, app: Flask, vera: FlaskClient) -> None:
        """Each answer is a request, also a page that there is not; each login is one; a wrong password is none."""
        before = counted(app)
        client = app.test_client()
        for path in ("/", "/nothing-here", "/health"):
            client.get(path)
        client.post("/login", data={"username": "mira", "password": "wrong"})
        client.post("/login", data={"username": "mira", "password": PASSWORDS["mira"]})
        after = counted(app)
        assert {kind: after[kind] - before[kind] for kind in after} == {"requests": 5, "logins": 1, "conflicts": 0}

    def test_conflict(self, app: Flask) -> None:
        """Two requests that set one thing of the session differently are a conflict."""
        meet = threading.Barrier(2, timeout=TEST_TIMEOUT)

        @app.get("/tests/set/<value>")
        def set_it(value: str) -> str:
            session.get("choice")
            meet.wait()
            session["choice"] = value
            return ""

        cookie = signed_in(app, "mira").get_cookie("sched_session")
        assert cookie

        def ask(value: str) -> None:
            client = app.test_client()
            client.set_cookie("sched_session", cookie.value)
            assert client.get(f"/tests/set/{value}").status_code == 200

        with ThreadPoolExecutor(2) as threads:
            list(threads.map(ask, ("a", "b")))
        assert counted(app)["conflicts"] == 1

    def test_shown(self, app: Flask, vera: FlaskClient) -> None:
        """The page draws each of the three, with what it is in words, and has the numbers in a table."""
        for page in (vera.get("/operator").text, vera.get("/operator/charts").text):
            assert re.findall(r'id="chart-(\w+)"', page) == ["requests", "logins", "conflicts"]
            assert 'aria-label="Logins in each of the last 60 minutes, at most 1 in one minute' in page
            assert re.search(r'<rect x="\d+" y="[\d.]+" width="8" height="30.0"', page)
            assert re.search(r'<td class="text-end">1</td><td class="text-end">0</td>', page)
            assert " style=" not in page

    def test_charts_are_no_activity(self, vera: FlaskClient) -> None:
        """The open page keeps no session from ending."""
        with vera:
            vera.get("/operator/charts")
            assert session.passive  # type: ignore[attr-defined]

    def test_expires(self, app: Flask, vera: FlaskClient, empty_redis: str) -> None:
        """A minute's numbers do not stay for good."""
        counted(app)
        with Redis.from_url(empty_redis) as client:
            keys = list(client.scan_iter("sched:traffic:*"))
            assert keys
            assert all(0 < client.ttl(key) <= traffic.EXPIRES_AFTER for key in keys)

    def test_costs_nothing(self, empty_redis: str) -> None:
        """A request that needs no store asks nothing for being counted."""
        client = create_app({"REDIS_URL": empty_redis}).test_client()
        with Redis.from_url(empty_redis) as server:
            server.config_resetstat()
            for _ in range(3):
                assert client.get("/health").status_code == 200
            assert set(server.info("commandstats")) <= {"cmdstat_config|resetstat", "cmdstat_info"}

    def test_redis_away(self, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """While Redis is away requests go on at once, and are counted when it is back."""
        app = create_app({"REDIS_URL": own_redis.url})
        client = app.test_client()
        own_redis.stop()
        monkeypatch.setattr(traffic, "DELIVERY_INTERVAL", 0.0)
        app.extensions[traffic.EXTENSION_KEY]._next_delivery = 0.0
        for _ in range(3):
            assert client.get("/health").status_code == 200
        eventually(lambda: "sched-traffic" not in {thread.name for thread in threading.enumerate()})
        with pytest.raises(RedisError):
            app.extensions[traffic.EXTENSION_KEY].deliver()
        own_redis.start()
        assert counted(app)["requests"] == 3


@pytest.fixture
def two_sites(empty_redis: str) -> Iterator[tuple[Site, Site]]:
    """Two processes of the site on one Redis."""
    with Site(REDIS_URL=empty_redis) as one, Site(REDIS_URL=empty_redis) as other:
        yield one, other


def test_processes_together(two_sites: tuple[Site, Site], empty_redis: str) -> None:
    """What two processes counted is one number, which neither brings before some time has passed."""
    app = create_app({"REDIS_URL": empty_redis})

    def requests() -> int:
        for site in two_sites:
            site.request("GET", "/health")
        return counted(app)["requests"]

    eventually(lambda: requests() >= 10)
    two_sites[0].stop(signal.SIGKILL)
