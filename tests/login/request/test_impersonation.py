"""``impersonate``: a support member sees the site as another user, and gets no further permission."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
from flask import session

from flask_cloakroom import (
    UserKind,
    active_sessions,
    current_user,
    impersonate,
    impersonation_ended,
    impersonation_started,
    impersonator,
    login_source,
    login_user,
    logout_everywhere,
    stop_impersonating,
)
from flask_cloakroom.login.remember.signed import SignedTokens
from support.sites.login import Browser, MakeSite, Site, User


class Desk:
    """A site on which root may impersonate those who are not staff; and a record of what the signals told."""

    def __init__(self, site: Site) -> None:
        self.site, self.app, self.users = site, site.app, site.users
        site.app.testing = True
        self.users.update(root=User("root"), support=User("support"))
        self.staff = {"root", "support"}
        self.told: list[tuple[str, Any, Any]] = []
        self.asked: list[tuple[str, str]] = []
        self.receivers = [self.receiver("started"), self.receiver("ended")]
        impersonation_started.connect(self.receivers[0], site.app)
        impersonation_ended.connect(self.receivers[1], site.app)

        @site.manager.impersonation_allowed
        def allowed(operator: Any, user: Any) -> bool:
            self.asked.append((operator.id, user.id))
            return operator.id in self.staff and user.id not in self.staff

        site.app.add_url_rule("/as/<name>", "as", lambda name: str(impersonate(self.users[name])))
        site.app.add_url_rule("/back", "back", lambda: str(stop_impersonating()))
        site.app.add_url_rule("/really", "really", lambda: str(impersonator() and impersonator().get_id()))

    def receiver(self, what: str) -> Any:
        def told(sender: Any, user: Any, impersonator: Any) -> None:
            names = (None if one is None else one.id for one in (user, impersonator))
            self.told.append((what, *names))

        return told

    def root_as(self, name: str = "alice", **arguments: Any) -> Browser:
        browser = self.site.browser("root", **arguments)
        assert browser.text(f"/as/{name}") == "None"
        return browser


@pytest.fixture
def desk(site: Site) -> Desk:
    return Desk(site)


@pytest.fixture
def server_desk(server_site: Site) -> Desk:
    return Desk(server_site)


def test_there_and_back(desk: Desk) -> None:
    """The current user is the other one, at the next requests too, then the impersonator again; signals tell both."""
    browser = desk.site.browser("root")
    assert (browser.who, browser.text("/really")) == ("root", "None")
    browser.open("/as/alice")
    assert (browser.who, browser.text("/really"), browser.text("/members")) == ("alice", "root", "members")
    assert browser.text("/back") == "True"
    assert (browser.who, browser.text("/really")) == ("root", "None")
    assert desk.told == [("started", "alice", "root"), ("ended", "alice", "root")]
    assert browser.text("/back") == "False", "a second click does no harm"
    assert len(desk.told) == 2


def test_within_the_request(desk: Desk) -> None:
    """It holds from the call on, also with the proxy as the user."""
    seen: list[Any] = []

    def work() -> None:
        impersonate(desk.users["alice"])
        seen.extend([current_user.id, impersonator().id, login_source()])
        stop_impersonating()
        seen.extend([current_user.id, impersonator()])

    desk.site.work = work
    browser = desk.site.browser("root")
    browser.open("/work")
    assert seen == ["alice", "root", "session", "root", None]
    assert browser.who == "root"


def test_the_id_changes_both_ways(server_desk: Desk) -> None:
    """Promise 7: neither the ticket of before nor that of meanwhile is good for what comes after."""
    browser = server_desk.site.browser("root")
    before = browser.copy()
    browser.open("/as/alice")
    meanwhile = browser.copy()
    assert (before.who, meanwhile.who) == ("nobody", "alice")
    browser.open("/back")
    assert meanwhile.who == "nobody"
    assert browser.who == "root"


class TestNoWayUp:
    """What an impersonator must not get."""

    def test_without_a_rule(self, site: Site) -> None:
        """Nobody impersonates anybody until the application says who may."""
        site.app.testing = True
        site.work = lambda: impersonate(site.users["bob"])
        browser = site.browser("alice")
        with pytest.raises(RuntimeError, match="impersonation_allowed"):
            browser.open("/work")
        assert browser.who == "alice"

    @pytest.mark.parametrize(("operator", "user"), [("support", "root"), ("alice", "bob"), ("alice", "root")])
    def test_who_is_not_allowed_to(
        self, desk: Desk, operator: str, user: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Gets a 403 and stays who they are; the log says so and names nobody."""
        caplog.set_level(logging.INFO, "flask_cloakroom.login")
        browser = desk.site.browser(operator)
        ticket = browser.cookies["session"]
        assert browser.open(f"/as/{user}").status_code == 403
        assert (browser.who, browser.text("/really"), desk.told) == (operator, "None", [])
        assert "an impersonation was refused" in caplog.text
        assert not [word for word in (operator, user, ticket) if word in caplog.text]

    def test_an_account_that_is_switched_off(self, desk: Desk) -> None:
        """Is nobody's to be, as with a login."""
        desk.users["alice"].active = False
        assert desk.site.browser("root").open("/as/alice").status_code == 403

    @pytest.mark.parametrize("said", [None, 0, ""])
    def test_a_rule_that_says_nothing(self, desk: Desk, said: Any) -> None:
        """Is a no."""
        desk.site.manager.impersonation_allowed(lambda operator, user: said)
        assert desk.site.browser("root").open("/as/alice").status_code == 403

    def test_a_rule_that_only_looks_like_yes(self, desk: Desk) -> None:
        """A method that was not called is an error."""
        desk.site.manager.impersonation_allowed(lambda operator, user: operator.get_id)
        with pytest.raises(TypeError, match="returned a function"):
            desk.site.browser("root").open("/as/alice")

    def test_from_one_to_the_next(self, desk: Desk) -> None:
        """No chain: while one is impersonated nobody else can be, and the rule is asked of the real user only."""
        desk.staff.add("alice")
        desk.site.manager.impersonation_allowed(lambda operator, user: True)
        browser = desk.root_as("alice")
        with pytest.raises(RuntimeError, match="stop_impersonating"):
            browser.open("/as/bob")
        assert (browser.who, browser.text("/really")) == ("alice", "root")

    def test_oneself(self, desk: Desk) -> None:
        """Makes no sense."""
        desk.site.manager.impersonation_allowed(lambda operator, user: True)
        with pytest.raises(ValueError, match="themselves"):
            desk.site.browser("root").open("/as/root")

    def test_strangers(self, desk: Desk) -> None:
        """Who is not logged in by a session impersonates nobody; an API client neither, whosever session it sends."""
        with pytest.raises(RuntimeError, match="nobody is logged in by this session"):
            desk.site.browser().open("/as/alice")
        desk.site.manager.authenticator("Bearer")(lambda request: desk.users["root"])
        browser = desk.site.browser("bob")
        with pytest.raises(RuntimeError, match="nobody is logged in by this session"):
            browser.open("/as/alice", headers={"Authorization": "Bearer x"})
        assert browser.who == "bob"

    def test_is_never_fresh(self, desk: Desk) -> None:
        """No sudo: not by the freshness of the impersonator's login, and not by a confirmation, whosever password was
        asked for. Not even a loop through the refresh view: it is a 403."""
        desk.site.manager.refresh_view = "login"
        browser = desk.root_as("alice")
        assert browser.text("/how") == "fresh=False remembered=False"
        assert browser.open("/secret").status_code == 403
        assert browser.open("/confirm").status_code == 403
        assert browser.open("/secret").status_code == 403
        browser.open("/back")
        assert browser.text("/secret") == "secret"


