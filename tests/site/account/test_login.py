"""Sign in and sign out, over every store."""

from __future__ import annotations

import html
import re
from unittest import mock

import pytest
from flask import Flask, session
from flask.testing import FlaskClient
from redis import Redis
from sched_site import accounts, create_app, passwords
from sched_site.accounts import User
from sched_site.database import db
from werkzeug.test import TestResponse

from flask_cloakroom import current_user, user_session

COOKIE = "sched_session"
REMEMBER = "sched_remember"


def sign_in(client: FlaskClient, username: str = "mira", password: str = "half-past-nine", **more: str) -> TestResponse:
    return client.post("/login", data={"username": username, "password": password, **more})


def switch_off(app: Flask, username: str) -> None:
    with app.app_context():
        db.session.query(User).filter_by(username=username).update({"active": False})
        db.session.commit()


def with_ticket(app: Flask, ticket: str) -> FlaskClient:
    """A visitor who comes with that ticket, as somebody who copied it would."""
    client = app.test_client()
    client.set_cookie(COOKIE, ticket)
    return client


def ticket_of(client: FlaskClient) -> str:
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    return cookie.value


@pytest.mark.parametrize("sample", accounts.SAMPLES, ids=lambda sample: sample.username)
def test_every_sample_account(client: FlaskClient, sample: accounts.Sample) -> None:
    """Each account that the site offers works, and is who the pages say."""
    assert sample.password in client.get("/login").text
    with client:
        response = sign_in(client, sample.username, sample.password)
        assert (response.status_code, response.location) == (302, "/")
        assert current_user.username == sample.username
    page = client.get("/").text
    assert "signed in as" in page
    assert f"Welcome, {sample.name}." in page
    assert "Sign out</button>" in page


@pytest.mark.parametrize("path", ["/login", "/login/"])
def test_slash(client: FlaskClient, path: str) -> None:
    """The login page is there with and without a slash at the end, without a redirect between."""
    assert client.get(path).status_code == 200
    form = {"username": "mira", "password": "half-past-nine"}
    assert client.post(path, data=form).location == "/"


def test_username_is_forgiving(client: FlaskClient) -> None:
    """Capitals and spaces around the username do not matter."""
    assert sign_in(client, "  MIRA ").status_code == 302


@pytest.mark.parametrize(
    "form",
    [
        {"username": "mira", "password": "wrong"},
        {"username": "mira", "password": "HALF-PAST-NINE"},
        {"username": "mira", "password": " half-past-nine"},
        {"username": "mira", "password": " "},
        {"username": "nobody", "password": "half-past-nine"},
        {"username": "mira\0", "password": "half-past-nine"},
        {"username": "<b>", "password": "x" * 10_000},
    ],
)
def test_wrong_password(client: FlaskClient, form: dict[str, str]) -> None:
    """A wrong login shows the form with one message, the same for a wrong name and a wrong password."""
    response = client.post("/login", data=form)
    assert response.status_code == 200
    assert response.text.count("Incorrect username or password.") == 1
    assert 'id="form-error" role="alert"' in response.text
    assert "<title>Error: Sign in" in response.text
    assert response.text.count('aria-describedby="form-error" aria-invalid="true"') == 2
    assert "<b>" not in response.text
    assert f'value="{form["password"]}"' not in response.text, "the password is never sent back"


def test_wrong_name_and_wrong_password_are_one_page(client: FlaskClient) -> None:
    """But for the name that was typed, the pages are the same to the letter; so is that of an account switched off."""
    switch_off(client.application, "june")
    pages = {
        sign_in(client, name, password).text.replace(f'value="{name}"', "")
        for name, password in [("mira", "wrong"), ("nobody", "wrong"), ("june", "noon-sharp"), ("june", "wrong")]
    }
    assert len(pages) == 1


@pytest.mark.parametrize(
    ("form", "missing"),
    [
        ({"username": "mira", "password": ""}, ["password"]),
        ({"username": "mira"}, ["password"]),
        ({"username": "nobody"}, ["password"]),
        ({"password": "half-past-nine"}, ["username"]),
        ({}, ["username", "password"]),
    ],
)
def test_something_is_missing(client: FlaskClient, form: dict[str, str], missing: list[str]) -> None:
    """What was left empty is said beside the field, and tied to it; no password is compared."""
    with mock.patch.object(passwords, "matches") as matches:
        page = client.post("/login", data=form).text
    assert matches.call_count == 0
    for name in ("username", "password"):
        assert (f'aria-describedby="{name}-error" aria-invalid="true"' in page) == (name in missing)
        assert (f'id="{name}-error">Enter your {name}.<' in page) == (name in missing)


