"""REMEMBER_COOKIE_ACCEPT_LEGACY: each remember cookie of Flask-Login is accepted once and replaced."""

from __future__ import annotations

import time

import pytest

from flask_cloakroom import SettingError, encode_cookie
from flask_cloakroom.core.clock import CLOCK_SKEW
from flask_cloakroom.core.entries.family import TOKEN_OVERLAP
from support.sites.login import Browser, MakeSite, Site, ask_at_once, reported_users


@pytest.fixture
def moved(make_site: MakeSite, kind: str) -> Site:
    """A site that takes them."""
    return make_site(kind, REMEMBER_COOKIE_ACCEPT_LEGACY=True)


def cookie(site: Site, user_id: str = "alice", key: str | None = None) -> str:
    """Return what Flask-Login 0.6.3 sets: its function of this name is the same."""
    with site.app.app_context():
        return encode_cookie(user_id, key=key)


def holder(site: Site, value: str) -> Browser:
    return Browser(site, {"remember_token": value})


def later(site: Site, seconds: float) -> None:
    site.app.session_interface.repository.clock = lambda: time.time() + seconds  # type: ignore[attr-defined]


def test_taken_and_replaced(moved: Site) -> None:
    """Its user is logged in, not freshly, and goes on with a token of ours."""
    browser = holder(moved, cookie(moved))
    assert browser.text("/how") == "fresh=False remembered=True"
    assert "|" not in browser.cookies["remember_token"]
    assert browser.copy("remember_token").who == "alice"


def test_not_without_the_setting(make_site: MakeSite, kind: str) -> None:
    """By default none is taken."""
    site = make_site(kind)
    assert holder(site, cookie(site)).who == "nobody"


@pytest.mark.parametrize("key", ["another key that is long enough", "hunter2"])
def test_a_wrong_signature(moved: Site, key: str) -> None:
    """Nor one that is signed with another key, or is no signature, or nobody's."""
    assert holder(moved, cookie(moved, key=key)).who == "nobody"
    assert holder(moved, "alice|" + "0" * 128).who == "nobody"
    assert holder(moved, cookie(moved, "carol")).who == "nobody"


def test_old_keys(moved: Site) -> None:
    """SECRET_KEY_FALLBACKS are honoured."""
    value = cookie(moved)
    moved.app.config.update(
        SECRET_KEY="another key that is long enough", SECRET_KEY_FALLBACKS=["a key that is long enough"]
    )
    assert holder(moved, value).who == "alice"


def test_an_id_that_is_quoted_in_cookies(moved: Site) -> None:
    """Flask-Login's ids are whatever they are: spaces, umlauts, the separator."""
    moved.users["zoë; |7"] = type(moved.users["alice"])("zoë; |7")
    browser = holder(moved, cookie(moved, "zoë; |7"))
    assert browser.who == "zoë; |7"


def test_once(make_site: MakeSite) -> None:
    """On the server: a copy that comes later opens nothing. It is no alarm: all devices of a user have the same one."""
    site = make_site(REMEMBER_COOKIE_ACCEPT_LEGACY=True)
    value = cookie(site)
    browser = holder(site, value)
    assert browser.who == "alice"
    later(site, TOKEN_OVERLAP + CLOCK_SKEW + 2)
    with reported_users() as heard:
        assert holder(site, value).who == "nobody"
        assert holder(site, value).who == "nobody"
        other_device = holder(site, value)
        other_device.open("/logout")
    assert heard == []
    assert browser.who == "alice"
    assert browser.copy("remember_token").who == "alice"


@pytest.mark.parametrize("used", [False, True])
def test_dead_after_the_logout(make_site: MakeSite, used: bool) -> None:
    """On the server, also if it was never used: the browser showed it when its user logged out."""
    site = make_site(REMEMBER_COOKIE_ACCEPT_LEGACY=True)
    value = cookie(site)
    browser = holder(site, value)
    if not used:
        browser.client.set_cookie("session", site.browser("alice").cookies["session"])
    assert browser.who == "alice"
    browser.open("/logout")
    assert holder(site, value).who == "nobody"


def test_parallel_requests(make_site: MakeSite) -> None:
    """Twenty with one such cookie: one login."""
    site = make_site(REMEMBER_COOKIE_ACCEPT_LEGACY=True)
    browsers = [holder(site, cookie(site)) for _ in range(20)]
    assert ask_at_once(browsers) == ["alice"] * 20
    repository = site.app.session_interface.repository  # type: ignore[attr-defined]
    name = repository.tickets.owner_name("alice")
    assert (len(repository.owners.sessions(name)), len(repository.families.of(name))) == (1, 1)


def test_its_replacement_ends_with_the_password(moved: Site) -> None:
    """From its first use on it has the user's session_auth_hash()."""
    browser = holder(moved, cookie(moved))
    assert browser.who == "alice"
    moved.users["alice"].password_hash = "argon2:second"
    assert browser.copy("remember_token").who == "nobody"


def test_tokens_of_ones_own(make_site: MakeSite) -> None:
    """That can't take them are told so."""
    site = make_site(REMEMBER_COOKIE_ACCEPT_LEGACY=True, PROPAGATE_EXCEPTIONS=True)

    class Own:
        def resolve(self, token: str) -> None:
            return None

    site.manager.remember_tokens = lambda app: Own()  # type: ignore[assignment,return-value]
    with pytest.raises(SettingError, match="REMEMBER_COOKIE_ACCEPT_LEGACY: needs remember tokens with the methods"):
        holder(site, cookie(site)).open("/who")
