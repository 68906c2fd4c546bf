"""``login_watch``: a stream that outlives its request asks whether its login is still good."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import session

from flask_cloakroom import (
    LoginWatch,
    StoreError,
    UserKind,
    active_sessions,
    current_user,
    impersonate,
    login_user,
    login_watch,
    logout_everybody,
    logout_everywhere,
    logout_user,
    revoke_session,
    stop_impersonating,
)
from flask_cloakroom.core.entries.tombstone import Tombstone
from flask_cloakroom.core.sessions.owner_index import OwnerIndex
from support.sites.login import Browser, MakeSite, Site, User

DAY = 24 * 3600


def watch_of(site: Site, browser: Browser, **options: Any) -> LoginWatch:
    """Return the watch that a request of this browser takes."""
    found: list[LoginWatch] = []
    work, site.work = site.work, lambda: found.append(login_watch())
    assert browser.open("/work", **options).status_code == 200
    site.work = work
    return found[0]


def run(site: Site, browser: Browser, work: Any) -> None:
    """Do this in a request of this browser."""
    site.work = work
    assert browser.open("/work").status_code == 200
    site.work = lambda: None


def repository_of(site: Site) -> Any:
    return site.app.session_interface.repository  # type: ignore[attr-defined]


class Clock:
    """The store's and the sessions' time, which a test moves on."""

    def __init__(self, site: Site) -> None:
        self.passed = 0.0
        repository = repository_of(site)
        sessions, store = repository.clock, repository.store.clock
        repository.clock = lambda: sessions() + self.passed
        repository.store.clock = lambda: store() + self.passed


@pytest.fixture
def clock(server_site: Site) -> Clock:
    return Clock(server_site)


def test_until_the_logout(site: Site) -> None:
    """Good as often as it is asked, outside of any context; over a session on the server the logout ends it, with or
    without the browser. Flask's cookie session cannot be asked for that, and there it stays good."""
    browser = site.browser("alice")
    watch = watch_of(site, browser)
    assert [watch.is_good() for _ in range(3)] == [True] * 3
    browser.open("/logout")
    on_server = "flask_cloakroom" in type(site.app.session_interface).__module__
    assert watch.is_good() is not on_server


@pytest.mark.parametrize("change", ["vanished", "inactive", "password"])
def test_the_user(site: Site, change: str, caplog: pytest.LogCaptureFixture) -> None:
    """Is looked up anew each time, over both kinds of session. The log says why it ended, once, and names no user."""
    caplog.set_level(logging.INFO, "flask_cloakroom.login")
    browser = site.browser("alice")
    watch = watch_of(site, browser)
    assert watch.is_good()
    alice = site.users["alice"]
    if change == "vanished":
        del site.users["alice"]
    elif change == "inactive":
        alice.active = False
    else:
        alice.password_hash = "argon2:second"
    assert not watch.is_good()
    site.users["alice"], alice.active, alice.password_hash = alice, True, "argon2:first"
    assert not watch.is_good(), "what has ended does not come back"
    assert caplog.text.count("a watched login has ended") == 1
    assert "alice" not in caplog.text
    assert browser.cookies["session"] not in caplog.text


