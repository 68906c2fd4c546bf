"""The list of a user's sessions, their revocation, and the limit on their number."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import session

from flask_cloakroom import (
    CloakroomError,
    active_sessions,
    logout_everybody,
    logout_everywhere,
    revoke_session,
    session_revoked,
    user_logged_out_everywhere,
)
from flask_cloakroom.cli import sessions
from flask_cloakroom.core.sessions.owner_index import sessions_index_key
from flask_cloakroom.login.devices import user_agents
from flask_cloakroom.login.devices.user_agents import browser_and_system
from flask_cloakroom.login.in_session.session_login import SessionLogin
from support.sites.login import MakeSite, Site

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def listed(site: Site, browser: Any) -> list[Any]:
    """Return what the browser's user sees as the list."""
    site.work = lambda: found.extend(active_sessions())
    found: list[Any] = []
    assert browser.open("/work").status_code == 200
    return found


def do(site: Site, browser: Any, work: Any) -> str:
    site.work = work
    answer = browser.open("/work")
    assert answer.status_code == 200
    return str(answer.text)


@pytest.fixture(params=["memory://", "sqlite:///s.db"])
def active_site(make_site: MakeSite, request: pytest.FixtureRequest) -> Site:
    """A site whose store knows whose sessions it has."""
    return make_site("server", store=request.param)