def test_wrong_password_leaves_nothing(client: FlaskClient) -> None:
    """The message of a wrong login is gone with the page that showed it, and leaves no cookie."""
    response = sign_in(client, password="wrong")
    assert "Set-Cookie" not in response.headers
    assert "Incorrect" not in client.get("/login").text


def test_wrong_password_changes_nothing(client: FlaskClient) -> None:
    """A wrong login leaves the session as it is: same ticket, same cart, nobody signed in."""
    client.post("/cart/add", data={"product": "desk-bell"})
    before = ticket_of(client)
    sign_in(client, password="wrong")
    assert ticket_of(client) == before
    with client:
        client.get("/")
        assert "csrf_token" in session
        assert set(user_session) == {"cart"}
        assert not current_user.is_authenticated


def test_login_rotates(app: Flask, client: FlaskClient) -> None:
    """The ticket changes at login, the cart stays, and the old ticket opens nothing."""
    client.post("/cart/add", data={"product": "desk-bell"})
    before = ticket_of(client)
    sign_in(client)
    assert ticket_of(client) != before
    page = client.get("/cart").text
    assert "1 item from this browser was added to your cart." in page
    assert "Desk bell" in page

    thief = with_ticket(app, before)
    page = thief.get("/cart").text
    assert "Desk bell" not in page
    assert "Sign out</button>" not in page


def test_ticket_from_outside_is_not_taken(app: Flask) -> None:
    """Who brings a ticket of their own making gets another one at login."""
    planted = "A" * 43
    client = with_ticket(app, planted)
    sign_in(client)
    assert ticket_of(client) != planted
    assert "Sign out</button>" not in with_ticket(app, planted).get("/").text


def test_login_page_when_signed_in(app: Flask, client: FlaskClient) -> None:
    """Who is signed in is sent on from the login page, and a stale login form changes nothing."""
    sign_in(client)
    before = ticket_of(client)
    assert client.get("/login").location == "/"
    assert sign_in(client, "tomas", "tea-at-four").location == "/"
    with client:
        client.get("/")
        assert current_user.username == "mira"
    assert ticket_of(client) == before


def test_account_that_is_gone(app: Flask, client: FlaskClient) -> None:
    """Whose account was removed is nobody, and can sign in as somebody else."""
    sign_in(client)
    with app.app_context():
        db.session.query(User).filter_by(username="mira").delete()
        db.session.commit()
    assert "Sign out</button>" not in client.get("/").text
    assert client.get("/login").status_code == 200
    assert sign_in(client, "tomas", "tea-at-four").status_code == 302
    assert "Tomás" in client.get("/").text


def test_account_that_is_switched_off(app: Flask, client: FlaskClient) -> None:
    """Whose account is switched off is signed out by it, at the next click, also if the browser is remembered."""
    sign_in(client, remember="y")
    switch_off(app, "mira")
    assert client.get("/account").status_code == 302
    client.delete_cookie(COOKIE)
    assert client.get("/account").status_code == 302


def test_sign_out(app: Flask, client: FlaskClient) -> None:
    """Signing out ends the session and shows nothing of the user, says so once, and the old ticket stays dead."""
    client.post("/cart/add", data={"product": "desk-bell"})
    sign_in(client)
    client.get("/")
    before = ticket_of(client)
    response = client.post("/logout")
    assert (response.status_code, response.location) == (302, "/login")
    page = client.get("/login").text
    assert "You are signed out. Your session was deleted." in page
    assert "You are signed out" not in client.get("/login").text
    with client:
        client.get("/")
        assert dict(session) == {}
    for path in ("/", "/cart", "/session"):
        page = with_ticket(app, before).get(path).text
        assert "Sign out</button>" not in page
        assert "Desk bell: " not in page
        assert 'id="cart-count"' not in page


def test_sign_out_of_nobody(client: FlaskClient) -> None:
    """Signing out twice, or without having signed in, does no harm: a cart that was begun since stays."""
    client.post("/cart/add", data={"product": "desk-bell"})
    for _ in range(2):
        assert client.post("/logout", follow_redirects=True).status_code == 200
    assert "Desk bell" in client.get("/cart").text


def test_sign_out_and_in_again(client: FlaskClient) -> None:
    """After signing out somebody else who signs in has a cart of their own, and so has who comes back."""
    sign_in(client)
    client.post("/cart/add", data={"product": "desk-bell"})
    client.post("/logout")
    sign_in(client, "june", "noon-sharp")
    page = client.get("/cart").text
    assert "June" in page
    assert "Your cart is empty." in page
    client.post("/logout")
    sign_in(client)
    assert "Desk bell" in client.get("/cart").text