class TestEveryRequest:
    """What was right at the begin is asked again at every load."""

    def assert_ended(self, desk: Desk, browser: Browser, user: str | None, operator: str | None) -> None:
        assert browser.who == "nobody"
        assert browser.text("/really") == "None"
        assert desk.told[-1] == ("ended", user, operator)
        assert len(desk.told) == 2

    def test_the_rule(self, desk: Desk) -> None:
        """Asked of the two as they are now; a no ends the whole session, and is told."""
        browser = desk.root_as("alice")
        desk.asked.clear()
        browser.open("/who")
        assert desk.asked == [("root", "alice")]
        desk.staff.add("alice")
        self.assert_ended(desk, browser, "alice", "root")

    @pytest.mark.parametrize("change", ["vanished", "inactive", "password"])
    def test_the_impersonator(self, desk: Desk, change: str) -> None:
        """Whatever ends the impersonator's login ends this, and leaves nobody logged in as the other user."""
        browser = desk.root_as("alice")
        if change == "vanished":
            del desk.users["root"]
        elif change == "inactive":
            desk.users["root"].active = False
        else:
            desk.users["root"].password_hash = "argon2:second"
        self.assert_ended(desk, browser, None, None if change == "vanished" else "root")

    @pytest.mark.parametrize("change", ["vanished", "inactive"])
    def test_the_user(self, desk: Desk, change: str) -> None:
        """Who is not there any more, or switched off."""
        browser = desk.root_as("alice")
        if change == "vanished":
            del desk.users["alice"]
        else:
            desk.users["alice"].active = False
        self.assert_ended(desk, browser, None if change == "vanished" else "alice", "root")

    def test_the_rule_is_gone(self, desk: Desk) -> None:
        """A new version of the site that allows nobody anything ends it."""
        browser = desk.root_as("alice")
        desk.site.manager.impersonation_callback = None
        self.assert_ended(desk, browser, "alice", "root")

    def test_another_browser(self, make_site: MakeSite) -> None:
        """SESSION_PROTECTION holds."""
        desk = Desk(make_site("server", SESSION_PROTECTION="strong"))
        browser = desk.root_as("alice")
        browser.agent = "Another"
        assert browser.who == "nobody"

    def test_two_loads(self, desk: Desk) -> None:
        """A page costs both users, once each."""
        browser = desk.root_as("alice")
        desk.site.loads.clear()
        browser.open("/members")
        assert desk.site.loads == ["root", "alice"]


