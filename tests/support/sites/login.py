"""A site with a login, its users, and browsers whose cookies a test can copy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask, session

from flask_cloakroom import (
    LoginManager,
    UserMixin,
    confirm_login,
    current_user,
    fresh_login_required,
    login_fresh,
    login_remembered,
    login_required,
    login_user,
    logout_user,
    remember_token_reused,
)

MakeSite = Callable[..., "Site"]


class User(UserMixin):
    """A user whose account can be switched off, and whose password can be changed."""

    def __init__(self, user_id: str, password_hash: str = "argon2:first") -> None:
        self.id = user_id
        self.active = True
        self.password_hash = password_hash

    @property
    def is_active(self) -> bool:
        return self.active

    def session_auth_hash(self) -> str:
        return self.password_hash


class Site:
    """An application with logins, and what a test does to it."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.users: dict[str, Any] = {name: User(name) for name in ("alice", "bob")}
        self.loads: list[str] = []
        self.manager = LoginManager(app)
        #: What /work does in the middle of its request.
        self.meanwhile: Callable[[], Any] = lambda: None
        self.work: Callable[[], Any] = lambda: None

        @self.manager.user_loader
        def load(user_id: str) -> Any:
            self.loads.append(user_id)
            return self.users.get(user_id)

        add_views(self)

    def browser(self, user: str | None = None, **arguments: Any) -> Browser:
        browser = Browser(self)
        if user is not None:
            assert browser.login(user, **arguments)
        return browser


class Browser:
    """Keeps cookies as a browser does."""

    def __init__(self, site: Site, cookies: dict[str, str] | None = None, agent: str = "Firefox") -> None:
        self.site = site
        self.agent = agent
        self.client = site.app.test_client()
        for name, value in (cookies or {}).items():
            self.client.set_cookie(name, value)

    def open(self, path: str, **options: Any) -> Any:
        headers = {"User-Agent": self.agent, **options.pop("headers", {})}
        return self.client.open(path, headers=headers, **options)

    def text(self, path: str, **options: Any) -> str:
        return str(self.open(path, **options).text)

    def login(self, user: str, **arguments: Any) -> bool:
        query = {"user": user, **{name: "1" for name, wanted in arguments.items() if wanted}}
        return self.text("/login", query_string=query) == "True"

    @property
    def who(self) -> str:
        return self.text("/who")

    @property
    def cookies(self) -> dict[str, str]:
        names = ("session", "remember_token")
        found = {name: self.client.get_cookie(name) for name in names}
        return {name: cookie.value for name, cookie in found.items() if cookie is not None}

    def copy(self, *names: str) -> Browser:
        """Return another browser with the cookies as they are now, or with those of these names."""
        cookies = {name: value for name, value in self.cookies.items() if not names or name in names}
        return Browser(self.site, cookies, self.agent)


@contextmanager
def reported_users() -> Iterator[list[str]]:
    """Collect the ids of the users whose used tokens came back in the ``with`` block."""
    heard: list[str] = []

    def hear(sender: Any, **arguments: Any) -> None:
        heard.append(arguments["user_id"])

    with remember_token_reused.connected_to(hear):
        yield heard


def ask_at_once(browsers: list[Browser]) -> list[str]:
    """Let each ask who it is, all at the same moment, and return the answers."""
    start = threading.Barrier(len(browsers))
    answers: list[str] = []

    def ask(one: Browser) -> None:
        start.wait()
        answers.append(one.who)

    threads = [threading.Thread(target=ask, args=(one,)) for one in browsers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def add_views(site: Site) -> None:
    app = site.app

    @app.route("/login")
    def login() -> str:
        from flask import request

        wanted = {name: name in request.args for name in ("remember", "force")}
        return str(login_user(site.users[request.args["user"]], fresh="stale" not in request.args, **wanted))

    @app.route("/logout")
    def logout() -> str:
        return str(logout_user())

    @app.route("/confirm")
    def confirm() -> str:
        confirm_login()
        return "ok"

    @app.route("/who")
    def who() -> str:
        return current_user.get_id() or "nobody"

    @app.route("/how")
    def how() -> str:
        return f"fresh={login_fresh()} remembered={login_remembered()}"

    @app.route("/members")
    @login_required
    def members() -> str:
        return "members"

    @app.route("/secret")
    @fresh_login_required
    def secret() -> str:
        return "secret"

    @app.route("/alone")
    def alone() -> str:
        return "alone"

    @app.route("/cart/<item>")
    def cart(item: str) -> str:
        session.setdefault("cart", []).append(item)
        session.modified = True
        return "ok"

    @app.route("/contents")
    def contents() -> dict[str, Any]:
        return {key: value for key, value in session.items() if not key.startswith("_")}

    @app.route("/work")
    def work() -> str:
        """Read the session, let another request happen, then do what the test wants."""
        dict(session)
        site.meanwhile()
        return str(site.work())
