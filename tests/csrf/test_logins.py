"""A login, a confirmation, a change of user and a logout make all older CSRF tokens invalid."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask, request, session
from flask.testing import FlaskClient

from flask_cloakroom import (
    CSRFProtect,
    LoginManager,
    SeaSurf,
    Session,
    UserKind,
    UserMixin,
    generate_csrf,
    user_loaded_from_cookie,
)
from flask_cloakroom.csrf.token_format import make_token
from flask_cloakroom.login import actions
from flask_cloakroom.login.request.current_user import user_of
from flask_cloakroom.login.request.state import login_state
from support.sites.csrf import post

KINDS = ["user", "operator"]


class Person(UserMixin):
    """A user of either kind."""

    def __init__(self, user_id: str) -> None:
        self.id = user_id
        self.password = "first"

    def session_auth_hash(self) -> str:
        return self.password


class Site:
    """A site with users and operators. The pages of a kind stand below its name."""

    def __init__(self, kind: str, protection: Any = CSRFProtect, **settings: Any) -> None:
        self.app = app = Flask("shop")
        app.config.update(TESTING=True, SESSION_STORE="memory://", SECRET_KEY="a key that is long enough", **settings)
        if kind == "server":
            Session(app)
        self.people = {name: Person(name) for name in ("alice", "bob")}
        self.manager = LoginManager(app)
        self.csrf = protection(app)
        self.operators = UserKind("operator", app)
        for manager in (self.manager, self.operators):
            manager.user_loader(self.people.get)
            manager.impersonation_allowed(lambda impersonator, user: True)
        app.add_url_rule("/form", "form", generate_csrf)
        app.add_url_rule("/plain", "plain", lambda: "plain")
        app.add_url_rule("/set/<value>", "set", lambda value: str(session.update(value=value)))
        app.add_url_rule("/change", "change", lambda: "changed", methods=["GET", "POST"])
        self._add_views("user", actions, self.manager)
        self._add_views("operator", self.operators, self.operators)

    def _add_views(self, name: str, does: Any, manager: Any) -> None:
        people = self.people

        def act(action: str) -> str:
            if action == "login":
                does.login_user(people["alice"], remember="remember" in request.args)
            elif action == "login_other":
                does.login_user(people["bob"])
            elif action == "logout":
                does.logout_user()
            elif action == "confirm":
                does.confirm_login()
            elif action == "impersonate":
                does.impersonate(people["bob"])
            elif action == "stop":
                does.stop_impersonating()
            else:
                people["alice"].password = "second"
                does.update_session_auth_hash(people["alice"])
            return generate_csrf()

        self.app.add_url_rule(f"/{name}/<action>", f"{name}.act", act)

        def page() -> str:
            user = user_of(login_state(manager))
            return f"{user.id if user.is_authenticated else 'nobody'}'s page"

        self.app.add_url_rule(f"/{name}", f"{name}.page", page, methods=["GET", "POST"])

    @property
    def repository(self) -> Any:
        return self.app.session_interface.repository  # type: ignore[attr-defined]


@pytest.fixture
def site(kind: str) -> Site:
    return Site(kind)


@pytest.fixture
def server_site() -> Site:
    return Site("server")


def is_good(client: FlaskClient, token: str) -> bool:
    """Tell whether a token passes, from a client that says nothing of where its requests come from."""
    status = post(client, token).status_code
    assert status in (200, 400, 403)
    return status == 200


def copied(app: Flask, client: FlaskClient, *names: str) -> FlaskClient:
    """Return another client, with these cookies of the first."""
    other = app.test_client()
    for name in names:
        cookie = client.get_cookie(name)
        assert cookie is not None
        other.set_cookie(name, cookie.value)
    return other


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("before", "action"),
    [
        ([], "login"),
        (["login"], "login"),
        (["login"], "login_other"),
        (["login"], "confirm"),
        (["login"], "update_hash"),
        (["login"], "impersonate"),
        (["login", "impersonate"], "stop"),
        (["login", "impersonate"], "login"),
        (["login", "impersonate"], "logout"),
        (["login"], "logout"),
    ],
)
def test_every_change_of_a_login(site: Site, name: str, before: list[str], action: str) -> None:
    """Tokens from before are void, those of the same response and of later pages are good."""
    client = site.app.test_client()
    for earlier in before:
        client.get(f"/{name}/{earlier}")
    old = client.get("/form").text
    assert is_good(client, old)
    at_once = client.get(f"/{name}/{action}").text
    assert not is_good(client, old)
    assert is_good(client, at_once)
    assert is_good(client, client.get("/form").text)
    assert is_good(client, at_once), "and later pages leave it good"


@pytest.mark.parametrize("name", KINDS)
def test_void_for_good(site: Site, name: str) -> None:
    """A token from before a login does not become good again when that login ends."""
    client = site.app.test_client()
    old = client.get("/form").text
    client.get(f"/{name}/login")
    during = client.get("/form").text
    client.get(f"/{name}/logout")
    assert not is_good(client, old)
    assert not is_good(client, during)
    client.get(f"/{name}/login")
    assert not is_good(client, old)
    assert not is_good(client, during)


def test_two_kinds_at_once(site: Site) -> None:
    """Each login of the browser counts, in whichever order they come and go."""
    client = site.app.test_client()
    tokens = [client.get("/form").text]
    for path in ("/user/login", "/operator/login", "/user/logout", "/user/login", "/operator/logout"):
        client.get(path)
        assert not any(is_good(client, token) for token in tokens), path
        tokens.append(client.get("/form").text)
        assert is_good(client, tokens[-1]), path


class TestPlantedSession:
    """Somebody put a session of their own into the browser, as a sibling domain can, and uses it as well."""

    def test_before_the_login(self, site: Site) -> None:
        """Neither the token that they had, nor any that they make then, is good in the operator's browser."""
        attacker = site.app.test_client()
        known = attacker.get("/form").text
        victim = copied(site.app, attacker, "session")
        victim.get("/operator/login")
        assert not is_good(victim, known)
        assert not is_good(victim, attacker.get("/form").text)
        assert is_good(victim, victim.get("/form").text)
        assert not is_good(victim, attacker.get("/form").text)

    def test_after_the_login(self, site: Site) -> None:
        """The browser's own session gives way to theirs, and the operator's login stays: that is what counts."""
        attacker, victim = site.app.test_client(), site.app.test_client()
        victim.get("/operator/login")
        victim.get("/form")
        known = attacker.get("/form").text
        planted = attacker.get_cookie("session")
        assert planted is not None
        victim.set_cookie("session", planted.value)
        assert victim.post("/operator", data={"csrf_token": known}).status_code == 400
        own = victim.get("/form").text
        assert victim.post("/operator", data={"csrf_token": own}).text == "alice's page"
        assert not is_good(victim, attacker.get("/form").text)

    @pytest.mark.parametrize("action", ["login", "login_other"])
    def test_they_are_an_operator_too(self, site: Site, action: str) -> None:
        """Even the same one: a token counts for one login, not for one user."""
        attacker = site.app.test_client()
        attacker.get(f"/operator/{action}")
        attacker.get("/form")
        victim = copied(site.app, attacker, "session")
        victim.get("/operator/login")
        assert not is_good(victim, attacker.get("/form").text)

    def test_what_a_cookie_shows(self) -> None:
        """Flask's own session shows its secret to who planted it. That is not enough to make a token."""
        site = Site("cookie")
        attacker = site.app.test_client()
        attacker.get("/form")
        with attacker.session_transaction() as planted:
            secret = planted["csrf_token"]
        victim = site.app.test_client()
        victim.get("/operator/login")
        victim.set_cookie("session", attacker.get_cookie("session").value)  # type: ignore[union-attr]
        for guess in (secret, f"{secret}\n", f"{secret}\n_flask_cloakroom_login_operator="):
            assert not is_good(victim, make_token(guess.encode(), 2_000_000_000))
        assert is_good(attacker, make_token(secret.encode(), 2_000_000_000)), "the guess is made as tokens are"
        assert not hmac.compare_digest(secret, victim.get("/form").text)


