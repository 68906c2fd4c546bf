"""A login by remember token, step by step: measured first, then used, made and joined, whatever fails between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Response, session, stream_with_context

from flask_cloakroom import current_user, session_created, session_rotated, user_session
from flask_cloakroom.core.entries.family import TOKEN_OVERLAP, TokenStatus
from flask_cloakroom.login.remember.tokens import retrying
from flask_cloakroom.sessions import concurrent_login
from flask_cloakroom.sessions.outage import SessionUnavailable
from support.sites.login import Browser, MakeSite, Site
from support.sites.remember import (
    Clock,
    FailingStore,
    heard,
    lose,
    remembered,
    repository_of,
    sessions_of,
    status_of,
    with_cart,
)

LATE = TOKEN_OVERLAP + 1
MAX_BYTES = 2000


@pytest.fixture
def site(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site whose requests do not wait long for a parallel request that does not exist."""
    monkeypatch.setattr(concurrent_login, "JOIN_PATIENCE", 0.01)
    site = make_site("server", SESSION_MAX_BYTES=MAX_BYTES)
    add_fill_view(site)
    return site


@pytest.fixture
def clock(site: Site) -> Clock:
    return Clock(site)


def add_fill_view(site: Site) -> None:
    @site.app.get("/fill/<int:size>")
    def fill(size: int) -> str:
        session["filling"] = "x" * size
        return "ok"


