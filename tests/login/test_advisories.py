"""One test for each published vulnerability of login packages, with browsers and stolen cookies.

Those that concern a session whether somebody is logged in or not are in ``tests/sessions`` as well.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask, redirect, render_template_string, session
from werkzeug.routing import PathConverter

from flask_cloakroom import (
    Session,
    SettingError,
    current_user,
    fresh_login_required,
    login_fresh,
    login_required,
    login_user,
    logout_everywhere,
    safe_next,
)
from flask_cloakroom.core.entries.family import SECRET_BYTES, SELECTOR_BYTES
from flask_cloakroom.login.remember.secret_keys import WELL_KNOWN_KEYS
from flask_cloakroom.login.remember.signed import SignedTokens
from support.redirect_targets import HOSTILE
from support.sites.login import Browser, MakeSite, Site

#: A browser's cookies, as a thief may have them: each alone, and both.
CAPTURED = (("session",), ("remember_token",), ("session", "remember_token"))
HOST = "http://shop.example:8000"
PRESENT, OLD = "the present key, long enough", "the key of before, long enough"


def captured(browser: Browser) -> list[Browser]:
    """Return browsers of thieves, each with some of the cookies as they are now."""
    thieves = [browser.copy(*names) for names in CAPTURED]
    assert all(thief.cookies for thief in thieves)
    return thieves


def entries(site: Site) -> int:
    return sum(1 for _ in site.app.session_interface.store.walk())  # type: ignore[attr-defined]


def set_cookies(response: Any) -> list[str]:
    return list(response.headers.getlist("Set-Cookie"))


# -- credentials that should have ended -------------------------------------------------------------------------


def test_cve_2023_40273_a_password_reset_ends_every_credential(site: Site) -> None:
    """On every device: sessions, tokens, and copies of both. Others' stay, and the new password logs in."""
    devices = [site.browser("alice", remember=True) for _ in range(2)]
    bob = site.browser("bob", remember=True)
    thieves = [thief for device in devices for thief in captured(device)]
    site.users["alice"].password_hash = "argon2:second"
    assert {browser.who for browser in (*thieves, *devices)} == {"nobody"}
    assert [thief.who for thief in captured(bob)] == ["bob"] * len(CAPTURED)
    assert site.browser("alice").who == "alice"


def test_cve_2024_42447_a_logout_ends_the_session(server_site: Site) -> None:
    """The session's cookie, captured before, opens nothing after it, also under a request that was under way."""
    browser = server_site.browser("alice")
    thief, slow = browser.copy(), browser.copy()
    server_site.meanwhile = lambda: browser.open("/logout")
    server_site.work = lambda: session.update(late=True)
    slow.open("/work")
    assert (thief.who, slow.who, browser.who) == ("nobody",) * 3
    assert thief.open("/contents").json == {}


def test_cve_2024_42447_a_logout_ends_the_remember_token(server_site: Site) -> None:
    """So does the cookie that remembers the login."""
    browser = server_site.browser("alice", remember=True)
    thief = browser.copy("remember_token")
    browser.open("/logout")
    assert thief.who == "nobody"


def test_cve_2026_48726_nor_does_what_was_made_of_a_credential_outlive_it(site: Site) -> None:
    """A session that was begun with a captured token ends with the password that the token was issued for."""
    thief = site.browser("alice", remember=True).copy("remember_token")
    assert thief.who == "alice"
    thieves = captured(thief)
    site.users["alice"].password_hash = "argon2:second"
    assert {browser.who for browser in (thief, *thieves)} == {"nobody"}


def test_cve_2026_48726_logout_everywhere_ends_every_session(server_site: Site) -> None:
    """By whoever resets a password in a user's place."""
    devices = [server_site.browser("alice") for _ in range(3)]
    thieves = [device.copy() for device in devices]
    server_site.work = lambda: logout_everywhere(server_site.users["alice"])
    assert server_site.browser("bob").text("/work") == "3"
    assert {browser.who for browser in (*devices, *thieves)} == {"nobody"}


