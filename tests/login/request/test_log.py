"""The log gives a reason for each refusal and the session's public id, and no secret."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import abort, session

from flask_cloakroom import Refused, fresh_login_required, impersonate, login_watch, permission_required, revoke_session
from support.sites.login import Browser, MakeSite, Site

#: What must not stand in a log: ids of users, and what stands for a password.
PRIVATE = ("alice", "bob", "argon2", "forged-credential")


class Case:
    """A site, a browser in which alice is logged in, and what the log must not show."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.browser = site.browser("alice", remember=True)
        self.secrets = {*PRIVATE, *self.browser.cookies.values()}

    def work(self, work: Callable[[], Any]) -> Any:
        self.site.work = work
        return self.browser.open("/work")

    def impersonating(self) -> None:
        self.site.manager.impersonation_allowed(lambda operator, user: True)
        self.work(lambda: impersonate(self.site.users["bob"]))
        self.secrets.update(self.browser.cookies.values())


CASES: dict[str, tuple[Callable[[Case], Any], str]] = {}


def case(line: str) -> Callable[[Callable[[Case], Any]], None]:
    """Register what is done, and the line that is expected of it. ``ID`` stands for a session's public id."""

    def register(function: Callable[[Case], Any]) -> None:
        CASES[function.__name__] = function, line

    return register


@case("session new: members was refused: nobody is logged in")
def stranger(it: Case) -> None:
    assert Browser(it.site).open("/members").status_code == 401


@case("session ID: secret was refused: the login is not fresh")
def not_fresh(it: Case) -> None:
    it.work(lambda: session.update(_fresh=False))
    assert it.browser.open("/secret").status_code == 401


@case("session ID: work was refused: the login is not fresh")
def too_long_ago(it: Case) -> None:
    it.work(lambda: session.update(_fresh_at=1))
    assert it.work(fresh_login_required(max_age=60)(lambda: "in")).status_code == 401


@case("session ID: work was refused: the user has no permission")
def no_permission(it: Case) -> None:
    assert it.work(permission_required(lambda user: False)(lambda: "in")).status_code == 403


@case("no session: members was refused: the credential for bearer belongs to no user")
def bad_credential(it: Case) -> None:
    it.site.manager.authenticator("Bearer")(lambda request: None)
    response = it.browser.open("/members", headers={"Authorization": "Bearer forged-credential"})
    assert response.status_code == 401


@case("no session: members was refused: the header for basic cannot be read")
def unreadable_credential(it: Case) -> None:
    it.site.manager.authenticator("Basic")(lambda request: it.site.users["alice"])
    assert it.browser.open("/members", headers={"Authorization": "Basic forged-credential"}).status_code == 401


@case("no session: members was refused: why not")
def refused_credential(it: Case) -> None:
    @it.site.manager.authenticator
    def refuse(request: Any) -> None:
        raise Refused("why not")

    assert it.browser.open("/members").status_code == 401


@case("no session: members was refused: Too Many Requests")
def aborted_credential(it: Case) -> None:
    it.site.manager.authenticator(lambda request: abort(429))
    assert it.browser.open("/members").status_code == 429


@case("no session: the user of the request_loader was refused, because the user is not active")
def inactive_user_of_a_request(it: Case) -> None:
    it.site.users["bob"].active = False
    it.site.manager.request_loader(lambda request: it.site.users["bob"])
    assert Browser(it.site).who == "nobody"


@case("a login was refused: the user is not active")
def inactive_user_at_the_login(it: Case) -> None:
    it.site.users["bob"].active = False
    assert not it.browser.login("bob")


@case("session ID: its login ends, because the user does not exist any more")
def vanished_user(it: Case) -> None:
    del it.site.users["alice"]
    assert it.browser.who == "nobody"


@case("session ID: its login ends, because the user is not active")
def inactive_user(it: Case) -> None:
    it.site.users["alice"].active = False
    assert it.browser.who == "nobody"


@case(r"session ID: its login ends, because session_auth_hash\(\) has changed")
def changed_password(it: Case) -> None:
    it.site.users["alice"].password_hash = "argon2:second"
    assert it.browser.who == "nobody"


@case("session ID: its login ends, because it is in another browser")
def another_browser(it: Case) -> None:
    it.site.app.config["SESSION_PROTECTION"] = "strong"
    it.browser.agent = "Another"
    assert it.browser.who == "nobody"


@case(r"session \w+: a remember token was refused")
def forged_token(it: Case) -> None:
    browser = Browser(it.site, {"remember_token": "forged-credential"})
    assert browser.who == "nobody"


@case(r"session \w+: a remember token was refused, because the user is not active")
def token_of_an_inactive_user(it: Case) -> None:
    it.site.users["alice"].active = False
    assert it.browser.copy("remember_token").who == "nobody"


@case("session ID: an impersonation was refused: impersonating this user is not allowed")
def impersonation(it: Case) -> None:
    it.site.manager.impersonation_allowed(lambda operator, user: False)
    assert it.work(lambda: impersonate(it.site.users["bob"])).status_code == 403


@case("session ID: secret was refused: the session impersonates a user")
def sudo_while_impersonating(it: Case) -> None:
    it.impersonating()
    assert it.browser.open("/secret").status_code == 403


@case("session ID: a confirmation was refused, because the session impersonates a user")
def confirmation_while_impersonating(it: Case) -> None:
    it.impersonating()
    assert it.browser.open("/confirm").status_code == 403


@case("session ID: its login ends, because impersonating this user is not allowed")
def impersonation_that_is_allowed_no_more(it: Case) -> None:
    it.impersonating()
    it.site.manager.impersonation_allowed(lambda operator, user: False)
    assert it.browser.who == "nobody"


@case("a session was not revoked, because it belongs to another user")
def session_of_somebody_else(it: Case) -> None:
    assert it.work(lambda: revoke_session("0.0")).text == "False"


@case("session ID: a watched login has ended, because its session has ended")
def watched_session(it: Case) -> None:
    watches: list[Any] = []
    it.work(lambda: watches.append(login_watch()))
    it.browser.open("/logout")
    assert not watches[0].is_good()


@case(r"session \w+: a login was refused: The user already has 1 sessions")
def one_session_too_many(it: Case) -> None:
    assert not Browser(it.site).login("alice")


@pytest.mark.parametrize("name", CASES)
def test_refusals(make_site: MakeSite, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """One line at level INFO or above says what was refused and why; no ticket, token, credential, id of a user or
    password stands in the log at any level."""
    act, line = CASES[name]
    limit = {"SESSION_LIMIT_PER_USER": 1, "SESSION_LIMIT_POLICY": "refuse"} if name == "one_session_too_many" else {}
    it = Case(make_site(**limit))
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    act(it)
    pattern = re.compile(line.replace("session ID", "session [0-9a-f]{16}"))
    records = [record for record in caplog.records if record.name == "flask_cloakroom.login"]
    assert [record for record in records if record.levelno >= logging.INFO and pattern.match(record.getMessage())]
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("flask_cloakroom"))
    assert [secret for secret in it.secrets if secret in ours] == []


def test_nothing_is_opened_for_the_log(make_site: MakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A view that answers with ``unauthorized()`` itself, and asked nothing of the session, costs no store command."""
    site = make_site()
    site.app.add_url_rule("/no", "no", lambda: site.manager.unauthorized())
    browser = site.browser("alice")
    store = site.app.session_interface.store  # type: ignore[attr-defined]
    monkeypatch.setattr(store, "load", None)  # to call it would be a TypeError
    response = browser.open("/no")
    assert response.status_code == 401
    assert "Vary" not in response.headers
