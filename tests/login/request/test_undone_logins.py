"""A login that was saved in the middle of its request is undone if the rest of the request cannot be saved.

And what a login has replaced ends when the login is saved, and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import flash, get_flashed_messages, request, session

from flask_cloakroom import current_user, login_user, user_login_not_saved, user_session
from flask_cloakroom.context import this_session
from support.sites.requests_on_app import MakeApp
from support.sites.threads import Browser, Site
from support.stores.faults import FaultyStore, Outage, nth

pytestmark = pytest.mark.promise(3)

#: More store commands than any of the requests has.
MOST_COMMANDS = 40


@pytest.fixture
def site(make_app: MakeApp) -> Site:
    return Site(make_app(PROPAGATE_EXCEPTIONS=False, USER_SESSION_MERGE={"wish": "union"}))


@pytest.fixture
def store(site: Site) -> FaultyStore:
    app: Any = site.app
    return FaultyStore(app.session_interface.store)


def outages(store: FaultyStore, *, stays_down: bool) -> Iterator[Outage]:
    """Yield one outage for each command of a request, which the loop's body sends."""
    for number in range(1, MOST_COMMANDS):
        with store.failing(nth(number), stays_down=stays_down) as outage:
            yield outage
        if not outage.failed_at:
            assert number > 2
            return
    raise AssertionError("the request has too many commands")


def seen(browser: Browser) -> Any:
    return browser.run(lambda: (current_user.get_id(), session.get("theme"), user_session.get("wish")))


def visitor(site: Site) -> Browser:
    """Return the browser of a visitor with data."""
    browser = site.browser()
    browser.run(lambda: (session.update(theme="dark"), user_session.update(wish=["book"])))
    browser.run(lambda: flash("hello"))
    return browser


def log_in_and_look(site: Site, rest: Callable[[], Any]) -> Callable[[], str]:
    """Return a view that uses the merged data right after its login, as a page for a new customer does."""

    def view() -> str:
        login_user(site.users["alice"])
        assert user_session["wish"] == ["book"]
        rest()
        return "welcome"

    return view


@pytest.mark.parametrize(
    "rest",
    [
        lambda: None,
        lambda: user_session["wish"].append("lamp"),
        get_flashed_messages,
        lambda: (user_session["wish"].append("lamp"), get_flashed_messages(), session.update(more=1)),
    ],
    ids=["nothing more", "more data", "messages shown", "all"],
)
def test_a_value_that_cannot_be_stored(site: Site, rest: Callable[[], Any]) -> None:
    """The visitor has all values again, and the user's data has none of the visitor's."""
    browser = visitor(site)
    view = log_in_and_look(site, lambda: (rest(), session.update(connection=object())))
    assert browser.open(view).status_code == 500
    assert seen(browser) == (None, "dark", ["book"])
    assert browser.run(get_flashed_messages) == ["hello"]
    assert seen(site.browser("alice")) == ("alice", None, None)
    # The same login works later, and its data is merged once.
    assert browser.run(log_in_and_look(site, lambda: None)) == "welcome"
    assert seen(browser) == ("alice", "dark", ["book"])


@pytest.mark.parametrize("stays_down", [False, True], ids=["store back at once", "store stays down"])
def test_a_store_that_fails(site: Site, store: FaultyStore, stays_down: bool) -> None:
    """Whichever command fails, the visitor has all values again. If the response is good, the visitor is logged in."""
    for outage in outages(store, stays_down=stays_down):
        with store.working():
            browser = visitor(site)
        response = browser.open(log_in_and_look(site, lambda: session.update(more=1)))
        with store.working():
            assert response.status_code in (200, 503)
            who = "alice" if response.status_code == 200 else None
            assert seen(browser) == (who, "dark", ["book"]), outage


