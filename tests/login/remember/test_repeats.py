"""A remember token that comes back long after its use: after a lost response, or from a thief."""

from __future__ import annotations

import json
import threading
from itertools import product
from typing import Any, Final

import pytest
from flask import session

from flask_cloakroom.core.entries import envelope
from flask_cloakroom.core.entries.family import MOST_REPEATS, TOKEN_OVERLAP, TokenStatus
from flask_cloakroom.core.entries.record import Absence
from flask_cloakroom.core.entries.tickets import unmask_successor
from flask_cloakroom.core.sessions.repository import Repository
from flask_cloakroom.core.values import codec
from flask_cloakroom.core.values.own_keys import UNSHOWN_KEY
from flask_cloakroom.sessions import concurrent_login
from support.clock import TEST_TIMEOUT
from support.sites.login import Browser, MakeSite, Site
from support.sites.remember import (
    Clock,
    FailingStore,
    end_sessions,
    heard,
    lose,
    remembered,
    repository_of,
    sessions_of,
    status_of,
    with_cart,
)

#: Seconds after which a use of the previous token is late, after which it is an alarm if the successor was shown, and
#: after which nothing of a moment ago counts any more.
LATE, PAST_LATE, LONG = TOKEN_OVERLAP + 1, 100, 600
IDLE = 3600


