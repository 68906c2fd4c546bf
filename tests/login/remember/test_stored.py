"""Stored remember tokens: random, hashed, good for one use on one device, and revocable."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import session

from flask_cloakroom import (
    StoreError,
    active_sessions,
    current_user,
    logout_everybody,
    logout_everywhere,
    remember_token_reused,
    revoke_session,
    session_created,
    user_loaded_from_cookie,
)
from flask_cloakroom.core.clock import CLOCK_SKEW
from flask_cloakroom.core.entries import envelope
from flask_cloakroom.core.entries.envelope import EntryKind
from flask_cloakroom.core.entries.family import TOKEN_OVERLAP, TokenStatus
from flask_cloakroom.core.sessions.session_registry import SessionRegistry
from support.sites.login import Browser, MakeSite, Site, ask_at_once, reported_users


@pytest.fixture(params=["memory", "sqlite", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    """Each kind of store that knows whose sessions it has."""
    if request.param == "redis":
        return str(request.getfixturevalue("redis_server").url)
    return {"memory": "memory://", "sqlite": "sqlite:///s.db"}[request.param]


@pytest.fixture
def stored(make_site: MakeSite, url: str) -> Site:
    return a_site(make_site, url)


def a_site(make_site: MakeSite, url: str = "memory://", **settings: Any) -> Site:
    """Make a site that is alone on its store."""
    site = make_site("server", store=url, SESSION_NAMESPACE=f"site-{time.monotonic_ns()}", **settings)
    for key, _ in list(repository(site).store.walk()):
        repository(site).store.delete(key)
    return site


def repository(site: Site) -> Any:
    return site.app.session_interface.repository  # type: ignore[attr-defined]


def later(site: Site, seconds: float) -> None:
    repository(site).clock = lambda: time.time() + seconds


def stop_clock(site: Site, moment: float) -> None:
    """Let it be this moment, in seconds since the epoch, until the clock is set again."""
    repository(site).clock = lambda: moment


def families(site: Site, user: str = "alice") -> int:
    repo = repository(site)
    return len(repo.families.of(repo.tickets.owner_name(user)))


def sessions(site: Site, user: str = "alice") -> int:
    repo = repository(site)
    return len(repo.owners.sessions(repo.tickets.owner_name(user)))


def entries(site: Site) -> int:
    """Count the stored entries, without tombstones."""
    headers = [envelope.open_header(entry.data, key)[0] for key, entry in repository(site).store.walk()]
    return sum(header.kind is not EntryKind.TOMBSTONE for header in headers)


def remembered(site: Site, user: str = "alice", **arguments: Any) -> Browser:
    """Return a browser that has nothing but the token, because its session has expired."""
    browser = site.browser(user, remember=True, **arguments)
    repo = repository(site)
    record = repo.load(browser.cookies["session"])
    repo.store.delete(record.key)
    repo.index.release(record.header, record.key)
    return browser.copy("remember_token")


def do(site: Site, browser: Browser, work: Callable[[], Any]) -> str:
    site.work = work
    return browser.text("/work")


class Meanwhile:
    """Stands before a store, and lets something happen before or after the first call of a verb for such an entry."""

    def __init__(self, site: Site, verb: str, run: Callable[[], Any], *, after: bool = False) -> None:
        self._store = repository(site).store
        self._verb, self._run, self._after = verb, run, after
        repository(site).store = self
        self._site = site

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name != self._verb:
            return method

        def call(*arguments: Any) -> Any:
            repository(self._site).store = self._store
            if not self._after:
                self._run()
            result = method(*arguments)
            if self._after:
                self._run()
            return result

        return call


class TestToken:
    """What the browser holds, and what is stored."""

    def test_it_says_nothing(self, stored: Site) -> None:
        """Two random parts: nothing of the user is in it, and no key signs it."""
        first, second = (stored.browser("alice", remember=True).cookies["remember_token"] for _ in range(2))
        for one, other in zip(first.split("."), second.split("."), strict=True):
            assert one != other
            assert len(one) >= 22, "128 bits are 22 characters (ASVS 5.0, 7.2.3)"
        assert "alice" not in first

    @pytest.mark.promise(8)
    @pytest.mark.parametrize("encrypted", [False, True])
    def test_a_stolen_store_is_of_no_use(self, make_site: MakeSite, url: str, encrypted: bool) -> None:
        """GHSA-hrqr-hxpp-chr3: no part of a token is in it, before and after a use; sealed, nor the user's id."""
        site = a_site(make_site, url, SESSION_ENCRYPTION=encrypted)
        browser = remembered(site)
        tokens = [browser.cookies["remember_token"]]
        assert browser.who == "alice"
        tokens += [browser.cookies["remember_token"], browser.cookies["session"]]
        held = b"".join(key + entry.data for key, entry in repository(site).store.walk())
        for part in (part for token in tokens for part in token.split(".")):
            assert part.encode() not in held
        assert (b"alice" in held) is not encrypted

    def test_another_for_each_device(self, stored: Site) -> None:
        """The end of one leaves the other."""
        phone, desk = stored.browser("alice", remember=True), stored.browser("alice", remember=True)
        copy = desk.copy("remember_token")
        phone.open("/logout")
        assert copy.who == "alice"

    @pytest.mark.parametrize("token", ["x", "A" * 24 + "." + "B" * 32, "A" * 24 + ".", "." * 57, "A" * 57])
    def test_made_up_ones_leave_nothing(self, stored: Site, token: str) -> None:
        """CVE-2015-5143: however often."""
        for _ in range(3):
            assert Browser(stored, {"remember_token": token}).who == "nobody"
        assert entries(stored) == 0

    def test_of_another_site(self, make_site: MakeSite, url: str) -> None:
        """CVE-2020-17526: one site's token is nothing to another on the same store with the same secret."""
        site, other = a_site(make_site, url), make_site("server", store=url, SESSION_NAMESPACE="other")
        token = site.browser("alice", remember=True).cookies["remember_token"]
        assert Browser(other, {"remember_token": token}).who == "nobody"
        assert Browser(site, {"remember_token": token}).who == "alice"