class TestRememberedLogin:
    """A browser that has only what remembers its login is as good as logged in: the view would begin the login."""

    def remembered(self, site: Site, name: str) -> FlaskClient:
        client = site.app.test_client()
        client.get(f"/{name}/login?remember=1")
        return copied(site.app, client, "remember_token" if name == "user" else "remember_token_operator")

    @pytest.mark.parametrize("name", KINDS)
    def test_forged_with_a_planted_session(self, site: Site, name: str) -> None:
        """A visitor's token is not good there, although nobody is logged in by a session yet."""
        attacker, victim = site.app.test_client(), self.remembered(site, name)
        known = attacker.get("/form").text
        victim.set_cookie("session", attacker.get_cookie("session").value)  # type: ignore[union-attr]
        assert victim.post(f"/{name}", data={"csrf_token": known}).status_code == 400
        assert victim.post(f"/{name}", data={"csrf_token": known}).status_code == 400
        own = victim.get("/form").text
        assert victim.post(f"/{name}", data={"csrf_token": own}).text == "alice's page"

    @pytest.mark.parametrize("name", KINDS)
    def test_page_that_begins_the_login(self, site: Site, name: str) -> None:
        """The token of that same page is good, whether the token or the user comes first in it."""
        client = self.remembered(site, name)
        token = client.get("/form").text
        assert is_good(client, token)
        assert client.get(f"/{name}").text == "alice's page"
        assert is_good(client, token)
        other = self.remembered(site, name)
        assert other.get(f"/{name}").text == "alice's page"
        assert is_good(other, other.get("/form").text)

    def test_refused_token(self, site: Site) -> None:
        """A remember token that is good for nothing leaves a visitor their tokens."""
        client = site.app.test_client()
        client.set_cookie("remember_token_operator", "x" * 24 + "." + "y" * 32)
        token = client.get("/form").text
        assert is_good(client, token)


