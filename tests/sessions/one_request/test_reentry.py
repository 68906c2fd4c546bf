"""Log filters, log handlers and receivers of signals that use the session, at whatever moment they are called."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import blinker
import flask
import pytest
from flask import flash, has_request_context, session

from flask_cloakroom import (
    StoreError,
    confirm_login,
    current_user,
    generate_csrf,
    login_required,
    login_user,
    logout_user,
    signals,
    user_session,
)
from flask_cloakroom.sessions.outage import SessionUnavailable
from flask_cloakroom.testing.parallel import run_in_threads
from support.clock import CalmClock
from support.sites.requests_on_app import MakeApp
from support.sites.threads import Browser, Gate, Running, Site
from support.sites.watched_store import watch

log = logging.getLogger("tests")

#: Seconds after which a request counts as one that hangs.
HANGS = 10.0

OUR_SIGNALS = [value for value in vars(signals).values() if isinstance(value, blinker.Signal)]
FLASKS_SIGNALS = [value for value in vars(flask.signals).values() if isinstance(value, blinker.Signal)]

#: What a filter, handler or receiver asks for.
USES: dict[str, Callable[[], Any]] = {
    "session": lambda: session.get("name"),
    "whole session": lambda: dict(session),
    "sid": lambda: session.sid,  # type: ignore[attr-defined]
    "user": lambda: current_user.get_id(),
    "user_session": lambda: user_session.get("name"),
    "token": generate_csrf,
}


# -- those that listen --------------------------------------------------------------------------------------------


class Listener:
    """Uses the session whenever it is called within a request. It catches nothing, as a careless one would not."""

    def __init__(self, use: Callable[[], Any]) -> None:
        self._use = use
        self.heard: list[Any] = []

    def hear(self) -> None:
        if has_request_context():
            self.heard.append(self._use())


@contextmanager
def log_filter(listener: Listener) -> Iterator[None]:
    """Add a filter to a handler of the root logger, as Flask's documentation does to log the request's URL."""

    class Filter(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            listener.hear()
            return True

    handler = logging.NullHandler()
    handler.handle = lambda record: bool(handler.filter(record))  # type: ignore[method-assign]
    handler.addFilter(Filter())
    logging.root.addHandler(handler)
    try:
        yield
    finally:
        logging.root.removeHandler(handler)


@contextmanager
def log_handler(listener: Listener) -> Iterator[None]:
    """Add a handler to the root logger, which holds its own lock while it is called."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            listener.hear()

    handler = Handler()
    logging.root.addHandler(handler)
    try:
        yield
    finally:
        logging.root.removeHandler(handler)


@contextmanager
def receivers(listener: Listener) -> Iterator[None]:
    """Connect a receiver to every signal of the package and of Flask."""
    with connected(listener, [*OUR_SIGNALS, *FLASKS_SIGNALS]):
        yield


@contextmanager
def connected(listener: Listener, to: list[blinker.Signal]) -> Iterator[None]:
    """Connect a receiver to signals."""

    def receive(sender: Any, **arguments: Any) -> None:
        listener.hear()

    with ExitStack() as stack:
        for signal in to:
            stack.enter_context(signal.connected_to(receive))
        yield


LISTENERS: dict[str, Callable[[Listener], Any]] = {
    "filter": log_filter,
    "handler": log_handler,
    "receivers": receivers,
}


@pytest.fixture(autouse=True)
def all_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Let lines of every level reach the handlers."""
    caplog.set_level(logging.DEBUG)


def bounded(work: Callable[[], Any]) -> Any:
    """Return the result of ``work``, which must not hang."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(HANGS)
    assert not thread.is_alive(), "the request hangs"
    if errors:
        raise errors[0]
    return results[0]


# -- what happens while they listen -------------------------------------------------------------------------------

#: Prepares a browser, and returns what happens then.
Scenario = Callable[[Site, Browser], Callable[[], Any]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__.replace("_", " ")] = function
    return function


def page() -> str:
    """A view that reads all that there is to read, and logs a line of its own."""
    read = f"{current_user.get_id()} {session.get('name')} {user_session.get('name')}"
    log.info("the page was made")
    return read


def open_page(browser: Browser) -> Callable[[], Any]:
    return lambda: browser.open(page).text


