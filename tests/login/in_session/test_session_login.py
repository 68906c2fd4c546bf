"""A login in its session: rotation of the ticket, logout, and ends that the application decides."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from flask import flash, get_flashed_messages, make_response, session
from werkzeug.exceptions import NotFound

from flask_cloakroom import StoreError, current_user, login_user, logout_user, session_discarded, session_rotated
from support.sites.login import Browser, MakeSite, Site


def entries(site: Site) -> int:
    return sum(1 for _ in site.app.session_interface.store.walk())  # type: ignore[attr-defined]


def test_login_and_logout(site: Site) -> None:
    """Over both kinds of session: logged in from the login to the logout, and only in this browser."""
    browser, other = site.browser("alice"), site.browser()
    assert (browser.who, other.who) == ("alice", "nobody")
    assert browser.text("/members") == "members"
    assert browser.text("/logout") == "True"
    assert browser.who == "nobody"
    assert browser.open("/members").status_code == 401


@pytest.mark.promise(7)
def test_contents_stay_at_the_login(site: Site) -> None:
    """Promise 7: a cart of before is there afterwards."""
    browser = site.browser()
    browser.open("/cart/apple")
    browser.login("alice")
    assert browser.open("/contents").json == {"cart": ["apple"]}


@pytest.mark.promise(7)
@pytest.mark.parametrize("path", ["/login?user=alice", "/login?user=bob", "/confirm"])
def test_the_id_changes(server_site: Site, path: str) -> None:
    """At a login, also one of the same user, and at a confirmation: the ticket of before opens nothing."""
    browser = server_site.browser("alice")
    before = browser.copy()
    browser.open(path)
    assert browser.cookies["session"] != before.cookies["session"]
    assert browser.who == ("bob" if "bob" in path else "alice")
    assert before.who == "nobody"


@pytest.mark.promise(7)
@pytest.mark.parametrize("change", ["session['_user_id'] = 'bob'", "session.pop('_user_id')"])
def test_the_id_changes_with_the_user_whoever_does_it(server_site: Site, change: str) -> None:
    """Code that writes ``_user_id`` by itself, as some packages do, rotates too."""
    browser = server_site.browser("alice")
    browser.open("/cart/apple")
    before = browser.copy()
    server_site.work = lambda: exec(change, {"session": session})
    browser.open("/work")
    assert browser.cookies["session"] != before.cookies["session"]
    assert before.who == "nobody"
    assert browser.open("/contents").json == {"cart": ["apple"]}


@pytest.mark.promise(7)
def test_the_id_changes_under_the_lock(server_site: Site) -> None:
    """A login inside ``session.lock()`` is never saved under the old ticket, not for a moment."""
    browser = server_site.browser()
    browser.open("/cart/apple")
    before = browser.copy()
    seen: list[str] = []

    def work() -> None:
        with session.lock():  # type: ignore[attr-defined]
            login_user(server_site.users["alice"])
        seen.append(before.who)
        session["after"] = True

    server_site.work = work
    told: list[Any] = []
    with session_rotated.connected_to(lambda sender, **arguments: told.append(arguments["reason"])):
        browser.open("/work")
    assert seen == ["nobody"]
    assert browser.who == "alice"
    assert browser.open("/contents").json == {"cart": ["apple"], "after": True}
    assert told[0] == "privilege"


@pytest.mark.promise(7)
def test_the_id_changes_before_the_lock(server_site: Site) -> None:
    """Nor is a login that came before the lock."""
    browser = server_site.browser()
    browser.open("/cart/apple")
    before = browser.copy()
    seen: list[str] = []

    def work() -> None:
        login_user(server_site.users["alice"])
        with session.lock():  # type: ignore[attr-defined]
            seen.append(before.who)
            session["inside"] = True

    server_site.work = work
    browser.open("/work")
    assert seen == ["nobody"]
    assert browser.who == "alice"
    assert browser.open("/contents").json == {"cart": ["apple"], "inside": True}


@pytest.mark.parametrize("store", ["memory://", "sqlite"])
class TestInFlight:
    """A request that began before a login or logout and ends after it undoes neither."""

    @pytest.fixture
    def site(self, make_site: MakeSite, tmp_path: Any, store: str) -> Site:
        return make_site(store=store if store != "sqlite" else f"sqlite:///{tmp_path}/s.sqlite3")

    def run(self, site: Site, path: str, user: str | None) -> tuple[Browser, Any]:
        """Open ``path`` while a request of the same browser is under way; return the browser and that response."""
        browser = site.browser(user)
        browser.open("/cart/apple")
        slow = browser.copy()
        site.meanwhile = lambda: browser.open(path)
        site.work = lambda: session.update(late=True)
        response = slow.open("/work")
        return browser, response

    def test_login(self, site: Site) -> None:
        """It sets no cookie, and what it writes is dropped and told."""
        told: list[Any] = []
        with session_discarded.connected_to(lambda sender, **arguments: told.append(arguments["keys"])):
            browser, response = self.run(site, "/login?user=alice", None)
        assert "Set-Cookie" not in response.headers
        assert told == [("late",)]
        assert browser.who == "alice"
        assert browser.open("/contents").json == {"cart": ["apple"]}

    def test_logout(self, site: Site) -> None:
        """The session stays ended, whatever the late one does."""
        browser, response = self.run(site, "/logout", "alice")
        assert "Set-Cookie" not in response.headers
        assert browser.who == "nobody"

    def test_change_of_user(self, site: Site) -> None:
        """Another user's login stays."""
        browser, response = self.run(site, "/login?user=bob", "alice")
        assert "Set-Cookie" not in response.headers
        assert browser.who == "bob"

    def test_login_in_flight(self, site: Site) -> None:
        """Two logins at once: one of them is the session, and there is no second one."""
        browser = site.browser()
        browser.open("/cart/apple")
        slow = browser.copy()
        site.meanwhile = lambda: browser.login("alice")
        site.work = lambda: login_user(site.users["bob"])
        assert "Set-Cookie" not in slow.open("/work").headers
        assert browser.who == "alice"

    def test_double_click_on_sign_in(self, site: Site) -> None:
        """Both logins run at once. The browser drops the first answer, and the second one logs it in."""
        browser = site.browser()
        browser.open("/cart/apple")
        dropped = browser.copy()
        site.meanwhile = lambda: dropped.login("alice")
        site.work = lambda: login_user(site.users["alice"])
        assert "Set-Cookie" in browser.open("/work").headers
        assert browser.who == "alice"
        assert dropped.who == "alice"

    def test_logout_after_the_first_click(self, site: Site) -> None:
        """If the login of the first click has ended already, the second click does not bring it back."""
        browser = site.browser()
        browser.open("/cart/apple")
        first = browser.copy()
        site.meanwhile = lambda: (first.login("alice"), first.open("/logout"))
        site.work = lambda: login_user(site.users["alice"])
        assert "Set-Cookie" not in browser.open("/work").headers
        assert browser.who == "nobody"

    def test_remember_cookie(self, site: Site) -> None:
        """A request that left before the logout with both cookies, and arrives after it, logs nobody in again."""
        browser = site.browser("alice", remember=True)
        late = browser.copy()
        browser.open("/logout")
        response = late.open("/who")
        assert response.text == "nobody"
        assert "Set-Cookie" not in response.headers


