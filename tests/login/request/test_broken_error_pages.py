"""Error pages that fail themselves, and responses that fail in two places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Response, flash, get_flashed_messages, request, session

from flask_cloakroom import current_user, login_user, user_login_not_saved, user_session
from flask_cloakroom.sessions.outage import SessionUnavailable
from support.sites.requests_on_app import MakeApp
from support.sites.threads import Browser, Site
from support.stores.faults import Fault, FaultyStore, first_of, nth

pytestmark = pytest.mark.promise(10)


def from_first(verb: str) -> Fault:
    """Return a fault at the first command of this verb, and at all such commands after it."""
    return first_of(f"each {verb}", verb)._replace(hits=lambda calls: calls[-1] == verb, repeats=True)


@pytest.fixture
def site(make_app: MakeApp) -> Site:
    return Site(make_app(PROPAGATE_EXCEPTIONS=False))


@pytest.fixture
def store(site: Site) -> FaultyStore:
    app: Any = site.app
    return FaultyStore(app.session_interface.store)


def assert_unavailable(response: Any) -> None:
    assert (response.status_code, response.headers.get("Retry-After")) == (503, "5")
    assert response.headers.getlist("Set-Cookie") == []


def test_a_page_for_500_that_uses_the_session(site: Site, store: FaultyStore) -> None:
    """A view raises an error, and the page for the error needs the store, which is down: the response is a 503."""
    site.app.register_error_handler(500, lambda error: (f"sorry {current_user.get_id()}", 500))
    browser = site.browser("alice")

    def view() -> str:
        raise ZeroDivisionError

    assert browser.open(view).text == "sorry alice"
    with store.failing(from_first("load")):
        assert_unavailable(browser.open(view))
    assert browser.who == "alice"


@pytest.mark.parametrize("place", ["load", "save", "after_request", "page for 500"])
def test_a_page_for_503_with_an_error(
    site: Site, store: FaultyStore, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A plain page is sent in its place, and the error is logged."""

    def page(error: Exception) -> Any:
        raise KeyError("a mistake in the page")

    site.app.register_error_handler(503, page)
    if place == "after_request":

        @site.app.after_request
        def look(response: Response) -> Response:
            session.get("name")
            return response

    if place == "page for 500":
        site.app.register_error_handler(500, lambda error: (f"sorry {current_user.get_id()}", 500))
    browser = site.browser("alice")
    views: dict[str, Callable[[], str]] = {
        "load": lambda: str(session.get("name")),
        "save": lambda: str(session.update(name="visitor")),
        "after_request": lambda: "page",
        "page for 500": lambda: str(1 / 0),
    }
    with store.failing(from_first("replace" if place == "save" else "load")):
        assert_unavailable(browser.open(views[place]))
    errors = [line.exc_info[1] for line in caplog.records if line.exc_info]
    assert "KeyError" in [type(error).__name__ for error in errors]
    assert browser.who == "alice"


def test_a_page_for_503_after_a_failed_save(site: Site, store: FaultyStore) -> None:
    """The page asks for the user, whom the view has not asked for. A user who is logged in is not shown as a guest."""
    site.app.register_error_handler(503, lambda error: (f"sorry {current_user.get_id() or 'guest'}", 503))
    browser = site.browser("alice")
    with store.failing(from_first("replace")):
        response = browser.open(lambda: str(session.update(name="visitor")))
    assert_unavailable(response)
    assert "guest" not in response.text


@pytest.mark.parametrize("stays_down", [False, True], ids=["store back at once", "store stays down"])
def test_a_failed_save_and_then_a_failed_store(site: Site, store: FaultyStore, stays_down: bool) -> None:
    """A page cannot be saved, and the store fails at any command before or after that. No exception leaves the app."""
    site.app.register_error_handler(500, lambda error: (f"sorry {get_flashed_messages()}", 500))
    statuses = []

    def prepare() -> None:
        session["theme"] = "dark"
        user_session["wish"] = 1
        flash("hello")

    def view() -> str:
        get_flashed_messages()
        login_user(site.users["alice"], remember=True)
        user_session.get("wish")
        session["connection"] = object()
        return "welcome"

    while not statuses or statuses[-1] != "no fault":
        browser = site.browser()
        browser.run(prepare)
        with store.failing(nth(len(statuses) + 1), stays_down=stays_down) as outage:
            response = browser.open(view)
        if response.status_code == 503:
            assert_unavailable(response)
        else:
            assert response.status_code == 500
            assert "hello" in response.text or outage.failed_at
        assert [name for name in ("remember_token",) if browser.cookie(name)] == []
        assert browser.run(lambda: (current_user.get_id(), session.get("theme"))) == (None, "dark"), outage
        statuses.append(response.status if outage.failed_at else "no fault")
    assert len(statuses) > 10


def test_a_receiver_that_fails_while_a_login_is_forgotten(site: Site) -> None:
    """A receiver for the application's users fails. The error page sends no cookie of an operator all the same."""
    failed = []

    def receiver(sender: Any, user: Any) -> None:
        failed.append(user.id)
        raise RuntimeError("of a receiver")

    def view() -> str:
        login_user(site.users["alice"], remember=True)
        site.operators.login_user(site.users["bob"], remember=True)
        return "welcome"

    @site.app.after_request
    def fail_once(response: Response) -> Response:
        if response.get_data() == b"welcome":
            raise RuntimeError("of an after_request function")
        return response

    browser: Browser = site.browser()
    with user_login_not_saved.connected_to(receiver, site.app):
        response = browser.open(view)
    assert response.status_code == 500
    assert response.headers.getlist("Set-Cookie") == []
    assert sorted(failed) == ["alice", "bob"]
    assert browser.run(lambda: (current_user.get_id(), site.operators.current_user.get_id())) == (None, None)


def test_an_error_page_that_uses_another_session(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Only the session of an operator is used, and cannot be saved. The error page uses the application's session."""

    def page(error: Exception) -> Any:
        flash("sorry")
        session["errors"] = 1
        return str(get_flashed_messages()), 500

    def view() -> str:
        site.operators.session_of(request)["connection"] = object()
        return "page"

    site.app.register_error_handler(500, page)
    browser = site.browser()
    assert browser.open(view).text == "['sorry']"
    assert browser.run(lambda: (session.get("errors"), get_flashed_messages())) == (1, [])
    assert [line.getMessage() for line in caplog.records if "is not saved" in line.getMessage()] == []


def test_a_session_of_an_operator_that_cannot_be_loaded(site: Site, store: FaultyStore) -> None:
    """The application's session, which is empty, fails too, and the store is asked no more."""
    seen: list[Exception | None] = []

    def view() -> str:
        for use in (lambda: site.operators.current_user.get_id(), lambda: session.get("name")):
            try:
                use()
            except SessionUnavailable as error:
                seen.append(error)
        return "page"

    browser = site.browser()
    browser.run(lambda: site.operators.login_user(site.users["alice"]))
    with store.failing(first_of("the first load", "load")) as outage:
        assert_unavailable(browser.open(view))
    assert len(seen) == 2
    assert outage.calls == ["load"]
    assert browser.run(lambda: site.operators.current_user.get_id()) == "alice"
