"""A request that logs somebody in fails at its end: the browser gets no credential, and the visitor stays the same.

Most failures here are the application's own: a value that cannot be stored, a session that would be too large, an error
of a hook. ``test_outcomes.py`` has the failures of the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from flask import Response, after_this_request, g, request, session
from werkzeug.test import TestResponse

from flask_cloakroom import (
    UserKind,
    active_sessions,
    confirm_login,
    current_user,
    login_user,
    logout_user,
    update_session_auth_hash,
    user_login_not_saved,
    user_session,
)
from flask_cloakroom.sessions import concurrent_login
from support.sites.login import Browser, MakeSite, Site
from support.sites.login import User as Customer
from support.sites.outcomes import OutcomeSite, User, Visitor, cookies_set_by
from support.stores.faults import nth

pytestmark = pytest.mark.promise(9)

#: The limit of a session in these tests, in bytes.
MAX_BYTES = 4096


class Unstorable:
    """A value that no session can hold."""


# -- failures of an application -------------------------------------------------------------------------------


def broken_session() -> None:
    session["broken"] = Unstorable()


def nested_broken_session() -> None:
    session["cart"].append({"deep": [Unstorable()]})
    session.modified = True  # for Flask's own session, which sees no nested changes


def too_large_session() -> None:
    session["large"] = "x" * 2 * MAX_BYTES


def broken_user_session() -> None:
    user_session["broken"] = Unstorable()


def too_large_user_session() -> None:
    user_session["large"] = "x" * 2 * MAX_BYTES


def broken_hook() -> None:
    """Raise an error in a hook that runs before those of the package."""

    @after_this_request
    def fail(response: Response) -> Response:
        raise RuntimeError("of the application")


def broken_last_hook() -> None:
    """Raise an error in a hook that runs after those of the package: see :func:`add_last_hook`."""
    g.last_hook_fails = True


FAILURES = [
    broken_session,
    nested_broken_session,
    too_large_session,
    broken_user_session,
    too_large_user_session,
    broken_hook,
    broken_last_hook,
]
#: The failures that can happen to a session in Flask's own cookie.
COOKIE_FAILURES = [broken_session, nested_broken_session, broken_hook, broken_last_hook]


def add_last_hook(app: Any) -> None:
    """Add a hook as if it were registered before the package's own hooks: Flask calls it after them."""

    def last(response: Response) -> Response:
        if g.get("last_hook_fails"):
            raise RuntimeError("of the application")
        return response

    app.after_request_funcs.setdefault(None, []).insert(0, last)


# -- sessions on the server -----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no request wait for the session of a parallel request: here the earlier request has failed, or is over."""
    monkeypatch.setattr(concurrent_login, "JOIN_PATIENCE", 0.0)


@pytest.fixture
def site() -> Iterator[OutcomeSite]:
    """A site with views that change the login and then fail."""
    site = OutcomeSite("memory://", "no page of its own", SESSION_MAX_BYTES=MAX_BYTES)
    add_last_hook(site.app)
    add_failing_views(site)
    yield site
    site.close()


def add_failing_views(site: OutcomeSite) -> None:
    failures: dict[str, Callable[[], object]] = {failure.__name__: failure for failure in FAILURES}
    failures["broken_operator_data"] = lambda: site.operators.user_session.update(broken=Unstorable())
    verbs: dict[str, Callable[[Any], object]] = {
        "login": login_user,
        "login-remember": lambda user: login_user(user, remember=True),
        "operator": site.operators.login_user,
        "operator-remember": lambda user: site.operators.login_user(user, remember=True),
        "confirm": lambda user: confirm_login(),
        "password": lambda user: update_session_auth_hash(User(current_user.get_id(), "second")),
        "page": lambda user: current_user.get_id(),
    }

    @site.app.post("/fails/<verb>/<failure>/<order>")
    def fails(verb: str, failure: str, order: str) -> str:
        user = site.load_user(request.args.get("user", ""))
        if order == "fails-first":
            failures[failure]()
        verbs[verb](user)
        if order == "fails-last":
            failures[failure]()
        return "ok"

    @site.app.post("/works/<verb>")
    def works(verb: str) -> str:
        verbs[verb](site.load_user(request.args["user"]))
        return "ok"

    @site.app.post("/breaks/<verb>")
    def breaks(verb: str) -> str:
        verbs[verb](site.load_user(request.args["user"]))
        raise RuntimeError("of the application")


