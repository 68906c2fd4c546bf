"""The pages that are measured in a comparison of two revisions: one site, and the visits of a browser.

This module uses only public names of ``flask_cloakroom``, so that it runs on older and newer revisions. If a revision
lacks a name that a visit needs, the visit is left out, and the table says so.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import SimpleCookie
from itertools import count
from time import perf_counter_ns
from typing import Any
from urllib.parse import urlencode

from flask import Flask, flash, get_flashed_messages, request, session
from werkzeug.test import EnvironBuilder

import flask_cloakroom

#: The contents of every session: about as much as a small shop stores.
CONTENTS: dict[str, Any] = {
    "user": "ada.lovelace",
    "n": 0,
    "cart": {
        "currency": "EUR",
        "items": [
            {"sku": "LAMP-1001", "name": "Desk lamp", "quantity": 1, "price": "39.90"},
            {"sku": "CHAIR-204", "name": "Oak chair", "quantity": 4, "price": "129.00"},
            {"sku": "PEN-77", "name": "Pencil, HB", "quantity": 12, "price": "0.80"},
        ],
    },
}
_TOKEN = re.compile('value="([^"]+)"')


def make_app(store: str, folder: str) -> Flask:
    """Return the site with its sessions in the store of the URL ``store``."""
    app = Flask("compared", static_folder=None, instance_path=folder)
    app.config.update(SECRET_KEY="a secret of the benchmark, 32+ characters", SESSION_STORE=store)
    cloakroom = flask_cloakroom.Cloakroom(app)
    _session_pages(app)
    _login_pages(app, cloakroom)
    if hasattr(flask_cloakroom, "user_session"):
        _user_session_pages(app)
    if hasattr(flask_cloakroom, "generate_csrf"):
        _form_pages(app)
    return app


def _session_pages(app: Flask) -> None:
    @app.get("/start")
    def start() -> str:
        session.update(CONTENTS)
        return "started"

    @app.get("/alone")
    def alone() -> str:
        return "alone"

    @app.get("/read")
    def read() -> str:
        return str(session["user"])

    @app.get("/change")
    def change() -> str:
        session["n"] += 1
        return "changed"

    @app.get("/flash")
    def leave_message() -> str:
        flash("Your order was sent.")
        return "flashed"

    @app.get("/messages")
    def messages() -> str:
        return " ".join(get_flashed_messages())


def _login_pages(app: Flask, cloakroom: Any) -> None:
    class Member(flask_cloakroom.UserMixin):
        def __init__(self, user_id: str) -> None:
            self.id = user_id

    cloakroom.user_loader(Member)

    @app.get("/login")
    def log_in() -> str:
        flask_cloakroom.login_user(Member(request.args["user"]), remember="remember" in request.args)
        return "logged in"

    @app.get("/logout")
    def log_out() -> str:
        flask_cloakroom.logout_user()
        return "logged out"

    @app.get("/members")
    @flask_cloakroom.login_required
    def members() -> str:
        return "for members"


def _user_session_pages(app: Flask) -> None:
    from flask_cloakroom import user_session

    @app.get("/fill-own")
    def fill_own() -> str:
        user_session.update(CONTENTS)
        return "filled"

    @app.get("/read-own")
    def read_own() -> str:
        return str(user_session["user"])

    @app.get("/change-own")
    def change_own() -> str:
        user_session["n"] += 1
        return "changed"


def _form_pages(app: Flask) -> None:
    @app.get("/form")
    def form() -> str:
        token = flask_cloakroom.generate_csrf()
        return f'<form method="post" action="/send"><input name="csrf_token" value="{token}"></form>'

    @app.post("/send")
    def send() -> str:
        return request.form["item"]


class Browser:
    """Sends requests through the WSGI interface and stores the cookies. Times the requests that have a page's name."""

    def __init__(self, app: Flask) -> None:
        self.cookies: dict[str, str] = {}
        #: The nanoseconds of each request, by page.
        self.times: dict[str, list[int]] = {}
        self._wsgi: Any = app.wsgi_app
        self._environs: dict[tuple[str, str], dict[str, Any]] = {}
        self._status = ""
        self._headers: list[tuple[str, str]] = []

    def get(self, path: str, expected: str, page: str | None = None, query: str = "") -> str:
        """Send a GET request. Raises RuntimeError for an answer without the text ``expected``."""
        return self._send(self._environ("GET", path) | {"QUERY_STRING": query}, expected, page)

    def post(self, path: str, expected: str, page: str, form: dict[str, str], headers: dict[str, str]) -> str:
        """Send a form. Raises RuntimeError for an answer without the text ``expected``."""
        body = urlencode(form).encode()
        environ = self._environ("POST", path) | {f"HTTP_{name}": value for name, value in headers.items()}
        environ |= {"CONTENT_TYPE": "application/x-www-form-urlencoded", "CONTENT_LENGTH": str(len(body))}
        return self._send(environ | {"wsgi.input": io.BytesIO(body)}, expected, page)

    def forget(self, cookie: str | None = None) -> None:
        """Delete one cookie, or all of them."""
        if cookie is None:
            self.cookies.clear()
        else:
            del self.cookies[cookie]

    def _environ(self, method: str, path: str) -> dict[str, Any]:
        if (method, path) not in self._environs:
            self._environs[method, path] = EnvironBuilder(path, method=method).get_environ()
        environ = self._environs[method, path].copy()
        if self.cookies:
            environ["HTTP_COOKIE"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return environ

    def _send(self, environ: dict[str, Any], expected: str, page: str | None) -> str:
        began = perf_counter_ns()
        answer = self._wsgi(environ, self._start_response)
        try:
            body = b"".join(answer).decode()
        finally:
            answer.close()
        took = perf_counter_ns() - began
        if not self._status.startswith("200") or expected not in body:
            raise RuntimeError(f"{environ['PATH_INFO']} answered {self._status} without {expected!r}")
        if page is not None:
            self.times.setdefault(page, []).append(took)
        self._keep_cookies()
        return body

    def _start_response(self, status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
        self._status, self._headers = status, headers

    def _keep_cookies(self) -> None:
        for name, value in self._headers:
            if name != "Set-Cookie":
                continue
            for morsel in SimpleCookie(value).values():
                if morsel.value:
                    self.cookies[morsel.key] = morsel.value
                else:
                    self.cookies.pop(morsel.key, None)


#: A new user for each login, so that no user's list of sessions grows during the measurement.
_users = count(1)


def _log_in(browser: Browser, page: str | None = None, options: str = "") -> None:
    browser.get("/start", "started")
    browser.get("/login", "logged in", page, query=f"user={next(_users)}{options}")


def _anonymous(path: str, expected: str, page: str) -> Callable[[Browser], Callable[[], object]]:
    def prepare(browser: Browser) -> Callable[[], object]:
        browser.get("/start", "started")
        return lambda: browser.get(path, expected, page)

    return prepare


def _logged_in(path: str, expected: str, page: str, before: str = "") -> Callable[[Browser], Callable[[], object]]:
    def prepare(browser: Browser) -> Callable[[], object]:
        _log_in(browser)
        if before:
            browser.get(before, "")
        return lambda: browser.get(path, expected, page)

    return prepare


def _login_and_logout(browser: Browser) -> Callable[[], object]:
    def visit() -> None:
        browser.forget()
        _log_in(browser, "login")
        browser.get("/logout", "logged out", "logout")

    return visit


def _remembered(browser: Browser) -> Callable[[], object]:
    def visit() -> None:
        browser.forget()
        _log_in(browser, "login with remember", "&remember=1")
        browser.forget("session")
        browser.get("/members", "for members", "comes back by remember token")
        browser.get("/logout", "logged out")

    return visit


def _flashed(browser: Browser) -> Callable[[], object]:
    browser.get("/start", "started")

    def visit() -> None:
        browser.get("/flash", "flashed")
        browser.get("/messages", "Your order was sent.", "flash shown")

    return visit


def _form(browser: Browser) -> Callable[[], object]:
    browser.get("/start", "started")

    def visit() -> None:
        found = _TOKEN.search(browser.get("/form", "csrf_token", "form with token"))
        form = {"item": "lamp", "csrf_token": found[1] if found else ""}
        browser.post("/send", "lamp", "its POST, checked by header", form, {"SEC_FETCH_SITE": "same-origin"})
        browser.post("/send", "lamp", "its POST, checked by token", form, {})

    return visit


@dataclass(frozen=True)
class Visit:
    """Some requests in a row, with the pages among them that are timed."""

    pages: tuple[str, ...]
    #: Prepares a browser and returns a function for one visit, which can be called many times.
    prepare: Callable[[Browser], Callable[[], object]]
    #: The name that a revision must have, besides those of sessions and logins.
    needs: str | None = None


VISITS = (
    Visit(("leaves the session alone",), _anonymous("/alone", "alone", "leaves the session alone")),
    Visit(("reads",), _anonymous("/read", "ada", "reads")),
    Visit(("changes",), _anonymous("/change", "changed", "changes")),
    Visit(("behind login_required",), _logged_in("/members", "for members", "behind login_required")),
    Visit(("login", "logout"), _login_and_logout),
    Visit(("login with remember", "comes back by remember token"), _remembered),
    Visit(
        ("reads user_session",),
        _logged_in("/read-own", "ada", "reads user_session", before="/fill-own"),
        "user_session",
    ),
    Visit(
        ("changes user_session",),
        _logged_in("/change-own", "changed", "changes user_session", before="/fill-own"),
        "user_session",
    ),
    Visit(("form with token", "its POST, checked by header", "its POST, checked by token"), _form, "generate_csrf"),
    Visit(("flash shown",), _flashed),
)
PAGES = tuple(page for visit in VISITS for page in visit.pages)


def is_supported(visit: Visit) -> bool:
    """Return whether this revision of the package has the name that ``visit`` needs."""
    return visit.needs is None or hasattr(flask_cloakroom, visit.needs)