@scenario
def first_visit(site: Site, browser: Browser) -> Callable[[], Any]:
    return open_page(site.browser())


@scenario
def live_cookie(site: Site, browser: Browser) -> Callable[[], Any]:
    return open_page(browser)


@scenario
def malformed_cookie(site: Site, browser: Browser) -> Callable[[], Any]:
    browser.client.set_cookie("session", "x")
    return open_page(browser)


@scenario
def unknown_cookie(site: Site, browser: Browser) -> Callable[[], Any]:
    browser.client.set_cookie("session", "A" * 43)
    return open_page(browser)


@scenario
def dead_cookie(site: Site, browser: Browser) -> Callable[[], Any]:
    ticket = browser.cookie("session")
    assert ticket
    browser.run(logout_user)
    browser.client.set_cookie("session", ticket)
    return open_page(browser)


@scenario
def cookie_from_before_a_rotation(site: Site, browser: Browser) -> Callable[[], Any]:
    ticket = browser.cookie("session")
    assert ticket
    browser.run(lambda: session.rotate())  # type: ignore[attr-defined]
    browser.client.set_cookie("session", ticket)
    return open_page(browser)


@scenario
def remembered(site: Site, browser: Browser) -> Callable[[], Any]:
    browser.lose_session_cookie()
    return open_page(browser)


@scenario
def unknown_cookie_and_remembered(site: Site, browser: Browser) -> Callable[[], Any]:
    browser.client.set_cookie("session", "A" * 43)
    return open_page(browser)


@scenario
def forged_remember_cookie(site: Site, browser: Browser) -> Callable[[], Any]:
    browser.lose_session_cookie()
    browser.client.set_cookie("remember_token", "x")
    return open_page(browser)


@scenario
def vanished_user(site: Site, browser: Browser) -> Callable[[], Any]:
    del site.users["alice"]
    return open_page(browser)


@scenario
def first_save(site: Site, browser: Browser) -> Callable[[], Any]:
    other = site.browser()
    return lambda: (other.run(lambda: session.update({"name": "other"})), other.open(page).text)


@scenario
def login(site: Site, browser: Browser) -> Callable[[], Any]:
    def log_in() -> Any:
        return login_user(site.users["bob"], remember=True)

    return lambda: (browser.run(log_in), browser.open(page).text)


@scenario
def logout(site: Site, browser: Browser) -> Callable[[], Any]:
    return lambda: (browser.run(logout_user), browser.open(page).text)


@scenario
def rotation(site: Site, browser: Browser) -> Callable[[], Any]:
    return lambda: (browser.run(lambda: session.rotate()), browser.open(page).text)  # type: ignore[attr-defined]


@scenario
def the_end_of_a_session(site: Site, browser: Browser) -> Callable[[], Any]:
    return lambda: (browser.run(lambda: session.destroy()), browser.open(page).text)  # type: ignore[attr-defined]


@scenario
def clear(site: Site, browser: Browser) -> Callable[[], Any]:
    return lambda: (browser.run(lambda: session.clear()), browser.open(page).text)


@scenario
def conflict(site: Site, browser: Browser) -> Callable[[], Any]:
    def change() -> None:
        session["name"] = session["name"] + " the first"
        browser.run(lambda: session.update({"name": "the other"}))

    return lambda: (browser.run(change), browser.open(page).text)


@scenario
def conflict_of_user_data(site: Site, browser: Browser) -> Callable[[], Any]:
    def change() -> None:
        user_session["name"] = user_session["name"] + " the first"
        browser.run(lambda: user_session.update({"name": "the other"}))

    return lambda: (browser.run(change), browser.open(page).text)


@scenario
def discard(site: Site, browser: Browser) -> Callable[[], Any]:
    def change() -> None:
        session["name"] = session["name"] + " the first"
        browser.run(logout_user)

    return lambda: (browser.run(change), browser.open(page).text)


@scenario
def refused_page(site: Site, browser: Browser) -> Callable[[], Any]:
    other = site.browser()
    return lambda: other.open(login_required(lambda: "in")).status_code


@scenario
def refused_form(site: Site, browser: Browser) -> Callable[[], Any]:
    return lambda: (browser.accepts("forged"), browser.open(page).text)