def has_a_cart(visitor: Visitor) -> None:
    """Not logged in."""
    visitor.do("/cart/coat", "/note/note")


def is_logged_in(visitor: Visitor) -> None:
    """Logged in, not remembered."""
    visitor.do("/login?user=alice{n}", "/cart/coat", "/wish/book")


def is_remembered(visitor: Visitor) -> None:
    """Logged in, remembered, and an operator who is remembered too."""
    visitor.do("/login?user=alice{n}&remember=1", "/operator/login?user=root{n}", "/cart/coat", "/wish/book")


def comes_back(visitor: Visitor) -> None:
    """Remembered, without the session of the login, and with a cart in a new session."""
    is_remembered(visitor)
    visitor.loses_sessions().do("/cart/coat")


VISITORS = [has_a_cart, is_logged_in, is_remembered, comes_back]


class Attempt(NamedTuple):
    """A request that changes a login."""

    verb: str
    user: str

    def __str__(self) -> str:
        return f"{self.verb} {self.user}".strip()


ATTEMPTS = [
    Attempt("login", "alice"),
    Attempt("login-remember", "alice"),
    Attempt("login", "bob"),
    Attempt("login-remember", "bob"),
    Attempt("operator", "root"),
    Attempt("operator-remember", "root"),
    Attempt("confirm", ""),
    Attempt("password", ""),
    Attempt("page", ""),
]


def number_of_devices(site: OutcomeSite, visitor: Visitor) -> dict[str, int]:
    """Return how many devices the list of each of the visitor's users has."""
    users = {name: site.load_user(visitor.named(name)) for name in ("alice", "bob", "root")}
    with site.app.app_context():
        found = {name: len(active_sessions(users[name])) for name in ("alice", "bob")}
        return {**found, "root": len(site.operators.active_sessions(users["root"]))}


