"""``fresh_login_required(max_age=…)``: a view that asks for the password again after some minutes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flask_cloakroom import confirm_login, fresh_login_required, login_fresh
from flask_cloakroom.login import lifecycle
from flask_cloakroom.login.in_session import session_login
from support.sites.login import MakeSite, Site


class Clock:
    """The time of logins, which a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_800_000_000.0
        for module in (session_login, lifecycle):
            monkeypatch.setattr(module, "time", self)

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def vault(site: Site) -> Site:
    """A site with views that want a login of the last ten minutes."""

    @site.app.get("/vault")
    @fresh_login_required(max_age=timedelta(minutes=10))
    def vault() -> str:
        return "gold"

    @site.app.get("/ask")
    def ask() -> dict[str, Any]:
        return {"any": login_fresh(), "minute": login_fresh(60), "hour": login_fresh(timedelta(hours=1))}

    return site


def test_an_old_login_is_not_enough(vault: Site, clock: Clock) -> None:
    """Up to its age the login opens the view, and not a second longer; confirming it opens it again."""
    browser = vault.browser("alice")
    assert browser.text("/vault") == "gold"
    clock.now += 600
    assert browser.text("/vault") == "gold"
    clock.now += 1
    assert browser.open("/vault").status_code == 401
    assert browser.text("/secret") == "secret", "without an age any fresh login will do"
    browser.open("/confirm")
    assert browser.text("/vault") == "gold"


def test_login_fresh_knows_the_age(vault: Site, clock: Clock) -> None:
    """The function answers as the decorator does."""
    browser = vault.browser("alice")
    clock.now += 61
    assert browser.open("/ask").json == {"any": True, "minute": False, "hour": True}


def test_a_time_to_come_is_no_proof(vault: Site, clock: Clock) -> None:
    """A login from a clock that was ahead does not stay young for as long as that."""
    browser = vault.browser("alice")
    clock.now -= 3600
    assert browser.open("/vault").status_code == 401


def test_a_login_without_a_time_is_too_old(vault: Site, clock: Clock) -> None:
    """One that was made before logins had a time, or by code of the application, is fresh and has no age."""
    browser = vault.browser("alice")
    with browser.client.session_transaction() as session:
        del session["_fresh_at"]
    assert browser.text("/secret") == "secret"
    assert browser.open("/vault").status_code == 401


def test_a_remembered_login_is_none(vault: Site) -> None:
    """Whoever was just remembered has shown nothing, however short ago."""
    browser = vault.browser("alice", remember=True)
    again = browser.copy("remember_token")
    assert again.who == "alice"
    assert again.open("/vault").status_code == 401
    assert again.open("/ask").json == {"any": False, "minute": False, "hour": False}


def test_nobody_is_sent_to_log_in(make_site: MakeSite) -> None:
    """And not to the page that asks for the password again."""
    site = make_site()
    site.manager.login_view, site.manager.refresh_view = "/sign-in", "/sudo"
    site.app.add_url_rule("/vault", view_func=fresh_login_required(max_age=600)(lambda: "gold"), endpoint="vault")
    assert site.browser().open("/vault").location == "/sign-in?next=%2Fvault"
    browser = site.browser("alice", stale=True)
    assert browser.open("/vault").location == "/sudo?next=%2Fvault"


@pytest.mark.parametrize("age", [0, -1, float("nan"), float("inf"), timedelta(0), True, "10"])
def test_an_age_that_is_none(age: Any) -> None:
    """It is an error where it is written, and names what it must be."""
    with pytest.raises(ValueError, match="max_age must be a timedelta or a number of seconds above 0"):
        fresh_login_required(max_age=age)


def test_confirming_nobodys_login_opens_nothing(vault: Site) -> None:
    """GHSA-f66q-9rf6-8795: sudo is of the user who is logged in, and of nobody without one."""
    browser = vault.browser()
    browser.open("/confirm")
    assert browser.open("/vault").status_code == 401
    with vault.app.test_request_context():
        confirm_login()
        assert not login_fresh()