class TestUse:
    """It is good once."""

    def test_the_next_one(self, stored: Site) -> None:
        """A use puts another token in its place, with which it goes on; the cookie lives no longer by that."""
        browser = remembered(stored)
        tokens = [browser.cookies["remember_token"]]
        for _ in range(3):
            assert browser.copy("remember_token").who == "alice"
            browser = browser.copy("remember_token")
            assert browser.who == "alice"
            tokens.append(browser.cookies["remember_token"])
        assert len(set(tokens)) == 4
        assert len({token.partition(".")[0] for token in tokens}) == 1
        assert families(stored) == 1

    def test_it_lives_no_longer_by_use(self, make_site: MakeSite, url: str) -> None:
        """The time from the login counts, on the server, and the cookie says what is left of it."""
        site = a_site(make_site, url, REMEMBER_COOKIE_DURATION=1000)
        start = time.time()
        stop_clock(site, start)  # a clock that goes on would make a slow machine's login expire a second too early
        browser = remembered(site)
        stop_clock(site, start + 600)
        response = browser.open("/who")
        header = next(one for one in response.headers.getlist("Set-Cookie") if "remember_token" in one)
        assert "Max-Age=400" in header
        stop_clock(site, start + 999)
        assert browser.copy("remember_token").who == "alice"
        stop_clock(site, start + 1001)
        assert browser.copy("remember_token").who == "nobody"

    def test_a_copy_a_moment_later(self, stored: Site) -> None:
        """A request that was under way ends on the same session and the same next token."""
        browser = remembered(stored)
        late = browser.copy()
        assert browser.who == "alice"
        assert late.who == "alice"
        assert late.cookies == browser.cookies
        assert (sessions(stored), families(stored)) == (1, 1)

    @pytest.mark.parametrize("thief_first", [True, False])
    def test_an_old_one_ends_the_family(self, stored: Site, thief_first: bool) -> None:
        """Whoever of the two comes second with a copy: then nobody of both is logged in, and a signal tells."""
        victim = remembered(stored)
        thief = victim.copy()
        other_device = remembered(stored)
        first, second = (thief, victim) if thief_first else (victim, thief)
        assert [first.who, first.who] == ["alice", "alice"], "the second request shows the session's ticket"
        later(stored, TOKEN_OVERLAP + CLOCK_SKEW + 2)
        with reported_users() as heard:
            assert second.who == "nobody"
            assert first.who == "nobody"
            assert first.copy("remember_token").who == "nobody"
        assert heard == ["alice"]
        assert (sessions(stored), families(stored)) == (0, 1)
        assert other_device.who == "alice"

    def test_a_secret_that_never_was(self, stored: Site) -> None:
        """Who knows the selector and guesses the secret gets nothing, and ends it."""
        token = remembered(stored).cookies["remember_token"]
        forged = token.partition(".")[0] + "." + "A" * 32
        assert Browser(stored, {"remember_token": forged}).who == "nobody"
        assert families(stored) == 0

    def test_extended_where_wanted(self, make_site: MakeSite, url: str) -> None:
        """REMEMBER_COOKIE_REFRESH_EACH_REQUEST: after a tenth of its life it lives anew, and stays the same token."""
        site = a_site(make_site, url, REMEMBER_COOKIE_REFRESH_EACH_REQUEST=True, REMEMBER_COOKIE_DURATION=600)
        browser = site.browser("alice", remember=True)
        token = browser.cookies["remember_token"]
        later(site, 30)
        assert "Set-Cookie" not in browser.open("/who").headers
        later(site, 500)
        assert "Max-Age=600" in str(browser.open("/who").headers)
        later(site, 1000)
        assert browser.copy("remember_token").who == "alice"
        assert browser.cookies["remember_token"] == token