class TestEndedElsewhere:
    """Logins that end without their browser."""

    def test_revoked(self, server_site: Site) -> None:
        """From another device, or by the operator of the site."""
        client, app = server_site.app.test_client(), server_site.app
        old = client.get("/form").text
        client.get("/operator/login")
        during = client.get("/form").text
        with app.app_context():
            assert server_site.operators.logout_everywhere(server_site.people["alice"]) == 1
        assert not is_good(client, during)
        assert not is_good(client, old)
        assert is_good(client, client.get("/form").text)

    def test_changed_password(self, site: Site) -> None:
        """The login ends when the user is loaded, and the tokens with it."""
        client = site.app.test_client()
        client.get("/operator/login")
        during = client.get("/form").text
        site.people["alice"].password = "second"
        assert client.get("/operator").text == "nobody's page"
        assert not is_good(client, during)
        assert is_good(client, client.get("/form").text)


class Pausing:
    """Runs something in the middle of the next save of a session that is stored already."""

    def __init__(self, site: Site) -> None:
        self._store = site.repository.store
        self.meanwhile: Callable[[], Any] | None = None
        site.repository.store = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def replace(self, *arguments: Any) -> Any:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return self._store.replace(*arguments)


def test_parallel_request_with_the_old_secret(server_site: Site) -> None:
    """A request that read the secret before the login, and saves the session after it, does not bring it back."""
    client = server_site.app.test_client()
    client.get("/set/1")
    old = client.get("/form").text
    with client.session_transaction() as kept:
        secret = kept["csrf_token"]
    tab = copied(server_site.app, client, "session")
    store = Pausing(server_site)
    store.meanwhile = lambda: client.get("/operator/login")
    assert tab.get("/set/2").status_code == 200
    assert not is_good(client, old)
    client.get("/operator/logout")
    assert not is_good(client, old)
    with client.session_transaction() as kept:
        assert kept["value"] == "2"
        assert kept["csrf_token"] != secret


def test_parallel_request_that_makes_the_first_secret(server_site: Site) -> None:
    """The page that it renders is from before the login: its token is void."""
    client = server_site.app.test_client()
    client.get("/set/1")
    tab = copied(server_site.app, client, "session")
    store = Pausing(server_site)
    store.meanwhile = lambda: client.get("/operator/login")
    early = tab.get("/form").text
    assert not is_good(client, early)
    assert is_good(client, client.get("/form").text)


def test_parallel_cookie_that_comes_late() -> None:
    """Flask's cookie of a request from before the login takes the place of the later one. Its secret is not enough."""
    site = Site("cookie")
    client = site.app.test_client()
    old = client.get("/form").text
    tab = copied(site.app, client, "session")
    client.get("/operator/login")
    tab.get("/set/2")
    client.set_cookie("session", tab.get_cookie("session").value)  # type: ignore[union-attr]
    assert not is_good(client, old)
    assert is_good(client, client.get("/form").text)