def test_cve_2025_46336_a_slow_request_does_not_undo_a_logout(server_site: Site) -> None:
    """It asks for the user, has a remember token, and writes: the id stays dead, and no cookie is set."""
    browser = server_site.browser("alice", remember=True)
    slow, thief = browser.copy(), browser.copy("session")
    server_site.meanwhile = lambda: browser.open("/logout")

    def work() -> str:
        session["late"] = True
        return str(current_user.get_id())

    server_site.work = work
    response = slow.open("/work")
    assert set_cookies(response) == []
    assert thief.who == "nobody"
    assert browser.who == "nobody"
    assert not any(b"late" in entry.data for _, entry in server_site.app.session_interface.store.walk())  # type: ignore[attr-defined]


@pytest.mark.parametrize("tokens", ["stored", "signed"])
def test_cve_2025_46336_a_late_request_does_not_undo_a_logout(server_site: Site, tokens: str) -> None:
    """It left the browser before the logout with both cookies and arrives after it: it begins nothing."""
    if tokens == "signed":
        server_site.manager.remember_tokens = SignedTokens
    browser = server_site.browser("alice", remember=True)
    late = [browser.copy() for _ in range(2)]
    browser.open("/logout")
    before = entries(server_site)
    assert late[0].who == "nobody"
    responses = [late[0].open("/who"), late[1].open("/cart/tea")]
    assert [set_cookies(response) for response in responses] == [[], []]
    assert entries(server_site) == before


# -- keys and sites ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", ["stored", "signed"])
@pytest.mark.parametrize("apart", ["name", "namespace"])
def test_cve_2020_17526_one_sites_credentials_are_nothing_on_another(apart: str, tokens: str, tmp_path: Path) -> None:
    """With one store and one secret: neither the session nor the token opens anything on a site of another name."""
    sites = []
    for number in range(2):
        app = Flask(f"shop{number}" if apart == "name" else "shop", instance_path=str(tmp_path))
        app.config.update(SECRET_KEY=PRESENT, SESSION_STORE="sqlite:///both.db")
        if apart == "namespace":
            app.config["SESSION_NAMESPACE"] = f"shop{number}"
        Session(app)
        sites.append(Site(app))
        if tokens == "signed":
            sites[-1].manager.remember_tokens = SignedTokens
    one, other = sites
    assert [thief.who for thief in captured(one.browser("alice", remember=True))] == ["alice"] * 3
    browser = one.browser("alice", remember=True)
    assert [Browser(other, thief.cookies).who for thief in captured(browser)] == ["nobody"] * 3
    for site in sites:
        site.app.session_interface.store.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("key", ["hunter2", "a", *sorted(WELL_KNOWN_KEYS)[::6]])
def test_cve_2023_27524_a_known_or_short_key_logs_nobody_in(make_site: MakeSite, key: str) -> None:
    """Outside debug mode nothing is signed with it, and what somebody else signs with it opens nothing."""
    site = make_site("cookie", SECRET_KEY=key, TESTING=True)
    forged = site.browser("alice", remember=True).copy("remember_token")
    assert forged.copy().who == "alice", "in tests any key will do"
    site.app.testing = False
    assert forged.who == "nobody"
    site.app.config["PROPAGATE_EXCEPTIONS"] = True
    with pytest.raises(SettingError, match="SECRET_KEY"):
        site.browser().open("/login?user=alice&remember=1")


def test_cve_2025_47278_the_present_key_alone_signs(make_site: MakeSite) -> None:
    """An old key opens what it signed while it is a fallback; what is new is good without it, and not by it alone."""
    site = make_site("cookie", SECRET_KEY=OLD)
    before = site.browser("alice", remember=True).copy("remember_token")
    site.app.config.update(SECRET_KEY=PRESENT, SECRET_KEY_FALLBACKS=[OLD])
    assert before.copy().who == "alice"
    after = site.browser("alice", remember=True).copy("remember_token")
    site.app.config.update(SECRET_KEY=OLD, SECRET_KEY_FALLBACKS=[])
    assert after.copy().who == "nobody"
    site.app.config.update(SECRET_KEY=PRESENT)
    assert after.copy().who == "alice"
    assert before.copy().who == "nobody"