class TestParallel:
    """Requests of one browser that come at the same time."""

    @pytest.mark.parametrize("with_a_cart", [False, True])
    def test_twenty_requests_with_one_cookie(self, stored: Site, with_a_cart: bool) -> None:
        """One login, no theft alarm, one live family; and everybody is Alice, with one session and one next token."""
        browser = remembered(stored)
        if with_a_cart:
            visitor = stored.browser()
            visitor.open("/cart/tea")
            browser.client.set_cookie("session", visitor.cookies["session"])
        browsers = [browser.copy() for _ in range(20)]
        logins: list[Any] = []
        alarms: list[Any] = []

        def note_login(sender: Any, user: Any) -> None:
            logins.append(user.id)

        def note_alarm(sender: Any, **_: Any) -> None:
            alarms.append(1)

        with user_loaded_from_cookie.connected_to(note_login), remember_token_reused.connected_to(note_alarm):
            answers = ask_at_once(browsers)
        assert answers == ["alice"] * 20
        assert (logins, alarms) == (["alice"], [])
        assert (sessions(stored), families(stored)) == (1, 1)
        assert len({tuple(one.cookies.items()) for one in browsers}) == 1
        if with_a_cart:
            assert browsers[0].open("/contents").json == {"cart": ["tea"]}
            assert visitor.who == "nobody"

    def test_the_second_one_is_faster(self, stored: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first to use the token ends the sessions of before, and not the one that the second has just made."""
        browser = remembered(stored)
        first, second = browser.copy(), browser.copy()
        end_sessions, answers = SessionRegistry.end_sessions, []

        def overtaken(*arguments: Any, **options: Any) -> bool:
            if not answers:
                answers.append("")
                answers[0] = second.who
            return end_sessions(*arguments, **options)

        monkeypatch.setattr(SessionRegistry, "end_sessions", overtaken)
        assert [first.who, *answers] == ["alice", "alice"]
        assert [first.who, second.who] == ["alice", "alice"]
        assert first.cookies == second.cookies
        assert (sessions(stored), families(stored)) == (1, 1)

    def test_what_each_of_them_wrote_is_kept(self, stored: Site) -> None:
        """Also what was put into the session before anybody asked who that is."""

        @stored.app.get("/add/<key>")
        def add(key: str) -> str:
            session[key] = key
            return str(current_user.get_id())

        browser = remembered(stored)
        two, three = browser.copy(), browser.copy()
        assert [two.text("/add/a"), three.text("/add/b")] == ["alice", "alice"]
        contents = two.open("/contents").json
        assert contents["a"] == "a"
        assert contents["b"] == "b"
        assert sessions(stored) == 1

    def test_the_first_one_dies_on_the_way(self, stored: Site) -> None:
        """The token was used and no session made: who comes with it a moment later makes the session."""

        class Killed(BaseException):
            pass

        def die() -> None:
            raise Killed

        browser = remembered(stored)
        late = browser.copy()
        Meanwhile(stored, "replace", die, after=True)
        with pytest.raises(Killed):
            browser.open("/who")
        assert sessions(stored) == 0
        assert late.who == "alice"
        assert (sessions(stored), families(stored)) == (1, 1)

    def test_somebody_else_was_faster(self, stored: Site) -> None:
        """Forced: the other request uses the token between this one's reading and its writing."""
        browser = remembered(stored)
        late = browser.copy()
        answers: list[str] = []
        Meanwhile(stored, "replace", lambda: answers.append(late.who))
        assert browser.who == "alice"
        assert answers == ["alice"]
        assert browser.cookies == late.cookies
        assert (sessions(stored), families(stored)) == (1, 1)

    def test_both_make_the_session(self, stored: Site) -> None:
        """Forced: the other one makes it between this one's looking for it and its making it."""
        browser = remembered(stored)
        late = browser.copy()
        answers: list[str] = []
        created: list[Any] = []

        def note(sender: Any, **_: Any) -> None:
            created.append(1)

        Meanwhile(stored, "create", lambda: answers.append(late.who))
        with session_created.connected_to(note):
            assert browser.who == "alice"
        assert answers == ["alice"]
        assert len(created) == 1
        assert browser.cookies == late.cookies
        assert sessions(stored) == 1


class TestCopies:
    """A thief with a copy of a token that is still good, while its owner's session lives."""

    @pytest.fixture
    def both(self, stored: Site) -> tuple[Browser, Browser]:
        """The owner, and the thief, who has used the copy."""
        owner = stored.browser("alice", remember=True)
        thief = owner.copy("remember_token")
        assert thief.who == "alice"
        return owner, thief

    def test_one_login_is_one_session(self, stored: Site, both: tuple[Browser, Browser]) -> None:
        """The use of the copy ends the owner's session, so that the owner shows the token that was copied."""
        owner, thief = both
        assert sessions(stored) == 1
        assert thief.who == "alice"
        later(stored, TOKEN_OVERLAP + CLOCK_SKEW + 2)
        with reported_users() as heard:
            assert owner.who == "nobody"
        assert heard == ["alice"]
        assert [thief.who, thief.copy("remember_token").who] == ["nobody", "nobody"]

    @pytest.mark.parametrize("seconds", [TOKEN_OVERLAP + 2, TOKEN_OVERLAP + CLOCK_SKEW + 2])
    def test_login_of_the_owner(self, stored: Site, both: tuple[Browser, Browser], seconds: int) -> None:
        """With the password, in the browser that still has the token: the thief's login ends by that."""
        owner, thief = both
        later(stored, seconds)
        owner.login("alice")
        assert [owner.who, thief.who, thief.copy("remember_token").who] == ["alice", "nobody", "nobody"]
        assert "remember_token" not in owner.cookies

    @pytest.mark.parametrize("seconds", [0, TOKEN_OVERLAP + 2, TOKEN_OVERLAP + CLOCK_SKEW + 2])
    def test_logout_of_the_owner(self, stored: Site, both: tuple[Browser, Browser], seconds: int) -> None:
        """Ends the thief's login, whichever token the owner's browser has."""
        owner, thief = both
        later(stored, seconds)
        owner.open("/logout")
        assert [thief.who, thief.copy("remember_token").who] == ["nobody", "nobody"]

    def test_everywhere(self, stored: Site, both: tuple[Browser, Browser]) -> None:
        """From another device."""
        _, thief = both
        do(stored, stored.browser("alice"), lambda: logout_everywhere(keep_current=True))
        assert [thief.who, thief.copy("remember_token").who] == ["nobody", "nobody"]

    def test_no_more_than_the_limit(self, make_site: MakeSite, url: str) -> None:
        """Passing a token on makes no further session."""
        site = a_site(make_site, url, SESSION_LIMIT_PER_USER=2)
        browser = site.browser("alice", remember=True)
        for _ in range(4):
            browser = browser.copy("remember_token")
            assert browser.who == "alice"
            site.browser("alice")
            assert sessions(site) <= 2


class TestOwnSession:
    """The browser's window was closed: its session lives, and nobody has its ticket."""

    @pytest.mark.parametrize("most", [1, 3])
    def test_a_limit_puts_nobody_out_of_their_own_login(self, make_site: MakeSite, url: str, most: int) -> None:
        """The session that was left behind is the one that goes."""
        site = a_site(make_site, url, SESSION_LIMIT_PER_USER=most)
        browser = site.browser("alice", remember=True)
        others = [site.browser("alice") for _ in range(most - 1)]
        again = browser.copy("remember_token")
        assert [one.who for one in (again, *others)] == ["alice"] * most
        assert again.copy("remember_token").who == "alice"

    def test_what_was_refused_keeps_its_token(self, make_site: MakeSite, url: str) -> None:
        """SESSION_LIMIT_POLICY "refuse": the browser gets the next token with the refusal, or it would be an alarm."""
        site = a_site(make_site, url, SESSION_LIMIT_PER_USER=1, SESSION_LIMIT_POLICY="refuse")
        browser = remembered(site)
        other = site.browser("alice")
        token = browser.cookies["remember_token"]
        assert browser.who == "nobody"
        assert browser.cookies["remember_token"] != token
        other.open("/logout")
        later(site, TOKEN_OVERLAP + CLOCK_SKEW + 2)
        assert browser.who == "alice"


@pytest.mark.promise(9)
class TestEnd:
    """What was ended stays ended."""

    @pytest.mark.parametrize("used", [False, True])
    def test_logout(self, stored: Site, used: bool) -> None:
        """CVE-2023-40273, CVE-2024-42447: no copy of the token logs in, be it the present one or that of before."""
        browser = remembered(stored)
        copies = [browser.copy()]
        if used:
            assert browser.who == "alice"
            copies.append(browser.copy("remember_token"))
        else:
            browser = stored.browser("alice", remember=True)
            copies = [browser.copy("remember_token")]
        browser.open("/logout")
        assert [copy.who for copy in copies] == ["nobody"] * len(copies)

    def test_logout_without_the_cookie(self, stored: Site) -> None:
        """A browser that has lost its remember cookie logs out: a copy of that is worth nothing all the same."""
        browser = stored.browser("alice", remember=True)
        copy = browser.copy("remember_token")
        browser.client.delete_cookie("remember_token")
        browser.open("/logout")
        assert copy.who == "nobody"

    def test_nothing_is_left(self, stored: Site) -> None:
        """Neither session nor family, in the store or in the index."""
        stored.browser("alice", remember=True).open("/logout")
        assert (entries(stored), sessions(stored), families(stored)) == (0, 0, 0)

    def test_revocation(self, stored: Site) -> None:
        """One device revokes the other: session and token."""
        phone, desk = stored.browser("alice", remember=True), stored.browser("alice")
        token = phone.copy("remember_token")
        lost: list[Any] = []
        do(stored, desk, lambda: lost.extend(one for one in active_sessions() if not one.current))
        assert lost[0].remembered
        assert do(stored, desk, lambda: revoke_session(lost[0].handle)) == "True"
        assert [phone.who, token.who] == ["nobody", "nobody"]
        assert desk.who == "alice"

    def test_revocation_of_a_login_whose_session_is_over(self, stored: Site) -> None:
        """It is in the list, because it would be back without a password; and it can be ended."""
        token, desk = remembered(stored), stored.browser("alice")
        repo = repository(stored)
        for one in repo.owners.sessions(repo.tickets.owner_name("alice")):
            if one.owner.note and '"remembered"' in one.owner.note:
                repo.store.delete(one.key)
        found: list[Any] = []
        do(stored, desk, lambda: found.extend(active_sessions()))
        asleep = next(one for one in found if not one.live)
        assert (len(found), asleep.remembered, asleep.current) == (2, True, False)
        assert do(stored, desk, lambda: revoke_session(asleep.handle)) == "True"
        assert token.who == "nobody"

    def test_everywhere(self, stored: Site) -> None:
        """But for this device, whose session and token stay."""
        phone, desk = stored.browser("alice", remember=True), stored.browser("alice", remember=True)
        tokens = phone.copy("remember_token"), desk.copy("remember_token")
        do(stored, desk, lambda: logout_everywhere(keep_current=True))
        assert [phone.who, tokens[0].who, tokens[1].who, desk.who] == ["nobody", "nobody", "alice", "alice"]
        do(stored, desk, logout_everywhere)
        assert [one.who for one in (desk, desk.copy("remember_token"))] == ["nobody", "nobody"]

    def test_everybody(self, stored: Site) -> None:
        """For operators: the tokens of all users too."""
        tokens = [remembered(stored, user) for user in ("alice", "bob")]
        do(stored, stored.browser(), logout_everybody)
        assert [token.who for token in tokens] == ["nobody", "nobody"]

    def test_pushed_out_by_the_limit(self, make_site: MakeSite, url: str) -> None:
        """A login that has to go for another one is not back by itself, to put that one out."""
        site = a_site(make_site, url, SESSION_LIMIT_PER_USER=1)
        first = site.browser("alice", remember=True)
        second = site.browser("alice")
        assert [first.who, second.who] == ["nobody", "alice"]
        assert first.copy("remember_token").who == "nobody"

    def test_password_changed(self, stored: Site) -> None:
        """CVE-2026-48726: it is refused, and then it is gone, also should the old password come back."""
        token = remembered(stored)
        stored.users["alice"].password_hash = "argon2:second"
        copy = token.copy()
        assert token.who == "nobody"
        stored.users["alice"].password_hash = "argon2:first"
        assert copy.who == "nobody"

    def test_another_user_logs_in(self, stored: Site) -> None:
        """Where Alice was remembered: a copy of her token is worth nothing from then on."""
        browser = stored.browser("alice", remember=True)
        copy = browser.copy("remember_token")
        browser.login("bob")
        assert copy.who == "nobody"

    def test_logged_in_again(self, stored: Site) -> None:
        """Without wanting to be remembered: she still is. Wanting it again: by one token, the newest."""
        browser = stored.browser("alice", remember=True)
        browser.login("alice")
        assert browser.copy("remember_token").who == "alice"
        browser = stored.browser("alice", remember=True)
        old = browser.copy("remember_token")
        browser.login("alice", remember=True)
        assert old.who == "nobody"
        assert browser.copy("remember_token").who == "alice"

    def test_revoked_while_it_is_used(self, stored: Site) -> None:
        """Forced at each command of the use: whoever revokes ends that login, or was before it and it is none."""
        name = repository(stored).tickets.owner_name("alice")

        def end_all() -> None:
            repository(stored).owners.end_all(name)

        for verb in ("load", "replace", "create", "claim"):
            for after in (False, True):
                browser = remembered(stored)
                Meanwhile(stored, verb, end_all, after=after)
                browser.open("/who")
                assert browser.who == "nobody", (verb, after)
                assert (sessions(stored), families(stored)) == (0, 0), (verb, after)

    def test_the_store_fails_when_it_is_asked_again(self, stored: Site) -> None:
        """Forced: it was revoked, and whether it stands cannot be known: then nobody gets the session's ticket."""
        browser = remembered(stored)
        name = repository(stored).tickets.owner_name("alice")

        def fail() -> None:
            raise StoreError("down")

        def revoke_and_fail() -> None:
            repository(stored).families.end_all(name)
            Meanwhile(stored, "load", fail)

        Meanwhile(stored, "create", revoke_and_fail, after=True)
        assert browser.open("/who").status_code == 503
        assert "session" not in browser.cookies
        assert browser.who == "nobody"

    def test_logged_in_again_where_the_cookie_was_lost(self, stored: Site) -> None:
        """The token that the browser does not show any more ends, and is worth nothing after the logout."""
        browser = stored.browser("alice", remember=True)
        copy = browser.copy("remember_token")
        browser.client.delete_cookie("remember_token")
        browser.login("alice")
        assert copy.who == "nobody"
        assert browser.who == "alice"

    def test_logged_out_while_it_is_used(self, stored: Site) -> None:
        """Forced: the browser's own logout between the use of the token and the session."""
        browser = stored.browser("alice", remember=True)
        late = browser.copy("remember_token")
        Meanwhile(stored, "create", lambda: browser.open("/logout"))
        late.open("/who")
        assert late.who == "nobody"
        assert sessions(stored) == 0


class TestFamily:
    """The record itself."""

    def test_a_store_that_fails_logs_nobody_out(self, make_site: MakeSite) -> None:
        """503 at the use and at the logout; afterwards the same token is good."""
        site = a_site(make_site)
        token, logged_in = remembered(site), site.browser("alice", remember=True)

        def fail() -> None:
            raise StoreError("down")

        for verb in ("load", "replace"):
            Meanwhile(site, verb, fail)
            response = token.open("/who")
            assert (response.status_code, "Retry-After" in response.headers) == (503, True)
            assert "Set-Cookie" not in response.headers
        Meanwhile(site, "delete", fail)
        assert logged_in.open("/logout").status_code == 503
        assert (token.who, logged_in.who) == ("alice", "alice")

    def test_no_extension_is_no_reason_to_fail(self, make_site: MakeSite) -> None:
        """The page is there, and the next request extends."""
        site = a_site(make_site, REMEMBER_COOKIE_REFRESH_EACH_REQUEST=True, REMEMBER_COOKIE_DURATION=600)
        browser = site.browser("alice", remember=True)
        later(site, 500)

        def fail() -> None:
            raise StoreError("down")

        Meanwhile(site, "replace", fail)
        response = browser.open("/who")
        assert (response.status_code, "remember_token" in str(response.headers)) == (200, False)
        assert "remember_token" in str(browser.open("/who").headers)

    def test_extended_while_it_is_used(self, stored: Site) -> None:
        """Forced: a parallel request lengthens its life, which is no use of it."""
        browser = remembered(stored)
        found = repository(stored).families.find(browser.cookies["remember_token"])
        Meanwhile(stored, "replace", lambda: repository(stored).families.extend(found[0]))
        assert browser.who == "alice"

    @pytest.mark.parametrize("data", [b"", b"junk", None])
    def test_what_cannot_be_read(self, make_site: MakeSite, data: bytes | None) -> None:
        """Is nobody's, and no error. Nor is a session one, or a family a session."""
        site = a_site(make_site)
        token = remembered(site)
        repo = repository(site)
        key = repo.tickets.family_key(token.cookies["remember_token"].partition(".")[0])
        if data is None:
            site.browser("bob")
            other, entry = next((other, entry) for other, entry in repo.store.walk() if other != key)
            header, payload, _ = envelope.open_header(entry.data, other)
            data = envelope.pack(header, payload, key)
        repo.store.delete(key)
        repo.store.create(key, data, 60)
        assert token.who == "nobody"

    def test_the_standing_of_a_token(self, make_site: MakeSite) -> None:
        """Present, of a moment ago, old; by the clock of the server."""
        site = a_site(make_site)
        found = repository(site).families
        first = found.issue("alice", "", 600)
        family, status = found.find(first)
        assert status is TokenStatus.CURRENT
        second = found.use(family, first, "").token
        made = found.use(found.find(second)[0], second, "")
        third = made.token
        assert [found.find(token)[1] for token in (first, second, third)] == [
            TokenStatus.OLD,
            TokenStatus.PREVIOUS,
            TokenStatus.CURRENT,
        ]
        for seconds in (TOKEN_OVERLAP + 2, TOKEN_OVERLAP + CLOCK_SKEW + 2):
            later(site, seconds)
            assert found.find(second)[1] is TokenStatus.UNSHOWN
        found.mark_shown(made.unshown)
        later(site, TOKEN_OVERLAP + 2)
        assert found.find(second)[1] is TokenStatus.LATE
        later(site, TOKEN_OVERLAP + CLOCK_SKEW + 2)
        assert found.find(second)[1] is TokenStatus.OLD
        assert "alice" not in repr(family)