class TestServer:
    """On the server the session is asked each time."""

    def test_costs(self, server_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """One store command and one load of the user; nothing is written, so it does not count as activity."""
        watch = watch_of(server_site, server_site.browser("alice"))
        store = repository_of(server_site).store
        calls: list[str] = []
        for name in ("load", "create", "replace", "touch", "delete", "claim", "release", "owned"):
            verb = getattr(store, name)
            monkeypatch.setattr(store, name, lambda *given, name=name, verb=verb: calls.append(name) or verb(*given))
        server_site.loads.clear()
        assert watch.is_good()
        assert (calls, server_site.loads) == (["load"], ["alice"])

    @pytest.mark.parametrize(
        "end",
        [
            lambda: logout_user(),
            lambda: revoke_session(active_sessions()[0].handle),
            lambda: logout_everywhere(),
            lambda: logout_everybody(),
            lambda: session.clear(),
            lambda: session.pop("_user_id"),
            lambda: login_user(User("bob")),
        ],
    )
    def test_whatever_ends_it(self, server_site: Site, end: Any) -> None:
        """In a request of the same browser: a logout, a revocation, another user."""
        browser = server_site.browser("alice")
        watch = watch_of(server_site, browser)
        assert watch.is_good()
        run(server_site, browser, end)
        assert not watch.is_good()

    def test_another_device(self, server_site: Site) -> None:
        """Or from there."""
        browser, other = server_site.browser("alice"), server_site.browser("alice")
        watch, its = watch_of(server_site, browser), watch_of(server_site, other)
        run(server_site, other, lambda: logout_everywhere(keep_current=True))
        assert (watch.is_good(), its.is_good()) == (False, True)

    def test_a_new_login_is_another(self, server_site: Site) -> None:
        """After a logout the same user may log in in the same browser: what was watched has ended."""
        browser = server_site.browser("alice")
        watch = watch_of(server_site, browser)
        browser.open("/logout")
        browser.login("alice")
        assert not watch.is_good()

    def test_expiry(self, server_site: Site, clock: Clock) -> None:
        """To be watched keeps no session alive."""
        watch = watch_of(server_site, server_site.browser("alice"))
        for _ in range(30):
            clock.passed += DAY
            assert watch.is_good()
        clock.passed += 2 * DAY
        assert not watch.is_good()

    def test_a_store_that_loses_an_expiry(self, server_site: Site) -> None:
        """Lengthens no login: the deadline in the session is looked at too."""
        watch = watch_of(server_site, server_site.browser("alice"))
        repository = repository_of(server_site)
        now = repository.clock
        repository.clock = lambda: now() + 32 * DAY
        assert not watch.is_good()

    @pytest.mark.parametrize("pause", [0, 40, DAY])
    @pytest.mark.parametrize("path", ["/confirm", "/login?user=alice"])
    def test_a_change_of_privilege(self, server_site: Site, clock: Clock, path: str, pause: int) -> None:
        """The same login under a new id is followed: by the tombstone, and after it has expired by the owner index."""
        browser = server_site.browser("alice")
        watch = watch_of(server_site, browser)
        for _ in range(3):
            browser.open(path)
            clock.passed += pause
            assert watch.is_good()
        browser.open("/confirm")
        browser.open("/logout")
        clock.passed += pause
        assert not watch.is_good()

    def test_without_an_index(self, server_site: Site, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        """A store without one cannot find the session after the tombstone has expired. Then the login is not good."""
        server_site.app.testing = True
        browser = server_site.browser("alice")
        watch = watch_of(server_site, browser)
        browser.open("/confirm")
        monkeypatch.setattr(OwnerIndex, "indexed_store", None)
        assert watch.is_good()
        browser.open("/confirm")
        clock.passed += 40
        assert not watch.is_good()

    @pytest.mark.parametrize("pause", [0, 20, 2 * DAY])
    def test_a_renewal(self, make_site: MakeSite, pause: int) -> None:
        """SESSION_RENEW_EVERY changes the id and ends nothing, however late it is noticed, and reports no theft."""
        from flask_cloakroom import session_reused

        site = make_site(SESSION_RENEW_EVERY=100)
        clock, browser, told = Clock(site), site.browser("alice"), []
        watch = watch_of(site, browser)
        with session_reused.connected_to(lambda *given, **named: told.append(named), site.app):
            for _ in range(3):
                ticket = browser.cookies["session"]
                clock.passed += 101
                browser.open("/who")
                assert browser.cookies["session"] != ticket
                clock.passed += pause
                assert watch.is_good()
        assert told == []
        browser.open("/logout")
        assert not watch.is_good()

    def test_an_endless_chain(self, server_site: Site) -> None:
        """Tombstones that lead in a circle, as only a forger writes them, cost a bounded number of commands."""
        browser = server_site.browser("alice")
        watch = watch_of(server_site, browser)
        repository = repository_of(server_site)
        trail: Any = watch._session_watch
        key = trail._key
        entry = repository.store.load(key)
        tombstone, ttl = Tombstone.rotated(repository.now(), key).pack(key)
        assert key in tombstone
        repository.store.replace(key, tombstone, ttl, entry.version)
        loads: list[bytes] = []
        load = repository.store.load
        repository.store.load = lambda key: loads.append(key) or load(key)
        assert not watch.is_good()
        assert len(loads) < 220

    def test_unreadable(self, server_site: Site) -> None:
        """What cannot be read is not good."""
        watch = watch_of(server_site, server_site.browser("alice"))
        store, key = repository_of(server_site).store, watch._session_watch._key  # type: ignore[union-attr]
        store.replace(key, b"noise", 60, store.load(key).version)
        assert not watch.is_good()

    def test_an_outage(self, server_site: Site) -> None:
        """Raises: nothing is known, so it is neither good nor over. It is good again afterwards."""
        watch = watch_of(server_site, server_site.browser("alice"))
        repository = repository_of(server_site)
        load = repository.store.load

        def fail(key: bytes) -> Any:
            raise StoreError("down")

        repository.store.load = fail
        with pytest.raises(StoreError):
            watch.is_good()
        repository.store.load = load
        assert watch.is_good()

    def test_a_loader_that_fails(self, server_site: Site) -> None:
        """Raises too."""
        watch = watch_of(server_site, server_site.browser("alice"))

        def fail(user_id: str) -> Any:
            raise OSError("the database is down")

        server_site.manager.user_loader(fail)
        with pytest.raises(OSError, match="database"):
            watch.is_good()

    def test_encrypted(self, make_site: MakeSite) -> None:
        """With SESSION_ENCRYPTION too: it needs nothing that only the ticket opens, and keeps no ticket."""
        pytest.importorskip("cryptography")
        site = make_site(SESSION_ENCRYPTION=True)
        browser = site.browser("alice")
        watch = watch_of(site, browser)
        assert watch.is_good()
        kept = [*vars(watch).values(), *vars(watch._session_watch).values()]
        assert browser.cookies["session"] not in map(str, kept)
        browser.open("/logout")
        assert not watch.is_good()

    def test_from_the_login_on(self, server_site: Site) -> None:
        """Taken in the request that logs in, it is of the session as it is saved."""
        watches: list[LoginWatch] = []

        def work() -> None:
            login_user(server_site.users["alice"])
            session["after"] = 1
            watches.append(login_watch())
            session["later"] = 2

        browser = server_site.browser()
        run(server_site, browser, work)
        assert watches[0].is_good()
        assert browser.open("/contents").json == {"after": 1, "later": 2}
        browser.open("/logout")
        assert not watches[0].is_good()

    def test_ended_while_it_was_taken(self, server_site: Site) -> None:
        """A request that takes one while another logs out has one that is not good."""
        browser = server_site.browser("alice")
        slow = browser.copy()
        found: list[LoginWatch] = []

        def work() -> None:
            str(current_user)
            session["late"] = True
            browser.open("/logout")
            found.append(login_watch())

        run(server_site, slow, work)
        assert not found[0].is_good()


class TestImpersonation:
    """A watch sees with the eyes of the user that it was taken for."""

    @pytest.fixture
    def staffed(self, site: Site) -> Site:
        self.rule = True
        site.manager.impersonation_allowed(lambda operator, user: self.rule)
        return site

    def test_ends_with_it(self, server_site: Site) -> None:
        """Taken as the other user, it is over when that is; also when nobody looked for a while."""
        server_site.manager.impersonation_allowed(lambda operator, user: True)
        browser = server_site.browser("bob")
        run(server_site, browser, lambda: impersonate(server_site.users["alice"]))
        watch = watch_of(server_site, browser)
        assert watch.is_good()
        run(server_site, browser, lambda: stop_impersonating())
        assert not watch.is_good()

    def test_the_rule(self, staffed: Site) -> None:
        """Is asked each time."""
        browser = staffed.browser("bob")
        run(staffed, browser, lambda: impersonate(staffed.users["alice"]))
        watch = watch_of(staffed, browser)
        assert watch.is_good()
        self.rule = False
        assert not watch.is_good()

    def test_the_impersonators_own(self, staffed: Site) -> None:
        """Is good all the while, since that login is."""
        browser = staffed.browser("bob")
        watch = watch_of(staffed, browser)
        run(staffed, browser, lambda: impersonate(staffed.users["alice"]))
        assert watch.is_good()
        run(staffed, browser, lambda: stop_impersonating())
        assert watch.is_good()


def test_of_a_header(site: Site) -> None:
    """An API client's has no session: the user is all that is watched, whatever cookie came along."""
    site.manager.authenticator("Bearer")(lambda request: site.users["alice"])
    browser = site.browser("bob")
    watch = watch_of(site, browser, headers={"Authorization": "Bearer x"})
    browser.open("/logout")
    assert watch.is_good()
    site.users["alice"].password_hash = "argon2:second"
    assert not watch.is_good()


def test_of_another_kind(server_site: Site) -> None:
    """Ends with the operator's session, and not with the customer's."""
    staff = {"root": User("root")}
    operators = UserKind("operator", server_site.app)
    operators.user_loader(staff.get)
    browser = server_site.browser("alice")
    watches: list[LoginWatch] = []
    run(server_site, browser, lambda: operators.login_user(staff["root"]))
    run(server_site, browser, lambda: watches.append(operators.login_watch()))
    browser.open("/logout")
    assert watches[0].is_good()
    run(server_site, browser, lambda: operators.logout_user())
    assert not watches[0].is_good()


def test_nobody(site: Site) -> None:
    """Who is not logged in cannot be watched, and without a user_loader nobody can."""
    site.app.testing = True
    with pytest.raises(RuntimeError, match="nobody is logged in"):
        watch_of(site, site.browser())
    site.manager.request_loader(lambda request: site.users["alice"])
    site.manager._user_callback = None
    with pytest.raises(RuntimeError, match="needs a user_loader"):
        watch_of(site, site.browser())


def test_a_stream(server_site: Site) -> None:
    """Events for as long as the login is good: the generator runs when the request is over, with no context."""

    @server_site.app.get("/events")
    def events() -> Any:
        watch = login_watch()

        def stream() -> Iterator[str]:
            while watch.is_good():
                yield "data: tick\n\n"

        return stream(), {"Content-Type": "text/event-stream"}

    browser = server_site.browser("alice")
    response = browser.open("/events")
    events_seen = iter(response.response)
    assert [next(events_seen) for _ in range(3)] == [b"data: tick\n\n"] * 3
    browser.copy().open("/logout")
    assert list(events_seen) == []
    response.close()


def test_from_other_threads_and_loops(server_site: Site) -> None:
    """In a thread of its own, in an event loop, and with an async loader."""

    @server_site.manager.user_loader
    async def load(user_id: str) -> Any:
        return server_site.users.get(user_id)

    browser = server_site.browser("alice")
    watch = watch_of(server_site, browser)
    answers: list[bool] = []

    async def ask() -> bool:
        return watch.is_good()

    def ask_everywhere() -> None:
        thread = threading.Thread(target=lambda: answers.append(watch.is_good()))
        thread.start()
        thread.join()
        answers.append(asyncio.run(ask()))
        answers.append(asyncio.run(asyncio.to_thread(watch.is_good)))  # type: ignore[arg-type]

    ask_everywhere()
    browser.open("/logout")
    ask_everywhere()
    assert answers == [True] * 3 + [False] * 3
