"""Some answers of Redis come later than SESSION_STORE_TIMEOUT: nobody is logged out by it, and nothing is lost."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from flask import Flask, session

from flask_cloakroom import Cloakroom, UserMixin, current_user, login_user, remember_token_reused, user_session
from flask_cloakroom.testing.parallel import run_in_threads
from support.servers.special import DelayAnswers, Proxy, VolatileRedisServer
from support.sites.stores import stores_closed_after

THREADS = 16
USERS = 48
#: Seconds after which a session expires without a request.
LIFETIME = 5


class Load(NamedTuple):
    """How long it takes, and how late how many answers come."""

    seconds: float
    timeout: float
    delay: float
    #: The share of late answers.
    share: float
    #: The part of its requests after which a browser loses its session cookie, or is idle until its session expires.
    pauses: float


#: Enough late answers for some seconds of CI, and the load of the issue.
SHORT = Load(seconds=5, timeout=0.25, delay=0.3, share=0.06, pauses=0.05)
LONG = Load(seconds=60, timeout=1.0, delay=1.2, share=0.01, pauses=0.02)


class User(UserMixin):
    """A user."""

    def __init__(self, user_id: str) -> None:
        self.id = user_id


def make_site(url: str, timeout: float) -> Flask:
    app = Flask("late")
    app.config.update(
        SESSION_STORE=url,
        SESSION_STORE_TIMEOUT=timeout,
        PERMANENT_SESSION_LIFETIME=LIFETIME,
        SESSION_MERGE={"n": "sum"},
        USER_SESSION_MERGE={"n": "sum"},
    )
    room = Cloakroom(app)
    room.user_loader(User)

    def answer(**more: Any) -> dict[str, Any]:
        return {"who": current_user.get_id(), "n": session.get("n", 0), "life": session.get("life"), **more}

    @app.get("/login/<name>")
    def login(name: str) -> dict[str, Any]:
        login_user(User(name), remember=True)
        return answer()

    @app.get("/read")
    def read() -> dict[str, Any]:
        return answer(total=user_session.get("n", 0))

    @app.get("/count")
    def count() -> dict[str, Any]:
        who = current_user.get_id()  # before the session is used, so that a remembered user has their session again
        session.setdefault("life", random.randbytes(8).hex())
        session["n"] = session.get("n", 0) + 1
        user_session["n"] = user_session.get("n", 0) + 1
        # Without this, two requests may write equal bytes in one second. If one of the answers is lost, both writes
        # look done, and the sum counts one of them: see Namespace.replace_entry().
        session["last"] = user_session["last"] = random.randbytes(8)
        return answer(who=who)

    @app.get("/careless")
    def careless() -> dict[str, Any]:
        """A view that goes on after each error."""
        found: dict[str, Any] = {}
        for name, ask in {"n": lambda: session.get("n", 0), "who": lambda: current_user.get_id()}.items():
            try:
                found[name] = ask()
            except Exception:
                found[name] = "an error"
        return found

    @app.errorhandler(503)
    def unavailable(error: Any) -> Any:
        return f"Sorry, {current_user.get_id()}. Please try again.", 503

    return app


@dataclass
class Browser:
    """One user's browser, which keeps cookies, and what it has seen."""

    name: str
    slots: int
    cookies: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    #: The requests that are under way.
    busy: int = 0
    idle_until: float = 0.0
    #: The increments that were sent, and those that were acknowledged.
    sent: int = 0
    acknowledged: int = 0
    #: The increments that were acknowledged since the last pause.
    since_pause: int = 0
    #: The last number of each session, by the random name that the session has for its life.
    lives: dict[str, int] = field(default_factory=dict)
    #: The name of the life that the last answer was from, and when its request was sent.
    life: str | None = None
    seen: float = 0.0
    #: When it lost its session cookie for the last time.
    lost: float = 0.0

    def receive(self, response: Any) -> None:
        """Take the cookies of a response, as browsers do: in the order in which responses come."""
        for header in response.headers.getlist("Set-Cookie"):
            name, _, rest = header.partition("=")
            value = rest.partition(";")[0]
            if value:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)