class TestList:
    """What a user sees of their sessions."""

    def test_every_session_of_the_user_and_no_other(self, active_site: Site) -> None:
        """With what was noted at the login; the present one is marked."""
        phone, desk = active_site.browser(), active_site.browser()
        phone.agent = FIREFOX
        phone.login("alice")
        desk.login("alice", remember=True)
        active_site.browser("bob")
        active_site.browser().open("/cart/tea")
        found = {one.user_agent: one for one in listed(active_site, desk)}
        assert set(found) == {FIREFOX, "Firefox"}
        assert (found["Firefox"].current, found["Firefox"].remembered) == (True, True)
        assert (found[FIREFOX].current, found[FIREFOX].remembered) == (False, False)
        assert found[FIREFOX].address == "127.0.0.1"
        assert found[FIREFOX].created <= found[FIREFOX].last_seen

    def test_browser_and_system_in_words(self, active_site: Site) -> None:
        """By the library; what it does not know is shown as it is."""
        browser = active_site.browser()
        browser.agent = FIREFOX
        browser.login("alice")
        (found,) = listed(active_site, browser)
        assert (found.browser, found.system) == ("Firefox 140", "Linux")
        assert browser_and_system("what/ever") == ("what/ever", None)
        assert browser_and_system(None) == (None, None)

    def test_without_the_library_it_is_the_header(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The extra need not be installed."""
        monkeypatch.setattr(user_agents, "_parser", lambda: None)
        assert browser_and_system.__wrapped__(FIREFOX) == (FIREFOX, None)

    def test_handles_open_nothing_and_stay(self, active_site: Site) -> None:
        """A handle is neither ticket nor store key nor a part of one, and is the same after the id has changed."""
        browser = active_site.browser("alice")
        (before,) = listed(active_site, browser)
        repository = active_site.app.session_interface.repository  # type: ignore[attr-defined]
        ticket = browser.cookies["session"]
        browser.open("/confirm")
        assert browser.cookies["session"] != ticket
        (after,) = listed(active_site, browser)
        assert before.handle == after.handle
        for part in before.handle.split("."):
            assert part not in ticket
            assert part not in repository.tickets.fingerprint(ticket).hex()
            assert not repository.tickets.is_plausible(part)

    def test_a_sealed_session_notes_nothing_of_the_browser(self, make_site: MakeSite) -> None:
        """With SESSION_ENCRYPTION a stolen store does not tell where somebody was."""
        site = make_site("server", SESSION_ENCRYPTION=True)
        (found,) = listed(site, site.browser("alice"))
        assert (found.address, found.user_agent) == (None, None)

    def test_the_store_holds_no_user_id(self, make_site: MakeSite) -> None:
        """Neither as a name in the index nor in a sealed session."""
        site = make_site("server", SESSION_ENCRYPTION=True)
        site.browser("alice")
        store = site.app.session_interface.store  # type: ignore[attr-defined]
        assert b"alice" not in repr(list(store._owned.items())).encode()
        assert all(b"alice" not in entry.data for _, entry in store.walk())

    def test_who_has_no_list(self, make_site: MakeSite) -> None:
        """Over Flask's own sessions there is none, nor for somebody who is not logged in: errors say so."""
        site = make_site("cookie", TESTING=True)
        with pytest.raises(CloakroomError, match="on the server"):
            do(site, site.browser("alice"), active_sessions)
        site = make_site("server", TESTING=True)
        with pytest.raises(RuntimeError, match="nobody is logged in"):
            do(site, site.browser(), active_sessions)


@pytest.mark.promise(9)
class TestRevocation:
    """Ending sessions."""

    def test_one_of_the_users_own(self, active_site: Site) -> None:
        """Its next request is nobody's, with the old cookie for ever; the other one stays."""
        phone, desk = active_site.browser("alice"), active_site.browser("alice")
        copy = phone.copy()
        (handle,) = [one.handle for one in listed(active_site, desk) if not one.current]
        assert do(active_site, desk, lambda: revoke_session(handle)) == "True"
        assert do(active_site, desk, lambda: revoke_session(handle)) == "False"
        assert (phone.who, copy.who, desk.who) == ("nobody", "nobody", "alice")

    def test_somebody_elses_needs_an_operator(self, active_site: Site) -> None:
        """A user who knows a handle of another's cannot use it; an operator can."""
        alice, bob = active_site.browser("alice"), active_site.browser("bob")
        (found,) = listed(active_site, alice)
        assert do(active_site, bob, lambda: revoke_session(found.handle)) == "False"
        assert do(active_site, bob, lambda: revoke_session("nonsense")) == "False"
        assert alice.who == "alice"
        assert do(active_site, bob, lambda: revoke_session(found.handle, operator=True)) == "True"
        assert (alice.who, bob.who) == ("nobody", "bob")

    def test_the_present_one(self, active_site: Site) -> None:
        """To revoke it is to log out."""
        browser = active_site.browser("alice")
        (found,) = listed(active_site, browser)
        assert do(active_site, browser, lambda: revoke_session(found.handle)) == "True"
        assert browser.who == "nobody"
        assert "session" not in browser.cookies

    def test_a_request_in_flight_does_not_bring_it_back(self, active_site: Site) -> None:
        """It has read the session and writes to it after it was revoked."""
        phone, desk = active_site.browser("alice"), active_site.browser("alice")
        (handle,) = [one.handle for one in listed(active_site, desk) if not one.current]
        repository = active_site.app.session_interface.repository  # type: ignore[attr-defined]
        name, _, part = handle.partition(".")
        active_site.meanwhile = lambda: repository.owners.end(name, part)

        def write() -> str:
            session["late"] = 1
            return "written"

        assert do(active_site, phone, write) == "written"
        assert phone.who == "nobody"

    @pytest.mark.parametrize("keep", [True, False])
    def test_everywhere(self, active_site: Site, keep: bool) -> None:
        """All of the user's end, but for the present one if that is kept; nobody else's does."""
        browsers = [active_site.browser("alice") for _ in range(3)]
        bob = active_site.browser("bob")
        ended = do(active_site, browsers[0], lambda: logout_everywhere(keep_current=keep))
        assert ended == ("2" if keep else "3")
        assert [browser.who for browser in browsers] == ["alice" if keep else "nobody", "nobody", "nobody"]
        assert bob.who == "bob"

    def test_another_users_everywhere(self, active_site: Site) -> None:
        """By an operator, who stays logged in."""
        alice, bob = active_site.browser("alice"), active_site.browser("bob")
        assert do(active_site, bob, lambda: logout_everywhere(active_site.users["alice"])) == "1"
        assert (alice.who, bob.who) == ("nobody", "bob")

    def test_everybody(self, active_site: Site) -> None:
        """All logins end; what visitors have who are not logged in stays."""
        alice, bob, visitor = active_site.browser("alice"), active_site.browser("bob"), active_site.browser()
        visitor.open("/cart/tea")
        assert do(active_site, visitor, logout_everybody) == "2"
        assert (alice.who, bob.who) == ("nobody", "nobody")
        assert visitor.text("/contents") != "{}\n"


def lose_index(site: Site, user: str) -> None:
    """Let the store lose what it notes of a user's sessions, as a server does that evicts keys."""
    repository = site.app.session_interface.repository  # type: ignore[attr-defined]
    owner = sessions_index_key(repository.tickets.owner_name(user))
    for claim in repository.store.owned(owner):
        repository.store.release(owner, claim.key)


@pytest.mark.promise(9)
class TestLostIndex:
    """The store has lost some of the owner index, so sessions may go on that nobody can list or end."""

    def warnings(self, caplog: pytest.LogCaptureFixture) -> list[str]:
        found = [record for record in caplog.records if record.levelno == logging.WARNING]
        return [text for text in map(logging.LogRecord.getMessage, found) if "owner index" in text]

    @pytest.mark.parametrize(
        "end",
        [
            logout_everywhere,
            lambda: logout_everywhere(keep_current=True),
            lambda: revoke_session(_present_handle()),
            lambda: revoke_session(f"{_present_handle().partition('.')[0]}.another"),
        ],
    )
    def test_ending_sessions_tells_of_it(
        self, active_site: Site, end: Callable[[], Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        """The session of the request shows that something is missing; the warning names it, and what to do."""
        desk, phone = active_site.browser("alice"), active_site.browser("alice")
        lose_index(active_site, "alice")
        sid = do(active_site, desk, lambda: session.sid)  # type: ignore[attr-defined]
        do(active_site, desk, end)
        (warning,) = self.warnings(caplog)
        assert warning.startswith(f"session {sid} is not in the owner index")
        assert "session_auth_hash()" in warning
        assert "flask sessions end --everybody" in warning
        assert not any(ticket in caplog.text for ticket in (desk.cookies | phone.cookies).values())
        assert phone.who == "alice", "which is why it must be told"

    @pytest.mark.parametrize("keep", [True, False])
    def test_whole_index(self, active_site: Site, keep: bool, caplog: pytest.LogCaptureFixture) -> None:
        """Nothing is told while nothing is missing, also of a session that has just got a new id."""
        desk = active_site.browser("alice")
        active_site.browser("alice")
        desk.open("/confirm")
        do(active_site, desk, lambda: logout_everywhere(keep_current=keep))
        assert self.warnings(caplog) == []

    def test_session_that_moves_meanwhile(self, active_site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """A parallel request has given the session a new id, and with it another place in the index: no warning."""
        desk = active_site.browser("alice")
        other = desk.copy("session")
        active_site.meanwhile = lambda: other.open("/confirm")
        do(active_site, desk, lambda: logout_everywhere(keep_current=True))
        assert self.warnings(caplog) == []

    def test_somebody_elses(self, active_site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """The session of another user shows nothing: an operator who ends alice's sessions hears of nothing."""
        bob = active_site.browser("bob")
        active_site.browser("alice")
        lose_index(active_site, "alice")
        assert do(active_site, bob, lambda: logout_everywhere(active_site.users["alice"])) == "0"
        assert self.warnings(caplog) == []

    def test_active_again(self, active_site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """A session that is counted as active again is noted again."""
        desk, phone = active_site.browser("alice"), active_site.browser("alice")
        lose_index(active_site, "alice")
        repository = active_site.app.session_interface.repository  # type: ignore[attr-defined]
        clock = repository.clock
        repository.clock = lambda: clock() + repository.lifetimes.refresh_after + 1
        assert desk.who == phone.who == "alice"
        assert do(active_site, desk, logout_everywhere) == "2"
        assert (desk.who, phone.who) == ("nobody", "nobody")
        assert self.warnings(caplog) == []

    def test_what_needs_no_index(self, active_site: Site) -> None:
        """A changed password ends the sessions that are missing, and so does the end of everybody's."""
        phone, pad = active_site.browser("alice"), active_site.browser("bob")
        lose_index(active_site, "alice")
        lose_index(active_site, "bob")
        active_site.users["alice"].password_hash = "argon2:second"
        assert phone.who == "nobody"
        assert do(active_site, active_site.browser(), logout_everybody) == "1"
        assert pad.who == "nobody"


def _present_handle() -> str:
    """Return the handle of the request's session, which the list does not have when the index is lost."""
    owner = SessionLogin(session).owner
    assert owner is not None
    return f"{owner.name}.{owner.handle}"


class TestLimit:
    """SESSION_LIMIT_PER_USER."""

    def test_the_oldest_goes(self, make_site: MakeSite) -> None:
        """A login in a third browser ends that in the first."""
        site = make_site("server", SESSION_LIMIT_PER_USER=2)
        browsers = [site.browser("alice") for _ in range(3)]
        assert [browser.who for browser in browsers] == ["nobody", "alice", "alice"]

    def test_the_new_one_is_refused(self, make_site: MakeSite) -> None:
        """login_user() returns False and the session is as before; after a logout it works."""
        site = make_site("server", SESSION_LIMIT_PER_USER=1, SESSION_LIMIT_POLICY="refuse")
        first, second = site.browser("alice"), site.browser()
        second.open("/cart/tea")
        assert second.login("alice") is False
        assert second.who == "nobody"
        assert second.text("/contents") == '{"cart":["tea"]}\n'
        assert first.login("alice") is True
        first.open("/logout")
        assert second.login("alice") is True
        assert second.who == "alice"

    def test_a_remembered_login_is_refused_too(self, make_site: MakeSite) -> None:
        """The cookie that remembers is no way around the limit."""
        site = make_site("server", SESSION_LIMIT_PER_USER=1, SESSION_LIMIT_POLICY="refuse")
        again = site.browser("alice", remember=True)
        again.client.delete_cookie("session")
        repository = site.app.session_interface.repository  # type: ignore[attr-defined]
        (session,) = repository.owners.sessions(repository.tickets.owner_name("alice"))
        repository.store.delete(session.key)
        repository.index.release(session.header, session.key)
        first = site.browser("alice")
        assert again.who == "nobody"
        assert first.who == "alice"


class TestReports:
    """What others hear of it, and what an operator does without a page."""

    def test_signals(self, active_site: Site) -> None:
        """Each revocation, by whom, and each logout everywhere."""
        phone, desk = active_site.browser("alice"), active_site.browser("alice")
        heard: list[tuple[str, Any]] = []

        def revoked(sender: Any, handle: str, operator: bool) -> None:
            heard.append(("revoked", operator))

        def everywhere(sender: Any, user_id: str, ended: int) -> None:
            heard.append((user_id, ended))

        (other,) = (one for one in listed(active_site, desk) if not one.current)
        with session_revoked.connected_to(revoked), user_logged_out_everywhere.connected_to(everywhere):
            assert do(active_site, active_site.browser("bob"), lambda: revoke_session(other.handle)) == "False"
            assert do(active_site, desk, lambda: revoke_session(other.handle, operator=True)) == "True"
            assert do(active_site, desk, lambda: revoke_session(other.handle)) == "False"
            do(active_site, desk, logout_everywhere)
        assert heard == [("revoked", True), ("alice", 1)]
        assert [phone.who, desk.who] == ["nobody", "nobody"]

    @pytest.mark.promise(9)
    def test_commands(self, active_site: Site) -> None:
        """``flask sessions list`` and ``end``: one login, a user's, everybody's."""
        run = active_site.app.test_cli_runner().invoke
        browsers = [active_site.browser() for _ in range(3)]
        for browser in browsers:
            browser.agent = FIREFOX
            browser.login("alice", remember=browser is browsers[0])
        bob = active_site.browser("bob")
        lines = run(sessions, ["list", "alice"]).output.splitlines()
        assert len(lines) == 3
        assert all("Firefox 140 on Linux, 127.0.0.1" in line for line in lines)
        assert run(sessions, ["end", "alice", "--handle", lines[0].split()[0]]).output == "Sessions ended: 1.\n"
        assert sorted(browser.who for browser in browsers) == ["alice", "alice", "nobody"]
        assert run(sessions, ["end", "alice"]).output == "Sessions ended: 2.\n"
        assert run(sessions, ["list", "alice"]).output == "This user is not logged in.\n"
        assert browsers[0].copy("remember_token").who == "nobody"
        assert bob.who == "bob"
        assert run(sessions, ["end", "--everybody"]).output == "Sessions ended: 1.\n"
        assert bob.who == "nobody"
        for arguments in (["end"], ["end", "alice", "--everybody"], ["end", "--everybody", "--handle", "x"]):
            result = run(sessions, arguments)
            assert (result.exit_code, "either the id of a user or --everybody" in result.output) == (2, True)

    def test_only_remembered(self, active_site: Site) -> None:
        """A device whose session is over is listed as such, and is no live session to be counted."""
        browser = active_site.browser("alice", remember=True)
        repository = active_site.app.session_interface.repository  # type: ignore[attr-defined]
        repository.store.delete(repository.load(browser.cookies["session"]).key)
        run = active_site.app.test_cli_runner().invoke
        assert run(sessions, ["list", "alice"]).output.rstrip().endswith("127.0.0.1, only remembered")
        assert "live sessions: 0;" in run(sessions, ["count"]).output


@pytest.mark.promise(9)
def test_everybody_of_one_application(make_site: MakeSite) -> None:
    """Another application on the same store, of another namespace, keeps its users and what remembers them."""
    site, other = (make_site("server", store="sqlite:///s.db", SESSION_NAMESPACE=name) for name in ("one", "two"))
    mine, theirs = (each.browser("alice", remember=True) for each in (site, other))
    with site.app.app_context():
        assert logout_everybody() == 1
    assert (mine.who, theirs.who) == ("nobody", "alice")
    assert theirs.copy("remember_token").who == "alice"