# -- redirects --------------------------------------------------------------------------------------------------


@pytest.fixture
def with_login_view(make_site: MakeSite, kind: str) -> Site:
    """A site whose login view goes where the visitor wanted to go, and whose every path is behind a login."""
    site = make_site(kind)
    site.manager.login_view = "enter"
    site.app.url_map.merge_slashes = False

    @site.app.route("/enter", methods=["GET", "POST"])
    def enter() -> Any:
        login_user(site.users["alice"])
        return redirect(safe_next("/default"))

    site.app.url_map.converters["whatever"] = Whatever
    site.app.add_url_rule("/<whatever:path>", "any", login_required(lambda path: "in"))
    return site


class Whatever(PathConverter):
    """A path that may begin with slashes."""

    regex = ".*?"
    part_isolating = False


@pytest.mark.parametrize("where", ["query", "form", "session"])
def test_cve_2023_49438_a_login_view_leads_nowhere_else(with_login_view: Site, where: str) -> None:
    """Wherever a hostile target stands, who logs in ends at the default, and is logged in."""
    site = with_login_view
    site.app.config["USE_SESSION_FOR_NEXT"] = where == "session"
    for target in HOSTILE:
        if any("\ud800" <= character <= "\udfff" for character in target):
            continue  # it cannot be sent
        client = site.app.test_client()
        if where == "session":
            with client.session_transaction(base_url=HOST) as kept:
                kept["next"] = target
        options = {"query_string": {"next": target}} if where == "query" else {"data": {"next": target}}
        response = client.post("/enter", base_url=HOST, **({} if where == "session" else options))
        assert response.headers["Location"] == "/default", repr(target)
        assert client.get("/who", base_url=HOST).text == "alice"


@pytest.mark.parametrize("in_session", [False, True], ids=["in the URL", "in the session"])
@pytest.mark.parametrize("path", [target for target in HOSTILE if target[:2] in ("//", "/\\", "/.", "/\t")])
def test_ghsa_w2j7_f3c6_g8cw_there_and_back_stays_on_the_site(
    with_login_view: Site, path: str, in_session: bool
) -> None:
    """A path that looks like a host is asked for, and is behind a login: neither step leads to that host."""
    site = with_login_view
    site.app.config["USE_SESSION_FOR_NEXT"] = in_session
    client = site.app.test_client()
    step = client.get("/", base_url=HOST, environ_overrides={"PATH_INFO": path})
    assert step.headers["Location"].startswith("/enter")
    step = client.get(step.headers["Location"], base_url=HOST)
    location = step.headers["Location"]
    assert urlsplit(location)[:2] == ("", "")
    assert re.match(r"/(?![/\\])[!-\[\]-~]*$", location)
    assert client.get("/who", base_url=HOST).text == "alice"


# -- showing again who one is -----------------------------------------------------------------------------------


@pytest.fixture
def vault(site: Site) -> Site:
    """A site with a view for those who have just shown who they are."""
    site.app.add_url_rule("/vault", "vault", fresh_login_required(max_age=600)(lambda: "gold"))
    return site


def test_ghsa_f66q_9rf6_8795_nobody_has_nothing_to_confirm(vault: Site) -> None:
    """No mark is left in a session that somebody logs in with later, and none in a remembered login of nobody's."""
    browser = vault.browser()
    browser.open("/cart/apple")
    browser.open("/confirm")
    with browser.client.session_transaction() as kept:
        assert dict(kept) == {"cart": ["apple"]}
    browser.login("alice", stale=True)
    assert [browser.open(path).status_code for path in ("/vault", "/secret")] == [401, 401]


