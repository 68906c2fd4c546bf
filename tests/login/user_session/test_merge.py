"""A visitor's data is merged into the user's data exactly once, also with crashes, retries and parallel logins."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from flask_cloakroom import MISSING, StoreError, user_session_conflict, user_session_merged
from support.sites.user_session import Browser, Died, MakeSite, Site

FILL = """
user_session.update(count=2, tags=['a', 'b'], best=5, log=['v'], since='v', name='v', box={'x': 1, 'y': {'z': 1}})
"""
OWN = """
user_session.update(count=3, tags=['b', 'c'], best=4, log=['u'], since='u', name='u', box={'x': 2, 'y': {'w': 2}})
"""
#: What the two make: each strategy does its own, and without one what can't be merged is as the visitor had it.
BOTH = {
    "count": 5,
    "tags": ["b", "c", "a"],
    "best": 5,
    "log": ["u", "v"],
    "since": "u",
    "name": "v",
    "box": {"x": 1, "y": {"z": 1, "w": 2}},
}


def filled(site: Site, code: str = FILL) -> Browser:
    browser = Browser(site)
    browser.do(code)
    return browser


class TestStrategies:
    """The visitor's data and the user's data become one."""

    def test_each(self, site: Site) -> None:
        """Each key is merged by its declared strategy, and by the general rule without one."""
        filled(site, "login('alice')" + OWN)
        browser = filled(site)
        browser.login("alice")
        assert browser.show() == BOTH
        assert not [key for key in browser.get("/session").json if key.startswith("_user_session")]

    def test_of_nothing(self, site: Site) -> None:
        """At the first login the user gets the visitor's data unchanged."""
        browser = filled(site)
        before = browser.show()
        browser.login("alice")
        assert browser.show() == before == site.stored("alice")

    def test_it_is_told(self, site: Site) -> None:
        """A signal tells the changes and the conflicts."""
        filled(site, "login('alice'); user_session.update(count=3, same=1, name='u')")
        told, conflicts = [], []
        browser = filled(site, "user_session.update(count=2, same=1, name='v', new=[])")

        def listen(sender: Any, **arguments: Any) -> None:
            assert sender is site.app
            told.append(arguments)

        def contest(sender: Any, **arguments: Any) -> None:
            conflicts.append(arguments)

        with user_session_merged.connected_to(listen), user_session_conflict.connected_to(contest):
            browser.login("alice")
            browser.show()
        [arguments] = told
        assert arguments["user_id"] == "alice"
        changes = {change.key: (change.before, change.after) for change in arguments["changes"]}
        assert changes == {"count": (3, 5), "name": ("u", "v"), "new": (MISSING, [])}
        assert conflicts == [
            {"user_id": "alice", "key": "name", "path": ("name",), "base": MISSING}
            | {"theirs": "u", "mine": "v", "kept": "mine"}
        ]

    def test_within_the_login_view(self, site: Site) -> None:
        """After ``login_user()`` the view reads the merged data, and later changes are saved over it."""
        filled(site, "login('alice')" + OWN)
        browser = filled(site)
        answer = browser.login("alice", "answer = dict(user_session); user_session['count'] += 10").json
        assert answer == [True, BOTH]
        assert browser.show() == site.stored("alice") == {**BOTH, "count": 15}

    def test_writes_before_the_login_in_its_request(self, site: Site) -> None:
        """Changes before ``login_user()`` are the visitor's, and are merged with the rest."""
        browser = filled(site, "user_session['count'] = 1")
        browser.do("user_session['count'] += 1; user_session['name'] = 'v'; login('alice')")
        assert browser.show() == {"count": 2, "name": "v"}

    def test_a_remembered_login(self, site: Site) -> None:
        """A login by remember cookie merges the visitor's data as well."""
        site_browser = Browser(site)
        site_browser.login("alice", "user_session['count'] = 1", remember="1")
        token = site_browser.cookies["remember_token"]
        visitor = filled(site, "user_session['count'] = 2")
        visitor.client.set_cookie("remember_token", token)
        tabs = [visitor.copy() for _ in range(3)]
        assert [tab.show() for tab in tabs] == [{"count": 3}] * 3
        assert site.stored("alice") == {"count": 3}

    def test_another_user_on_the_same_session(self, site: Site) -> None:
        """Bob logs in over alice's session, and gets none of her data."""
        browser = filled(site)
        browser.login("alice")
        browser.login("bob")
        assert browser.show() == {} == site.stored("bob")

    def test_the_next_visitor_begins_anew(self, site: Site) -> None:
        """After a logout the visitor's dict is empty, and new data is merged at the next login."""
        browser = filled(site, "user_session['count'] = 1")
        browser.login("alice")
        browser.logout()
        browser.do("user_session['count'] = 2")
        browser.login("alice")
        assert browser.show() == {"count": 3}

    def test_too_large_to_merge(self, make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
        """The login goes on, and the log says what to do. The data is merged as soon as there is room."""
        site = make_site(SESSION_MAX_BYTES=4000)
        filled(site, "login('alice'); user_session['a'] = 'x' * 2500")
        browser = filled(site, "user_session['b'] = 'y' * 2500")
        browser.login("alice")
        assert browser.do("answer = sorted(user_session)") == ["a"]
        assert "SESSION_MAX_BYTES allows 4000" in caplog.text
        browser.do("del user_session['a']")
        assert browser.do("answer = sorted(user_session)") == ["b"]
        assert not [key for key in browser.get("/session").json if key.startswith("_user_session")]

    def test_a_strategy_that_fails(self, make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
        """The login goes on, and the log shows no value of the strategy's error."""

        def fail(base: Any, theirs: Any, mine: Any) -> Any:
            raise ValueError(f"secret {mine}")

        site = make_site(USER_SESSION_MERGE={"a": fail})
        filled(site, "login('alice'); user_session['a'] = 1")
        browser = filled(site, "user_session['a'] = 2")
        browser.login("alice")
        assert browser.show() == {"a": 1}
        assert "stays in the session: ValueError" in caplog.text
        assert "secret" not in caplog.text


#: A login with something to merge makes this many store commands or fewer.
MOST_CALLS = 14


@pytest.mark.promise(3)
class TestCrashes:
    """A process dies at each store command of a login, before or after the command took effect."""

    @pytest.mark.parametrize("took_effect", [False, True])
    @pytest.mark.parametrize("call", range(1, MOST_CALLS))
    def test_then_logs_in_again(self, site: Site, call: int, took_effect: bool) -> None:
        """The user logs in again, and there is exactly one merge."""
        self.crash(site, call, took_effect, "login", "")

    @pytest.mark.parametrize("took_effect", [False, True])
    @pytest.mark.parametrize("call", range(1, MOST_CALLS))
    @pytest.mark.parametrize("then", ["login", "edit", "other user", "fail"])
    @pytest.mark.parametrize("code", ["", "answer = dict(user_session)"])
    @pytest.mark.parametrize("store_url", ["memory://"])
    def test_then_goes_on(self, site: Site, call: int, took_effect: bool, then: str, code: str) -> None:
        """Whatever else happens, there is one merge in the end. In memory: the orders are the same on every store."""
        self.crash(site, call, took_effect, then, code)

    def crash(self, site: Site, call: int, took_effect: bool, then: str, code: str) -> None:
        filled(site, "login('alice')" + OWN)
        browser = filled(site)
        store = site.watch()
        died = StoreError if then == "fail" else Died
        store.die_at(call, took_effect=took_effect, raises=died)
        answer = None
        with suppress(Died):
            answer = browser.login("alice", code)
        store.calls_left = None
        assert site.stored("alice")["count"] in (3, 5)
        if then == "edit" and browser.show() not in ({}, BOTH):
            # The login did not come to it, so they are still a visitor, and go on.
            browser.do("user_session['count'] += 1")
            browser.login("alice")
            assert browser.show() == {**BOTH, "count": 6}
            return
        if then == "other user":
            had = browser.show()
            taken = site.stored("alice")["count"] == 5
            browser.login("bob")
            expected: Any = had if had not in ({}, BOTH) else {}
            assert browser.show() == expected == site.stored("bob")
            assert not (taken and expected)
            return
        if answer is None or answer.status_code != 200:
            assert browser.login("alice").status_code == 200
        assert browser.show() == BOTH == site.stored("alice")
        browser.login("alice")
        assert browser.show() == BOTH == site.stored("alice")

    def test_a_login_has_no_more_commands_than_that(self, site: Site) -> None:
        """Else the test above would miss some."""
        browser = filled(site)
        store = site.watch()
        before = len(store.calls)
        browser.login("alice", "dict(user_session)")
        assert 6 < len(store.calls) - before < MOST_CALLS

    @pytest.mark.parametrize("goes_on", ["show", "logout", "clear", "page", "bob"])
    def test_a_session_that_still_holds_it(self, site: Site, goes_on: str) -> None:
        """When the store fails at the merge, the login stands, and the next request merges, whatever that does."""
        filled(site, "login('alice')" + OWN)
        browser = filled(site)
        store = site.watch()
        user_data = site.app.session_interface.repository.user_data  # type: ignore[attr-defined]
        merge, user_data.merge = user_data.merge, _fails
        assert browser.login("alice").status_code == 200
        user_data.merge = merge
        assert site.stored("alice")["count"] == 3
        steps: dict[str, Callable[[], Any]] = {
            "show": browser.show,
            "logout": browser.logout,
            "clear": lambda: browser.do("session.clear()"),
            "page": lambda: browser.get("/session"),
            "bob": lambda: browser.login("bob"),
        }
        steps[goes_on]()
        assert site.stored("alice") == BOTH
        assert site.stored("bob") == {}
        assert store.calls

    def test_a_mark_is_for_its_user_only(self, make_site: MakeSite) -> None:
        """What a crashed login left is not another's; nor is it for a ticket that nobody had."""
        site = make_site(SESSION_ENCRYPTION=True, SECRET_KEY="a key that is long enough")
        browser = filled(site)
        store = site.watch()
        before = len(store.calls)
        browser.copy().login("alice")
        places = [number for number, one in enumerate(store.calls[before:], 1) if one.verb == "replace"]
        assert len(places) == 2
        other = filled(site, "user_session['count'] = 7")
        store.die_at(places[0], took_effect=True)
        with pytest.raises(Died):
            other.login("bob")
        assert other.show() == {} == site.stored("bob")
        other.copy().login("alice")
        assert site.stored("alice")["count"] == 2
        other.login("bob")
        assert other.show() == {"count": 7}

    def test_late(self, site: Site) -> None:
        """Minutes after the crash the ticket is nobody's any more, and still leads to what its visitor had."""
        browser = filled(site)
        store = site.watch()
        store.die_at(4, took_effect=True)
        with pytest.raises(Died):
            browser.login("alice")
        assert browser.show() == {}
        repository = site.app.session_interface.repository  # type: ignore[attr-defined]
        clock = repository.clock
        repository.clock = lambda: clock() + 300
        assert site.stored("alice") == {}
        browser.login("alice")
        assert browser.show()["count"] == 2


def _fails(*_: Any) -> Any:
    raise StoreError("the store failed")


@pytest.mark.promise(3)
class TestAtTheSameTime:
    """Two requests of one browser, or two devices."""

    def test_two_tabs_log_in(self, site: Site) -> None:
        """Two tabs with one visitor's session: one merge, and the later tab is logged in as usual."""
        filled(site, "login('alice')" + OWN)
        browser = filled(site)
        tabs = [browser.copy(), browser.copy()]
        site.meanwhile = lambda: tabs[0].login("alice")
        tabs[1].work("login('alice')")
        assert site.stored("alice") == BOTH
        tabs[1].login("alice")
        assert tabs[0].show() == tabs[1].show() == BOTH

    def test_two_tabs_log_in_as_two(self, site: Site) -> None:
        """The first user gets the visitor's data, the second user does not."""
        browser = filled(site)
        tabs = [browser.copy(), browser.copy()]
        site.meanwhile = lambda: tabs[0].login("alice")
        tabs[1].work("login('bob')")
        tabs[1].login("bob")
        assert site.stored("alice")["count"] == 2
        assert site.stored("bob") == {}

    def test_an_edit_under_way_while_another_tab_logs_in(self, site: Site) -> None:
        """The edit is dropped, as in the session. The merged data stays."""
        browser = filled(site)
        tab = browser.copy()
        site.meanwhile = lambda: browser.login("alice")
        tab.work("user_session['count'] += 100")
        assert browser.show()["count"] == 2

    def test_two_devices_log_in(self, site: Site) -> None:
        """The data of both visitors is merged."""
        one, other = filled(site), filled(site, "user_session['count'] = 10")
        site.meanwhile = lambda: other.login("alice")
        one.work("login('alice'); dict(user_session)")
        assert site.stored("alice")["count"] == 12

    def test_two_devices_add(self, site: Site) -> None:
        """Additions of two devices are both kept, and the later request sees both."""
        one, other = filled(site, "login('alice')"), filled(site, "login('alice')")
        one.do("user_session['box'] = {'x': 1}")
        site.meanwhile = lambda: other.do("user_session['box']['y'] = 2; user_session['n'] = 1")
        one.work("user_session['box']['z'] = 3")
        assert one.show() == other.show() == {"box": {"x": 1, "y": 2, "z": 3}, "n": 1}

    def test_contested(self, site: Site) -> None:
        """The later value wins, and a signal tells of the conflict."""
        one, other = filled(site, "login('alice')"), filled(site, "login('alice')")
        told: list[Any] = []
        site.meanwhile = lambda: other.do("user_session['n'] = 1")
        with user_session_conflict.connected_to(lambda sender, **arguments: told.append(arguments)):
            one.work("user_session['n'] = 2")
        assert told == [
            {"user_id": "alice", "key": "n", "path": ("n",), "base": MISSING, "theirs": 1, "mine": 2, "kept": "mine"}
        ]
        assert one.show() == {"n": 2}
