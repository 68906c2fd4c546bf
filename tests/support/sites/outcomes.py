"""A site with all that one request can change at once, its visitors, and what a visitor finds after a request.

The site has sessions, two kinds of user, remembered logins, ``user_session`` and flash messages, in one store that
fails on demand. Its users' passwords are in a dict in the place of a database. A view's change of a password is done
after its response, and only if that is no error, as a transaction would.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, Literal, NamedTuple

from flask import Flask, flash, get_flashed_messages, redirect, render_template_string, request, session
from werkzeug.test import TestResponse

from flask_cloakroom import (
    Cloakroom,
    UserKind,
    UserMixin,
    confirm_login,
    current_user,
    generate_csrf,
    impersonate,
    login_fresh,
    login_user,
    logout_user,
    update_session_auth_hash,
    user_session,
)
from flask_cloakroom.core.values.flashes import LEASE_MS
from support.stores.faults import Fault, FaultyStore, Outage

#: What the site makes of a failed request: Flask's own page; an error page that asks for all that pages show; or views
#: that catch the error, look again and answer as if nothing had happened.
Policy = Literal["no page of its own", "503 page", "swallows"]
POLICIES: tuple[Policy, ...] = ("no page of its own", "503 page", "swallows")

#: The cookies of this package in a browser.
SESSION_COOKIES = ("session", "session_operator")
REMEMBER_COOKIES = ("remember_token", "remember_token_operator")

#: Seconds after which a used remember token is no longer exchanged for the same successor, with room for clock skew.
LATER = 150.0

ERROR_PAGE = "sorry, {{ current_user.get_id() or 'guest' }}: {{ csrf_token() }} {{ user_session.get('wish') }}"


class User(UserMixin):
    """A user with a password."""

    def __init__(self, user_id: str, password: str) -> None:
        self.id = user_id
        self.password = password

    def session_auth_hash(self) -> str:
        return f"argon2:{self.password}"


class State(NamedTuple):
    """All that belongs to a visitor. Users are named without the number of their cell."""

    who: str
    fresh: bool
    operator: str
    cart: tuple[str, ...]
    wish: tuple[str, ...]
    visits: int
    #: The flash messages that the next pages show, in alphabetical order. Some come only after the end of a lease.
    flashes: tuple[str, ...]
    #: Who it is, of each kind, in a browser that has lost its sessions and has only the remember cookies.
    comes_back: str
    operator_comes_back: str
    #: The password in the database.
    password: str

    def differences(self, other: State) -> str:
        """Return the fields in which ``other`` differs, with both values."""
        pairs = zip(self._fields, self, other, strict=True)
        return ", ".join(f"{name} {seen!r} instead of {wanted!r}" for name, seen, wanted in pairs if seen != wanted)


class OutcomeSite:
    """The application and its store. One object serves many visitors, one after another."""

    def __init__(self, store_url: str, policy: Policy, **settings: Any) -> None:
        self.app = app = Flask("shop")
        app.config.update(SECRET_KEY="a key that is long enough", SESSION_STORE=store_url)
        app.config.update(USER_SESSION_MERGE={"wish": "union"})
        app.config.update(settings)
        self.policy = policy
        self.passwords: dict[str, str] = {}
        #: The changes of passwords that wait for the end of the request.
        self.transaction: dict[str, str] = {}
        self.numbers = count()
        self.ahead = 0.0
        cloakroom = Cloakroom(app)
        cloakroom.user_loader(self.load_user)
        cloakroom.login_manager.impersonation_allowed(lambda by, user: True)
        self.operators = UserKind("operator", app)
        self.operators.user_loader(self.load_user)
        interface: Any = app.session_interface
        kind_interface: Any = self.operators.interface_for(app)
        for repository in (interface.repository, kind_interface.repository):
            repository.clock = lambda: time.time() + self.ahead
        self.store = FaultyStore(interface.store)
        add_setup_views(self)
        add_views(self)
        if policy == "503 page":
            app.register_error_handler(503, lambda error: (error_page(), 503))

    def close(self) -> None:
        """Close the store."""
        self.app.session_interface.store.close()  # type: ignore[attr-defined]

    def load_user(self, user_id: str) -> User | None:
        password = self.passwords.get(user_id)
        return None if password is None else User(user_id, password)

    def view(self, rule: str, function: Callable[[], Any]) -> None:
        """Add a view that catches all errors if the site's policy says so."""

        def swallowing() -> Any:
            try:
                return function()
            except Exception:
                look_again()
                return "all is well"

        self.app.add_url_rule(
            rule, rule, swallowing if self.policy == "swallows" else function, methods=["GET", "POST"]
        )