@pytest.fixture
def site(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site whose requests do not wait long for a parallel request that does not exist."""
    monkeypatch.setattr(concurrent_login, "JOIN_PATIENCE", 0.01)
    return make_site("server", PERMANENT_SESSION_LIFETIME=IDLE)


@pytest.fixture
def clock(site: Site) -> Clock:
    return Clock(site)


class TestLostResponse:
    """The browser has neither the next token nor the new session, and sends the old token again."""

    @pytest.mark.parametrize("seconds", [LATE, PAST_LATE, LONG])
    @pytest.mark.parametrize("path", ["/who", "/contents"])
    def test_is_logged_in_again(
        self, site: Site, clock: Clock, caplog: pytest.LogCaptureFixture, seconds: int, path: str
    ) -> None:
        """With the cart of the anonymous session before, which moved to the session that was never shown."""
        browser = with_cart(remembered(site))
        assert lose(browser)[0] == "alice"
        clock.move(seconds)
        with heard() as signals:
            assert browser.who == "alice"
            assert browser.who == "alice"
        assert signals == [("repeated", "alice")]
        assert [record.levelname for record in caplog.records if "never shown" in record.message] == ["WARNING"]
        assert browser.open("/contents").json == {"cart": ["tea"]}
        assert len(sessions_of(site, "alice")) == 1

    def test_after_the_idle_timeout(self, site: Site, clock: Clock) -> None:
        """The session that was never shown has expired by then. The login is back, in a new session."""
        browser = with_cart(remembered(site))
        assert lose(browser)[0] == "alice"
        clock.move(IDLE + 1)
        with heard() as signals:
            assert browser.who == "alice"
        assert signals == [("repeated", "alice")]
        assert len(sessions_of(site, "alice")) == 1

    def test_a_new_cart(self, site: Site, clock: Clock) -> None:
        """A session that the browser has begun meanwhile moves on, and the session that was never shown ends."""
        browser = with_cart(remembered(site))
        assert lose(browser)[0] == "alice"
        clock.move(LONG)
        browser.client.delete_cookie("session")
        browser.text("/cart/coffee")
        assert browser.who == "alice"
        assert browser.open("/contents").json == {"cart": ["coffee"]}
        assert len(sessions_of(site, "alice")) == 1

    def test_without_an_owner_index(self, site: Site, clock: Clock) -> None:
        """The session that was never shown ends by its ticket too, where the store cannot list a user's sessions."""
        browser = remembered(site)
        unseen = lose(browser)[1]
        clock.move(LONG)
        browser.text("/cart/coffee")
        repository = repository_of(site)
        store = repository.store

        class Plain:
            def __init__(self) -> None:
                for name in ("load", "create", "replace", "touch", "delete", "close"):
                    setattr(self, name, getattr(store, name))

        repository.store = Plain()
        assert browser.who == "alice"
        assert not unseen.copy("session").open("/contents").json
        assert unseen.copy("session").who == "nobody"

    def test_twice_and_no_more(self, site: Site, clock: Clock) -> None:
        """The third repeat is the alarm, which logs out the browser and all that was made with the token."""
        browser = with_cart(remembered(site))
        lost: list[Browser] = []
        with heard() as signals:
            for _ in range(1 + MOST_REPEATS):
                text, receiver = lose(browser)
                assert text == "alice"
                lost.append(receiver)
                clock.move(PAST_LATE)
            assert signals == [("repeated", "alice")] * MOST_REPEATS
            assert browser.who == "nobody"
        assert signals == [("repeated", "alice")] * MOST_REPEATS + [("reused", "alice")]
        assert [one.who for one in lost] == ["nobody"] * len(lost)
        assert sessions_of(site, "alice") == []

    def test_the_login_is_no_later_one(self, site: Site, clock: Clock) -> None:
        """The tombstone of the session that the browser sends is young, and was left by the login of the same token."""
        browser = with_cart(remembered(site))
        store = FailingStore(site, lambda number: number == 4)  # after the use of the token
        assert browser.open("/who").status_code == 503
        assert store.restore()[2] == "replace"
        clock.move(LATE - 2)
        assert lose(browser)[0] == "alice"
        clock.move(2)
        with heard() as signals:
            assert browser.who == "alice"
        assert signals == [("repeated", "alice")]
        assert browser.open("/contents").json == {"cart": ["tea"]}

    def test_each_successor_has_a_pad_of_its_own(self, site: Site, clock: Clock) -> None:
        """Two texts that are encrypted with one pad would each tell the other one."""
        families = repository_of(site).families
        token = families.issue("alice", "", 10 * LONG)
        for repeats in range(1 + MOST_REPEATS):
            used = families.use(families.find(token)[0], token, "")
            family = families.find(used.token)[0]
            assert (used.ticket in unmask_successor(token, family.successor)) is (repeats == 0)
            clock.move(LONG)

    def test_the_cart_survives_two_repeats(self, site: Site, clock: Clock) -> None:
        """Both times it moves on to the session of the next successor."""
        browser = with_cart(remembered(site))
        for _ in range(MOST_REPEATS):
            assert lose(browser)[0] == "alice"
            clock.move(PAST_LATE)
        assert browser.who == "alice"
        assert browser.open("/contents").json == {"cart": ["tea"]}

    def test_use_of_the_next_token_counts_anew(self, site: Site, clock: Clock) -> None:
        """After a token that arrived, two further responses may be lost."""
        browser = remembered(site)
        with heard() as signals:
            for _ in range(3):
                for _ in range(1 + MOST_REPEATS):
                    text, receiver = lose(browser)
                    assert text == "alice"
                    clock.move(PAST_LATE)
                browser = receiver.copy("remember_token")
        assert signals == [("repeated", "alice")] * 3 * MOST_REPEATS

    @pytest.mark.parametrize("cookies", [("remember_token",), ("session", "remember_token")])
    @pytest.mark.parametrize("seconds", [0, LATE, PAST_LATE])
    def test_the_lost_successor_comes_back(
        self, site: Site, clock: Clock, seconds: int, cookies: tuple[str, ...]
    ) -> None:
        """It counts as old from the repeat on: two browsers have the login, so it ends for both."""
        browser = remembered(site)
        receiver = lose(browser)[1]
        clock.move(LONG)
        assert browser.who == "alice"
        clock.move(seconds)
        with heard() as signals:
            assert receiver.copy(*cookies).who == "nobody"
        assert signals == [("reused", "alice")]
        assert browser.who == "nobody"

    @pytest.mark.parametrize("shown", ["token", "session"])
    def test_a_shown_successor(self, site: Site, clock: Clock, shown: str) -> None:
        """Its predecessor is refused for a minute, and is the alarm after that."""
        browser = remembered(site)
        receiver = lose(browser)[1]
        clock.move(LONG)
        assert receiver.copy("session" if shown == "session" else "remember_token").who == "alice"
        with heard() as signals:
            clock.move(0 if shown == "session" else PAST_LATE)
            assert browser.who == "nobody"
        assert signals == [("reused", "alice")]

    def test_for_a_minute_without_alarm(self, site: Site, clock: Clock) -> None:
        """Servers' clocks differ, and a request with the token may be under way."""
        browser = remembered(site)
        receiver = lose(browser)[1]
        assert receiver.who == "alice"
        clock.move(LATE)
        with heard() as signals:
            assert browser.who == "nobody"
            assert receiver.who == "alice"
        assert signals == []

    def test_login_with_a_password(self, site: Site, clock: Clock) -> None:
        """Ends the login of the lost successor without alarm, and deletes the cookie."""
        browser = remembered(site)
        receiver = lose(browser)[1]
        clock.move(LONG)
        with heard() as signals:
            browser.login("alice")
            assert [browser.who, receiver.who] == ["alice", "nobody"]
        assert "remember_token" not in browser.cookies
        assert signals == []

    def test_after_a_changed_password(self, site: Site, clock: Clock) -> None:
        """A repeat needs the user's present session_auth_hash(), as every use."""
        browser = remembered(site)
        assert lose(browser)[0] == "alice"
        site.users["alice"].password_hash = "argon2:second"
        clock.move(LONG)
        assert browser.who == "nobody"
        assert sessions_of(site, "alice") == []

    @pytest.mark.parametrize("seconds", [LATE, LONG])
    def test_an_extended_family(self, make_site: MakeSite, seconds: int) -> None:
        """An extension shows the token, so the token before it is no unshown one, although its mark has expired."""
        site = make_site(REMEMBER_COOKIE_REFRESH_EACH_REQUEST=True, REMEMBER_COOKIE_DURATION=1000)
        clock = Clock(site)
        browser = remembered(site)
        thief = browser.copy()
        assert browser.who == "alice"
        for _ in range(5):
            clock.move(500)
            assert browser.who == "alice"
        with heard() as signals:
            assert thief.who == "nobody"
        assert signals == [("reused", "alice")]

    def test_a_family_of_an_earlier_version(self, site: Site, clock: Clock) -> None:
        """It says nothing of shown successors, so the previous token is refused, and then the alarm."""
        families = repository_of(site).families
        token = families.issue("alice", "", 10 * LONG)
        used = families.use(families.find(token)[0], token, "")
        family = families.find(used.token)[0]
        packed = envelope.open_header(repository_of(site).store.load(family.key).data, family.key)[1]
        values = envelope.unpack_values(packed, codec.unpack_key)
        assert values.keys() >= {"repeats", "shown"}
        old_values = {name: value for name, value in values.items() if name not in ("repeats", "shown")}
        entry = envelope.pack(family.header, envelope.pack_values(old_values, codec.pack), family.key)
        repository_of(site).store.replace(family.key, entry, 10 * LONG, family.version)
        found = families.find(token)
        assert families.use(found[0], token, "").unshown is None, "its session has no mark to make"
        clock.move(LATE)
        assert families.find(token)[1] is TokenStatus.LATE

    def test_a_damaged_note(self, site: Site, clock: Clock) -> None:
        """A value of the wrong type marks nothing and is no error."""
        browser = remembered(site)
        assert browser.who == "alice"
        repository = repository_of(site)
        record = repository.load(browser.cookies["session"])
        repository.commit(record, {UNSHOWN_KEY: b"\x01"})
        assert browser.who == "alice"
        assert UNSHOWN_KEY not in repository.load(browser.cookies["session"]).values


class TestMark:
    """The first request with the new session's cookie stores that the browser has it."""

    def test_what_it_costs(self, site: Site, clock: Clock) -> None:
        """A mark and a write of the session at the first request, nothing at the second, nothing without a resume."""
        browser, plain = remembered(site), site.browser("bob")
        store = FailingStore(site, lambda number: False)
        for one, expected in [
            (browser, ["load", "replace", "owned", "claim", "create", "load", "load", "load"]),
            (browser, ["load", "create", "replace"]),
            (browser, ["load"]),
            (plain, ["load"]),
        ]:
            store.commands.clear()
            assert one.who != "nobody"
            assert store.commands == expected

    def test_marks_do_not_pile_up(self, site: Site, clock: Clock) -> None:
        """The use of the next token deletes the mark of the successor before. One mark is left for each login."""
        browser = remembered(site)
        counts = []
        for _ in range(4):
            assert [browser.who, browser.who] == ["alice", "alice"]
            end_sessions(site, "alice")
            counts.append(sum(1 for _ in repository_of(site).store.walk()))
            browser = browser.copy("remember_token")
        assert counts == [2] * 4, "the token family and its mark"

    def test_a_page_may_show_the_session(self, site: Site, clock: Clock) -> None:
        """The note in the session is fit for JSON, as the other keys of a login are."""
        browser = remembered(site)
        site.work = lambda: json.dumps(dict(session))
        assert browser.who == "alice"
        assert UNSHOWN_KEY in json.loads(browser.text("/work"))
        assert UNSHOWN_KEY not in json.loads(browser.text("/work"))

    def test_a_late_token_costs(self, site: Site, clock: Clock) -> None:
        """One load of the mark when the token's status is asked, and one more before it is used again."""
        browser = remembered(site)
        assert lose(browser)[0] == "alice"
        clock.move(LONG)
        store = FailingStore(site, lambda number: False)
        assert browser.who == "alice"
        assert store.restore()[:4] == ["load", "load", "load", "replace"]

    def test_a_request_that_joins_has_not_shown_it(self, site: Site, clock: Clock) -> None:
        """It came with the old token. Its response may be lost as well."""
        browser = remembered(site)
        for path in ("/who", "/who", "/cart/tea"):
            lose(browser, path)
            clock.move(5)
        assert site.app.test_client(use_cookies=False).get("/who").text == "nobody"
        clock.move(LONG)
        with heard() as signals:
            assert browser.who == "alice"
        assert signals == [("repeated", "alice")]

    def test_two_at_once(self, site: Site, clock: Clock) -> None:
        """Forced: the other request makes the mark and saves while this one is about to. Both are logged in."""
        browser = remembered(site)
        thief = browser.copy()
        assert browser.who == "alice"
        other, answers = browser.copy(), []
        before(site, "create", lambda: answers.append(other.text("/cart/tea")))
        assert browser.text("/cart/coffee") == "ok"
        assert answers == ["ok"]
        assert sorted(browser.open("/contents").json["cart"]) == ["coffee", "tea"]
        assert UNSHOWN_KEY not in repository_of(site).load(browser.cookies["session"]).values
        clock.move(PAST_LATE)
        with heard() as signals:
            assert thief.who == "nobody"
        assert signals == [("reused", "alice")]

    @pytest.mark.parametrize("number", [2, 3])
    @pytest.mark.parametrize("is_done", [False, True])
    def test_a_store_that_fails(self, site: Site, clock: Clock, number: int, is_done: bool) -> None:
        """The request gets a 503, and the next one makes the mark. Only a save whose answer is lost is looked up."""
        browser = remembered(site)
        thief = browser.copy()
        assert browser.who == "alice"
        store = FailingStore(site, lambda found: found == number, is_done=is_done)
        assert browser.open("/who").status_code == (200 if is_done and number == 3 else 503)
        store.restore()
        assert browser.who == "alice"
        assert UNSHOWN_KEY not in repository_of(site).load(browser.cookies["session"]).values
        clock.move(LATE)
        with heard() as signals:
            assert thief.who == "nobody"
            clock.move(PAST_LATE)
            assert thief.who == "nobody"
        assert signals == [("reused", "alice")]

    def test_it_moves_with_the_session(self, site: Site, clock: Clock) -> None:
        """A rotation in the same request as the resume: the mark is made by the first request with the last ticket."""
        browser = remembered(site)
        thief = browser.copy()
        assert browser.text("/confirm") == "ok"
        assert browser.who == "alice"
        clock.move(PAST_LATE)
        with heard() as signals:
            assert thief.who == "nobody"
        assert signals == [("reused", "alice")]


def before(site: Site, verb: str, run: Any) -> None:
    """Run something once, right before the next call of a verb of the store."""
    repository = repository_of(site)
    store = repository.store

    class Before:
        def __getattr__(self, name: str) -> Any:
            if name == verb:
                repository.store = store
                run()
            return getattr(store, name)

    repository.store = Before()


class TestTwoLateUses:
    """Two requests use the token late, at the same time: one successor, and both are in its session."""

    def test_the_other_is_faster(self, site: Site, clock: Clock) -> None:
        """Forced: the other request does it all between this one's reading and its writing."""
        browser = with_cart(remembered(site))
        assert lose(browser)[0] == "alice"
        clock.move(LONG)
        other, answers = browser.copy(), []
        with heard() as signals:
            before(site, "replace", lambda: answers.append(other.who))
            assert [browser.who, *answers] == ["alice", "alice"]
        self.check(site, browser, other, signals)

    @pytest.mark.parametrize("with_a_session", [False, True])
    def test_the_other_waits(self, site: Site, clock: Clock, monkeypatch: Any, with_a_session: bool) -> None:
        """Forced: this request has used the token and not made the session, and the other one waits for it."""
        monkeypatch.setattr(concurrent_login, "JOIN_PATIENCE", TEST_TIMEOUT)
        browser = with_cart(remembered(site))
        assert lose(browser)[0] == "alice"
        clock.move(LONG)
        if with_a_session:
            browser.client.delete_cookie("session")
            browser.text("/cart/tea")
        other, answers, waits = browser.copy(), [], threading.Event()
        thread = threading.Thread(target=lambda: answers.append(other.who))
        load, make = Repository.load, concurrent_login._make

        def load_and_tell(repository: Repository, ticket: str) -> Any:
            found = load(repository, ticket)
            if threading.current_thread() is thread and found is Absence.UNKNOWN and is_making:
                waits.set()
            return found

        def make_later(*arguments: Any) -> Any:
            is_making.append(True)
            thread.start()
            assert waits.wait(TEST_TIMEOUT)
            # The other thread may have opened the session of its cookie. It waits when it asks for the new session.
            return make(*arguments)

        is_making: list[bool] = []
        monkeypatch.setattr(Repository, "load", load_and_tell)
        monkeypatch.setattr(concurrent_login, "_make", make_later)
        with heard() as signals:
            assert browser.who == "alice"
            thread.join(TEST_TIMEOUT)
        assert answers == ["alice"]
        self.check(site, browser, other, signals)

    def check(self, site: Site, browser: Browser, other: Browser, signals: list[Any]) -> None:
        assert signals == [("repeated", "alice")]
        assert browser.cookies == other.cookies
        assert len(sessions_of(site, "alice")) == 1
        assert status_of(site, browser) is TokenStatus.CURRENT
        assert browser.open("/contents").json == {"cart": ["tea"]}


#: What happens to the response of a use: it is lost, or the browser keeps its cookies, or also sends them once.
LOST, KEPT, SHOWN = "lost", "kept", "shown"

#: The pauses between three uses, in seconds. Each of the three lengths comes first and second once. The other pairs
#: take another minute.
PAUSES: Final = [(0, LATE + 10), (LATE + 10, PAST_LATE), (PAST_LATE, 0)]
MORE_PAUSES: Final = [pauses for pauses in product([0, LATE + 10, PAST_LATE], repeat=2) if pauses not in PAUSES]


@pytest.mark.promise(9)
class TestTheft:
    """A copy of a remember token, used before, during and after the owner's use."""

    @pytest.mark.parametrize(
        "pauses", [*PAUSES, *(pytest.param(pauses, marks=pytest.mark.soak) for pauses in MORE_PAUSES)]
    )
    @pytest.mark.parametrize("order", ["".join(order) for order in product("ot", repeat=3)])
    def test_every_order_of_three_uses(self, site: Site, clock: Clock, order: str, pauses: tuple[int, int]) -> None:
        """The owner is never logged out by the thief without the alarm, nor does the thief stay beside the owner.

        The exception is a copy that is used within 30 seconds of the owner's use: it shares the owner's session.
        """
        fates = [(LOST, KEPT, SHOWN) if actor == "o" else (KEPT, SHOWN) for actor in order]
        for number, (first, gone, *fate) in enumerate(product([False, True], [False, True], *fates)):
            user = f"user{number}"
            case = (order, pauses, f"session at first: {first}", f"sessions expire: {gone}", fate)
            owner = remembered(site, user, keep_session=first)
            browsers = {"o": owner, "t": owner.copy("remember_token")}
            with heard() as signals:
                for actor, pause, what in zip(order, (*pauses, 0), fate, strict=True):
                    self.use(browsers[actor], what)
                    clock.move(pause)
                    if gone:
                        end_sessions(site, user)
                # Some time later both come back, again and again: the first visits may be what ends a login.
                answers = []
                for actor in "ototot":
                    clock.move(PAST_LATE)
                    answers.append(browsers[actor].who)
                answers = answers[-2:]
            is_alarm = ("reused", user) in signals
            if is_alarm:
                assert answers == ["nobody", "nobody"], case
                assert sessions_of(site, user) == [], case
            else:
                assert answers[0] == user, case
                is_shared = browsers["o"].cookies.get("session") == browsers["t"].cookies.get("session")
                assert answers[1] == "nobody" or is_shared, case
                assert not is_shared or 0 in pauses, case

    def use(self, browser: Browser, what: str) -> None:
        if what == LOST:
            lose(browser)
            return
        browser.open("/who")
        if what == SHOWN:
            browser.open("/who")

    @pytest.mark.parametrize("pauses", list(product([0, LATE + 10, PAST_LATE], repeat=2)))
    def test_without_a_thief(self, site: Site, clock: Clock, pauses: tuple[int, int]) -> None:
        """The owner alone is logged in at each use, without alarm, unless three late uses in a row were lost."""
        for number, (gone, *fate) in enumerate(product([False, True], *[(LOST, KEPT, SHOWN)] * 3)):
            case = (pauses, f"sessions expire: {gone}", fate)
            owner = remembered(site, user := f"user{number}")
            with heard() as signals:
                for pause, what in zip((*pauses, 2 * PAST_LATE), fate, strict=True):
                    self.use(owner, what)
                    clock.move(pause)
                    if gone:
                        end_sessions(site, user)
                is_too_often = fate == [LOST] * (1 + MOST_REPEATS) and 0 not in pauses
                assert owner.who == ("nobody" if is_too_often else user), case
            assert (("reused", user) in signals) is is_too_often, case
