"""The account page: the list of devices, and the change of the password after a confirmation."""

from __future__ import annotations

import html
import re

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from sched_site import account
from sched_site.accounts import User
from sched_site.database import db
from werkzeug.test import TestResponse

from flask_cloakroom import current_user, session

TOKEN = re.compile(r'name="csrf_token" value="[^"]*"')
COOKIE = "sched_session"
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.5 Mobile/15E148 Safari/604.1"
)
SAMPLES = {"mira": "half-past-nine", "tomas": "tea-at-four"}


def sign_in(client: FlaskClient, username: str = "mira", **more: str) -> None:
    form = {"username": username, "password": SAMPLES[username], **more}
    assert client.post("/login", data=form).status_code == 302


def device(app: Flask, user_agent: str, address: str = "198.51.100.7", **more: str) -> FlaskClient:
    """A browser in which mira is signed in."""
    client = app.test_client()
    client.environ_base.update(HTTP_USER_AGENT=user_agent, REMOTE_ADDR=address)
    sign_in(client, **more)
    client.get("/")  # shows the welcome
    return client


@pytest.fixture
def desk(app: Flask) -> FlaskClient:
    """One of mira's browsers."""
    return device(app, FIREFOX)


@pytest.fixture
def phone(app: Flask) -> FlaskClient:
    """And another one, remembered."""
    return device(app, PHONE, "2001:db8::1", remember="y")


def is_signed_in(client: FlaskClient) -> bool:
    return client.get("/account").status_code == 200


def without_session(client: FlaskClient) -> FlaskClient:
    """The same browser when its session is over."""
    client.delete_cookie(COOKIE)
    return client


def entries(client: FlaskClient) -> list[str]:
    """What the page says of each device, as text."""
    page = client.get("/account").text
    found = re.findall(r'<li class="device.*?</li>', page, re.DOTALL)
    return [" ".join(html.unescape(re.sub(r"<[^>]+>", " ", entry)).split()) for entry in found]


def handles(client: FlaskClient) -> list[str]:
    return re.findall(r'name="handle" value="([^"]+)"', client.get("/account").text)


def end(client: FlaskClient, handle: str) -> str:
    return client.post("/account/devices/end", data={"handle": handle}, follow_redirects=True).text


def change_password(client: FlaskClient, password: str, repeat: str | None = None) -> TestResponse:
    form = {"password": password, "repeat": password if repeat is None else repeat}
    return client.post("/account/password", data=form)


def age(client: FlaskClient, seconds: float) -> None:
    """Let it be so long ago that the visitor showed who they are."""
    with client.session_transaction() as session:
        session["_fresh_at"] -= int(seconds)


@pytest.mark.parametrize("path", ["/account", "/account/password", "/confirm"])
def test_strangers_are_sent_to_sign_in(client: FlaskClient, empty_redis: str, path: str) -> None:
    """Who is not signed in sees none of it, and asking leaves nothing in any store."""
    response = client.get(path)
    assert response.location == f"/login?next={path.replace('/', '%2F')}"
    assert "Set-Cookie" not in response.headers
    for path in ("/account/devices/end", "/account/devices/end-others", "/account/password"):
        assert client.post(path, data={"handle": "x"}).location.partition("?")[0] == "/login"
    with Redis.from_url(empty_redis) as keys:
        assert keys.keys() == []