def error_page() -> str:
    return render_template_string(ERROR_PAGE, user_session=user_session)


def look_again() -> None:
    """Ask for all that pages show, and swallow each error, as careless code does."""
    looks: list[Callable[[], Any]] = [
        lambda: current_user.is_authenticated,
        generate_csrf,
        lambda: user_session.get("wish"),
        lambda: session.get("cart"),
        get_flashed_messages,
    ]
    for look in looks:
        with suppress(Exception):
            look()


def add_setup_views(site: OutcomeSite) -> None:
    """Add the views by which a visitor gets data, and those that show the data. The store is in order for them."""
    app = site.app

    @app.post("/begin")
    def begin() -> str:
        """Do all in one request: log in, and put something into each part of the session."""
        if "user" in request.args:
            login_user(site.load_user(request.args["user"]), remember="remember" in request.args)
        session["cart"] = ["coat"]
        session["visits"] = 1
        flash("note")
        if "wish" in request.args:
            user_session["wish"] = [request.args["wish"]]
        return "ok"

    @app.post("/cart/<item>")
    def cart(item: str) -> str:
        session.setdefault("cart", []).append(item)
        return "ok"

    @app.post("/wish/<item>")
    def wish(item: str) -> str:
        user_session.setdefault("wish", []).append(item)
        return "ok"

    @app.post("/note/<text>")
    def note(text: str) -> str:
        flash(text)
        return "ok"

    @app.get("/state")
    def state() -> dict[str, Any]:
        return {
            "who": current_user.get_id() or "",
            "fresh": login_fresh(),
            "operator": site.operators.current_user.get_id() or "",
            "cart": session.get("cart", []),
            "wish": user_session.get("wish", []),
            "visits": session.get("visits", 0),
            "messages": get_flashed_messages() if "messages" in request.args else [],
        }

    @app.get("/messages")
    def messages() -> list[Any]:
        return get_flashed_messages()


def add_views(site: OutcomeSite) -> None:
    """Add the views whose requests meet a failing store."""

    def plain() -> Any:
        session["visits"] = session.get("visits", 0) + 1
        return f"{current_user.get_id()} wishes {user_session.get('wish')}"

    def login() -> Any:
        user = site.load_user(request.args["user"])
        login_user(user, remember="remember" in request.args)
        flash("welcome")
        return redirect("/state")

    def logout() -> Any:
        logout_user()
        flash("goodbye")
        return redirect("/state")

    def confirm() -> Any:
        confirm_login()
        flash("confirmed")
        return redirect("/state")

    def password() -> Any:
        user = User(current_user.get_id(), "second")
        update_session_auth_hash(user)
        site.transaction[user.id] = user.password
        flash("changed")
        return redirect("/state")

    def rotate() -> Any:
        session.rotate()  # type: ignore[attr-defined]
        session["visits"] = session.get("visits", 0) + 1
        return "ok"

    def start_impersonation() -> Any:
        impersonate(site.load_user(request.args["user"]))
        flash("seen as another")
        return redirect("/state")

    def operator_login() -> Any:
        site.operators.login_user(site.load_user(request.args["user"]), remember=True)
        flash("on duty")
        return redirect("/state")

    def show_messages() -> Any:
        return render_template_string("{% for message in get_flashed_messages() %}[{{ message }}]{% endfor %}")

    for rule, function in {
        "/plain": plain,
        "/login": login,
        "/logout": logout,
        "/confirm": confirm,
        "/password": password,
        "/rotate": rotate,
        "/impersonate": start_impersonation,
        "/operator/login": operator_login,
        "/show": show_messages,
    }.items():
        site.view(rule, function)


class Answer(NamedTuple):
    """The answer to a request whose store failed, and the commands that the store got."""

    #: The response, or the exception that left ``wsgi_app``.
    response: TestResponse | Exception
    outage: Outage
    #: The cookies in the browser before the request.
    cookies: dict[str, str]
    #: What the package logged in the request, at the level WARNING or above.
    warnings: list[str]

    def warns(self, text: str) -> bool:
        """Return True if a line of the log has this text."""
        return any(text in line for line in self.warnings)