@scenario
def flashed_and_shown(site: Site, browser: Browser) -> Callable[[], Any]:
    return lambda: (browser.run(lambda: flash("hello")), browser.run(flask.get_flashed_messages))


def outcome(browser: Browser, act: Callable[[], Any]) -> Any:
    """Return what ``act`` gives, and who the browser is afterwards."""
    return act(), browser.open(page).text


def prepared(make_app: MakeApp, name: str) -> tuple[Browser, Callable[[], Any]]:
    """Return a browser of a new site, in which alice is logged in, and what happens then."""
    site = Site(make_app())
    browser = site.browser("alice", remember=True)
    browser.run(lambda: (session.update({"name": "mine"}), user_session.update({"name": "hers"})))
    return browser, SCENARIOS[name](site, browser)


#: What happens without a listener, by scenario.
EXPECTED: dict[str, Any] = {}

#: Where no line is logged.
QUIET = {("flashed and shown", "filter"), ("flashed and shown", "handler")}


@pytest.mark.parametrize("store_url", ["memory://"])
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("listens", LISTENERS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_listening_changes_nothing(make_app: MakeApp, name: str, listens: str, use: str) -> None:
    """A listener that reads is no error and no deadlock, and pages and visitors are what they are without it."""
    if name not in EXPECTED:
        EXPECTED[name] = outcome(*prepared(make_app, name))
    browser, act = prepared(make_app, name)
    listener = Listener(USES[use])
    with LISTENERS[listens](listener):
        found = bounded(act)
    assert (found, browser.open(page).text) == EXPECTED[name]
    assert listener.heard or (name, listens) in QUIET


@pytest.mark.parametrize("use", ["user", "token"])
@pytest.mark.parametrize("name", ["unknown cookie", "unknown cookie and remembered", "conflict", "dead cookie"])
def test_on_every_store(make_app: MakeApp, name: str, use: str) -> None:
    """The same, with all three at once, on each store."""
    expected = outcome(*prepared(make_app, name))
    browser, act = prepared(make_app, name)
    listener = Listener(USES[use])
    with log_filter(listener), log_handler(listener), receivers(listener):
        found = bounded(act)
    assert (found, browser.open(page).text) == expected
    assert listener.heard


# -- the first request after a start ------------------------------------------------------------------------------


@pytest.mark.parametrize("store_url", ["memory://"])
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("cookie", [None, "x", "A" * 43])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"SESSION_USE_SIGNER": True},
        {"SESSION_SERIALIZATION_FORMAT": "json"},
        {"SESSION_COOKIE_SECUR": True},
        {"SESSION_STORE_TIMEOT": 3, "SESSION_USE_SIGNER": False, "PERMANENT_SESSION_LIFETIM": 60},
    ],
    ids=["plain", "ineffective", "ineffective format", "misspelt", "several"],
)
def test_first_request(make_app: MakeApp, settings: dict[str, Any], cookie: str | None, use: str) -> None:
    """The first request reads the settings again and opens the store. Lines that are logged by this change nothing."""
    listener = Listener(USES[use])

    with log_filter(listener), log_handler(listener), receivers(listener):
        site = Site(make_app(**settings))
        for _ in range(2):
            browser = site.browser()
            if cookie is not None:
                browser.client.set_cookie("session", cookie)
            assert bounded(open_page(browser)) == "None None None"
    assert listener.heard


def test_first_requests_of_threads(make_app: MakeApp) -> None:
    """Several requests that are the first ones at the same moment, each with a line that the settings cause."""
    listener = Listener(USES["session"])
    with log_filter(listener), log_handler(listener):
        site = Site(make_app(SESSION_COOKIE_SECUR=True, SESSION_USE_SIGNER=True))
        browsers = [site.browser() for _ in range(8)]
        texts = bounded(lambda: run_in_threads(8, lambda number: browsers[number].open(page).text))
    assert texts == ["None None None"] * 8
    assert listener.heard


# -- while the session opens --------------------------------------------------------------------------------------


@pytest.fixture
def site(make_app: MakeApp) -> Site:
    return Site(make_app(SESSION_STORE_TIMEOUT=0.5))