class TestLogout:
    """What ``logout_user()`` leaves."""

    @pytest.mark.promise(7, 9)
    def test_ends_the_session_in_the_store(self, server_site: Site) -> None:
        """The cookie of before is of no use, at once and for good; nothing but the tombstone is stored."""
        browser = server_site.browser("alice")
        browser.open("/cart/apple")
        before = browser.copy()
        browser.open("/logout")
        assert "session" not in browser.cookies
        assert before.who == "nobody"
        assert before.open("/contents").json == {}

    def test_flash_messages_begin_a_new_session(self, server_site: Site) -> None:
        """A message that is flashed after the logout is there on the next page, and nobody is logged in."""

        @server_site.app.route("/bye")
        def bye() -> str:
            logout_user()
            flash("Good bye.")
            return str(current_user.is_authenticated)

        server_site.app.add_url_rule("/messages", "messages", lambda: str(get_flashed_messages()))
        browser = server_site.browser("alice")
        assert browser.text("/bye") == "False"
        assert browser.text("/messages") == "['Good bye.']"
        assert browser.who == "nobody"

    def test_clear_site_data(self, site: Site) -> None:
        """ASVS 14.3.1: the browser is told to throw away what it keeps, but no cookies."""
        browser = site.browser("alice")
        assert browser.open("/logout").headers["Clear-Site-Data"] == '"cache", "storage"'
        assert "Clear-Site-Data" not in browser.open("/who").headers

    @pytest.mark.parametrize(
        ("wanted", "sent"), [(None, None), ([], None), (("*",), '"*"'), (["cookies"], '"cookies"')]
    )
    def test_clear_site_data_as_configured(self, make_site: MakeSite, wanted: Any, sent: str | None) -> None:
        """LOGOUT_CLEAR_SITE_DATA."""
        site = make_site(LOGOUT_CLEAR_SITE_DATA=wanted)
        assert site.browser("alice").open("/logout").headers.get("Clear-Site-Data") == sent

    @pytest.mark.parametrize("wrong", [OSError, NotFound])
    def test_goes_on_if_the_loader_fails(self, site: Site, wrong: Any) -> None:
        """That the database is down is no reason to stay logged in."""
        browser = site.browser("alice")
        before = browser.copy()

        def fail(user_id: str) -> None:
            if wrong is NotFound:
                raise NotFound  # as get_or_404() does
            raise OSError("the database is down")

        working = site.manager.user_callback
        assert working is not None
        site.manager.user_loader(fail)
        assert browser.text("/logout") == "True"
        site.manager.user_loader(working)
        assert browser.who == "nobody"
        if "flask_cloakroom" in type(site.app.session_interface).__module__:
            assert before.who == "nobody"


