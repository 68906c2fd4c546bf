"""A login whose response fails because something cannot be saved is no login, remembered or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import flash, get_flashed_messages, request, session

from flask_cloakroom import StoreError, current_user, login_user, user_session
from support.sites.requests_on_app import MakeApp
from support.sites.threads import Browser, Site
from support.sites.watched_store import watch


@pytest.fixture
def site(make_app: MakeApp) -> Site:
    return Site(make_app(PROPAGATE_EXCEPTIONS=False))


def too_large(site: Site) -> None:
    session["avatar"] = b"x" * 2_000_000


def not_storable(site: Site) -> None:
    session["connection"] = object()


def too_large_user_data(site: Site) -> None:
    user_session["avatar"] = b"x" * 2_000_000


def not_storable_user_data(site: Site) -> None:
    user_session["connection"] = object()


def store_down(site: Site) -> None:
    def fail() -> None:
        raise StoreError("down")

    watch(site.app).before["create"] = fail


#: What makes the save of a request fail, and the status of its response.
FAILURES: dict[str, tuple[Callable[[Site], None], int]] = {
    "session too large": (too_large, 500),
    "value that cannot be stored": (not_storable, 500),
    "user data too large": (too_large_user_data, 500),
    "user data that cannot be stored": (not_storable_user_data, 500),
    "store down": (store_down, 503),
}


def cookies_of(response: Any) -> list[str]:
    """Return the names of the cookies that a response gives a value."""
    pairs = [header.partition(";")[0].partition("=") for header in response.headers.getlist("Set-Cookie")]
    return [name for name, _, value in pairs if value]


def seen(browser: Browser) -> Any:
    return browser.run(lambda: (current_user.get_id(), session.get("second_factor_due"), user_session.get("n")))


@pytest.mark.promise(3, 9)
@pytest.mark.parametrize("remember", [False, True])
@pytest.mark.parametrize("before", ["no session", "a session", "another user"])
@pytest.mark.parametrize("failure", FAILURES)
def test_next_page(site: Site, failure: str, before: str, remember: bool) -> None:
    """The browser gets no credential, and the next page finds whom the page before found, without the rest.

    The view logs a user in, and notes that the second factor is missing. If only the login were saved, the user would
    be in without the second factor.
    """
    browser = site.browser("bob" if before == "another user" else None)
    if before == "a session":
        browser.run(lambda: session.update({"name": "visitor"}))
    fail, status = FAILURES[failure]

    def log_in() -> str:
        login_user(site.users["alice"], remember=remember)
        session["second_factor_due"] = True
        user_session["n"] = 1
        flash("welcome")
        fail(site)
        return "welcome"

    response = browser.open(log_in)
    assert response.status_code == status
    assert cookies_of(response) == []
    assert seen(browser) == ("bob" if before == "another user" else None, None, None)
    assert browser.run(lambda: (session.get("name"), get_flashed_messages())) == (
        "visitor" if before == "a session" else None,
        [],
    )
    browser.lose_session_cookie()
    assert browser.who is None
    # Nothing of alice's data was written either.
    assert seen(site.browser("alice")) == ("alice", None, None)


@pytest.mark.parametrize("failure", ["session too large", "value that cannot be stored", "store down"])
def test_a_second_kind_of_user(site: Site, failure: str) -> None:
    """An operator's login that cannot be saved sends no cookie of the operator either. The customer stays who they are.

    The failure is in the operator's session.
    """
    browser = site.browser("bob")
    fail, status = FAILURES[failure]

    def log_in() -> str:
        site.operators.login_user(site.users["alice"], remember=True)
        if fail is not store_down:
            of_operator: Any = site.operators.session_of(request)
            of_operator["value"] = b"x" * 2_000_000 if fail is too_large else object()
        return "welcome"

    if fail is store_down:
        store_down(site)
    response = browser.open(log_in)
    assert response.status_code == status
    assert cookies_of(response) == []
    assert browser.run(lambda: (current_user.get_id(), site.operators.current_user.get_id())) == ("bob", None)


@pytest.mark.promise(3)
@pytest.mark.parametrize("failure", FAILURES)
def test_a_remembered_user_whose_save_fails(site: Site, failure: str) -> None:
    """A remembered user who comes back to a page that cannot be saved is remembered afterwards, too."""
    browser = site.browser("alice", remember=True)
    browser.run(lambda: user_session.update({"n": 7}))
    browser.lose_session_cookie()
    fail, status = FAILURES[failure]

    def view() -> str:
        current_user.get_id()
        session["second_factor_due"] = True
        user_session["n"] = 8
        fail(site)
        return "saved"

    if fail is store_down:
        store_down(site)
    assert browser.open(view).status_code == status
    assert seen(browser) == ("alice", None, 7)
    browser.lose_session_cookie()
    assert browser.who == "alice"