class Visit:
    """All browsers on one site, and what went wrong."""

    def __init__(self, app: Flask, load: Load, slots: int) -> None:
        self.app = app
        self.load = load
        self.browsers = [Browser(f"user-{number:02}", slots) for number in range(USERS)]
        self.requests = 0
        self.unavailable = 0
        self.remembered = 0
        self.violations: list[str] = []

    def open(self, browser: Browser, path: str) -> Any:
        """Send one request with the browser's cookies, and check the answer."""
        with browser.lock:
            cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
            without_session = "session" not in browser.cookies
            browser.sent += path == "/count"
            begun = time.monotonic()
        response = self.app.test_client(use_cookies=False).get(path, headers={"Cookie": cookie})
        with browser.lock:
            self.requests += 1
            self.remembered += without_session and response.status_code == 200
            browser.receive(response)
            self.check(browser, path, response, begun)
        return response

    def check(self, browser: Browser, path: str, response: Any, begun: float) -> None:
        """Note what is wrong with an answer."""
        for other in self.browsers:
            if other is not browser and other.name in response.text:
                self.note(browser, path, f"was shown {other.name}")
        if response.status_code == 503:
            self.unavailable += 1
            if not response.headers.get("Retry-After"):
                self.note(browser, path, "got a 503 without Retry-After")
            return
        if response.status_code != 200:
            self.note(browser, path, f"got a {response.status_code}")
            return
        if response.json["who"] != browser.name:
            self.note(browser, path, f"was {response.json['who']}")
        if path == "/count":
            browser.acknowledged += 1
            browser.since_pause += 1
        if path == "/count" and browser.slots == 1:
            self.check_life(browser, response.json, begun)
        if path == "/read" and browser.slots == 1:
            self.check_total(browser, response.json)

    def check_life(self, browser: Browser, answer: dict[str, Any], begun: float) -> None:
        """Check that a session has every increment of its life, and that no session ended without a reason."""
        life, n = answer["life"], answer["n"]
        known = browser.lives.get(life, 0)
        if not known < n <= browser.sent:
            self.note(browser, "/count", f"had {n} in its session after {known}")
        browser.lives[life] = n
        has_expired = begun - browser.seen > LIFETIME - 1
        if browser.life not in (None, life) and browser.lost < browser.seen and not has_expired:
            self.note(browser, "/count", "has lost its session")
        browser.life, browser.seen = life, max(begun, browser.seen)

    def check_total(self, browser: Browser, answer: dict[str, Any]) -> None:
        """Check that session and user data have the acknowledged increments, and none that was never sent."""
        n, total = answer["n"], answer["total"]
        if not browser.since_pause <= n <= browser.sent:
            self.note(browser, "/read", f"had {n} of {browser.since_pause} to {browser.sent} in its session")
        if not browser.acknowledged <= total <= browser.sent:
            self.note(browser, "/read", f"had {total} of {browser.acknowledged} to {browser.sent} in its data")

    def note(self, browser: Browser, path: str, what: str) -> None:
        self.violations.append(f"{browser.name} {what} at {path}")

    def run(self, number: int) -> None:
        """Let browsers that have nothing to do send requests, until the time is over."""
        chance = random.Random(number)
        until = time.monotonic() + self.load.seconds
        while (now := time.monotonic()) < until:
            browser = chance.choice(self.browsers)
            with browser.lock:
                if browser.busy >= browser.slots or now < browser.idle_until:
                    continue
                browser.busy += 1
            try:
                self.open(browser, chance.choice(["/count", "/count", "/read", "/careless"]))
            except Exception as error:
                self.note(browser, "a page", f"got {error!r} instead of an answer")
            with browser.lock:
                browser.busy -= 1
                if browser.busy == 0 and chance.random() < self.load.pauses:
                    self.pause(browser, chance)

    def pause(self, browser: Browser, chance: random.Random) -> None:
        """Let a browser lose its session cookie, or its session expire."""
        browser.since_pause = 0
        if chance.random() < 0.8:
            browser.cookies.pop("session", None)
            browser.lost = time.monotonic()
        else:
            browser.idle_until = time.monotonic() + LIFETIME + 1

    def check_everybody(self) -> None:
        """Check each user once more, when the answers come in time again, and before any session expires."""
        run_in_threads(THREADS, lambda number: [self.check_at_the_end(one) for one in self.browsers[number::THREADS]])

    def check_at_the_end(self, browser: Browser) -> None:
        for _ in range(10):  # a loaded machine can make an answer late, too
            response = self.open(browser, "/read")
            if response.status_code == 200:
                self.check_total(browser, response.json)
                return
        self.note(browser, "/read", "got a 503 again and again from a store that works")

    def __str__(self) -> str:
        return (
            f"{self.requests} requests, {self.unavailable} answers 503, {self.remembered} remembered logins, "
            f"{len(self.violations)} violations"
        )


@pytest.fixture
def proxy(own_server: VolatileRedisServer) -> Iterator[Proxy]:
    proxy = Proxy(own_server.port)
    yield proxy
    proxy.close()


@pytest.mark.promise(3, 10)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("load", [SHORT, pytest.param(LONG, marks=pytest.mark.soak)], ids=["short", "a minute"])
@pytest.mark.parametrize("slots", [1, 2], ids=["one at a time", "two at a time"])
def test_late_answers(proxy: Proxy, load: Load, slots: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Each user stays who they are, no answer is a 500, and each acknowledged increment is stored.

    16 threads send the requests of 48 users. The 503 page shows the user's name, and one view goes on after errors.
    """
    proxy.on_answer = answers = DelayAnswers(load.delay)
    alarms: list[str] = []

    def alarm(sender: Any, user_id: str, **_: Any) -> None:
        alarms.append(user_id)

    with stores_closed_after() as apps, remember_token_reused.connected_to(alarm):
        app = make_site(proxy.url, load.timeout)
        apps.append(app)
        visit = Visit(app, load, slots)
        for browser in visit.browsers:
            assert visit.open(browser, f"/login/{browser.name}").status_code == 200
        answers.share = load.share
        run_in_threads(THREADS, visit.run)
        answers.share = 0.0
        visit.check_everybody()
    with capsys.disabled():
        print(f"\n{slots} at a time: {answers.late} late answers, {visit}, {len(alarms)} alarms")
    assert visit.unavailable > 0
    assert visit.remembered > 0
    assert visit.violations == [], "\n".join(visit.violations)
    assert alarms == []