class TestOtherEnds:
    """Logins and logouts while impersonating."""

    def test_logout(self, desk: Desk) -> None:
        """Ends the whole login; it is the impersonator who was logged out."""
        from flask_cloakroom import user_logged_out

        out: list[str] = []
        with user_logged_out.connected_to(lambda sender, user: out.append(user.id), desk.app):
            browser = desk.root_as("alice")
            browser.open("/logout")
        assert (browser.who, out) == ("nobody", ["root"])
        assert desk.told[-1] == ("ended", "alice", "root")

    def test_login(self, desk: Desk) -> None:
        """Of whoever: that user is logged in, and nobody impersonates anybody."""
        browser = desk.root_as("alice")
        browser.login("bob")
        assert (browser.who, browser.text("/really")) == ("bob", "None")
        assert desk.told[-1] == ("ended", "alice", "root")
        browser = desk.root_as("alice")
        browser.login("alice")
        assert (browser.who, browser.text("/really")) == ("alice", "None")

    def test_whoever_writes_the_user(self, desk: Desk) -> None:
        """Code that changes ``_user_id`` itself gives nobody the impersonation of the one before."""
        browser = desk.root_as("alice")
        desk.site.work = lambda: session.update(_user_id="bob")
        browser.open("/work")
        assert browser.who == "nobody"

    def test_a_refused_login(self, make_site: MakeSite) -> None:
        """SESSION_LIMIT_POLICY "refuse": the session is as before, impersonation and all."""
        desk = Desk(make_site(SESSION_LIMIT_PER_USER=1, SESSION_LIMIT_POLICY="refuse"))
        desk.site.browser("bob")
        browser = desk.root_as("alice")
        assert not browser.login("bob")
        assert (browser.who, browser.text("/really")) == ("alice", "root")
        assert desk.told == [("started", "alice", "root")]