def test_renewal_changes_nothing(server_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ticket of an operator's session that is renewed leaves the pages of the site as they are."""
    client = server_site.app.test_client()
    client.get("/operator/login")
    token = client.get("/form").text
    before = client.get_cookie("session_operator")
    repository = server_site.operators.interface_for(server_site.app).repository  # type: ignore[union-attr]
    monkeypatch.setattr(repository, "lifetimes", replace(repository.lifetimes, renew_every=0))  # due at every request
    client.get("/operator")
    monkeypatch.undo()
    assert client.get_cookie("session_operator") != before
    assert is_good(client, token)


class Counting:
    """Counts the loads of a store."""

    def __init__(self, site: Site) -> None:
        self._store, self.loads = site.repository.store, 0
        site.repository.store = self
        site.operators.interface_for(site.app).repository.store = self  # type: ignore[union-attr]

    def __getattr__(self, name: str) -> Any:
        if name == "load":
            self.loads += 1
        return getattr(self._store, name)


def test_costs(server_site: Site) -> None:
    """A page with a token opens an operator's session only for a browser that has one: one store command more."""
    client = server_site.app.test_client()
    client.get("/form")
    store = Counting(server_site)
    response = client.get("/form")
    assert store.loads == 1
    assert post(client, response.text).status_code == 200
    assert store.loads == 2
    client.get("/operator/login")
    client.get("/form")
    store.loads = 0
    client.get("/plain")
    client.get("/change")
    client.post("/change", headers={"Sec-Fetch-Site": "same-origin"})
    assert store.loads == 0
    client.get("/form")
    assert store.loads == 2


def test_login_that_opens_no_session_of_the_application(server_site: Site) -> None:
    """An operator's login begins no visitor's session."""
    app = server_site.app
    app.add_url_rule("/quiet", "quiet", lambda: str(server_site.operators.login_user(server_site.people["alice"])))
    client = app.test_client()
    assert client.get("/quiet").text == "True"
    assert client.get_cookie("session") is None
    assert client.get_cookie("session_operator") is not None


def test_without_protection(server_site: Site) -> None:
    """In an application that checks no tokens, a login of another kind leaves its session alone."""
    app = Flask("plain")
    app.config.update(TESTING=True, SESSION_STORE="memory://")
    Session(app)
    operators = UserKind("operator", app)
    app.add_url_rule("/login", "login", lambda: str(operators.login_user(server_site.people["alice"])))
    app.add_url_rule("/set", "set", lambda: str(session.update(value=1)))
    client = app.test_client()
    client.get("/set")
    loads = Counting.__new__(Counting)
    repository = app.session_interface.repository  # type: ignore[attr-defined]
    loads._store, loads.loads, repository.store = repository.store, 0, loads
    assert client.get("/login").text == "True"
    assert loads.loads == 0


class TestSeaSurf:
    """Its cookie holds such a token too."""

    @pytest.fixture
    def site(self, kind: str) -> Site:
        return Site(kind, SeaSurf)

    def token_of(self, client: FlaskClient) -> str | None:
        cookie = client.get_cookie("_csrf_token")
        return None if cookie is None else cookie.value

    def send(self, client: FlaskClient, token: str | None) -> int:
        return client.post("/change", headers={"X-CSRFToken": token or ""}).status_code

    @pytest.mark.parametrize("name", KINDS)
    @pytest.mark.parametrize("actions", [["login"], ["login", "login"], ["login", "confirm"], ["login", "logout"]])
    def test_cookie(self, site: Site, name: str, actions: list[str]) -> None:
        """The old one is void at once, and the next page at the latest sets a good one."""
        client = site.app.test_client()
        for action in actions:
            client.get("/form")
            old = self.token_of(client)
            assert self.send(client, old) == 200
            client.get(f"/{name}/{action}")
            assert self.token_of(client) != old
            assert self.send(client, old) == 403
            client.get("/form")
            assert self.send(client, self.token_of(client)) == 200

    def test_view_without_a_token(self, site: Site) -> None:
        """The same where the views of the login render none."""
        app = site.app
        app.add_url_rule("/quiet", "quiet", lambda: str(site.operators.login_user(site.people["alice"])))
        client = app.test_client()
        client.get("/plain")
        old = self.token_of(client)
        assert self.send(client, old) == 200
        client.get("/quiet")
        assert self.send(client, old) == 403
        client.get("/plain")
        assert self.send(client, self.token_of(client)) == 200

    def test_a_login_that_begins_for_the_cookie(self, site: Site) -> None:
        """The token for the cookie logs a remembered operator in. The login's cookies are made later, and are sent."""
        client = site.app.test_client()
        client.get("/operator/login?remember=1")
        again = copied(site.app, client, "remember_token_operator")
        begun: list[Any] = []

        def note(sender: Any, user: Any) -> None:
            begun.append(user)

        user_loaded_from_cookie.connect(note, site.app)
        again.get("/plain")
        assert self.token_of(again) is not None
        assert len(begun) == 1
        assert again.get_cookie("session_operator") is not None
        assert again.get("/operator").text == "alice's page"
        assert len(begun) == 1
