"""``update_session_auth_hash()``: this device stays logged in when the password changes."""

from __future__ import annotations

from typing import Any

import pytest

from flask_cloakroom import current_user, login_user, session_rotated, update_session_auth_hash
from support.sites.login import Browser, Site


def change_password(site: Site, browser: Browser, user: str = "alice") -> Any:
    """Do what a view does in which a user changes their password."""

    def work() -> str:
        assert current_user.is_authenticated, "as a view behind login_required has made sure"
        site.users[user].password_hash = "argon2:second"
        update_session_auth_hash()
        return "changed"

    site.work = work
    return browser.open("/work")


@pytest.mark.promise(9)
@pytest.mark.parametrize("remember", [False, True])
def test_this_device_stays(site: Site, remember: bool) -> None:
    """Its session, and its remember token if it has one; all others of the user end."""
    here = site.browser("alice", remember=remember)
    there = site.browser("alice", remember=True)
    old = here.copy()
    assert change_password(site, here).text == "changed"
    assert (here.who, there.who, there.copy("remember_token").who) == ("alice", "nobody", "nobody")
    assert old.copy("session").who == "nobody"
    if remember:
        assert old.copy("remember_token").who == "nobody"
        assert here.copy("remember_token").who == "alice"
    else:
        assert "remember_token" not in here.cookies


def test_the_id_changes(server_site: Site) -> None:
    """As at every change of what a login rests on."""
    browser = server_site.browser("alice")
    reasons: list[str] = []

    def note(sender: Any, reason: str, **_: Any) -> None:
        reasons.append(reason)

    with session_rotated.connected_to(note):
        change_password(server_site, browser)
    assert reasons == ["privilege"]


def test_no_fresher_by_it(site: Site) -> None:
    """Or whoever stole a login that is not fresh would have a fresh one."""
    browser = site.browser("alice", remember=True).copy("remember_token")
    assert browser.open("/secret").status_code == 401
    change_password(site, browser)
    assert browser.who == "alice"
    assert browser.open("/secret").status_code == 401


def test_only_ones_own(site: Site) -> None:
    """Nobody's login is kept by somebody else's password, or without one."""
    browser = site.browser("bob")
    for visitor, user in ((browser, "alice"), (site.browser(), "alice")):
        site.work = lambda user=user: update_session_auth_hash(site.users[user])  # type: ignore[misc]
        site.app.config["PROPAGATE_EXCEPTIONS"] = True
        with pytest.raises(ValueError, match="the user who is logged in by this session"):
            visitor.open("/work")
    with site.app.test_request_context(), pytest.raises(ValueError, match="logged in by this session"):
        update_session_auth_hash()


def test_in_the_request_of_the_login(site: Site) -> None:
    """A reset of the password logs in and changes it at once."""
    browser = site.browser()

    def work() -> str:
        login_user(site.users["alice"], remember=True)
        site.users["alice"].password_hash = "argon2:second"
        update_session_auth_hash()
        return "reset"

    site.work = work
    assert browser.open("/work").text == "reset"
    assert browser.who == "alice"
