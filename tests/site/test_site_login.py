"""Signing in and out, over every store."""

from __future__ import annotations

from unittest import mock

import pytest
from flask import Flask, session
from flask.testing import FlaskClient
from sched_site import accounts
from werkzeug.test import TestResponse

COOKIE = "sched_session"


def sign_in(client: FlaskClient, username: str = "mira", password: str = "half-past-nine") -> TestResponse:
    return client.post("/login", data={"username": username, "password": password})


def with_ticket(app: Flask, ticket: str) -> FlaskClient:
    """A visitor who comes with that ticket, as somebody who copied it would."""
    client = app.test_client()
    client.set_cookie(COOKIE, ticket)
    return client


def ticket_of(client: FlaskClient) -> str:
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    return cookie.value


@pytest.mark.parametrize(("username", "password"), accounts.SAMPLE_LOGINS)
def test_every_sample_account(client: FlaskClient, username: str, password: str) -> None:
    """Each account that the site offers works, and is kept as session["user"]."""
    with client:
        response = sign_in(client, username, password)
        assert (response.status_code, response.location) == (302, "/")
        assert session["user"] == username
    page = client.get("/").text
    assert "Signed in as" in page
    account = accounts.find(username)
    assert account is not None
    assert f"Welcome, {account.name}." in page
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
        {"username": "mira", "password": ""},
        {"username": "nobody", "password": "half-past-nine"},
        {"username": "", "password": ""},
        {"username": "mira"},
        {"password": "half-past-nine"},
        {},
        {"username": "mira\0", "password": "half-past-nine"},
        {"username": "<b>", "password": "x" * 10_000},
    ],
)
def test_wrong_password(client: FlaskClient, form: dict[str, str]) -> None:
    """A wrong login shows the form with one message, the same for a wrong name and a wrong password."""
    response = client.post("/login", data=form)
    assert response.status_code == 200
    assert response.text.count("Incorrect username or password.") == 1
    assert 'role="alert"' in response.text
    assert response.text.count('aria-invalid="true" aria-describedby="messages"') == 2
    assert "<b>" not in response.text
    if form.get("password"):
        assert f'value="{form["password"]}"' not in response.text, "the password is never sent back"


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
        assert set(session) == {"cart"}


def test_unknown_user_takes_as_much_work(client: FlaskClient) -> None:
    """One hash is computed whether the name exists or not, with the same method and the same cost."""
    with mock.patch.object(accounts, "check_password_hash", wraps=accounts.check_password_hash) as check:
        sign_in(client, "nobody", "wrong")
        sign_in(client, "mira", "wrong")
    hashes = [call.args[0] for call in check.call_args_list]
    assert len(hashes) == 2
    assert len({stored.split("$")[0] for stored in hashes}) == 1


def test_login_rotates(app: Flask, client: FlaskClient) -> None:
    """The ticket changes at login, the cart stays, and the old ticket opens nothing."""
    client.post("/cart/add", data={"product": "desk-bell"})
    before = ticket_of(client)
    sign_in(client)
    assert ticket_of(client) != before
    page = client.get("/cart").text
    assert "Your cart came along." in page
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
        assert session["user"] == "mira"
    assert ticket_of(client) == before


def test_account_that_is_gone(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose account was removed is nobody, and can sign in as somebody else."""
    sign_in(client)
    monkeypatch.delitem(accounts._ACCOUNTS, "mira")
    assert "Sign out</button>" not in client.get("/").text
    assert client.get("/login").status_code == 200
    assert sign_in(client, "tomas", "tea-at-four").status_code == 302
    assert "Tomás" in client.get("/").text


def test_sign_out(app: Flask, client: FlaskClient) -> None:
    """Signing out ends the session with everything in it, says so once, and the old ticket stays dead."""
    client.post("/cart/add", data={"product": "desk-bell"})
    sign_in(client)
    client.get("/")
    before = ticket_of(client)
    response = client.post("/logout")
    assert (response.status_code, response.location) == (302, "/login")
    page = client.get("/login").text
    assert "You are signed out, and your session is gone." in page
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
    """Signing out twice, or without having signed in, does no harm."""
    for _ in range(2):
        assert client.post("/logout", follow_redirects=True).status_code == 200


def test_sign_out_and_in_again(client: FlaskClient) -> None:
    """After signing out one can sign in again, as somebody else, with an empty cart."""
    sign_in(client)
    client.post("/cart/add", data={"product": "desk-bell"})
    client.post("/logout")
    sign_in(client, "june", "noon-sharp")
    page = client.get("/cart").text
    assert "June" in page
    assert "There is nothing in your cart yet." in page


def test_cookie(client: FlaskClient) -> None:
    """No script can read the cookie, and forms on other sites are sent without it."""
    header = sign_in(client).headers["Set-Cookie"]
    assert "HttpOnly" in header
    assert "SameSite=Lax" in header