class _Warnings(logging.Handler):
    """Keeps the lines of the log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def logged_warnings() -> Iterator[list[str]]:
    """Return a list of what the package logs in the ``with`` block, at the level WARNING or above."""
    handler, logger = _Warnings(), logging.getLogger("flask_cloakroom")
    logger.addHandler(handler)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)


class Visitor:
    """A browser, and the users who belong to it alone."""

    def __init__(self, site: OutcomeSite) -> None:
        site.ahead = 0.0
        self.site = site
        self.number = f"-{next(site.numbers):05}"  # of one length, so that the sessions of all visitors have one size
        self.client = site.app.test_client()
        for name in ("alice", "bob", "root"):
            site.passwords[name + self.number] = "first"

    def named(self, name: str) -> str:
        """Return the id of this visitor's user of a name."""
        return name + self.number

    def open(self, path: str, method: str = "POST", client: Any = None) -> TestResponse:
        """Send a request from this browser, or from another ``client``, and return the response."""
        client = self.client if client is None else client
        headers = {"Sec-Fetch-Site": "same-origin"}
        # Buffered, because a streamed body keeps its request open until it is read.
        response: TestResponse = client.open(path, method=method, headers=headers, buffered=True)
        return response

    def do(self, *paths: str) -> Visitor:
        """Send requests that must succeed, with the store in order. ``{n}`` in a path is this visitor's number."""
        for path in paths:
            response = self.open(path.format(n=self.number))
            assert response.status_code < 400, f"{path}: {response.status}"
            self.end_transaction(response)
        return self

    def has_at_home(self, *paths: str) -> Visitor:
        """Send requests from another device, which has no part in the test."""
        device = Visitor.__new__(Visitor)
        device.site, device.number, device.client = self.site, self.number, self.site.app.test_client()
        device.do(*paths)
        return self

    def loses_sessions(self) -> Visitor:
        """Let this browser have no session cookie any more."""
        for name in SESSION_COOKIES:
            self.client.delete_cookie(name)
        return self

    @property
    def cookies(self) -> dict[str, str]:
        found = {name: self.client.get_cookie(name) for name in (*SESSION_COOKIES, *REMEMBER_COOKIES)}
        return {name: cookie.value for name, cookie in found.items() if cookie is not None}

    def with_cookies(self, cookies: dict[str, str]) -> Visitor:
        """Return a copy of this visitor in another browser with these cookies."""
        copy = Visitor.__new__(Visitor)
        copy.site, copy.number, copy.client = self.site, self.number, self.site.app.test_client()
        for name, value in cookies.items():
            copy.client.set_cookie(name, value)
        return copy

    def end_transaction(self, response: TestResponse) -> None:
        """Write the changes of passwords into the database if the response is no error. Drop them otherwise."""
        if response.status_code < 400:
            self.site.passwords.update(self.site.transaction)
        self.site.transaction.clear()

    def meets(self, path: str, fault: Fault | None, *, stays_down: bool) -> Answer:
        """Send the request of a test while the store fails as ``fault`` says."""
        cookies = self.cookies
        response: TestResponse | Exception
        with self.site.store.failing(fault, stays_down=stays_down) as outage, logged_warnings() as warnings:
            try:
                response = self.open(path.format(n=self.number))
            except Exception as error:  # whatever it is: the test shows it, and no exception may leave wsgi_app
                response = error
        if isinstance(response, TestResponse):
            self.end_transaction(response)
        else:
            self.site.transaction.clear()
        return Answer(response, outage, cookies, warnings)

    def state(self) -> State:
        """Return what this visitor finds with the cookies that the browser has. The clock goes on by some minutes."""
        now = self._shown("/state?messages=1")
        flashes = now["messages"]
        self.site.ahead += LEASE_MS / 1000 + 1
        flashes += self._shown("/messages")
        self.site.ahead += LATER
        back = self.loses_sessions()._shown("/state")
        return State(
            who=self._name(now["who"]),
            fresh=now["fresh"],
            operator=self._name(now["operator"]),
            cart=tuple(now["cart"]),
            wish=tuple(now["wish"]),
            visits=now["visits"],
            flashes=tuple(sorted(flashes)),
            comes_back=self._name(back["who"]),
            operator_comes_back=self._name(back["operator"]),
            password=self.site.passwords[self.named("alice")],
        )

    def _shown(self, path: str) -> Any:
        response = self.open(path, "GET")
        assert response.status_code == 200, f"afterwards, with the store in order, {path} answers {response.status}"
        return response.json

    def _name(self, user_id: str) -> str:
        """Return the name of this visitor's own user. The id of anybody else stays as it is."""
        return user_id.removesuffix(self.number)


def cookies_set_by(response: TestResponse) -> set[str]:
    """Return the names of all cookies that a response sets or deletes."""
    headers: Iterable[str] = response.headers.getlist("Set-Cookie")
    return {header.partition("=")[0] for header in headers}
