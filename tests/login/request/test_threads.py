"""Threads of one request share one session and one user, and lose nothing."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from flask import session

from flask_cloakroom import (
    StoreError,
    confirm_login,
    current_user,
    login_user,
    logout_user,
    user_loaded_from_cookie,
    user_session,
)
from flask_cloakroom.sessions.outage import SessionUnavailable
from flask_cloakroom.testing.parallel import run_in_threads
from support.clock import TEST_TIMEOUT, CalmClock
from support.processes import run
from support.redis.clients import require_or_skip
from support.servers.special import VolatileRedisServer
from support.sites.login import MakeSite
from support.sites.requests_on_app import MakeApp
from support.sites.threads import (
    FIRST_USES,
    THREADS,
    WAYS,
    Browser,
    Gate,
    Running,
    Site,
    ask_user,
    contents,
    forget,
    in_executor,
    read,
    render_token,
    say,
    switching_often,
    together,
    write,
    write_user_session,
)
from support.sites.watched_store import watch

#: Rounds of each combination below. With 3 stores, 4 ways and 3 kinds of visitors these are more than 500.
ROUNDS = pytest.mark.parametrize("rounds", [14, pytest.param(150, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])


@pytest.fixture
def site(make_app: MakeApp) -> Site:
    return Site(make_app())


@pytest.fixture(autouse=True)
def often_switching() -> Iterator[None]:
    with switching_often():
        yield


# -- all first uses beside each other -------------------------------------------------------------------------------


def logged_in(site: Site) -> tuple[Browser, str | None]:
    """A user with a session."""
    browser = site.browser("alice")
    return browser, "alice"


def remembered(site: Site) -> tuple[Browser, str | None]:
    """A user whose session cookie is gone, and who is logged in by the remember token in this very request."""
    browser = site.browser("bob", remember=True)
    return browser, "bob"


def anonymous(site: Site) -> tuple[Browser, str | None]:
    """A visitor who is not logged in."""
    return site.browser(), None


VISITORS: dict[str, Callable[[Site], tuple[Browser, str | None]]] = {
    "logged in": logged_in,
    "remembered": remembered,
    "anonymous": anonymous,
}


def mix(turn: int) -> list[Any]:
    """Return the first uses of the threads: in some rounds all the same, in others each one beside each other one."""
    return [FIRST_USES[(turn + thread * (turn // len(FIRST_USES))) % len(FIRST_USES)] for thread in range(THREADS)]


@ROUNDS
@pytest.mark.promise(3)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("visitor", VISITORS)
def test_first_use_together(site: Site, way: str, visitor: str, rounds: int) -> None:
    """Eight threads are the first to read, write, ask for the user, for their data, for a token, and to flash.

    Each sees the request's visitor and nobody else, and the next request finds what each one wrote.
    """
    browser, name = VISITORS[visitor](site)
    for turn in range(rounds):
        uses = mix(turn)
        browser.run(forget)
        if visitor == "remembered":
            browser.lose_session_cookie()
        results = browser.run_in_threads(way, lambda number, uses=uses: uses[number](number))  # type: ignore[misc]
        by_use = {use: [number for number in range(THREADS) if uses[number] is use] for use in uses}
        assert [results[number] for number in by_use.get(ask_user, [])] == [name] * len(by_use.get(ask_user, []))
        if visitor != "remembered":  # the session of a remembered visitor begins anew
            assert {results[number] for number in by_use.get(read, [])} <= {name}
        tokens = [results[number] for number in by_use.get(render_token, [])]
        assert [browser.accepts(token) for token in tokens] == [True] * len(tokens)
        found = browser.run(contents)
        assert found["who"] == name
        assert found["session"] == {f"key {number}": number for number in by_use.get(write, [])}
        assert found["user_session"] == {f"key {number}": number for number in by_use.get(write_user_session, [])}
        said = [f"message {number}" for number in by_use.get(say, [])]
        assert sorted(found["flashes"]) == sorted(said if visitor == "remembered" else ["earlier", *said])


@pytest.mark.promise(3, 7)
@pytest.mark.parametrize("change", ["log in", "log in again", "confirm", "rotate"])
@pytest.mark.parametrize("way", WAYS)
def test_a_change_of_privilege_beside_writes(site: Site, way: str, change: str) -> None:
    """One thread logs a user in, or the like, and the others write: the new ticket has all, the old one nothing."""
    user = site.users["alice"]
    act: Callable[[], Any] = {
        "log in": lambda: login_user(user, remember=True),
        "log in again": lambda: login_user(user),
        "confirm": confirm_login,
        "rotate": lambda: session.rotate(),  # type: ignore[attr-defined]
    }[change]
    for turn in range(5):
        browser = site.browser(None if change == "log in" else "alice")
        browser.run(lambda: session.update({"name": "a visitor"}))
        old = browser.copy()
        browser.run_in_threads(way, lambda number, turn=turn: act() if number == turn else write(number))  # type: ignore[misc]
        found = browser.run(contents)
        assert found["who"] == "alice"
        assert found["session"] == {f"key {number}": number for number in range(THREADS) if number != turn}
        assert old.run(lambda: (current_user.get_id(), dict(session))) == (None, {})


@pytest.mark.promise(4, 9)
@pytest.mark.parametrize("change", [logout_user, lambda: session.destroy()], ids=["log out", "destroy"])  # type: ignore[attr-defined]
@pytest.mark.parametrize("way", WAYS)
def test_a_logout_beside_writes(site: Site, way: str, change: Callable[[], Any]) -> None:
    """One thread logs out, and the others write and ask for the user: nobody is logged in, by any cookie of before."""
    for turn in range(5):
        browser = site.browser("alice", remember=change is logout_user)
        old = browser.copy()

        def work(number: int, turn: int = turn) -> None:
            if number == turn:
                change()
            else:
                current_user.get_id()
                write(number)

        browser.run_in_threads(way, work)
        assert browser.who is None
        assert old.who is None


def who() -> Any:
    return current_user.get_id()


# -- one user -----------------------------------------------------------------------------------------------------


class TestOneUser:
    """However many threads ask who the user is, the loader is called once, and all get its user."""

    @pytest.mark.parametrize("way", WAYS)
    def test_one_object(self, site: Site, way: str) -> None:
        """All threads have the same user object."""
        browser = site.browser("alice")
        site.loads.clear()
        found = browser.run_in_threads(way, lambda number: current_user._get_current_object())
        assert all(user is site.users["alice"] for user in found)
        assert site.loads == ["alice"]

    def test_threads_that_come_while_the_loader_runs(self, site: Site) -> None:
        """They wait for the user, and are not anonymous."""
        browser, gate = site.browser("alice"), Gate()
        site.loads.clear()
        site.while_loading = gate

        def view() -> list[Any]:
            threads = [Running(who)]
            gate.wait_for_first()
            threads += [Running(who).wait_until_inside() for _ in range(3)]
            gate.open()
            return [thread.result() for thread in threads]

        assert browser.run(view) == ["alice"] * 4
        assert site.loads == ["alice"]

    @pytest.mark.parametrize("fails", [1, 2, 9])
    def test_a_loader_that_raises_while_threads_wait(self, site: Site, fails: int) -> None:
        """Each of them gets the loader's error, or asks the loader itself. None hangs, and none is anonymous."""
        browser, gate = site.browser("alice"), Gate()
        left = [None] * fails

        def fail() -> None:
            gate()
            if left:
                left.pop()
                raise ConnectionError("the database is gone")

        site.while_loading = fail

        def view() -> list[Running]:
            threads = [Running(who)]
            gate.wait_for_first()
            threads += [Running(who).wait_until_inside() for _ in range(3)]
            gate.open()
            return [thread.join() for thread in threads]

        first, *others = browser.run(view)
        assert isinstance(first.error, ConnectionError)
        for thread in others:
            assert isinstance(thread.error, ConnectionError) or thread.value == "alice"
        site.while_loading = lambda: None
        assert browser.who == "alice"

    def test_the_store_fails_while_threads_wait(self, site: Site) -> None:
        """All get the same 503, the store is asked once, and nobody is logged out."""
        browser, gate = site.browser("alice", remember=True), Gate()
        token = browser.cookie("remember_token")
        store = watch(site.app)

        def fail() -> None:
            gate()
            raise StoreError("down")

        store.before["load"] = fail
        threads: list[Running] = []

        def view() -> str:
            threads.append(Running(who))
            gate.wait_for_first()
            threads.extend(Running(ask).wait_until_inside() for ask in (who, lambda: dict(user_session)))
            gate.open()
            return str([thread.join() for thread in threads])

        response = browser.open(view)
        assert [type(thread.error) for thread in threads] == [SessionUnavailable] * 3
        assert store.calls == []
        assert response.status_code == 503
        assert response.headers["Retry-After"]
        assert "Set-Cookie" not in response.headers
        assert browser.who == "alice"
        assert browser.cookie("remember_token") == token

    def test_a_thread_does_not_wait_for_ever(self, make_app: MakeApp) -> None:
        """It gets a 503 after SESSION_STORE_TIMEOUT. The thread that it waited for goes on unharmed."""
        site = Site(make_app(SESSION_STORE_TIMEOUT=0.3))
        browser, gate = site.browser("alice"), Gate()
        site.while_loading = gate

        def view() -> tuple[Any, Any, float]:
            first = Running(lambda: (current_user.get_id(), session.update({"key 1": 1})))
            gate.wait_for_first()
            with CalmClock() as clock:
                began = clock.time()
                late = Running(who).join()
                waited = clock.time() - began
            gate.open()
            return first.result(), late.error, waited

        found, error, waited = browser.run(view)
        assert found == ("alice", None)
        assert isinstance(error, SessionUnavailable)
        assert 0.1 < waited < 3
        assert browser.run(contents)["session"] == {"key 1": 1}

    def test_a_view_that_fails_by_the_wait_is_a_503(self, make_app: MakeApp) -> None:
        """Its visitor tries again, and is who they were."""
        site = Site(make_app(SESSION_STORE_TIMEOUT=0.3))
        browser, gate = site.browser("alice"), Gate()
        site.while_loading = gate

        def view() -> str:
            first = Running(who)
            gate.wait_for_first()
            try:
                return str(current_user.get_id())
            finally:
                gate.open()
                first.join()

        response = browser.open(view)
        assert response.status_code == 503
        assert response.headers["Retry-After"]
        assert browser.who == "alice"

    @pytest.mark.parametrize("kind", ["server", "cookie"])
    def test_over_each_kind_of_session(self, make_site: MakeSite, kind: str) -> None:
        """Also if the session is Flask's own, in a signed cookie, and the user is remembered by a signed token."""
        site = make_site(kind)
        browser = site.browser("alice", remember=True)
        site.work = lambda: in_executor(
            THREADS, together(THREADS, lambda number: id(current_user._get_current_object()))
        )
        for cookies in (("session", "remember_token"), ("remember_token",)):
            site.loads.clear()
            assert browser.copy(*cookies).text("/work") == str([id(site.users["alice"])] * THREADS)
            assert site.loads == ["alice"]

    def test_a_loader_that_ends_its_thread(self, site: Site) -> None:
        """A loader that is interrupted leaves nobody waiting: another thread of the request asks it again."""

        class Interrupted(BaseException):
            pass

        browser, gate = site.browser("alice"), Gate()
        left = [True]

        def interrupt() -> None:
            gate()
            if left:
                left.pop()
                raise Interrupted

        site.while_loading = interrupt

        def view() -> list[Running]:
            threads = [Running(who)]
            gate.wait_for_first()
            threads.append(Running(who).wait_until_inside())
            gate.open()
            return [*(thread.join() for thread in threads), Running(who).join()]

        first, second, third = browser.run(view)
        assert isinstance(first.error, Interrupted)
        assert second.value == "alice" or second.error is not None
        assert third.value == "alice"

    @pytest.mark.parametrize("way", WAYS)
    def test_a_remember_token_is_used_once(self, site: Site, way: str) -> None:
        """Threads whose user is remembered log in once, and the browser is remembered afterwards too."""
        browser = site.browser("bob", remember=True)
        used: list[Any] = []

        def listen(sender: Any, user: Any) -> None:
            used.append(user.get_id())

        for _ in range(3):
            browser.lose_session_cookie()
            with user_loaded_from_cookie.connected_to(listen):
                assert browser.run_in_threads(way, ask_user) == ["bob"] * THREADS
            assert used == ["bob"]
            used.clear()
            assert browser.who == "bob"

    @pytest.mark.parametrize("way", WAYS)
    def test_credentials_are_checked_once(self, site: Site, way: str) -> None:
        """An authenticator runs once for all threads of a request."""
        asked: list[Any] = []

        @site.room.login_manager.authenticator("Bearer")
        def of_bearer(request: Any) -> Any:
            asked.append(request)
            return site.users.get(request.authorization.token)

        browser = site.browser()
        browser.client.environ_base["HTTP_AUTHORIZATION"] = "Bearer carol"
        assert browser.run_in_threads(way, ask_user) == ["carol"] * THREADS
        assert len(asked) == 1

    @pytest.mark.parametrize("way", WAYS)
    def test_two_kinds_of_user(self, site: Site, way: str) -> None:
        """Threads that ask for the application's user and for the operator get both, and lose the writes of none."""
        browser = site.browser("alice")
        assert browser.run(lambda: site.operators.login_user(site.users["bob"]))
        site.loads.clear()

        def work(number: int) -> Any:
            if number % 2:
                site.operators.user_session[f"key {number}"] = number
                return site.operators.current_user.get_id()
            user_session[f"key {number}"] = number
            return current_user.get_id()

        assert browser.run_in_threads(way, work) == ["alice", "bob"] * (THREADS // 2)
        assert sorted(site.loads) == ["alice", "bob"]
        kept = browser.run(lambda: (dict(user_session), dict(site.operators.user_session)))
        assert kept == tuple({f"key {number}": number for number in range(first, THREADS, 2)} for first in (0, 1))

    def test_loaders_that_wait_for_each_other(self, make_app: MakeApp) -> None:
        """One thread loads the user and asks for the operator, the other the other way round: neither hangs.

        Who waits for SESSION_STORE_TIMEOUT gets a 503, and whoever gets an answer gets the right one.
        """
        site = Site(make_app(SESSION_STORE_TIMEOUT=0.3))
        browser = site.browser("alice")
        browser.run(lambda: site.operators.login_user(site.users["bob"]))
        both = threading.Barrier(2)
        seen: list[Any] = []

        @site.room.user_loader
        def load_user(user_id: str) -> Any:
            both.wait(TEST_TIMEOUT)
            seen.append(ask_safely(site.operators.current_user))
            return site.users[user_id]

        @site.operators.user_loader
        def load_operator(user_id: str) -> Any:
            both.wait(TEST_TIMEOUT)
            seen.append(ask_safely(current_user))
            return site.users[user_id]

        def view() -> list[Any]:
            threads = [Running(who), Running(lambda: site.operators.current_user.get_id())]
            return [thread.join() for thread in threads]

        with CalmClock() as clock:
            began = clock.time()
            user, operator = browser.run(view)
            assert clock.time() - began < 3
        assert user.value == "alice"
        assert operator.value == "bob"
        assert set(seen) <= {"alice", "bob", None, "503"}

    def test_a_loader_that_asks_for_another_kind(self, site: Site) -> None:
        """The loader of operators may ask who the customer is, and sees them."""
        browser = site.browser("alice")
        browser.run(lambda: site.operators.login_user(site.users["bob"]))
        seen: list[Any] = []

        @site.operators.user_loader
        def load_operator(user_id: str) -> Any:
            seen.append((current_user.get_id(), site.operators.current_user.get_id()))
            return site.users[user_id]

        assert browser.run(lambda: site.operators.current_user.get_id()) == "bob"
        assert seen == [("alice", None)]


def ask_safely(user: Any) -> Any:
    """Return a user's id, or "503" if the package gives up waiting."""
    try:
        return user.get_id()
    except SessionUnavailable:
        return "503"


# -- threads that outlive the response ------------------------------------------------------------------------------


class TestLateThreads:
    """A thread of a request that goes on when the response has been sent."""

    def late(self, browser: Browser, work: Callable[[], Any], *, before: Callable[[], Any] = lambda: None) -> Any:
        """Run ``work`` in a thread of a request whose response has been sent, and return its result."""
        sent = threading.Event()
        threads: list[Running] = []

        def wait_and_work() -> Any:
            assert sent.wait(TEST_TIMEOUT)
            return work()

        def view() -> str:
            before()
            threads.append(Running(wait_and_work))
            return "sent"

        assert browser.open(view).text == "sent"
        sent.set()
        return threads[0].result()

    def test_it_sees_the_user(self, site: Site) -> None:
        """Whether the view has asked for the user or not."""
        browser = site.browser("alice")
        assert self.late(browser, who) == "alice"
        assert self.late(browser, who, before=who) == "alice"

    def test_it_spends_no_remember_token(self, site: Site) -> None:
        """The browser could not get the next token. The late thread sees the user, and the next request logs in."""
        browser = site.browser("bob", remember=True)
        token = browser.cookie("remember_token")
        browser.lose_session_cookie()
        used: list[Any] = []

        def listen(sender: Any, user: Any) -> None:
            used.append(user.get_id())

        with user_loaded_from_cookie.connected_to(listen):
            assert self.late(browser, who) in ("bob", None)
            assert used == []
            assert browser.cookie("remember_token") == token
            assert browser.who == "bob"
            assert used == ["bob"]

    def test_what_it_writes_is_not_saved(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """It says so in the log, and harms nothing that is stored."""
        browser = site.browser("alice")
        browser.run(lambda: (session.update({"key 1": 1}), user_session.update({"key 1": 1})))

        def write_late() -> None:
            session["key 2"] = 2
            user_session["key 2"] = 2

        for before in (lambda: None, lambda: dict(user_session)):
            caplog.clear()
            self.late(browser, write_late, before=before)
            assert len([line for line in caplog.messages if "was changed after the response was made" in line]) == 2
        found = browser.run(contents)
        assert (found["session"], found["user_session"]) == ({"key 1": 1}, {"key 1": 1})


# -- loaders that ask for the user --------------------------------------------------------------------------------


class TestLoadersThatAsk:
    """A loader that asks for the user itself sees an anonymous user, on whichever thread it asks."""

    @pytest.fixture(params=["sync view", "async view"])
    def ask(self, request: pytest.FixtureRequest, site: Site) -> Callable[[], Any]:
        """Return a function with which a logged-in browser asks for its user in a view of each kind."""
        browser = site.browser("alice")

        async def async_view() -> str:
            return str(current_user.get_id())

        def view() -> str:
            return str(current_user.get_id())

        return lambda: browser.open(view if request.param == "sync view" else async_view).text

    def test_a_plain_loader(self, site: Site, ask: Callable[[], Any]) -> None:
        """In the thread of the view."""
        seen: list[Any] = []
        site.while_loading = lambda: seen.append((current_user.get_id(), dict(user_session), session["_user_id"]))
        assert ask() == "alice"
        assert seen == [(None, {}, "alice")]

    def test_an_async_loader(self, site: Site, ask: Callable[[], Any]) -> None:
        """Before and after an ``await``, and in another thread that has a copy of its context variables."""
        seen: list[Any] = []

        @site.room.user_loader
        async def load(user_id: str) -> Any:
            seen.append(current_user.get_id())
            await asyncio.sleep(0)
            seen.append(await asyncio.to_thread(lambda: current_user.get_id()))
            seen.append(await sync_to_async(lambda: current_user.get_id(), thread_sensitive=False)())
            return site.users.get(user_id)

        assert ask() == "alice"
        assert seen == [None, None, None]

    def test_a_loader_with_a_copy_of_the_context(self, site: Site, ask: Callable[[], Any]) -> None:
        """``contextvars.copy_context().run`` in a thread of the loader's own."""
        seen: list[Any] = []

        def ask_elsewhere() -> None:
            context = contextvars.copy_context()
            seen.extend(run_in_threads(1, lambda number: context.run(lambda: current_user.get_id())))

        site.while_loading = ask_elsewhere
        assert ask() == "alice"
        assert seen == [None]

    def test_a_loader_that_waits_for_a_stranger(self, make_app: MakeApp) -> None:
        """A thread that only has the request, and no context variable that says who began it, gives up after a while.

        The loader waits for this thread, and the thread for the loader. Without a bound the request would hang.
        """
        site = Site(make_app(SESSION_STORE_TIMEOUT=0.3))
        browser = site.browser("alice")
        seen: list[Running] = []
        site.while_loading = lambda: seen.append(Running(who).join())
        with CalmClock() as clock:
            began = clock.time()
            assert browser.who == "alice"
            assert clock.time() - began < 3
        [thread] = seen
        assert thread.value is None
        assert thread.error is None or isinstance(thread.error, SessionUnavailable)

    def test_a_thread_that_a_loader_leaves_behind(self, site: Site) -> None:
        """It has a copy of the loader's context variables, and sees the user when the loader has ended."""
        ended = threading.Event()
        seen: list[Any] = []
        threads: list[threading.Thread] = []

        def ask_later() -> None:
            assert ended.wait(TEST_TIMEOUT)
            seen.append(current_user.get_id())

        def leave_behind() -> None:
            context = contextvars.copy_context()
            threads.append(threading.Thread(target=context.run, args=(ask_later,), daemon=True))
            threads[0].start()

        site.while_loading = leave_behind
        browser = site.browser("alice")

        def view() -> Any:
            found = current_user.get_id()
            ended.set()
            threads[0].join(TEST_TIMEOUT)
            return found

        assert browser.run(view) == "alice"
        assert seen == ["alice"]

    def test_what_a_loader_writes_is_saved(self, site: Site) -> None:
        """Into the session, while the user is being loaded."""
        browser = site.browser("alice")
        site.while_loading = lambda: session.update({"key 2": 2})
        assert browser.who == "alice"
        assert browser.run(contents)["session"] == {"key 2": 2}

    @pytest.mark.parametrize("way", WAYS)
    def test_threads_with_an_async_loader(self, site: Site, way: str) -> None:
        """Eight threads ask at once, in sync and async views, and the loader runs once."""
        loads: list[str] = []

        @site.room.user_loader
        async def load(user_id: str) -> Any:
            loads.append(user_id)
            assert await asyncio.to_thread(lambda: current_user.get_id()) is None
            return site.users.get(user_id)

        browser = site.browser("alice")
        for _ in range(5):
            loads.clear()
            assert browser.run_in_threads(way, ask_user) == ["alice"] * THREADS
            assert loads == ["alice"]


# -- greenlets ----------------------------------------------------------------------------------------------------

GREENLETS = """
    from gevent import monkey
    monkey.patch_all()
    import sys
    import gevent
    from flask import Flask, copy_current_request_context, session
    from flask_cloakroom import Cloakroom, UserMixin, current_user, login_user, user_session

    class User(UserMixin):
        def __init__(self, user_id):
            self.id = user_id

    loads = []
    app = Flask("x")
    app.config.update(SESSION_STORE=sys.argv[1], SESSION_STORE_TIMEOUT=30, TESTING=True)
    room = Cloakroom(app)

    @room.user_loader
    def load(user_id):
        loads.append(user_id)
        gevent.sleep(0.01)
        return User(user_id)

    @app.get("/login")
    def login():
        return str(login_user(User("alice")))

    @app.get("/work")
    def work():
        def one(number):
            session[f"key {number}"] = number
            user_session[f"key {number}"] = number
            return current_user.get_id()
        greenlets = [gevent.spawn(copy_current_request_context(one), number) for number in range(8)]
        gevent.joinall(greenlets, timeout=20, raise_error=True)
        return [greenlet.value for greenlet in greenlets]

    @app.get("/keys")
    def keys():
        return [sum(key.startswith("key ") for key in mapping) for mapping in (session, user_session)]

    for _ in range(5):
        browser = app.test_client()
        browser.get("/login")
        loads.clear()
        assert browser.get("/work").json == ["alice"] * 8
        assert loads == ["alice"], loads
        assert browser.get("/keys").json == [8, 8]
    print("done")
"""


def test_greenlets(own_server: VolatileRedisServer, tmp_path: Path) -> None:
    """Greenlets of one request, which all run in one thread, share the session and the user, too."""
    require_or_skip("gevent")
    options = ["-W", "ignore::DeprecationWarning", "-W", "ignore::ResourceWarning"]
    assert run(GREENLETS, own_server.url, options=options, cwd=tmp_path) == "done"