def differences_after(site: OutcomeSite, prepare: Callable[[Visitor], None], path: str) -> list[str]:
    """Let a visitor send a request that must fail, and return how the visitor differs from one without the request."""
    visitor, twin = Visitor(site), Visitor(site)
    prepare(visitor)
    prepare(twin)
    response = visitor.meets(path, None, stays_down=False).response
    if not isinstance(response, TestResponse):
        return [f"{response!r} left wsgi_app"]
    found = [] if response.status_code == 500 else [f"answers {response.status}"]
    # A remember token that was used before the failure may be replaced, because its session is stored by then.
    if cookies_set_by(response) and prepare is not comes_back:
        found.append(f"sets {sorted(cookies_set_by(response))}")
    devices, expected_devices = number_of_devices(site, visitor), number_of_devices(site, twin)
    if devices != expected_devices:
        found.append(f"the lists have {devices} devices instead of {expected_devices}")
    seen, expected = visitor.state(), twin.state()
    if seen != expected:
        found.append(f"the visitor has {seen.differences(expected)}")
    return found


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=str)
@pytest.mark.parametrize("failure", [*(failure.__name__ for failure in FAILURES), "broken_operator_data"])
def test_nothing_of_a_failed_request_happens(site: OutcomeSite, attempt: Attempt, failure: str) -> None:
    """No cookie is sent, no device is in a list, and the visitor has what they had, whatever fails and when."""
    found = [
        f"{prepare.__name__}, {order}: {problem}"
        for prepare in VISITORS
        for order in ("fails-first", "fails-last")
        for problem in differences_after(
            site, prepare, f"/fails/{attempt.verb}/{failure}/{order}?user={attempt.user}{{n}}"
        )
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("verb", ["login-remember", "operator-remember"])
def test_a_view_that_breaks_after_the_login(site: OutcomeSite, verb: str) -> None:
    """The visitor is logged in and remembered, or neither of both."""
    visitor = Visitor(site)
    has_a_cart(visitor)
    answer = visitor.meets(f"/breaks/{verb}?user=alice{{n}}", None, stays_down=False)
    assert isinstance(answer.response, TestResponse)
    assert answer.response.status_code == 500
    state = visitor.state()
    assert state.cart == ("coat",)
    assert (state.who, state.operator) == (state.comes_back, state.operator_comes_back), state


@pytest.mark.parametrize(("times", "wait"), [(5, 5), (2, 600)], ids=["seconds apart", "minutes apart"])
@pytest.mark.parametrize("failure", [*(failure.__name__ for failure in FAILURES), "broken_operator_data"])
def test_a_page_that_always_fails(site: OutcomeSite, failure: str, times: int, wait: float) -> None:
    """A remembered visitor who opens a broken page again and again stays remembered, and keeps the cart."""
    visitor = Visitor(site)
    comes_back(visitor)
    for _ in range(times):
        answer = visitor.meets(f"/fails/page/{failure}/fails-last", None, stays_down=False)
        assert isinstance(answer.response, TestResponse)
        assert answer.response.status_code == 500
        site.ahead += wait
    state = visitor.state()
    assert (state.who, state.cart, state.wish, state.comes_back) == ("alice", ("coat",), ("book",), "alice"), state


class TestGhosts:
    """The store fails at some command of a login with a remember token."""

    @pytest.mark.parametrize("how", ["only it", "from it on", "answer lost"])
    @pytest.mark.parametrize(
        "attempt", [Attempt("login-remember", "alice"), Attempt("operator-remember", "root")], ids=str
    )
    @pytest.mark.parametrize("prepare", [has_a_cart, is_remembered], ids=lambda prepare: prepare.__name__)
    def test_no_device_that_nobody_has(
        self, site: OutcomeSite, prepare: Callable[[Visitor], None], attempt: Attempt, how: str
    ) -> None:
        """After the next remembered login, the list has the devices of logins that succeeded, and no other."""
        path = f"/works/{attempt.verb}?user={attempt.user}{{n}}"
        dry = Visitor(site)
        prepare(dry)
        commands = len(dry.meets(path, None, stays_down=False).outage.calls)
        found = []
        for number in range(1, commands + 1):
            visitor = Visitor(site)
            prepare(visitor)
            before = number_of_devices(site, visitor)[attempt.user]
            fault = nth(number, took_effect=how == "answer lost")
            answer = visitor.meets(path, fault, stays_down=how == "from it on")
            assert isinstance(answer.response, TestResponse)
            visitor.with_cookies({}).do(path)
            is_new = prepare is has_a_cart and answer.response.status_code < 400
            devices, expected = number_of_devices(site, visitor)[attempt.user], before + 1 + is_new
            if devices != expected and not answer.warns("it is unknown if its old ticket has become invalid"):
                found.append(f"{answer.response.status}: {devices} devices, not {expected}. {answer.outage}")
        assert not found, "\n".join(found)


# -- sessions in Flask's own cookie ---------------------------------------------------------------------------


class CookieSite:
    """A site over Flask's own cookie session, with signed remember tokens and two kinds of user."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.staff = {"root": Customer("root")}
        self.operators = UserKind("operator", site.app)
        self.operators.user_loader(self.staff.get)
        add_last_hook(site.app)
        failures: dict[str, Callable[[], object]] = {failure.__name__: failure for failure in COOKIE_FAILURES}
        verbs: dict[str, Callable[[], object]] = {
            "login": lambda: login_user(site.users["alice"], remember=True),
            "login of bob": lambda: login_user(site.users["bob"], remember=True),
            "operator": lambda: self.operators.login_user(self.staff["root"], remember=True),
            "both": lambda: (verbs["login"](), verbs["operator"]()),
            "page": lambda: (current_user.get_id(), self.operators.current_user.get_id()),
            "confirm": confirm_login,
            "password": lambda: update_session_auth_hash(Customer(current_user.get_id(), "argon2:second")),
            "logout": logout_user,
        }
        self.verbs = list(verbs)

        @site.app.post("/do/<verb>")
        def do(verb: str) -> str:
            verbs[verb]()
            return "ok"

        @site.app.post("/fails/<verb>/<failure>")
        def fails(verb: str, failure: str) -> str:
            verbs[verb]()
            failures[failure]()
            return "ok"

        @site.app.get("/both")
        def both() -> str:
            return f"{current_user.get_id()} {self.operators.current_user.get_id()} {session.get('cart')}"

    def copies_of(self, browser: Browser) -> tuple[str, str]:
        """Return what /both shows with all cookies of a browser, and with its remember cookies only."""
        names = ("session", "session_operator", "remember_token", "remember_token_operator")
        found = {name: browser.client.get_cookie(name) for name in names}
        cookies = {name: cookie.decoded_value for name, cookie in found.items() if cookie is not None}
        remembered = {name: value for name, value in cookies.items() if name.startswith("remember_token")}
        return Browser(self.site, cookies).text("/both"), Browser(self.site, remembered).text("/both")


@pytest.fixture
def cookie_site(make_site: MakeSite) -> CookieSite:
    """A site over Flask's own cookie session that shows its error page and not the error."""
    return CookieSite(make_site("cookie"))


@pytest.mark.parametrize("who", ["nobody", "alice", "both", "only remember tokens"])
@pytest.mark.parametrize("failure", [failure.__name__ for failure in COOKIE_FAILURES])
def test_signed_tokens(cookie_site: CookieSite, who: str, failure: str) -> None:
    """If Flask cannot make the session's cookie, no remember cookie is sent or deleted, of any kind of user."""
    found = []
    for verb in cookie_site.verbs:
        browser = Browser(cookie_site.site)
        for path in {"nobody": [], "alice": ["/do/login"]}.get(who, ["/do/both"]):
            browser.open(path, method="POST")
        if who == "only remember tokens":
            for name in ("session", "session_operator"):
                browser.client.delete_cookie(name)
        browser.open("/cart/coat")
        before = cookie_site.copies_of(browser)
        response = browser.open(f"/fails/{verb}/{failure}", method="POST")
        if response.status_code != 500:
            found.append(f"{verb}: answers {response.status}")
        if cookies_set_by(response):
            found.append(f"{verb}: sets {sorted(cookies_set_by(response))}")
        if cookie_site.copies_of(browser) != before:
            found.append(f"{verb}: the visitor was {before} and is {cookie_site.copies_of(browser)}")
    assert not found, "\n".join(found)


def test_an_error_page_that_sends_the_session(make_site: MakeSite) -> None:
    """Flask's error page sends the changes of its own session, so it sends the changes of the remember cookie too.

    An ``after_request`` function fails, but not for the error page. Without the remember cookie, the next page would
    log a user in again who has just logged out.
    """
    site = CookieSite(make_site("cookie", PROPAGATE_EXCEPTIONS=False))
    told: list[str] = []

    @site.site.app.after_request
    def fail_for_views(response: Response) -> Response:
        if request.args.get("hook") and response.status_code == 200:
            raise RuntimeError("of the application")
        return response

    def receiver(sender: Any, user: Any) -> None:
        told.append(user.id)

    browser = Browser(site.site)
    with user_login_not_saved.connected_to(receiver, site.site.app):
        assert browser.open("/do/both?hook=1", method="POST").status_code == 500
        assert site.copies_of(browser) == ("alice root None", "alice root None")
        assert told == []
        assert browser.open("/do/logout?hook=1", method="POST").status_code == 500
        assert site.copies_of(browser) == ("None root None", "None root None")
        # The error page fails too, so nothing is sent.
        assert browser.open("/fails/login/broken_session", method="POST").status_code == 500
        assert site.copies_of(browser) == ("None root None", "None root None")
        assert told == ["alice"]
