"""Threads of one request share one session: first use, values, flash messages, CSRF tokens and the lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import flash, get_flashed_messages, session

from flask_cloakroom import (
    LockTimeoutError,
    StoreError,
    current_user,
    generate_csrf,
    login_user,
    register_type,
    session_created,
    session_rotated,
    user_logged_in,
    user_session,
)
from flask_cloakroom.core.values.codec import registered_classes, registered_names
from flask_cloakroom.sessions.outage import SessionUnavailable
from support.clock import TEST_TIMEOUT, CalmClock
from support.sites.csrf import make_app as csrf_site
from support.sites.csrf import post
from support.sites.requests_on_app import MakeApp
from support.sites.threads import (
    THREADS,
    WAYS,
    Browser,
    Gate,
    Running,
    Site,
    read,
    render_token,
    say,
    switching_often,
    together,
    write,
)
from support.sites.watched_store import watch

#: Rounds of each combination of a store and a way.
ROUNDS = pytest.mark.parametrize("rounds", [10, pytest.param(100, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])


@pytest.fixture(autouse=True)
def often_switching() -> Iterator[None]:
    with switching_often():
        yield


@pytest.fixture
def site(make_app: MakeApp) -> Site:
    return Site(make_app())


@pytest.fixture
def browser(site: Site) -> Browser:
    """Return a browser with a session, in which nobody is logged in."""
    browser = site.browser()
    browser.run(lambda: session.update({"name": "visitor", "cart": [-1]}))
    return browser


#: Ways to read the session. Each returns "visitor" if it sees what an earlier request stored.
READS: dict[str, Callable[[], Any]] = {
    "[]": lambda: session["name"],
    "get": lambda: session.get("name"),
    "in": lambda: "name" in session and "visitor",
    "dict": lambda: dict(session)["name"],
    "pop": lambda: session.pop("name", None),
    "setdefault": lambda: session.setdefault("name", "nobody"),
    "new": lambda: not session.new and "visitor",
    "sid": lambda: session.sid and "visitor",  # type: ignore[attr-defined]
}


def three_more(use: Callable[[], Any]) -> list[Running]:
    """Return three more threads of the request that have begun to use its session, or have even done so."""
    return [Running(use).wait_until_inside() for _ in range(3)]


# -- the first use ------------------------------------------------------------------------------------------------


class TestFirstUse:
    """The session is loaded once, and no thread sees one that is half loaded."""

    @ROUNDS
    @pytest.mark.promise(3)
    @pytest.mark.parametrize("way", WAYS)
    def test_each_writes_a_key(self, site: Site, browser: Browser, way: str, rounds: int) -> None:
        """Eight threads read what is stored and write a key each. Nothing is lost, and the store is asked once."""

        def work(number: int) -> Any:
            write(number)
            return session.get("name")

        store = watch(site.app)
        for _ in range(rounds):
            browser.run(lambda: [session.pop(f"key {number}", None) for number in range(THREADS)])
            store.calls.clear()
            assert browser.run_in_threads(way, work) == ["visitor"] * THREADS
            assert store.calls == ["load", "replace"]
            assert browser.run(lambda: [session[f"key {number}"] for number in range(THREADS)]) == [*range(THREADS)]

    @pytest.mark.parametrize("way", WAYS)
    def test_a_first_visit(self, site: Site, way: str) -> None:
        """Without a cookie, the threads write to one new session, which gets one cookie."""
        for _ in range(5):
            browser = site.browser()
            browser.run_in_threads(way, write)
            assert browser.run(lambda: len(session)) == THREADS

    @pytest.mark.parametrize("use", READS)
    def test_a_thread_that_comes_during_the_load(self, site: Site, browser: Browser, use: str) -> None:
        """It waits for the values, by whichever method it reads, and the store is not asked again."""
        store, gate = watch(site.app), Gate()
        store.before["load"] = gate

        def view() -> list[Any]:
            first = Running(lambda: session.get("name"))
            gate.wait_for_first()
            second = Running(READS[use]).wait_until_inside()
            assert not second.is_done()
            gate.open()
            return [first.join().error, second.result()]

        assert browser.run(view) == [None, "visitor"]
        assert store.calls[:1] == ["load"]
        assert store.calls.count("load") == 1

    def test_threads_that_write_during_the_load(self, site: Site, browser: Browser) -> None:
        """Their values are stored, and the earlier values stay."""
        store, gate = watch(site.app), Gate()
        store.before["load"] = gate

        def view() -> None:
            threads = [Running(lambda: write(0))]
            gate.wait_for_first()
            threads += [Running(lambda number=number: write(number)).wait_until_inside() for number in (1, 2, 3)]  # type: ignore[misc]
            gate.open()
            for thread in threads:
                thread.result()

        browser.run(view)
        assert browser.run(lambda: sorted(session)) == ["cart", "key 0", "key 1", "key 2", "key 3", "name"]

    def test_the_load_fails_while_threads_wait(self, site: Site, browser: Browser) -> None:
        """All get the same 503, the store is asked once, and what is stored stays."""
        store, gate = watch(site.app), Gate()
        threads: list[Running] = []

        def fail() -> None:
            gate()
            raise StoreError("down")

        def view() -> str:
            store.before["load"] = fail
            threads.append(Running(lambda: read(0)))
            gate.wait_for_first()
            threads.extend(three_more(lambda: write(1)))
            gate.open()
            return str([thread.join() for thread in threads])

        response = browser.open(view)
        assert [type(thread.error) for thread in threads] == [SessionUnavailable] * 4
        assert store.calls == []
        assert response.status_code == 503
        assert response.headers["Retry-After"]
        assert "Set-Cookie" not in response.headers
        assert browser.run(lambda: dict(session)) == {"name": "visitor", "cart": [-1]}

    def test_a_load_that_ends_its_thread(self, site: Site, browser: Browser) -> None:
        """A load that is interrupted leaves nobody waiting."""

        class Interrupted(BaseException):
            pass

        store, gate = watch(site.app), Gate()
        seen: list[Running] = []

        def interrupt() -> None:
            gate()
            raise Interrupted

        def view() -> list[Running]:
            store.before["load"] = interrupt
            threads = [Running(lambda: read(0))]
            gate.wait_for_first()
            threads.append(Running(lambda: read(0)).wait_until_inside())
            gate.open()
            return [*(thread.join() for thread in threads), Running(lambda: read(0)).join()]

        with CalmClock() as clock:
            began = clock.time()
            response = browser.open(lambda: str(seen.extend(view())))  # type: ignore[func-returns-value]
            assert clock.time() - began < 1  # less than SESSION_STORE_TIMEOUT
        first, *others = seen
        assert isinstance(first.error, Interrupted)
        for thread in others:
            assert thread.value == "visitor" or isinstance(thread.error, SessionUnavailable)
        assert response.status_code in (200, 503)
        assert browser.run(lambda: dict(session)) == {"name": "visitor", "cart": [-1]}

    def test_another_request_during_the_load(self, site: Site, browser: Browser) -> None:
        """A request that runs inside of another one's load, in the same thread, has a session of its own."""
        other = site.browser()
        other.run(lambda: session.update({"name": "other"}))
        store = watch(site.app)
        seen: list[Any] = []

        def visit() -> None:
            seen.append(other.run(lambda: (read(0), write(1))))

        store.before["load"] = visit
        assert browser.run(lambda: read(0)) == "visitor"
        assert seen == [("other", None)]
        assert other.run(lambda: session["key 1"]) == 1
        assert browser.run(lambda: sorted(session)) == ["cart", "name"]

    def test_a_thread_does_not_wait_for_ever(self, make_app: MakeApp) -> None:
        """It gets a 503 after SESSION_STORE_TIMEOUT. The thread that it waited for goes on unharmed."""
        site = Site(make_app(SESSION_STORE_TIMEOUT=0.3))
        browser = site.browser()
        browser.run(lambda: session.update({"name": "visitor"}))
        store, gate = watch(site.app), Gate()

        def view() -> tuple[Any, Any, float]:
            store.before["load"] = gate
            first = Running(lambda: (read(0), write(1)))
            gate.wait_for_first()
            with CalmClock() as clock:
                began = clock.time()
                late = Running(lambda: read(0)).join()
                waited = clock.time() - began
            gate.open()
            return first.result(), late.error, waited

        found, error, waited = browser.run(view)
        assert found == ("visitor", None)
        assert isinstance(error, SessionUnavailable)
        assert 0.1 < waited < 3
        assert browser.run(lambda: session["key 1"]) == 1

    @pytest.mark.parametrize(
        "ask",
        [lambda: current_user.get_id(), lambda: dict(user_session), generate_csrf],
        ids=["user", "user_session", "token"],
    )
    def test_whoever_waits_for_another_thing_harms_nobody(self, make_app: MakeApp, ask: Callable[[], Any]) -> None:
        """The user, their data and a token need the session, too: the thread that gives up does not end the request."""
        site = Site(make_app(SESSION_STORE_TIMEOUT=0.3))
        browser = site.browser("alice")
        browser.run(lambda: session.update({"name": "visitor"}))
        store, gate = watch(site.app), Gate()

        def view() -> tuple[Any, Any, Any]:
            store.before["load"] = gate
            first = Running(lambda: (read(0), write(1)))
            gate.wait_for_first()
            late = Running(ask).join()
            gate.open()
            return first.result(), late.error, Running(lambda: read(0)).result()

        found, error, later = browser.run(view)
        assert found == ("visitor", None)
        assert isinstance(error, SessionUnavailable)
        assert later == "visitor"
        assert browser.run(lambda: (current_user.get_id(), session["key 1"])) == ("alice", 1)

    def test_a_view_that_fails_by_the_wait_is_a_503(self, make_app: MakeApp) -> None:
        """The response says when to try again, and the next request finds the session."""
        site = Site(make_app(SESSION_STORE_TIMEOUT=0.3))
        browser = site.browser()
        browser.run(lambda: session.update({"name": "visitor"}))
        store, gate = watch(site.app), Gate()

        def view() -> str:
            store.before["load"] = gate
            first = Running(lambda: read(0))
            gate.wait_for_first()
            try:
                return str(read(0))
            finally:
                gate.open()
                first.join()

        response = browser.open(view)
        assert response.status_code == 503
        assert response.headers["Retry-After"]
        assert browser.run(lambda: read(0)) == "visitor"