class TestDevices:
    """The list, and a button for each."""

    def test_in_words(self, desk: FlaskClient, phone: FlaskClient) -> None:
        """Each device is named by browser and system, with its address, since when, and when it was last seen."""
        (mine, other) = sorted(entries(desk), reverse=True, key=lambda entry: "This device" in entry)
        moment = r"\d{1,2} [A-Z][a-z]+ 20\d\d, \d\d:\d\d UTC"
        assert re.fullmatch(
            rf"Firefox 140 on Windows 10 This device IP address 198\.51\.100\.7 "
            rf"Signed in since {moment} Last active now Sign out here",
            mine,
        )
        assert re.fullmatch(
            rf"Mobile Safari 17 on iOS 17 Remembered IP address 2001:db8::1 "
            rf"Signed in since {moment} Last active {moment} Sign out device",
            other,
        )
        times = re.findall(r'<time class="text-nowrap" datetime="([^"]+)"', desk.get("/account").text)
        assert len(times) == 3
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", time) for time in times)

    def test_what_a_browser_says_is_text(self, app: Flask, desk: FlaskClient) -> None:
        """A browser that calls itself something else is shown with that, as text; one that says nothing is, too."""
        device(app, "<script>alert(1)</script>")
        device(app, "")
        page = desk.get("/account").text
        assert "<script>" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert "Unknown browser" in page

    def test_only_ones_own(self, app: Flask, desk: FlaskClient) -> None:
        """What others are signed in with is not in the list."""
        sign_in(app.test_client(), "tomas")
        assert len(entries(desk)) == 1

    def test_button_ends_it(self, app: Flask, desk: FlaskClient) -> None:
        """The button of another device signs it out at its next click, and nothing else."""
        other, third = device(app, PHONE), device(app, PHONE)
        other.post("/cart/add", data={"product": "desk-bell"})
        assert len(handles(desk)) == 2
        of_other = (set(handles(desk)) & set(handles(third))).pop()
        assert "The device was signed out." in end(desk, of_other)
        page = other.get("/cart").text
        assert "Sign out</button>" not in page
        assert "Desk bell" not in page
        assert is_signed_in(desk)
        assert is_signed_in(third)
        assert len(entries(desk)) == 2
        assert "was already signed out" in end(desk, of_other)

    def test_button_ends_what_remembers_it(self, desk: FlaskClient, phone: FlaskClient) -> None:
        """A device that is remembered is ended for good; a copy of what remembered it is worth nothing."""
        (handle,) = handles(desk)
        assert "The device was signed out." in end(desk, handle)
        assert not is_signed_in(without_session(phone))

    def test_session_is_over(self, app: Flask, desk: FlaskClient, phone: FlaskClient) -> None:
        """A device that would be signed in again without a password is in the list, says so, and can be ended."""
        ticket = phone.get_cookie(COOKIE)
        assert ticket is not None
        with app.test_request_context(headers={"Cookie": f"{COOKIE}={ticket.value}"}):
            session.destroy()
        (_, other) = sorted(entries(desk), reverse=True, key=lambda entry: "This device" in entry)
        assert "Mobile Safari 17 on iOS 17 Remembered" in other
        assert "The session has expired. The device is signed in again at its next visit." in other
        (handle,) = handles(desk)
        assert "The device was signed out." in end(desk, handle)
        assert len(entries(desk)) == 1
        assert not is_signed_in(phone)

    def test_foreign_handle(self, app: Flask, desk: FlaskClient) -> None:
        """The handle of somebody else's device ends nothing, and is answered like one that there is not."""
        others = [app.test_client(), app.test_client()]
        for other in others:
            sign_in(other, "tomas")
        (handle,) = handles(others[0])
        answers = {
            TOKEN.sub("", end(desk, wrong))
            for wrong in (handle, "", "nonsense", handle[:-1], "." + handle.partition(".")[2])
        }
        assert len(answers) == 1
        assert "was already signed out" in answers.pop()
        assert all(is_signed_in(other) for other in others)
        assert is_signed_in(desk)

    def test_own_handle(self, app: Flask, desk: FlaskClient) -> None:
        """The handle of this very device signs out here."""
        other = device(app, PHONE)
        (handle,) = handles(other)
        response = desk.post("/account/devices/end", data={"handle": handle}, follow_redirects=True)
        assert response.request.path == "/login"
        assert not is_signed_in(desk)
        assert is_signed_in(other)

    def test_everywhere_else(self, app: Flask, desk: FlaskClient, phone: FlaskClient) -> None:
        """One button ends all others, what remembers them too; this one stays, and stays remembered."""
        sign_in(desk := device(app, FIREFOX, remember="y"))
        page = desk.post("/account/devices/end-others", follow_redirects=True).text
        assert "You were signed out on 2 other devices." in page
        assert not is_signed_in(phone)
        assert not is_signed_in(without_session(phone))
        assert len(entries(desk)) == 1
        assert is_signed_in(without_session(desk))

    def test_everywhere_else_is_no_proof(self, desk: FlaskClient) -> None:
        """A thief of the session who presses that button has not shown who they are."""
        age(desk, 3600)
        desk.post("/account/devices/end-others")
        assert desk.get("/account/password").location.startswith("/confirm?")


