"""Authenticators: users with a credential in each request, which counts before any session."""

from __future__ import annotations

import base64
import logging
from typing import Any

import pytest
from flask import abort, session

from flask_cloakroom import (
    Refused,
    active_sessions,
    current_user,
    login_required,
    login_source,
    login_user,
    logout_everywhere,
)
from support.sites.login import MakeSite, Site

TOKENS = {"alice-token": "alice", "bob-token": "bob"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def prepare(site: Site) -> Site:
    site.app.testing = True

    @site.manager.authenticator("Bearer", challenge='Bearer realm="api"')
    def by_token(request: Any) -> Any:
        return site.users.get(TOKENS.get(request.authorization.token, ""))

    @site.manager.authenticator("Basic")
    def by_password(request: Any) -> Any:
        given = request.authorization
        return site.users.get(given.username) if given.password == "wonder" else None

    @site.manager.authenticator
    def by_key(request: Any) -> Any:
        key = request.headers.get("X-Key")
        if key is None:
            return None
        if key not in TOKENS:
            raise Refused("no such key")
        return site.users[TOKENS[key]]

    site.app.add_url_rule("/source", "source", lambda: str(login_source()))
    return site


@pytest.fixture
def api(site: Site) -> Site:
    return prepare(site)


@pytest.mark.parametrize(
    ("headers", "user", "source"),
    [
        ({}, "nobody", "None"),
        (bearer("alice-token"), "alice", "header"),
        ({"Authorization": "bearer  bob-token "}, "bob", "header"),
        (basic("bob:wonder"), "bob", "browser"),
        ({"X-Key": "alice-token"}, "alice", "header"),
        ({"X-Key": "alice-token", **basic("bob:wonder")}, "bob", "browser"),
        ({"Authorization": "Something else"}, "nobody", "None"),
    ],
)
def test_finds_the_user(api: Site, headers: dict[str, str], user: str, source: str) -> None:
    """By the first authenticator whose credential it is. ``login_source`` tells what a browser sends by itself."""
    browser = api.browser()
    assert browser.text("/who", headers=headers) == user
    assert browser.text("/source", headers=headers) == source


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        (bearer("forged"), 'Bearer realm="api"'),
        (bearer(""), 'Bearer realm="api"'),
        ({"Authorization": "Bearer"}, 'Bearer realm="api"'),
        ({"Authorization": "Bearer\talice-token"}, 'Bearer realm="api"'),
        ({"Authorization": "Bearer alice-token, Basic Ym9iOndvbmRlcg=="}, 'Bearer realm="api"'),
        (basic("alice:wrong"), 'Basic realm="login", charset="UTF-8"'),
        ({"Authorization": "Basic not-base-64"}, 'Basic realm="login", charset="UTF-8"'),
        ({"X-Key": "forged"}, None),
        ({**bearer("forged"), "X-Key": "alice-token"}, 'Bearer realm="api"'),
    ],
)
@pytest.mark.parametrize("path", ["/who", "/members", "/how"])
def test_a_bad_credential_is_a_401(
    api: Site, headers: dict[str, str], challenge: str | None, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Never the session's user, nor that of a later credential; the login in the session is not touched. The log
    gives a reason, and neither the credential nor a user."""
    caplog.set_level(logging.INFO, "flask_cloakroom.login")
    browser = api.browser("bob", remember=True)
    before = browser.cookies
    response = browser.open(path, headers=headers)
    assert response.status_code == 401
    assert response.headers.get("WWW-Authenticate") == challenge
    assert "Set-Cookie" not in response.headers
    assert f"{path[1:]} was refused: " in caplog.text
    assert not [word for word in ("forged", "alice", "bob", "Ym9i", before["session"]) if word in caplog.text]
    assert browser.cookies == before
    assert browser.who == "bob"


@pytest.mark.parametrize("header", ["Bearer\tx", "Bearer\u00a0x", "Basic not-base-64"])
def test_a_header_that_cannot_be_read(site: Site, header: str) -> None:
    """Is refused before the authenticator is asked, which would look at nothing, or at half of it."""
    for scheme in ("Bearer", "Basic"):
        site.manager.authenticator(scheme)(lambda request: site.users["alice"])
    assert site.browser("bob").open("/who", headers={"Authorization": header}).status_code == 401


def test_nobody_after_a_refusal(api: Site) -> None:
    """A view or an error page that goes on all the same has an anonymous user, whose session says nothing."""
    seen: list[Any] = []

    @api.app.errorhandler(401)
    def page(error: Any) -> Any:
        from flask_cloakroom import confirm_login, login_fresh, login_remembered

        confirm_login()
        seen.extend([current_user.is_authenticated, login_fresh(), login_remembered(), login_source()])
        return "who are you?", 401

    browser = api.browser("bob", remember=True)
    assert browser.open("/who", headers=bearer("forged")).text == "who are you?"
    assert seen == [False, False, False, None]


def test_login_required_after_a_refusal(api: Site) -> None:
    """Is the refusal again, and no redirect to a login page, which an API client can't use."""
    api.manager.login_view = "login"

    @login_required
    def inner() -> str:
        return "in"

    @api.app.route("/outer")
    def outer() -> Any:
        try:
            str(current_user)
        except Refused:
            return inner()
        raise AssertionError

    assert api.browser().open("/outer", headers=bearer("forged")).status_code == 401


def test_an_account_that_is_switched_off(api: Site) -> None:
    """A good credential of it is a bad one."""
    api.users["alice"].active = False
    browser = api.browser("bob")
    assert browser.open("/who", headers=bearer("alice-token")).status_code == 401
    assert browser.open("/who", headers={"X-Key": "alice-token"}).status_code == 401


def test_order(site: Site) -> None:
    """They are asked in the order of their registration, and none after the one that knows the credential."""
    asked: list[str] = []

    def make(name: str, answer: Any) -> Any:
        def authenticator(request: Any) -> Any:
            asked.append(name)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return authenticator

    site.manager.authenticator(make("first", None))
    site.manager.authenticator(make("second", site.users["alice"]))
    site.manager.authenticator(make("third", site.users["bob"]))
    assert site.browser().who == "alice"
    assert asked == ["first", "second"]
    site.manager.authenticators[1:2] = []
    site.manager.authenticators.insert(1, type(site.manager.authenticators[0])(make("refuses", Refused("no"))))
    assert site.browser().open("/who").status_code == 401
    assert asked == ["first", "second", "first", "refuses"]


@pytest.mark.parametrize("answer", ["abort", "return", "raise"])
def test_other_ways_to_refuse(site: Site, answer: str) -> None:
    """A refusal that is returned counts as one, and so does any answer of HTTP, as 429 or 403; with a challenge."""

    @site.manager.authenticator(challenge="Key")
    def refuse(request: Any) -> Any:
        if answer == "abort":
            abort(429)
        error = Refused("no", challenge="Own") if answer == "raise" else Refused("no")
        if answer == "return":
            return error
        raise error

    response = site.browser("bob").open("/who")
    assert response.status_code == (429 if answer == "abort" else 401)
    assert response.headers.get("WWW-Authenticate") == {"abort": None, "return": "Key", "raise": "Own"}[answer]


def test_an_authenticator_that_fails(api: Site) -> None:
    """Is a 500, also at the second time that the user is asked for, and not the session's user."""

    @api.manager.authenticator
    def fail(request: Any) -> None:
        raise OSError("the database is down")

    api.app.testing = False
    browser = api.browser()
    api.manager.authenticators.insert(0, api.manager.authenticators.pop())
    assert browser.open("/who").status_code == 500


class TestSession:
    """Such a request has nothing to do with a session."""

    def test_is_not_opened(self, make_site: MakeSite, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """No store command, no cookie, no ``Vary``, also if the browser has a good session and a remember cookie."""
        site = prepare(make_site(kind, REMEMBER_COOKIE_REFRESH_EACH_REQUEST=True))
        browser = site.browser("bob", remember=True)
        if kind == "server":
            store = site.app.session_interface.store  # type: ignore[attr-defined]
            monkeypatch.setattr(store, "load", None)  # calling it would be a TypeError
        for path in ("/who", "/members", "/how", "/confirm"):
            response = browser.open(path, headers=bearer("alice-token"))
            assert response.status_code == 200
            assert "Vary" not in response.headers
            assert "Set-Cookie" not in response.headers
            assert response.headers["Cache-Control"] == "no-store"

    def test_says_nothing_of_the_user(self, api: Site) -> None:
        """A fresh session of another user, or of the same, makes no header fresh. ``confirm_login()`` with the
        password of the header's user must not confirm the session of the cookie (GHSA-f66q-9rf6-8795)."""
        stolen = api.browser("bob")
        stolen.open("/login?user=bob&stale=1")
        assert stolen.text("/how", headers=bearer("alice-token")) == "fresh=False remembered=False"
        assert stolen.open("/secret", headers=bearer("alice-token")).status_code == 401
        stolen.open("/confirm", headers=bearer("alice-token"))
        assert stolen.text("/how") == "fresh=False remembered=False"
        fresh = api.browser("alice")
        assert fresh.open("/secret", headers=bearer("alice-token")).status_code == 401

    def test_of_the_same_user_is_not_current(self, server_site: Site) -> None:
        """In the list of sessions none is this request's, and none is spared or logged out as such."""
        api = prepare(server_site)
        api.app.add_url_rule("/list", "list", lambda: str([one.current for one in active_sessions()]))
        api.app.add_url_rule("/out", "out", lambda: str(logout_everywhere(keep_current=True)))
        browser = api.browser("alice")
        assert browser.text("/list", headers=bearer("alice-token")) == "[False]"
        assert browser.text("/out", headers=bearer("alice-token")) == "1"
        assert browser.who == "nobody"

    def test_can_be_begun_on_purpose(self, api: Site) -> None:
        """``login_user()`` in such a request is a login like any other: a page that exchanges a token for a session."""

        @api.app.route("/exchange")
        def exchange() -> str:
            login_user(current_user)
            return str(login_source())

        browser = api.browser()
        assert browser.text("/exchange", headers=bearer("alice-token")) == "session"
        assert browser.who == "alice"


def test_sources_of_the_others(site: Site) -> None:
    """The session, the request that a remember cookie logs in, and a request_loader."""
    site.app.add_url_rule("/source", "source", lambda: str(login_source()))
    site.manager.request_loader(lambda request: site.users["bob"] if "X-Bob" in request.headers else None)
    browser = site.browser("alice", remember=True)
    assert browser.text("/source") == "session"
    again = browser.copy("remember_token")
    assert again.text("/source") == "remember"
    assert again.text("/source") == "session"
    assert site.browser().text("/source", headers={"X-Bob": "1"}) == "request_loader"


def test_async(site: Site) -> None:
    """An async authenticator, in front of sync and async views."""

    @site.manager.authenticator("Bearer")
    async def by_token(request: Any) -> Any:
        return site.users.get(TOKENS.get(request.authorization.token, ""))

    async def later() -> str:
        return str(current_user.get_id())

    site.app.add_url_rule("/later", "later", later)
    for path in ("/who", "/later"):
        assert site.browser().text(path, headers=bearer("alice-token")) == "alice"
        assert site.browser().open(path, headers=bearer("forged")).status_code == 401


def test_without_a_user_loader(make_site: MakeSite, kind: str) -> None:
    """An API alone needs no user_loader, and what a session may hold counts for nothing."""
    site = make_site(kind)
    site.manager._user_callback = None
    prepare(site)
    with site.app.test_request_context("/", headers=bearer("alice-token")):
        session["_user_id"] = "bob"
        assert current_user.get_id() == "alice"
    with site.app.test_request_context("/"):
        session["_user_id"] = "bob"
        assert current_user.get_id() is None
