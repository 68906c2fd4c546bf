"""Registration of new accounts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from unittest import mock

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sched_site import create_app, passwords, rate_limits, registration
from sched_site.accounts import MAX_USERNAME_LENGTH, User
from sched_site.database import db
from sched_site.forms import MAX_NAME_LENGTH
from sqlalchemy.exc import IntegrityError
from werkzeug.test import TestResponse

from flask_cloakroom import current_user

GOOD = "seven silent swans"


def register(client: FlaskClient, path: str = "/register", **changes: str) -> TestResponse:
    form = {"name": "Ann", "username": "ann", "password": GOOD, "time_zone": "Europe/Paris"} | changes
    return client.post(path, data={"repeat": form["password"], **form})


def accounts(app: Flask) -> set[str]:
    with app.app_context():
        return {user.username for user in db.session.query(User)}


def test_makes_an_account_and_signs_in(client: FlaskClient) -> None:
    """The account is there with what was chosen, is signed in at once, and can sign in with its password."""
    with client:
        response = register(client, username=" Ann.B-3 ", name="  Änn ☂  ")
        assert (response.status_code, response.location) == (302, "/appointments")
        assert (current_user.username, current_user.name) == ("ann.b-3", "Änn ☂")
        assert current_user.time_zone == "Europe/Paris"
        assert current_user.password_hash.startswith("$argon2id$")
    page = client.get("/appointments").text
    assert "Welcome, Änn ☂." in page
    assert "Times shown in Europe/Paris." in page
    client.post("/logout")
    assert client.post("/login", data={"username": "ann.b-3", "password": GOOD}).location == "/"


def test_a_session_that_was_there(client: FlaskClient) -> None:
    """The cart comes along, under another ticket, and the old one opens nothing; the login ends with the browser."""
    client.post("/cart/add", data={"product": "desk-bell"})
    before = client.get_cookie("sched_session")
    register(client)
    after = client.get_cookie("sched_session")
    assert before is not None
    assert after is not None
    assert after.value != before.value
    assert after.expires is None
    assert client.get_cookie("sched_remember") is None
    assert "Desk bell" in client.get("/cart").text
    thief = client.application.test_client()
    thief.set_cookie("sched_session", before.value)
    assert "Desk bell" not in thief.get("/cart").text


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"name": ""}, "Enter a name."),
        ({"name": "  "}, "Enter a name."),
        ({"name": "x" * (MAX_NAME_LENGTH + 1)}, "Use at most 80 characters."),
        ({"name": "A\0nn"}, "The text contains a character that cannot be displayed."),
        ({"name": "nnA\u202e"}, "The text contains a character that cannot be displayed."),
        ({"username": ""}, "Enter a username."),
        ({"username": "a"}, "Use 2 to 64 characters."),
        ({"username": "a" * (MAX_USERNAME_LENGTH + 1)}, "Use 2 to 64 characters."),
        ({"username": "аnn"}, "Use letters from a to z"),  # with a Cyrillic letter
        ({"username": "an n"}, "Use letters from a to z"),
        ({"username": ".ann"}, "Use letters from a to z"),
        ({"username": "ann\0"}, "Use letters from a to z"),
        ({"password": ""}, "Enter a new password."),
        ({"password": "swan-7!"}, "Use at least 8 characters."),
        ({"password": "é" * 257}, "Use at most 256 characters."),
        ({"password": "password1"}, "Many people use this password"),
        ({"password": "PASSWORD1"}, "Many people use this password"),
        ({"username": "Anna", "password": "I am annA 1990"}, "The password contains your username"),
        ({"repeat": "another one"}, "The passwords do not match."),
        ({"time_zone": "Atlantis/Capital"}, "Not a valid choice"),
        ({"time_zone": "../../etc/passwd"}, "Not a valid choice"),
    ],
)
def test_what_is_refused(client: FlaskClient, changes: dict[str, str], error: str) -> None:
    """What cannot be is told at its field, no password is sent back, and nothing is made."""
    before = accounts(client.application)
    response = register(client, **changes)
    assert response.status_code == 200
    assert error in response.text
    assert 'aria-invalid="true"' in response.text
    assert "<title>Error: Create an account" in response.text
    assert GOOD not in response.text
    assert "is-invalid" in response.text
    assert accounts(client.application) == before
    assert client.get("/appointments").status_code == 302


@pytest.mark.parametrize("password", ["x7#kQ9!z", "a" * 255 + "b", "   spaces   ", "ann is in it", "пароль-из-слов"])
def test_good_passwords(client: FlaskClient, password: str) -> None:
    """Any other password is good, whatever it is made of, to the last character. Short usernames may stand in it."""
    assert register(client, password=password).status_code == 302
    client.post("/logout")
    assert client.post("/login", data={"username": "ann", "password": password[:-1]}).status_code == 200
    assert client.post("/login", data={"username": "ann", "password": password}).status_code == 302


def test_there_are_enough_common_passwords() -> None:
    """Of those long enough to be taken at all, more are refused than OWASP ASVS 5.0 asks for (6.2.4)."""
    assert sum(len(password) >= passwords.MIN_LENGTH for password in passwords.COMMON) > 3_000


def test_a_new_password_of_an_account(client: FlaskClient) -> None:
    """The rules hold for a change of the password, too."""
    register(client, username="anna")
    for password, error in (("password1", "Many people use"), ("anna-anna", "The password contains your username")):
        page = client.post("/account/password", data={"password": password, "repeat": password}).text
        assert error in page


def test_taken(client: FlaskClient) -> None:
    """A username that somebody has is told at its field, and changes nothing of theirs."""
    response = register(client, username="MIRA")
    assert response.status_code == 200
    assert registration.USERNAME_TAKEN in response.text
    assert client.get("/appointments").status_code == 302
    assert client.post("/login", data={"username": "mira", "password": "half-past-nine"}).status_code == 302


def test_the_work_is_the_same(client: FlaskClient) -> None:
    """The password is hashed once, whether the username is taken or not."""
    for username in ("mira", "nobody"):
        with mock.patch.object(passwords, "hash_password", side_effect=passwords.hash_password) as hashed:
            register(client, username=username)
        assert hashed.call_count == 1


def test_at_the_same_moment(empty_redis: str, database_url: str) -> None:
    """Of many who want one username at once one gets it, and the others are told."""
    app = create_app({"REDIS_URL": empty_redis, "SQLALCHEMY_DATABASE_URI": database_url})
    number = 8
    barrier = Barrier(number)
    hashed = passwords.hash_password

    def hash_together(password: str) -> str:
        result = hashed(password)
        barrier.wait(30)  # all have passed whatever check there may be
        return result

    with mock.patch.object(passwords, "hash_password", hash_together), ThreadPoolExecutor(number) as threads:
        responses = list(threads.map(lambda _: register(app.test_client()), range(number)))
    assert sorted(response.status_code for response in responses) == [200] * (number - 1) + [302]
    assert sum(registration.USERNAME_TAKEN in response.text for response in responses) == number - 1
    with app.app_context():
        db.engine.dispose()


def test_another_constraint(client: FlaskClient) -> None:
    """If it is not the username that the database refuses, nobody is told that it is taken. The error, which is
    logged, holds nothing of what was to be written."""
    with mock.patch.object(passwords, "hash_password", return_value=None), pytest.raises(IntegrityError) as raised:
        register(client, name="Annabel")
    assert "Annabel" not in str(raised.value)


def test_how_often(client: FlaskClient) -> None:
    """An address may try so many times in an hour, and then waits; looking at the form is no try."""
    for _ in range(int(rate_limits.REGISTRATIONS.split()[0])):
        assert register(client, username="mira").status_code == 200
    refused = register(client)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["Retry-After"]) <= 3600
    assert client.get("/register").status_code == 200
    assert client.post("/login", data={"username": "mira", "password": "half-past-nine"}).status_code == 302


def test_where_it_leads(client: FlaskClient) -> None:
    """It goes on to what was asked for, on this site alone; who is signed in needs no account."""
    assert "/register?next=/account" in client.get("/login?next=/account").text
    page = client.get("/register?next=/account").text
    assert 'action="/register?next=/account"' in page
    assert register(client, "/register?next=//evil.example/").location == "/appointments"
    assert client.get("/register?next=/account").location == "/account"
    other = client.application.test_client()
    assert register(other, "/register?next=/account", username="bob").location == "/account"