class TestRemembering:
    """Remember cookies are the impersonator's, and have nothing to do with it."""

    def test_none_is_set(self, make_site: MakeSite, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither at the begin nor at the end, nor is the impersonator's issued anew meanwhile."""
        desk = Desk(make_site(kind, REMEMBER_COOKIE_REFRESH_EACH_REQUEST=True))
        browser = desk.site.browser("root", remember=True)
        token = browser.cookies["remember_token"]
        browser.open("/as/alice")
        with monkeypatch.context() as later:
            now = time.time()
            if kind == "server":
                later.setattr(desk.site.app.session_interface.repository, "clock", lambda: now + 1000)  # type: ignore[attr-defined]
            else:
                later.setattr(SignedTokens.__init__, "__kwdefaults__", {"clock": lambda: now + 1000})
            for path in ("/who", "/members"):
                assert "remember_token" not in str(browser.open(path).headers)
        browser.open("/back")
        assert browser.cookies["remember_token"] == token

    def test_a_new_session(self, desk: Desk) -> None:
        """When the session is over, the cookie brings back the impersonator, and nobody else."""
        again = desk.root_as("alice", remember=True).copy("remember_token")
        assert (again.who, again.text("/really")) == ("root", "None")


class TestSessions:
    """In the owner index the session stays the impersonator's."""

    def test_can_be_revoked(self, server_desk: Desk) -> None:
        """Promise 9: ``logout_everywhere`` of the impersonator, from another device, ends it."""
        browser = server_desk.root_as("alice")
        with server_desk.app.app_context():
            assert logout_everywhere(server_desk.users["root"]) == 1
        assert browser.who == "nobody"

    def test_is_not_the_users(self, server_desk: Desk) -> None:
        """The user's list does not show it, and their ``logout_everywhere`` does not end it."""
        desk = server_desk
        own = desk.site.browser("alice")
        browser = desk.root_as("alice")
        with desk.app.app_context():
            assert len(active_sessions(desk.users["alice"])) == 1
            assert len(active_sessions(desk.users["root"])) == 1
        ended: list[int] = []
        desk.site.work = lambda: ended.append(logout_everywhere())
        browser.open("/work")
        assert ended == [1], "the user's, since that is the current user"
        assert own.who == "nobody"
        assert (browser.who, browser.text("/really")) == ("alice", "root")


def test_async(desk: Desk) -> None:
    """An async rule is awaited, in sync and async views."""

    async def allowed(operator: Any, user: Any) -> bool:
        return bool(user.id != "support")

    async def later() -> str:
        return f"{current_user.get_id()} {impersonator().get_id()}"

    desk.site.manager.impersonation_allowed(allowed)
    desk.app.add_url_rule("/later", "later", later)
    browser = desk.root_as("alice")
    assert browser.text("/later") == "alice root"
    assert desk.site.browser("root").open("/as/support").status_code == 403


def test_of_another_kind(desk: Desk) -> None:
    """A kind of user has its own rule, and an impersonation within it does not concern the others."""
    staff = {name: User(name) for name in ("chief", "clerk")}
    operators = UserKind("operator", desk.app)
    operators.user_loader(staff.get)
    app = desk.app
    app.add_url_rule("/op/in", "op_in", lambda: str(operators.login_user(staff["chief"])))
    app.add_url_rule("/op/as", "op_as", lambda: str(operators.impersonate(staff["clerk"])))  # type: ignore[func-returns-value]
    app.add_url_rule("/op/back", "op_back", lambda: str(operators.stop_impersonating()))

    def really() -> str:
        return f"{operators.current_user.get_id()} {operators.impersonator() and operators.impersonator().get_id()}"

    app.add_url_rule("/op/really", "op_really", really)
    browser = desk.site.browser("bob")
    browser.open("/op/in")
    with pytest.raises(RuntimeError, match="impersonation_allowed"):
        browser.open("/op/as")
    operators.impersonation_allowed(lambda operator, user: operator.id == "chief")
    browser.open("/op/as")
    assert browser.text("/op/really") == "clerk chief"
    assert (browser.who, browser.text("/really")) == ("bob", "None")
    assert browser.text("/op/back") == "True"
    assert browser.text("/op/really") == "chief None"


def test_login_user_with_the_current_one(desk: Desk) -> None:
    """A page that logs in the current user makes a login of theirs, without the impersonator."""
    desk.site.work = lambda: login_user(current_user)
    browser = desk.root_as("alice")
    browser.open("/work")
    assert (browser.who, browser.text("/really")) == ("alice", "None")