class TestSize:
    """A session that the login would make too large."""

    def fill(self, site: Site, browser: Browser) -> None:
        """Give the browser the largest anonymous session that there can be, to within a few bytes."""
        visitor = site.browser()
        size = next(size for size in range(MAX_BYTES, 0, -10) if visitor.open(f"/fill/{size}").status_code == 200)
        assert size > MAX_BYTES / 2
        browser.client.set_cookie("session", visitor.cookies["session"])

    def test_uses_no_token(self, site: Site, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
        """The visitor is anonymous, the pages work, and once the session has shrunk the same token logs in."""
        browser = remembered(site)
        self.fill(site, browser)
        cookies = browser.cookies
        for _ in range(2):
            response = browser.open("/who")
            assert (response.status_code, response.text) == (200, "nobody")
            assert "Set-Cookie" not in response.headers
        assert browser.open("/members").status_code == 401
        assert browser.cookies == cookies
        assert status_of(site, browser) is TokenStatus.CURRENT
        warnings = [one for one in caplog.records if one.levelname == "WARNING" and "filling" in one.getMessage()]
        assert len(warnings) == 3, "one for each request that asked for the user"
        assert browser.text("/fill/3") == "ok"
        assert browser.who == "alice"
        assert browser.open("/contents").json == {"filling": "xxx"}

    def test_a_late_repeat(self, site: Site, clock: Clock) -> None:
        """A token that comes back is measured too, where the browser has a session of its own."""
        browser = remembered(site)
        assert lose(browser)[0] == "alice"
        clock.move(LATE)
        self.fill(site, browser)
        with heard() as signals:
            assert browser.who == "nobody"
            assert signals == []
            browser.text("/fill/3")
            assert browser.who == "alice"
        assert signals == [("repeated", "alice")]

    @pytest.mark.parametrize("seconds", [0, LATE])
    def test_changes_of_the_request(self, site: Site, clock: Clock, seconds: int) -> None:
        """A change that the request has not saved does not count: if its save fails, the login is not lost."""

        @site.app.get("/too-much")
        def too_much() -> str:
            session["filling"] = "x" * MAX_BYTES
            return str(current_user.get_id())

        browser = with_cart(remembered(site))
        assert browser.copy().open("/too-much").status_code == 500
        clock.move(seconds)
        assert browser.who == "alice"
        assert browser.open("/contents").json == {"cart": ["tea"]}

    def test_a_change_that_cannot_be_stored(self, site: Site, clock: Clock) -> None:
        """Is an error before the token is used."""

        @site.app.get("/unstorable")
        def unstorable() -> str:
            session["lock"] = object()
            return str(current_user.get_id())

        browser = with_cart(remembered(site))
        assert browser.open("/unstorable").status_code == 500
        assert status_of(site, browser) is TokenStatus.CURRENT
        assert browser.who == "alice"


class TestPending:
    """The changes that a request made before it asked for the user."""

    @pytest.mark.parametrize("with_a_session", [False, True])
    def test_stays_pending(self, site: Site, clock: Clock, with_a_session: bool) -> None:
        """It is not in the session that the login makes, and is saved by the end of the request."""
        stored: list[Any] = []

        @site.app.get("/pending")
        def pending() -> str:
            cart = session.setdefault("cart", [])
            cart.append("coffee")
            note = session["note"] = {"text": ""}
            assert current_user.get_id() == "alice"
            stored.append(sorted(repository_of(site).load(session.record.ticket).values))  # type: ignore[attr-defined]
            cart.append("milk")
            note["text"] = "later"
            return str(session.new)

        browser = remembered(site)
        if with_a_session:
            with_cart(browser)

        assert browser.text("/pending") == str(not with_a_session)
        assert "note" not in stored[0]
        assert ("cart" in stored[0]) is with_a_session
        cart = ["tea", "coffee", "milk"] if with_a_session else ["coffee", "milk"]
        assert browser.open("/contents").json == {"cart": cart, "note": {"text": "later"}}

    def test_an_object_that_is_changed_later(self, site: Site, clock: Clock) -> None:
        """A list that the view read before the login is still the session's list after it."""

        @site.app.get("/later")
        def change_later() -> str:
            cart = session["cart"]
            assert current_user.get_id() == "alice"
            cart.append("milk")
            return "ok"

        browser = with_cart(remembered(site))
        assert browser.text("/later") == "ok"
        assert browser.open("/contents").json == {"cart": ["tea", "milk"]}

    def test_a_cleared_session(self, site: Site, clock: Clock) -> None:
        """The keys of before are gone, the login stays."""

        @site.app.get("/clear")
        def clear() -> str:
            session.clear()
            session["note"] = "new"
            return str(current_user.get_id())

        browser = with_cart(remembered(site))
        assert browser.text("/clear") == "alice"
        assert browser.open("/contents").json == {"note": "new"}
        assert browser.who == "alice"
        assert len(sessions_of(site, "alice")) == 1

    def test_signals(self, site: Site, clock: Clock) -> None:
        """A new session is told as created, a moved one as rotated, when the request already uses it."""
        told: list[Any] = []

        def hear(sender: Any, sid: str, **arguments: Any) -> None:
            told.append((sid == session.sid, session.get("_user_id"), sorted(arguments)))  # type: ignore[attr-defined]

        for browser in (remembered(site), with_cart(remembered(site))):
            with session_created.connected_to(hear), session_rotated.connected_to(hear):
                assert browser.who == "alice"
        assert told == [(True, "alice", []), (True, "alice", ["old_sid", "reason"])]

    def test_visitor_data(self, make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
        """It is merged into the user's data by the save of the same request, and once only."""
        site = make_site()

        @site.app.get("/basket/<item>")
        def basket(item: str) -> dict[str, Any]:
            if item != "-":
                user_session.setdefault("basket", []).append(item)
            return {"basket": user_session.get("basket"), "user": current_user.get_id()}

        browser, visitor = remembered(site), site.browser()
        visitor.open("/basket/tea")
        browser.client.set_cookie("session", visitor.cookies["session"])
        assert browser.who == "alice"
        for _ in range(2):
            assert browser.open("/basket/-").json == {"basket": ["tea"], "user": "alice"}
        assert not [one for one in caplog.records if "not saved" in one.getMessage()]


class TestDelivery:
    """A token is used only where its successor can reach the browser."""

    def test_a_streamed_body(self, site: Site, clock: Clock) -> None:
        """The page shows the user, and neither the token nor anything in the store has changed."""

        @site.app.get("/stream")
        def stream() -> Response:
            def body() -> Iterator[str]:
                yield str(current_user.get_id())

            return Response(stream_with_context(body()))

        browser = with_cart(remembered(site))
        cookies, store = browser.cookies, FailingStore(site, lambda number: False)
        assert browser.text("/stream") == "alice"
        assert set(store.restore()) == {"load"}
        assert browser.cookies == cookies
        assert status_of(site, browser) is TokenStatus.CURRENT
        assert browser.who == "alice"

    def test_teardown(self, site: Site, clock: Clock) -> None:
        """Code that runs when the request is over sees the user too."""
        seen: list[Any] = []

        @site.app.teardown_request
        def note(error: BaseException | None) -> None:
            seen.append(current_user.get_id())

        browser = remembered(site)
        seen.clear()
        assert browser.text("/alone") == "alone"
        assert seen == ["alice"]
        assert status_of(site, browser) is TokenStatus.CURRENT

    def test_a_session_limit(self, make_site: MakeSite) -> None:
        """The session that the browser has lost does not count against the one that takes its place."""
        site = make_site(SESSION_LIMIT_PER_USER=1, SESSION_LIMIT_POLICY="refuse")
        browser = site.browser("alice", remember=True)
        assert browser.copy("remember_token").who == "alice"


#: How the commands of one request fail, given the number of the first command that fails.
FAILURES = {
    "from": (lambda number, first: number >= first, False),
    "only": (lambda number, first: number == first, False),
    "answer": (lambda number, first: number == first, True),
}


class TestFailures:
    """The store fails at one command of a resume, or from one command on."""

    def start(self, site: Site, clock: Clock, case: str, user: str) -> Browser:
        """Return a browser whose next request is a resume. Its session or its login has a cart, except in "token"."""
        browser = remembered(site, user)
        if case == "token":
            return browser
        with_cart(browser)
        if case == "session":
            return browser
        assert lose(browser)[0] == user
        clock.move(LATE)
        if case == "repeat with a session":
            browser.client.delete_cookie("session")
            browser.text("/cart/tea")
        return browser

    @pytest.mark.promise(10)
    @pytest.mark.parametrize("seconds", [0, LATE])
    @pytest.mark.parametrize("way", FAILURES)
    @pytest.mark.parametrize("case", ["token", "session", "repeat", "repeat with a session"])
    def test_each_command(self, site: Site, clock: Clock, case: str, way: str, seconds: int) -> None:
        """Afterwards the browser, with the cookies that it has, is logged in with all its data and without alarm."""
        fails, is_done = FAILURES[way]
        statuses: list[int] = []
        first = 0
        while True:
            first += 1
            user = f"user{first}"
            browser = self.start(site, clock, case, user)
            store = FailingStore(site, lambda number, first=first: fails(number, first), is_done=is_done)  # type: ignore[misc]
            response = browser.open("/who")
            commands = store.restore()
            statuses.append(response.status_code)
            assert response.text == user if response.status_code == 200 else response.status_code == 503
            clock.move(seconds)
            with heard() as signals:
                assert browser.who == user, (first, commands)
                assert browser.who == user, (first, commands)
            assert ("reused", user) not in signals, (first, commands)
            cart = None if case == "token" else ["tea"]
            assert browser.open("/contents").json.get("cart") == cart, (first, commands)
            assert len(sessions_of(site, user)) == 1, (first, commands)
            if len(commands) < first:
                break
            assert first < 50, commands
        assert statuses[0] == 503
        assert statuses[-1] == 200
        assert first > 6


class TestRevokeOrRetry:
    """The end of a remembered login that must not fail its request."""

    def test_at_once(self, site: Site) -> None:
        """If the store works, nothing is left to do."""
        browser = site.browser("alice", remember=True)
        retrying(self.tokens(site)).revoke_or_retry(browser.cookies["remember_token"])
        assert browser.copy("remember_token").who == "nobody"

    def test_before_the_next_one(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """If the store fails, a warning says so, and the next remembered login ends the family first."""
        browsers = [site.browser("alice", remember=True) for _ in range(2)]
        tokens = self.tokens(site)
        store = FailingStore(site, lambda number: True)
        for browser in browsers:
            retrying(tokens).revoke_or_retry(browser.cookies["remember_token"])
        with pytest.raises(SessionUnavailable):
            tokens.issue("bob", "", 600)
        store.restore()
        # Two ends that failed, and two further tries of the first one.
        assert [one.levelname for one in caplog.records if "was not ended" in one.getMessage()] == ["WARNING"] * 4
        token = tokens.issue("bob", "", 600)
        assert [status_of(site, browser) for browser in browsers] == [None, None]
        assert tokens.resolve(token) is not None
        commands = FailingStore(site, lambda number: False)
        tokens.issue("bob", "", 600)
        assert commands.restore() == ["claim", "create"], "nothing is left to do"

    def test_no_secret_is_shown(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """Neither in the log nor in the list of what is to be tried again."""
        browser = site.browser("alice", remember=True)
        token = browser.cookies["remember_token"]
        store = FailingStore(site, lambda number: True)
        retrying(self.tokens(site)).revoke_or_retry(token)
        store.restore()
        shown = caplog.text + repr(vars(repository_of(site).families))
        assert not [part for part in token.split(".") if part in shown]

    def test_tokens_of_ones_own(self, caplog: pytest.LogCaptureFixture) -> None:
        """Without the method they are revoked as before, and a store that is down is a warning."""

        class Own:
            revoked: list[str]

            def __init__(self) -> None:
                self.revoked = []

            def revoke(self, token: str) -> str:
                if token == "down":
                    raise SessionUnavailable
                self.revoked.append(token)
                return ""

        own: Any = Own()
        retrying(own).revoke_or_retry("up")
        retrying(own).revoke_or_retry("down")
        assert own.revoked == ["up"]
        assert [one.levelname for one in caplog.records] == ["WARNING"]

    def tokens(self, site: Site) -> Any:
        return site.manager.tokens_for(site.app)
