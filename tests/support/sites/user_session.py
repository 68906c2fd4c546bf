"""A site with logins and ``user_session``, browsers that keep cookies, and a store that dies within a request."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from flask import Flask, request, session

from flask_cloakroom import (
    LoginManager,
    Session,
    UserMixin,
    delete_user_data,
    export_user_data,
    impersonate,
    login_user,
    logout_user,
    stop_impersonating,
    user_session,
)
from flask_cloakroom.testing.interleaving import InterleavingOwners, Verb

T = TypeVar("T")

MakeSite = Callable[..., "Site"]

MERGE = {"count": "sum", "tags": "union", "best": "max", "log": "append", "since": "first"}


class Died(BaseException):
    """The process is no more: nothing after this happens, and nobody gets an answer."""


class MortalStore(InterleavingOwners):
    """Counts its calls, and dies at one of them: before it took effect, or after."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        #: So many calls from now on, it dies; None for never.
        self.calls_left: int | None = None
        self.took_effect = False
        self.raises: type[BaseException] = Died

    def die_at(self, call: int, *, took_effect: bool, raises: type[BaseException] = Died) -> None:
        """Die at the ``call``-th call from now, the next one being 1."""
        self.calls_left, self.took_effect, self.raises = call, took_effect, raises

    def _call(self, verb: Verb, key: bytes, work: Callable[[], T]) -> T:
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left == 0:
                self.calls_left = None
                if self.took_effect:
                    super()._call(verb, key, work)
                raise self.raises("the store died")
        return super()._call(verb, key, work)


class User(UserMixin):
    """A user."""

    def __init__(self, user_id: str) -> None:
        self.id = user_id
        self.password_hash = "argon2:first"

    def session_auth_hash(self) -> str:
        return self.password_hash


class Site:
    """An application, and what a test does to it."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.users = {name: User(name) for name in ("alice", "bob")}
        Session(app)
        self.manager = LoginManager(app)
        self.manager.user_loader(self.users.get)
        self.manager.impersonation_allowed(lambda by, user: True)
        #: What /work does in the middle of its request.
        self.meanwhile: Callable[[], Any] = lambda: None
        add_views(self)

    def watch(self) -> MortalStore:
        """Put a store that counts and can die in the place of the application's."""
        repository = self.app.session_interface.repository  # type: ignore[attr-defined]
        if not isinstance(repository.store, MortalStore):
            repository.store = MortalStore(repository.store)
        store: MortalStore = repository.store
        return store

    def stored(self, user: str) -> Any:
        """Return what is stored of a user."""
        with self.app.app_context():
            return json.loads(export_user_data(user))

    def delete(self, user: str) -> bool:
        """Delete what is a user's, as another process does it: outside of every request that is under way."""

        def work() -> bool:
            with self.app.app_context():
                return delete_user_data(user)

        with ThreadPoolExecutor(1) as elsewhere:
            return elsewhere.submit(work).result()


class Browser:
    """Keeps cookies as a browser does."""

    def __init__(self, site: Site, **cookies: str) -> None:
        self.site = site
        self.client = site.app.test_client()
        for name, value in cookies.items():
            self.client.set_cookie(name, value)

    def get(self, path: str, **options: Any) -> Any:
        return self.client.get(path, **options)

    def do(self, code: str, **options: Any) -> Any:
        """Run code in a view, and return what it left in ``answer``."""
        response = self.client.post("/do", data=code, **options)
        assert response.status_code == 200, response.text
        return response.json

    def work(self, code: str) -> Any:
        """The same, but in a request that has read everything before, and in which another one happened since."""
        return self.client.post("/work", data=code)

    def show(self) -> Any:
        return self.do("answer = dict(user_session)")

    def login(self, user: str, code: str = "", **query: str) -> Any:
        return self.client.post("/login", data=code, query_string={"user": user, **query})

    def logout(self) -> Any:
        return self.get("/logout")

    @property
    def cookies(self) -> dict[str, str]:
        found = {name: self.client.get_cookie(name) for name in ("session", "remember_token")}
        return {name: cookie.value for name, cookie in found.items() if cookie is not None}

    def copy(self, *names: str) -> Browser:
        """Return a browser with the cookies as they are now: another tab, whose requests left it at this moment."""
        return Browser(self.site, **{name: v for name, v in self.cookies.items() if not names or name in names})


def run(site: Site, code: str) -> Any:
    """Run code as a view would, with the public names."""
    names: dict[str, Any] = {
        "answer": None,
        "delete_user_data": delete_user_data,
        "impersonate": lambda user: impersonate(site.users[user]),
        "login": lambda user: login_user(site.users[user]),
        "logout": logout_user,
        "session": session,
        "stop_impersonating": stop_impersonating,
        "user_session": user_session,
    }
    exec(code, names)
    return names["answer"]


def add_views(site: Site) -> None:
    app = site.app

    @app.post("/do")
    def do() -> Any:
        return app.json.response(run(site, request.get_data(as_text=True)))

    @app.post("/work")
    def work() -> Any:
        dict(user_session)
        site.meanwhile()
        return app.json.response(run(site, request.get_data(as_text=True)))

    @app.post("/login")
    def login() -> Any:
        done = login_user(site.users[request.args["user"]], remember="remember" in request.args)
        return app.json.response([done, run(site, request.get_data(as_text=True))])

    @app.get("/logout")
    def logout() -> str:
        logout_user()
        return "ok"

    @app.get("/alone")
    def alone() -> str:
        return "alone"

    @app.get("/session")
    def of_session() -> Any:
        return app.json.response(dict(session))