@pytest.mark.promise(10)
class TestOutage:
    """Promise 10: when the store is down nobody is logged in or out by it."""

    @pytest.mark.parametrize("path", ["/who", "/members", "/logout", "/login?user=bob&remember=1", "/confirm"])
    def test_is_a_503(self, server_site: Site, path: str) -> None:
        """No remember token takes the place of the session, none is set or deleted; afterwards all is as before."""
        browser = server_site.browser("alice", remember=True)
        cookies = browser.cookies
        repository = server_site.app.session_interface.repository  # type: ignore[attr-defined]
        store, repository.store = repository.store, Broken()
        response = browser.open(path)
        assert response.status_code == 503
        assert "Set-Cookie" not in response.headers
        assert "Clear-Site-Data" not in response.headers
        assert browser.text("/alone") == "alone"
        repository.store = store
        assert browser.cookies == cookies
        assert browser.who == "alice"


class Broken:
    """A store that does not answer."""

    def __getattr__(self, name: str) -> Any:
        raise StoreError("down")


class TestNoStore:
    """Pages of who is logged in are theirs alone (ASVS 14.3.2)."""

    def test_logged_in(self, site: Site) -> None:
        """Also the page that logged them in, and the one that logged them out."""
        browser = site.browser()
        assert browser.open("/login?user=alice").headers["Cache-Control"] == "no-store"
        assert browser.open("/who").headers["Cache-Control"] == "no-store"
        assert browser.open("/logout").headers["Cache-Control"] == "no-store"

    def test_not_logged_in(self, site: Site) -> None:
        """Pages of others are as they were."""
        assert "Cache-Control" not in site.browser().open("/who").headers

    def test_unless_the_view_says_otherwise(self, site: Site) -> None:
        """What a view sets stays."""

        @site.app.route("/public")
        def public() -> Any:
            response = make_response(current_user.get_id())
            response.cache_control.max_age = 60
            return response

        assert site.browser("alice").open("/public").headers["Cache-Control"] == "max-age=60"