@pytest.mark.parametrize("stays_down", [False, True], ids=["store back at once", "store stays down"])
def test_a_login_of_another_kind(site: Site, store: FaultyStore, stays_down: bool) -> None:
    """The session of an operator is saved before the session of the application. Both are saved, or none of them."""
    operators = site.operators

    def prepare() -> None:
        operators.session_of(request)["theme"] = "dark"
        operators.user_session["wish"] = ["book"]

    def view() -> str:
        operators.login_user(site.users["alice"])
        session["more"] = 1
        return "welcome"

    def look() -> Any:
        who, data = operators.current_user.get_id(), operators.user_session.get("wish")
        return who, operators.session_of(request).get("theme"), data, session.get("more")

    for outage in outages(store, stays_down=stays_down):
        with store.working():
            browser = site.browser()
            browser.run(prepare)
        response = browser.open(view)
        with store.working():
            assert response.status_code in (200, 503)
            who, more = ("alice", 1) if response.status_code == 200 else (None, None)
            assert browser.run(look) == (who, "dark", ["book"], more), outage


@pytest.mark.parametrize("order", ["login in the block", "login before the block"])
def test_a_login_that_a_lock_has_saved(site: Site, order: str) -> None:
    """The end of a block with the session's lock saves for good. So the error page sends the new ticket."""

    def view() -> str:
        if order == "login before the block":
            login_user(site.users["alice"])
        with session.lock():  # type: ignore[attr-defined]
            if order == "login in the block":
                login_user(site.users["alice"])
            session["balance"] = 5
        session["connection"] = object()
        return "welcome"

    browser = visitor(site)
    with told_of_unsaved_logins(site) as told:
        assert browser.open(view).status_code == 500
    assert told == []
    assert seen(browser) == ("alice", "dark", ["book"])
    assert browser.run(lambda: session["balance"]) == 5


@pytest.mark.parametrize("before", ["visitor", "remembered"])
@pytest.mark.parametrize("remember", [False, True])
def test_a_session_that_another_request_has_ended(site: Site, before: str, remember: bool) -> None:
    """The login is discarded with the session. So a signal says so, and the remember tokens stay as they were."""
    browser = visitor(site) if before == "visitor" else site.browser("bob", remember=True)
    token = browser.cookie("remember_token")

    def view() -> str:
        login_user(site.users["alice"], remember=remember)
        end_session(site, browser)
        return "welcome"

    with told_of_unsaved_logins(site) as told:
        response = browser.open(view)
    assert told == ["alice"]
    assert response.headers.getlist("Set-Cookie") == []
    assert browser.cookie("remember_token") == token
    assert number_of_families(site, "alice") == 0
    browser.lose_session_cookie()
    assert browser.who == (None if before == "visitor" else "bob")


def test_a_save_without_a_response(site: Site) -> None:
    """Flask-SocketIO saves the session of an event itself. The login in the event ends the earlier user's tokens."""
    browser = site.browser("bob", remember=True)
    cookies = "; ".join(f"{name}={browser.cookie(name)}" for name in ("session", "remember_token"))
    app: Any = site.app
    with app.test_request_context(headers={"Cookie": cookies}), told_of_unsaved_logins(site) as told:
        login_user(site.users["alice"])
        app.session_interface.save_session(app, this_session(), app.response_class())
    assert told == []
    assert number_of_families(site, "bob") == 0
    browser.lose_session_cookie()
    assert browser.who is None


def end_session(site: Site, browser: Browser) -> None:
    """End the session of a browser, as another request of its user may do."""
    repository = site.app.session_interface.repository  # type: ignore[attr-defined]
    found = repository.load(browser.cookie("session"))
    assert repository.destroy(found)


def number_of_families(site: Site, user_id: str) -> int:
    repository = site.app.session_interface.repository  # type: ignore[attr-defined]
    return len(repository.families.of(repository.tickets.owner_name(user_id)))


@contextmanager
def told_of_unsaved_logins(site: Site) -> Iterator[list[str]]:
    """Yield the ids of the users of the signal user_login_not_saved in the ``with`` block."""
    told: list[str] = []

    def receiver(sender: Any, user: Any) -> None:
        told.append(user.id)

    with user_login_not_saved.connected_to(receiver, site.app):
        yield told