# -- one value ----------------------------------------------------------------------------------------------------


class TestOneValue:
    """A value that several threads read is one object, so that the changes of all of them are saved."""

    @pytest.mark.promise(3, 6)
    @pytest.mark.parametrize("way", WAYS)
    def test_one_stored_list(self, browser: Browser, way: str) -> None:
        """Eight threads append to a list from an earlier request."""
        for turn in range(5):
            browser.run_in_threads(way, lambda number, turn=turn: session["cart"].append(10 * turn + number))  # type: ignore[misc]
        wanted = [10 * turn + number for turn in range(5) for number in range(THREADS)]
        assert browser.run(lambda: sorted(session["cart"])) == [-1, *wanted]

    @pytest.mark.promise(3, 6)
    @pytest.mark.parametrize("way", WAYS)
    def test_a_list_that_each_begins(self, browser: Browser, way: str) -> None:
        """``setdefault()`` gives all threads the same list."""
        for _ in range(5):
            browser.run(lambda: session.pop("log", None))
            browser.run_in_threads(way, lambda number: session.setdefault("log", []).append(number))
            assert browser.run(lambda: sorted(session["log"])) == [*range(THREADS)]

    @pytest.mark.parametrize("way", WAYS)
    def test_a_value_that_each_takes(self, browser: Browser, way: str) -> None:
        """``pop()`` gives a value to one thread only."""
        for _ in range(5):
            browser.run(lambda: session.update({"voucher": "once"}))
            taken = browser.run_in_threads(way, lambda number: session.pop("voucher", None))
            assert sorted(taken, key=str) == [None] * (THREADS - 1) + ["once"]
            assert browser.run(lambda: "voucher" in session) is False

    @pytest.mark.parametrize("way", WAYS)
    def test_threads_that_list_the_keys_while_others_write(self, browser: Browser, way: str) -> None:
        """A copy of the session or a loop over it raises no error, and has whole values."""
        readers: list[Callable[[], Any]] = [
            lambda: dict(session),
            lambda: list(session.items()),
            lambda: session.copy(),  # type: ignore[attr-defined]
            lambda: session | {},  # type: ignore[operator]
        ]

        def work(number: int) -> None:
            if number % 2:
                for turn in range(20):
                    session[f"key {number}.{turn}"] = turn
            else:
                for _ in range(20):
                    assert dict(readers[number // 2]())["name"] == "visitor"

        browser.run_in_threads(way, work)
        assert browser.run(lambda: len(session)) == 2 + 20 * THREADS // 2


class Coat:
    """A class of the application, whose instances have a name that can change."""

    def __init__(self, name: str) -> None:
        self.name = name


class TestDecoders:
    """A decoder is code of the application: it runs with no lock held, and may use the session."""

    @pytest.fixture
    def decode(self) -> Iterator[list[Callable[[], Any]]]:
        """Register a class. What the list has is run, the last one first, when a decoder begins."""
        hooks: list[Callable[[], Any]] = []

        def decoder(name: str) -> Coat:
            if hooks:
                hooks.pop()()
            return Coat(name)

        register_type(Coat, name="tests.Coat", encode=lambda coat: coat.name, decode=decoder)
        yield hooks
        del registered_classes[Coat], registered_names["tests.Coat"]

    @pytest.fixture
    def wearer(self, site: Site, decode: list[Callable[[], Any]]) -> Browser:
        browser = site.browser()
        browser.run(lambda: session.update({"coat": Coat("red"), "name": "visitor"}))
        return browser

    @pytest.mark.parametrize("first_decoder", ["ends first", "ends last"])
    def test_two_threads_get_one_object(
        self, wearer: Browser, decode: list[Callable[[], Any]], first_decoder: str
    ) -> None:
        """Also if both ran the decoder. What either of them changes is saved."""
        slow = Gate()

        def view() -> list[Coat]:
            read(0)
            decode.append(slow)
            first = Running(lambda: session["coat"])
            slow.wait_for_first()
            second = Running(lambda: session["coat"]).wait_until_inside()
            if first_decoder == "ends last" and decode == []:
                # The second thread either waits for the first one, or decodes the value itself.
                wait_a_moment_for(second)
            slow.open()
            coats = [first.result(), second.result(), session["coat"]]
            coats[0].name = "blue"
            return coats

        one, two, three = wearer.run(view)
        assert one is two
        assert one is three
        assert wearer.run(lambda: session["coat"].name) == "blue"

    def test_other_keys_can_be_used_meanwhile(self, wearer: Browser, decode: list[Callable[[], Any]]) -> None:
        """A decoder that takes long holds up no thread that reads or writes another key."""
        gate = Gate()

        def view() -> Any:
            read(0)
            decode.append(gate)
            first = Running(lambda: session["coat"].name)
            gate.wait_for_first()
            others = [Running(lambda: read(0)).result(), Running(lambda: write(1)).result()]
            gate.open()
            return [*others, first.result()]

        assert wearer.run(view) == ["visitor", None, "red"]
        assert wearer.run(lambda: session["key 1"]) == 1

    def test_a_decoder_that_uses_the_session(self, wearer: Browser, decode: list[Callable[[], Any]]) -> None:
        """Reads and writes of a decoder itself, and of a thread that it waits for, do not hang."""
        seen: list[Any] = []

        def use() -> None:
            seen.append(read(0))
            write(1)
            seen.append(Running(lambda: read(0)).result())

        def view() -> str:
            decode.append(use)
            return str(session["coat"].name)

        assert wearer.run(view) == "red"
        assert seen == ["visitor", "visitor"]
        assert wearer.run(lambda: session["key 1"]) == 1

    def test_decoders_that_read_each_other(self, wearer: Browser, decode: list[Callable[[], Any]]) -> None:
        """Two threads decode a value each, and their decoders then read the other thread's value: neither hangs."""
        wearer.run(lambda: session.update({"hat": Coat("green")}))
        both = threading.Barrier(2)

        def read_other(key: str) -> Callable[[], Any]:
            def read_it() -> Any:
                both.wait(TEST_TIMEOUT)
                return session[key].name

            return read_it

        def view() -> list[str]:
            read(0)
            # Whichever thread comes first takes the last one. Each then reads both keys, which is an error in neither.
            decode.extend([read_other("coat"), read_other("hat")])
            threads = [Running(lambda: session["coat"].name), Running(lambda: session["hat"].name)]
            return [thread.result() for thread in threads]

        assert wearer.run(view) == ["red", "green"]

    def test_a_decoder_that_fails_once(self, wearer: Browser, decode: list[Callable[[], Any]]) -> None:
        """The value is missing for a thread, or it is the other thread's object. It stays stored."""
        gate = Gate()

        def fail() -> None:
            gate()
            raise ValueError("unknown coat")

        def view() -> list[Any]:
            read(0)
            decode.append(fail)
            first = Running(lambda: session.get("coat"))
            gate.wait_for_first()
            second = Running(lambda: session.get("coat")).wait_until_inside()
            gate.open()
            return [first.result(), second.result()]

        assert {coat and coat.name for coat in wearer.run(view)} <= {None, "red"}
        assert wearer.run(lambda: session["coat"].name) == "red"


def wait_a_moment_for(thread: Running) -> None:
    """Give a thread the time to end before the test goes on; whether it waits instead is its own choice."""
    with CalmClock() as clock:
        began = clock.time()
        while not thread.is_done() and clock.time() - began < 0.05:
            threading.Event().wait(0.005)


# -- code of the application ----------------------------------------------------------------------------------------


class TestNoLockIsHeld:
    """While code of the application runs, no lock is held: another thread of the request can use the open session."""

    def probe(self, seen: list[Any]) -> None:
        """Use the session in another thread, and wait for it."""
        seen.append(Running(lambda: (read(0), session.setdefault("list", []), session.pop("none", None))).result())

    def check(self, seen: list[Any]) -> None:
        assert seen
        assert {found[0] for found in seen} == {"visitor"}

    def test_a_user_loader(self, site: Site) -> None:
        """It may wait for a thread that reads and writes the session."""
        browser, seen = site.browser("alice"), []
        browser.run(lambda: session.update({"name": "visitor"}))
        site.while_loading = lambda: self.probe(seen)
        assert browser.who == "alice"
        self.check(seen)

    def test_an_encoder(self, site: Site, browser: Browser) -> None:
        """It runs when the session is saved."""
        seen: list[Any] = []

        def encode(hat: Hat) -> str:
            self.probe(seen)
            return "hat"

        register_type(Hat, name="tests.Hat", encode=encode, decode=lambda name: Hat())
        try:
            browser.run(lambda: session.update({"hat": Hat()}))
        finally:
            del registered_classes[Hat], registered_names["tests.Hat"]
        self.check(seen)

    def test_a_merge_strategy(self, make_app: MakeApp) -> None:
        """It runs while the session is saved, when another request has changed the same value."""
        seen: list[Any] = []

        def merge(base: Any, theirs: Any, mine: Any) -> Any:
            self.probe(seen)
            return theirs + mine

        site = Site(make_app(SESSION_MERGE={"n": merge}))
        browser = site.browser()
        browser.run(lambda: session.update({"name": "visitor", "n": 1}))

        def view() -> None:
            session["n"] += 1
            browser.run(lambda: session.update({"n": 10}))

        browser.run(view)
        self.check(seen)
        assert browser.run(lambda: session["n"]) == 12

    @pytest.mark.parametrize("signal", [user_logged_in, session_created, session_rotated], ids=lambda one: one.name)
    def test_a_receiver(self, site: Site, browser: Browser, signal: Any) -> None:
        """It may wait for such a thread, too."""
        seen: list[Any] = []

        def receive(sender: Any, **arguments: Any) -> None:
            self.probe(seen)

        with signal.connected_to(receive):
            browser.run(lambda: login_user(site.users["alice"]))
            site.browser().run(lambda: session.update({"name": "visitor"}))
        self.check(seen)


class Hat:
    """Another class of the application."""


# -- writes beside a save -----------------------------------------------------------------------------------------


def show_messages() -> None:
    assert get_flashed_messages() == ["earlier"]


def lock_and_write() -> None:
    with session.lock():  # type: ignore[attr-defined]
        session["locked"] = 1


#: What stores something before the response is made.
SAVES: dict[str, Callable[[], None]] = {"messages are shown": show_messages, "a lock": lock_and_write}


@ROUNDS
@pytest.mark.promise(3)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("save", SAVES)
def test_writes_beside_a_save(site: Site, save: str, way: str, rounds: int) -> None:
    """One thread stores something in the middle of the request, the others write all the time: nothing is lost."""

    def work(number: int) -> None:
        if number == 0:
            SAVES[save]()
        else:
            for turn in range(10):
                session[f"key {number}.{turn}"] = turn
                session["cart"].append(number)

    for _ in range(rounds):
        browser = site.browser()
        browser.run(lambda: (flash("earlier"), session.update({"cart": []})))
        browser.run_in_threads(way, work)
        found = browser.run(lambda: (len([key for key in session if key.startswith("key ")]), sorted(session["cart"])))
        assert found == (10 * (THREADS - 1), sorted([*range(1, THREADS)] * 10))


# -- flash messages -----------------------------------------------------------------------------------------------


class TestFlashMessages:
    """Messages that threads of one request flash."""

    @ROUNDS
    @pytest.mark.parametrize("waiting", [[], ["earlier"]])
    @pytest.mark.parametrize("way", WAYS)
    def test_all_are_shown(self, site: Site, way: str, waiting: list[str], rounds: int) -> None:
        """As first use, with and without messages that wait: the next page shows each once, the earlier ones first."""
        browser = site.browser()
        for _ in range(rounds):
            browser.run(lambda: [flash(message) for message in waiting])
            browser.run_in_threads(way, say)
            shown = browser.run(get_flashed_messages)
            assert shown[: len(waiting)] == waiting
            assert sorted(shown[len(waiting) :]) == [f"message {number}" for number in range(THREADS)]
            assert browser.run(get_flashed_messages) == []

    @pytest.mark.parametrize("way", ["executor", "threads"])
    def test_each_is_shown_once(self, site: Site, way: str) -> None:
        """Threads that render parts of one page show no message twice, and none is lost."""
        browser = site.browser()
        for _ in range(5):
            browser.run(lambda: [say(number) for number in range(5)])
            shown = browser.run_in_threads(way, lambda number: get_flashed_messages())
            assert sorted(message for part in shown for message in part) == [f"message {number}" for number in range(5)]
            assert browser.run(get_flashed_messages) == []


# -- CSRF tokens --------------------------------------------------------------------------------------------------


class TestTokens:
    """CSRF tokens that threads of one request render."""

    @ROUNDS
    @pytest.mark.parametrize("has_session", [True, False])
    @pytest.mark.parametrize("way", WAYS)
    def test_each_is_valid(self, site: Site, way: str, has_session: bool, rounds: int) -> None:
        """Also if the session has no CSRF secret yet: every token that was returned passes with the next form."""
        browser = site.browser()
        for _ in range(rounds):
            if has_session:
                browser.run(lambda: (session.update({"name": "visitor"}), session.pop("csrf_token", None)))
            else:
                browser = site.browser()
            tokens = browser.run_in_threads(way, render_token)
            assert [browser.accepts(token) for token in tokens] == [True] * THREADS

    def test_a_token_that_is_made_during_the_load(self, site: Site, browser: Browser) -> None:
        """Of two threads that render the first token of a session, both get a valid one."""
        store, gate = watch(site.app), Gate()

        def view() -> list[str]:
            store.before["load"] = gate
            first = Running(generate_csrf)
            gate.wait_for_first()
            second = Running(generate_csrf).wait_until_inside()
            gate.open()
            return [first.result(), second.result()]

        assert [browser.accepts(token) for token in browser.run(view)] == [True, True]

    @pytest.mark.parametrize("way", ["executor", "threads"])
    def test_over_flasks_own_session(self, way: str) -> None:
        """Over a session in a signed cookie, too."""
        app = csrf_site("cookie")
        app.add_url_rule("/run", "run", lambda: WAYS[way](THREADS, together(THREADS, render_token)))
        for _ in range(10):
            client = app.test_client()
            tokens = client.get("/run").json
            assert [post(client, token).status_code for token in tokens] == [200] * THREADS


# -- the lock of a session ----------------------------------------------------------------------------------------


class TestLock:
    """``session.lock()`` in threads of one request."""

    @pytest.mark.parametrize("way", WAYS)
    def test_threads_that_lock(self, site: Site, browser: Browser, way: str) -> None:
        """All that they write inside their blocks is stored, and the lock is free afterwards."""

        def work(number: int) -> None:
            with session.lock():  # type: ignore[attr-defined]
                write(number)
                session["cart"].append(number)

        browser.run_in_threads(way, work)
        found = browser.run(lambda: (sorted(session["cart"]), [session[f"key {number}"] for number in range(THREADS)]))
        assert found == ([-1, *range(THREADS)], [*range(THREADS)])

        def lock_at_once() -> str:
            with session.lock(timeout=0):  # type: ignore[attr-defined]
                return "free"

        assert browser.run(lock_at_once) == "free"

    def test_another_request_waits_for_the_last_thread(self, site: Site, browser: Browser) -> None:
        """While any thread of the request is inside a block, no other request of the session enters one."""
        inside, leave = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]
        other = site.browser()
        other.client.set_cookie("session", browser.cookie("session") or "")

        def hold(number: int) -> None:
            with session.lock():  # type: ignore[attr-defined]
                inside[number].set()
                assert leave[number].wait(TEST_TIMEOUT)
                write(number)

        def try_to_enter() -> str:
            try:
                with session.lock(timeout=0):  # type: ignore[attr-defined]
                    return "in"
            except LockTimeoutError:
                return "out"

        def view() -> list[str]:
            first = Running(lambda: hold(0))
            assert inside[0].wait(TEST_TIMEOUT)
            second = Running(lambda: hold(1)).wait_until_inside()
            seen = [other.run(try_to_enter)]
            leave[0].set()
            first.result()
            assert inside[1].wait(5), second.error
            seen.append(other.run(try_to_enter))
            leave[1].set()
            second.result()
            return [*seen, other.run(try_to_enter)]

        assert browser.run(view) == ["out", "out", "in"]
        assert browser.run(lambda: [session["key 0"], session["key 1"]]) == [0, 1]