class TestEnds:
    """A login that ends by itself at the next request, with the reason in the log."""

    @pytest.mark.parametrize("form", ["property", "method"])
    def test_switched_off(self, site: Site, form: str, caplog: pytest.LogCaptureFixture) -> None:
        """``is_active`` is false, in either form: the login ends, and a new one is refused."""
        if form == "method":
            site.users["alice"] = OldUser("alice")
        browser = site.browser("alice")
        assert browser.who == "alice"
        site.users["alice"].active = False
        with caplog.at_level(logging.INFO, "flask_cloakroom.login"):
            assert browser.who == "nobody"
        assert "because the user is not active" in caplog.text
        assert not browser.login("alice")
        site.users["alice"].active = True
        assert browser.who == "nobody"

    def test_switched_off_and_forced(self, site: Site) -> None:
        """``force=True`` overrides: such a login stays, and it is up to the user object what it is good for."""
        site.users["alice"].active = False
        browser = site.browser("alice", force=True)
        assert browser.who == "alice"
        assert browser.open("/members").status_code == 401  # UserMixin: only who is active is authenticated
        site.users["alice"].active = True
        browser.login("alice")
        site.users["alice"].active = False
        assert browser.who == "nobody"  # the later login was not forced

    def test_vanished(self, site: Site) -> None:
        """#556: the loader finds nobody. The login ends, instead of being tried again and again."""
        browser = site.browser("alice", remember=True)
        site.users.clear()
        assert browser.who == "nobody"
        assert "remember_token" not in browser.cookies
        del site.loads[:]
        assert browser.who == "nobody"
        assert site.loads == []

    @pytest.mark.promise(9)
    def test_password_changed(self, site: Site) -> None:
        """Another ``session_auth_hash()`` ends every login that was made with the old one, wherever."""
        browser, other = site.browser("alice", remember=True), site.browser("alice")
        captured = browser.copy()
        site.users["alice"].password_hash = "argon2:second"
        assert [one.who for one in (browser, other, captured)] == ["nobody"] * 3
        assert browser.copy("remember_token").who == "nobody"

    def test_password_changed_here(self, site: Site) -> None:
        """Who changes it and logs in again with it stays."""
        browser, other = site.browser("alice"), site.browser("alice")
        site.users["alice"].password_hash = "argon2:second"
        browser.login("alice")
        assert (browser.who, other.who) == ("alice", "nobody")

    def test_of_before_there_was_a_hash(self, site: Site) -> None:
        """A login that keeps no hash ends when users begin to have one: nobody knows what it was."""
        site.users["alice"] = OldUser("alice")
        browser = site.browser("alice")
        site.users["alice"].session_auth_hash = lambda: b"bytes will do"
        assert browser.who == "nobody"

    def test_the_hash_is_not_shown(self, make_site: MakeSite) -> None:
        """Flask's cookie can be read by the visitor, and holds only a digest."""
        site = make_site("cookie")
        with site.browser("alice").client.session_transaction() as kept:
            assert "argon2" not in str(dict(kept))

    def test_a_hash_of_another_type(self, site: Site) -> None:
        """Is an error, and no hash that is always equal."""
        site.users["alice"].password_hash = 5
        assert site.browser().open("/login?user=alice").status_code == 500

    def test_on_the_server_with_the_session(self, server_site: Site) -> None:
        """What was in it may be the user's own, so it goes with the login."""
        browser = server_site.browser("alice")
        browser.open("/cart/apple")
        server_site.users.clear()
        assert browser.who == "nobody"
        assert browser.open("/contents").json == {}

    def test_the_log_names_the_public_id(self, server_site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """And no ticket, no token, no user's id."""
        server_site.app.add_url_rule("/sid", "sid", lambda: str(session.sid))  # type: ignore[attr-defined]
        browser = server_site.browser("alice", remember=True)
        server_site.users.clear()
        sid = browser.text("/sid")
        with caplog.at_level(logging.DEBUG):
            cookies = browser.cookies
            browser.open("/who")
            Browser(server_site, cookies).open("/members")
        assert f"session {sid}: its login ends" in caplog.text
        assert all(value not in caplog.text for value in cookies.values())
        assert "alice" not in caplog.text


class OldUser:
    """A user class of older texts: the flags are methods."""

    def __init__(self, user_id: str) -> None:
        self.id = user_id
        self.active = True

    def get_id(self) -> str:
        return self.id

    def is_active(self) -> bool:
        return self.active

    def is_anonymous(self) -> bool:
        return False

    def is_authenticated(self) -> bool:
        return True


class TestProtection:
    """SESSION_PROTECTION: the browser that a login was made in."""

    def test_basic(self, site: Site) -> None:
        """Another browser has the login, and not freshly; nor has the first one any more."""
        browser = site.browser("alice")
        thief = Browser(site, browser.cookies, agent="Other")
        assert thief.who == "alice"
        assert thief.open("/secret").status_code == 401

    def test_strong(self, make_site: MakeSite, kind: str) -> None:
        """Another browser has nothing."""
        site = make_site(kind, SESSION_PROTECTION="strong")
        browser = site.browser("alice", remember=True)
        assert Browser(site, browser.cookies, agent="Other").who == "nobody"

    def test_off(self, make_site: MakeSite, kind: str) -> None:
        """None: nobody looks."""
        site = make_site(kind, SESSION_PROTECTION=None)
        assert Browser(site, site.browser("alice").cookies, agent="Other").text("/how").startswith("fresh=True")

    @pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
    def test_no_address_is_compared(self, make_site: MakeSite, kind: str, header: str) -> None:
        """#192, #700: who travels stays logged in, and what a proxy says changes nothing."""
        site = make_site(kind, SESSION_PROTECTION="strong")
        browser = site.browser("alice")
        response = browser.open("/how", headers={header: "203.0.113.9"}, environ_base={"REMOTE_ADDR": "203.0.113.9"})
        assert response.text.startswith("fresh=True")

    def test_an_anonymous_session_is_not_touched(self, make_site: MakeSite, kind: str) -> None:
        """There is no login to protect."""
        site = make_site(kind, SESSION_PROTECTION="strong")
        browser = site.browser()
        browser.open("/cart/apple")
        browser.agent = "Other"
        assert browser.who == "nobody"
        assert browser.open("/contents").json == {"cart": ["apple"]}

    def test_a_session_without_a_browser(self, make_site: MakeSite, kind: str) -> None:
        """A login that does not say in which browser it was made counts as one of another."""
        site = make_site(kind, SESSION_PROTECTION="strong")
        browser = site.browser("alice")
        with browser.client.session_transaction() as kept:
            kept.pop("_id")
        assert browser.who == "nobody"


class TestFresh:
    """Logins that are not fresh."""

    def test_stale_and_confirmed(self, site: Site) -> None:
        """A stale login opens no page that needs a fresh one, until it is confirmed."""
        browser = site.browser("alice", stale=True)
        assert browser.text("/members") == "members"
        assert browser.open("/secret").status_code == 401
        browser.open("/confirm")
        assert browser.text("/secret") == "secret"