@pytest.fixture
def browser(site: Site) -> Browser:
    browser = site.browser("alice", remember=True)
    browser.run(lambda: (session.update({"name": "mine"}), user_session.update({"name": "hers"})))
    return browser


def say_while_loading(site: Site, line: Callable[[], Any] | None = None) -> None:
    """Let the store log a line in the middle of its next load, as the drivers of stores do."""
    watch(site.app).before["load"] = line or (lambda: logging.getLogger("flask_cloakroom.stores").warning("slow"))


@pytest.mark.parametrize("use", [*USES, "operator"])
@pytest.mark.parametrize("listens", ["filter", "handler"])
def test_a_line_of_the_store(site: Site, browser: Browser, listens: str, use: str) -> None:
    """A listener that reads while the session is being loaded sees nothing yet or the right thing, and the page too."""
    uses = {**USES, "operator": lambda: site.operators.current_user.get_id()}

    def read() -> Any:
        try:
            return uses[use]()
        except RuntimeError as error:
            assert use == "token"  # a token needs a secret in the session, which cannot be written yet
            return error

    listener = Listener(read)
    say_while_loading(site)

    with LISTENERS[listens](listener):
        assert bounded(open_page(browser)) == "alice mine hers"
    assert listener.heard
    if use != "token":
        assert listener.heard[0] in (None, {}, browser.run(uses[use]))
    assert browser.open(page).text == "alice mine hers"


def test_a_line_of_the_user_loader(site: Site, browser: Browser) -> None:
    """A line that the user loader logs finds an anonymous user, the real session, and the visitor's data."""
    seen: list[Any] = []
    site.while_loading = lambda: log.warning("a slow query")
    listener = Listener(lambda: seen.append((current_user.get_id(), session["name"], dict(user_session))))

    with log_filter(listener):
        assert bounded(open_page(browser)) == "alice mine hers"
    assert seen[0] == (None, "mine", {})


def test_a_line_that_is_logged_in_another_thread(site: Site, browser: Browser) -> None:
    """The store may log in a thread of its own with a copy of the context variables: this is no wait for oneself."""
    listener = Listener(USES["user"])

    def log_elsewhere() -> None:
        context = contextvars.copy_context()
        run_in_threads(1, lambda number: context.run(log.warning, "slow"))

    say_while_loading(site, log_elsewhere)

    with log_filter(listener), CalmClock() as clock:
        began = clock.time()
        assert bounded(open_page(browser)) == "alice mine hers"
        assert clock.time() - began < 0.4
    assert listener.heard[0] is None


#: Ways to change the session.
WRITES: dict[str, Callable[[], Any]] = {
    "[]": lambda: session.__setitem__("note", 1),
    "update": lambda: session.update(note=1),
    "setdefault": lambda: session.setdefault("note", 1),
    "clear": lambda: session.clear(),
    "flash": lambda: flash("note"),
}


@pytest.mark.parametrize("way", WRITES)
def test_writing_while_the_session_opens(site: Site, browser: Browser, way: str) -> None:
    """It is a RuntimeError that says so, in the listener. The page and the session are unharmed."""
    errors: list[RuntimeError] = []

    def write() -> None:
        with pytest.raises(RuntimeError, match=r"session was changed while it was being loaded") as caught:
            WRITES[way]()
        errors.append(caught.value)

    say_while_loading(site, write)
    assert bounded(lambda: browser.open(page).text) == "alice mine hers"
    assert len(errors) == 1
    assert not isinstance(errors[0], RecursionError)
    found = browser.run(lambda: (session["name"], "note" in session, flask.get_flashed_messages()))
    assert found == ("mine", False, [])


def test_a_filter_that_writes_while_the_session_opens(site: Site, browser: Browser) -> None:
    """A filter that does not catch the error is a 500 in this request, and harms no later one."""
    listener = Listener(WRITES["[]"])
    site.app.config["PROPAGATE_EXCEPTIONS"] = False
    say_while_loading(site)

    with log_filter(listener):
        assert bounded(lambda: browser.open(page).status_code) == 500
    assert browser.open(page).text == "alice mine hers"