class TestSudo:
    """The question who one is, before the password may be changed."""

    def test_just_signed_in(self, desk: FlaskClient) -> None:
        """Who signed in a moment ago is not asked."""
        age(desk, account.CONFIRM_WITHIN.total_seconds() - 30)
        assert desk.get("/account/password").status_code == 200

    def test_asked(self, desk: FlaskClient) -> None:
        """Later, one is asked; the own password leads on to the page, with a new id for the session."""
        age(desk, account.CONFIRM_WITHIN.total_seconds() + 1)
        assert change_password(desk, "a new password").location.startswith("/confirm?")
        response = desk.get("/account/password")
        assert response.location == "/confirm?next=%2Faccount%2Fpassword"
        before = desk.get_cookie(COOKIE)
        confirmed = desk.post(response.location, data={"password": SAMPLES["mira"]})
        assert confirmed.location == "/account/password"
        assert before != desk.get_cookie(COOKIE)
        assert desk.get("/account/password").status_code == 200

    @pytest.mark.parametrize("password", ["wrong", SAMPLES["tomas"], "", SAMPLES["mira"].upper()])
    @pytest.mark.parametrize("more", [{}, {"username": "tomas"}, {"user_id": "2", "id": "2"}])
    def test_only_the_own_password(self, desk: FlaskClient, password: str, more: dict[str, str]) -> None:
        """Somebody else's password is none, whatever else is sent with it; nobody becomes somebody else."""
        age(desk, 3600)
        page = desk.post("/confirm", data={"password": password, **more}).text
        assert ("Incorrect password." if password else "Enter your password.") in page
        assert desk.get("/account/password").location.startswith("/confirm?")
        with desk:
            desk.get("/account")
            assert current_user.username == "mira"

    def test_not_by_a_stranger(self, client: FlaskClient) -> None:
        """Who is not signed in cannot confirm anything, and is not signed in by it."""
        assert client.post("/confirm", data={"password": SAMPLES["mira"]}).location.startswith("/login?")
        assert not is_signed_in(client)


class TestPassword:
    """The change itself."""

    def test_ends_all_others(self, app: Flask, desk: FlaskClient, phone: FlaskClient) -> None:
        """Other sessions and what remembers them end; this device stays signed in, remembered if it was."""
        sign_in(desk := device(app, FIREFOX, remember="y"))
        before = desk.get_cookie(COOKIE)
        response = change_password(desk, "tea-at-five o'clock")
        assert response.location == "/account"
        assert before != desk.get_cookie(COOKIE)
        page = desk.get("/account").text
        assert "Your password was changed. You were signed out on 2 other devices." in page
        assert not is_signed_in(phone)
        assert not is_signed_in(without_session(phone))
        assert len(entries(desk)) == 1
        assert is_signed_in(without_session(desk))

    def test_not_remembered_before(self, desk: FlaskClient) -> None:
        """A device that was not remembered is not afterwards."""
        change_password(desk, "tea-at-five o'clock")
        assert is_signed_in(desk)
        assert not is_signed_in(without_session(desk))

    def test_old_one_is_worth_nothing(self, app: Flask, desk: FlaskClient) -> None:
        """From now on the new password counts alone."""
        change_password(desk, "tea-at-five o'clock")
        for password, status in ((SAMPLES["mira"], 200), ("tea-at-five o'clock", 302)):
            form = {"username": "mira", "password": password}
            assert app.test_client().post("/login", data=form).status_code == status

    def test_token_that_was_copied(self, app: Flask, phone: FlaskClient, desk: FlaskClient) -> None:
        """A copy of what remembered a device, or of its session, is worth nothing after the change."""
        copies = {name: phone.get_cookie(name).value for name in (COOKIE, "sched_remember")}  # type: ignore[union-attr]
        change_password(desk, "tea-at-five o'clock")
        thief = app.test_client()
        for name, value in copies.items():
            thief.set_cookie(name, value)
            assert not is_signed_in(thief)

    @pytest.mark.parametrize(
        ("password", "repeat", "said"),
        [
            ("seven77", "seven77", "Use at least 8 characters."),
            ("x" * 257, "x" * 257, "Use at most 256 characters."),
            ("", "", "Enter a new password."),
            ("long enough", "", "Repeat the password."),
            ("long enough", "long enouhg", "The passwords do not match."),
            ("long enough", "long enough ", "The passwords do not match."),
        ],
    )
    def test_refused(
        self, app: Flask, desk: FlaskClient, phone: FlaskClient, password: str, repeat: str, said: str
    ) -> None:
        """What does not do is said beside the field, never sent back, and changes nothing anywhere."""
        page = change_password(desk, password, repeat).text
        assert said in page
        assert 'aria-invalid="true"' in page
        assert not password or f'value="{password}"' not in page
        assert is_signed_in(phone)
        sign_in(app.test_client())

    @pytest.mark.parametrize("password", ["7k2m9x4q", "x" * 64, "x" * 256, "  eight  ", "пароль-ключ", "🔑" * 8])
    def test_accepted(self, app: Flask, desk: FlaskClient, password: str) -> None:
        """From 8 characters on anything goes, of whatever kind, and counts as it was typed."""
        assert change_password(desk, password).location == "/account"
        for given, status in ((password, 302), (password[:-1], 200), (password.strip() + "?", 200)):
            form = {"username": "mira", "password": given}
            assert app.test_client().post("/login", data=form).status_code == status

    def test_kept_as_a_hash(self, app: Flask, desk: FlaskClient) -> None:
        """The database holds argon2's hash of it."""
        change_password(desk, "tea-at-five o'clock")
        with app.app_context():
            user = db.session.query(User).filter_by(username="mira").one()
            assert user.password_hash.startswith("$argon2id$")