def test_cookie(client: FlaskClient) -> None:
    """No script can read the cookie, and forms on other sites are sent without it."""
    header = sign_in(client).headers["Set-Cookie"]
    assert "HttpOnly" in header
    assert "SameSite=Lax" in header


class TestRemember:
    """Being signed in after the browser was closed, which ends the cookies that have no date."""

    def close_browser(self, client: FlaskClient) -> None:
        for name in (COOKIE, REMEMBER):
            cookie = client.get_cookie(name)
            if cookie is not None and cookie.expires is None and cookie.max_age is None:
                client.delete_cookie(name)

    def test_not_asked_for(self, client: FlaskClient) -> None:
        """Without the tick the login ends with the browser."""
        sign_in(client)
        self.close_browser(client)
        assert client.get_cookie(COOKIE) is None
        assert client.get("/account").status_code == 302

    def test_asked_for(self, client: FlaskClient) -> None:
        """With it the login goes on, and the cart too."""
        client.post("/cart/add", data={"product": "desk-bell"})
        sign_in(client, remember="y")
        self.close_browser(client)
        assert client.get("/account").status_code == 200
        assert "Desk bell" in client.get("/cart").text

    def test_when_the_session_is_over(self, client: FlaskClient) -> None:
        """Whose session is over is signed in again, not freshly: the password page asks who they are."""
        sign_in(client, remember="y")
        client.delete_cookie(COOKIE)
        assert "Remembered" in client.get("/account").text
        assert client.get("/account/password").location.startswith("/confirm?")

    def test_signing_out_forgets(self, client: FlaskClient) -> None:
        """Who signs out is not remembered any more."""
        sign_in(client, remember="y")
        client.post("/logout")
        assert client.get_cookie(REMEMBER) is None
        assert client.get("/account").status_code == 302

    def test_cookie(self, client: FlaskClient) -> None:
        """No script can read what remembers the browser, and forms on other sites are sent without it."""
        headers = sign_in(client, remember="y").headers.getlist("Set-Cookie")
        (header,) = (header for header in headers if header.startswith(REMEMBER))
        assert "HttpOnly" in header
        assert "SameSite=Lax" in header


class TestNext:
    """Where one goes on to after signing in."""

    def test_what_was_asked_for(self, client: FlaskClient) -> None:
        """Who asked for a page that is for users gets there, also after a wrong password; asking begins no session."""
        response = client.get("/account?tab=2")
        assert response.location == "/login?next=%2Faccount%3Ftab%3D2"
        assert "Set-Cookie" not in response.headers
        page = client.get(response.location).text
        assert "Please sign in to see this page." in page
        action = re.search(r'<form method="post" action="(/login[^"]*)"', page)
        assert action
        address = html.unescape(action[1])
        form = {"username": "mira", "password": "wrong"}
        assert action[0] in client.post(address, data=form).text
        form["password"] = "half-past-nine"
        assert client.post(address, data=form).location == "/account?tab=2"
        assert client.get(address).location == "/account?tab=2"

    @pytest.mark.parametrize(
        "hostile",
        ["//evil.example", "/\\evil.example", "https://evil.example/", "http:///evil.example", "javascript:1"],
    )
    @pytest.mark.parametrize("path", ["/login", "/confirm"])
    def test_never_another_site(self, client: FlaskClient, path: str, hostile: str) -> None:
        """A target on another site is not gone to, wherever it is asked for, and the page links to none."""
        if path == "/confirm":
            sign_in(client)
        page = client.get(path, query_string={"next": hostile}).text
        assert f'href="{hostile}' not in page
        form = {"username": "mira", "password": "half-past-nine"}
        assert client.post(path, query_string={"next": hostile}, data=form).location in ("/", "/account")
        assert client.post("/login", query_string={"next": hostile}, data=form).location == "/"


def test_what_a_page_costs(empty_redis: str) -> None:
    """A page asks the store once for the session and once for the cart; for a stranger, and for health, never."""
    app = create_app({"REDIS_URL": empty_redis})
    client = app.test_client()
    sign_in(client)
    client.get("/cart")  # shows the welcome
    with Redis.from_url(empty_redis) as server:

        def asked(client: FlaskClient, path: str) -> list[str]:
            server.config_resetstat()
            assert client.get(path).status_code == 200
            return sorted(set(server.info("commandstats")) - {"cmdstat_config|resetstat", "cmdstat_info"})

        for path in ("/cart", "/session"):
            assert asked(client, path) == ["cmdstat_get"]
            assert server.info("commandstats")["cmdstat_get"]["calls"] == 2
            assert asked(app.test_client(), path) == []
        assert asked(client, "/health") == []