@pytest.mark.parametrize("way", ["login_user", "the key"])
def test_ghsa_97r5_pg8x_p63p_another_users_proof_is_not_ones_own(vault: Site, way: str) -> None:
    """Alice shows who she is, and then the session is Bob's, who has not: nothing of hers counts for him."""
    vault.users["bob"].password_hash = "argon2:another"
    browser = vault.browser("alice")
    assert browser.text("/vault") == "gold"
    if way == "login_user":
        browser.login("bob", stale=True)
        assert browser.who == "bob"
    else:
        vault.work = lambda: session.update(_user_id="bob")
        browser.open("/work")
        assert browser.who == "nobody"
    assert [browser.open(path).status_code for path in ("/vault", "/secret")] == [401, 401]


def test_ghsa_97r5_pg8x_p63p_one_browsers_proof_is_not_anothers(vault: Site) -> None:
    """Nor is what Alice shows in one browser good in another one of hers, nor for Bob in his."""
    mine, hers, bobs = (vault.browser(user, stale=True) for user in ("alice", "alice", "bob"))
    mine.open("/confirm")
    assert mine.text("/vault") == "gold"
    assert [browser.open("/vault").status_code for browser in (hers, bobs)] == [401, 401]


# -- caches -----------------------------------------------------------------------------------------------------


def test_cve_2023_30861_every_set_cookie_varies(make_site: MakeSite, kind: str) -> None:
    """Each response that sets or deletes a cookie says Vary: Cookie, and no-store whatever the view says."""
    site = make_site(kind, REMEMBER_COOKIE_REFRESH_EACH_REQUEST=True)

    @site.app.after_request
    def make_public(response: Any) -> Any:
        response.cache_control.public = True
        return response

    remembered = site.browser("alice", remember=True).copy("remember_token")
    browser = site.browser()
    stale = remembered.copy()
    responses = {
        "login": browser.open("/login?user=alice"),
        "remembering": browser.open("/login?user=alice&remember=1"),
        "remembered": remembered.open("/who"),
        "confirmed": remembered.open("/confirm"),
        "logout": browser.open("/logout"),
    }
    site.users["alice"].password_hash = "argon2:second"
    responses["refused token"] = stale.open("/who")
    responses["ended login"] = remembered.open("/who")
    for name, response in responses.items():
        assert set_cookies(response), name
        assert "Cookie" in response.headers.get("Vary", ""), name
        # Flask's own session cookie may be cached if the view says so.
        if kind == "server" or any("remember_token=" in header for header in set_cookies(response)):
            assert response.cache_control.no_store, name
            assert not response.cache_control.public, name


@pytest.mark.parametrize("user", [None, "alice"])
@pytest.mark.parametrize(
    "ask",
    [
        lambda: current_user.is_authenticated,
        lambda: bool(current_user),
        lambda: current_user == 1,
        lambda: current_user.get_id(),
        lambda: login_fresh(),
        lambda: render_template_string("{{ current_user.is_anonymous }}"),
        lambda: render_template_string("{% if current_user %}x{% endif %}"),
    ],
)
def test_cve_2026_27205_whoever_asks_varies(site: Site, ask: Any, user: str | None) -> None:
    """However a page asks who makes the request, and whoever does: it is another page for others."""
    site.work = ask
    site.app.add_url_rule("/ask", "ask", lambda: str(ask()))
    response = site.browser(user).open("/ask")
    assert response.status_code == 200
    assert "Cookie" in response.headers.get("Vary", "")
    if user:
        assert response.cache_control.no_store


# -- made-up and injected cookies -------------------------------------------------------------------------------


def test_cve_2015_5143_made_up_credentials_leave_nothing(server_site: Site) -> None:
    """A thousand tickets and tokens that look right: nobody is logged in, and the store stays empty."""
    client = server_site.app.test_client(use_cookies=False)
    for number in range(1000):
        token = f"{secrets.token_urlsafe(SELECTOR_BYTES)}.{secrets.token_urlsafe(SECRET_BYTES)}"
        header = f"session={secrets.token_urlsafe(32)}; remember_token={token}"
        response = client.get("/members" if number % 2 else "/who", headers={"Cookie": header})
        assert response.text == "nobody" if number % 2 == 0 else response.status_code == 401
    assert entries(server_site) == 0