@pytest.mark.parametrize("way", WRITES)
def test_writing_afterwards(site: Site, browser: Browser, way: str) -> None:
    """A filter that writes when a line says that a cookie was refused is saved: the session is open by then."""
    browser = site.browser()
    browser.client.set_cookie("session", "A" * 43)

    def write() -> None:
        if not written:
            written.append(True)
            WRITES[way]()

    written: list[bool] = []

    with log_filter(Listener(write)):
        assert bounded(lambda: browser.open(lambda: str(session.get("name"))).text) == "None"
    assert written
    found = browser.run(lambda: (session.get("note"), flask.get_flashed_messages()))
    assert found == {"clear": (None, []), "flash": (None, ["note"])}.get(way, (1, []))


def test_a_handler_whose_lock_another_thread_holds(site: Site, browser: Browser) -> None:
    """A handler holds its own lock while it waits for the session, and the store waits for the handler: no deadlock.

    The handler's thread gives up after SESSION_STORE_TIMEOUT. The thread that opens the session goes on unharmed.
    """
    gate = Gate()
    listener = Listener(USES["session"])

    def slow_line() -> None:
        gate()
        log.warning("a line of the store")

    def view() -> list[Any]:
        store.before["load"] = slow_line
        opening = Running(lambda: session["name"])
        gate.wait_for_first()
        logging_ = Running(lambda: log.warning("a line of the page")).wait_until_inside()
        gate.open()
        return [opening.result(), logging_.join().error]

    store = watch(site.app)

    with log_handler(listener), CalmClock() as clock:
        began = clock.time()
        name, error = bounded(lambda: browser.run(view))
        assert clock.time() - began < 3
    assert name == "mine"
    assert error is None or isinstance(error, SessionUnavailable)
    assert browser.open(page).text == "alice mine hers"


# -- a store that fails -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("listens", LISTENERS)
@pytest.mark.parametrize("verb", ["load", "replace"])
def test_a_failing_store(site: Site, browser: Browser, verb: str, listens: str, use: str) -> None:
    """The line that tells of the failure reaches listeners that look at the session again. The answer is a 503.

    Afterwards the visitor is who they were. Receivers of Flask's signals are not among the listeners: what they raise
    when a request ends is an error of the server to Flask.
    """
    site.app.config["PROPAGATE_EXCEPTIONS"] = False
    store = watch(site.app)
    listener = Listener(USES[use])

    def fail() -> None:
        raise StoreError("down")

    def view() -> str:
        session["other"] = 1
        return "saved"

    store.before[verb] = fail
    with connected(listener, OUR_SIGNALS) if listens == "receivers" else LISTENERS[listens](listener):
        response = bounded(lambda: browser.open(view))
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert browser.open(page).text == "alice mine hers"
    assert browser.run(lambda: "other" in session) is False


# -- what receivers write -----------------------------------------------------------------------------------------

#: What sends each signal, in a request of a logged-in and remembered user.
SENDERS: dict[str, Callable[[Site, Browser], Any]] = {
    "user_accessed": lambda site, browser: browser.who,
    "user_logged_in": lambda site, browser: browser.run(lambda: login_user(site.users["bob"])),
    "user_logged_out": lambda site, browser: browser.run(logout_user),
    "user_login_confirmed": lambda site, browser: browser.run(confirm_login),
    "user_loaded_from_cookie": lambda site, browser: (browser.lose_session_cookie(), browser.who),
    "user_unauthorized": lambda site, browser: (
        browser.run(logout_user),
        browser.open(login_required(lambda: "in")),
    ),
    "session_rejected": lambda site, browser: (browser.client.set_cookie("session", "A" * 43), browser.who),
    "csrf_refused": lambda site, browser: browser.accepts("forged"),
}


@pytest.mark.parametrize("name", SENDERS)
def test_what_a_receiver_writes_is_saved(site: Site, browser: Browser, name: str) -> None:
    """A receiver of a signal that is sent within a view may write to the session, and to ``user_session``."""
    calls: list[Any] = []

    def receive(sender: Any, **arguments: Any) -> None:
        calls.append(sender)
        session["note"] = session.get("note", 0) + 1

    with vars(signals)[name].connected_to(receive):
        bounded(lambda: SENDERS[name](site, browser))
    assert calls == [site.app] * len(calls)
    assert calls
    assert browser.run(lambda: session["note"]) >= 1