def test_cve_2015_5963_logout_of_anonymous_visitors_leaves_nothing(server_site: Site) -> None:
    """A thousand times nothing is nothing, with a cookie of before too."""
    for number in range(1000):
        headers = {"Cookie": f"session={secrets.token_urlsafe(32)}"} if number % 2 else {}
        response = server_site.app.test_client(use_cookies=False).get("/logout", headers=headers)
        assert response.text == "True"
    assert entries(server_site) == 0


def test_cve_2015_5964_logout_of_an_anonymous_visitor_begins_no_session(site: Site) -> None:
    """It sets no cookie, and takes nothing from who has a cart and no login."""
    browser = site.browser()
    assert set_cookies(browser.open("/logout")) == []
    browser.open("/cart/apple")
    browser.open("/logout")
    assert browser.open("/contents").json == {"cart": ["apple"]}


@pytest.mark.parametrize("name", ["session", "remember_token"])
@pytest.mark.parametrize(
    "header", ["a=b, {0}={1}", "a=b]{0}={1}", 'a="; {0}={1}"', "a=b\t{0}={1}", "x{0}={1}", "{0}x={1}", "a={0}={1}"]
)
def test_cve_2016_7401_an_injected_cookie_satisfies_nothing(site: Site, name: str, header: str) -> None:
    """What stands inside another cookie, behind what some parsers take for a separator, is no cookie of ours."""
    value = site.browser("alice", remember=True).cookies[name]
    client = site.app.test_client(use_cookies=False)
    assert client.get("/who", headers={"Cookie": f"{name}={value}"}).text == "alice"
    assert client.get("/who", headers={"Cookie": header.format(name, value)}).text == "nobody"


@pytest.mark.parametrize("name", ["session", "remember_token"])
@pytest.mark.parametrize("header", ["={0}={1}", "=={0}={1}", "; ={0}={1}", " = {0}={1}", "={1}", "{1}"])
def test_cve_2023_23934_a_nameless_cookie_satisfies_nothing(site: Site, name: str, header: str) -> None:
    """A sibling domain sets one whose value looks like name and value of ours; nor does it hide ours."""
    value = site.browser("alice", remember=True).cookies[name]
    client = site.app.test_client(use_cookies=False)
    sent = header.format(name, value)
    assert client.get("/who", headers={"Cookie": sent}).text == "nobody"
    assert client.get("/who", headers={"Cookie": f"{sent}; {name}={value}"}).text == "alice"


def test_cve_2026_28779_the_cookies_path_follows_the_application_root(make_site: MakeSite, kind: str) -> None:
    """The remember cookie is sent to no other application of the host; it is set and deleted on that path."""
    site = make_site(kind, APPLICATION_ROOT="/shop")
    browser = site.app.test_client()
    login = browser.get("/login?user=alice&remember=1", base_url="http://host.example/shop")
    logout = browser.get("/logout", base_url="http://host.example/shop")
    for response, names in ((login, ("session=", "remember_token=")), (logout, ("remember_token=",))):
        for name in names:
            (header,) = [one for one in set_cookies(response) if one.startswith(name)]
            assert "Path=/shop" in header.split("; ")


ADVISORIES = [
    *("CVE-2023-40273", "CVE-2024-42447", "CVE-2026-48726", "CVE-2020-17526", "CVE-2023-27524"),
    *("CVE-2025-47278", "CVE-2025-46336", "CVE-2023-49438", "GHSA-w2j7-f3c6-g8cw", "GHSA-f66q-9rf6-8795"),
    *("GHSA-97r5-pg8x-p63p", "CVE-2023-30861", "CVE-2026-27205", "CVE-2015-5143", "CVE-2015-5963"),
    *("CVE-2015-5964", "CVE-2016-7401", "CVE-2023-23934", "CVE-2026-28779"),
]


@pytest.mark.parametrize("advisory", ADVISORIES)
def test_every_advisory_has_a_test_of_its_name(advisory: str) -> None:
    """Or somebody renamed one."""
    name = "test_" + advisory.lower().replace("-", "_") + "_"
    assert any(found.startswith(name) for found in globals())
