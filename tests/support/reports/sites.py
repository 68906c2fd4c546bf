"""A site that uses all parts of the package, a visitor's journey through it, and a bug at any step of that."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Request, flash, get_flashed_messages, got_request_exception, request, session
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException, InternalServerError

from flask_cloakroom import (
    Cloakroom,
    CSRFProtect,
    LoginManager,
    UserKind,
    UserMixin,
    active_sessions,
    confirm_login,
    current_user,
    delete_user_data,
    generate_csrf,
    impersonate,
    login_required,
    login_user,
    login_watch,
    logout_everywhere,
    logout_user,
    register_type,
    revoke_session,
    signals,
    stop_impersonating,
    update_session_auth_hash,
    user_session,
)
from flask_cloakroom.core.entries.tickets import sealing_key
from flask_cloakroom.stores.memory import MemoryStore
from support.reports.reporters import Secrets

SECRET_KEY = "Key-Of-The-Application-That-Nobody-May-See"
FALLBACK = "Former-Key-Of-The-Application-For-Nobody"
CSRF_KEY = "Key-Of-The-Tokens-That-Nobody-May-See"
VALUE = "Value-In-The-Session-That-Nobody-May-See"
USER_VALUE = "Value-Of-The-User-That-Nobody-May-See"
COOKIES = ("session", "remember_token", "session_operator", "remember_token_operator")


class Bug(Exception):
    """A mistake in somebody else's code."""


class User(UserMixin):
    """A user with a password."""

    def __init__(self, user_id: str) -> None:
        self.id = user_id
        self.password_hash = f"hash of {user_id}"

    def session_auth_hash(self) -> str:
        return self.password_hash


class Fragile:
    """A value of a session, of a class whose functions may fail."""


@dataclass
class Trap:
    """Raises at one of the calls that come by: the ``left``-th from now."""

    left: int | None = None
    kind: type[Exception] = Bug
    calls: int = 0

    def step(self) -> None:
        self.calls += 1
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                self.left = None
                raise self.kind("a mistake in somebody else's code")


class BuggyStore:
    """Notes the keys of the calls, and has a bug at one of them."""

    def __init__(self, trap: Trap, secrets: Secrets) -> None:
        self._store = MemoryStore()
        self._trap = trap
        self._secrets = secrets

    def _call(self, name: str, key: bytes, *arguments: Any) -> Any:
        self._secrets.add("a store's key", bytes(key))
        self._trap.step()
        return getattr(self._store, name)(key, *arguments)

    def load(self, key: bytes) -> Any:
        return self._call("load", key)

    def create(self, key: bytes, *arguments: Any) -> Any:
        return self._call("create", key, *arguments)

    def replace(self, key: bytes, *arguments: Any) -> Any:
        return self._call("replace", key, *arguments)

    def touch(self, key: bytes, ttl: int) -> Any:
        return self._call("touch", key, ttl)

    def delete(self, key: bytes) -> Any:
        return self._call("delete", key)

    def claim(self, owner: bytes, key: bytes, *arguments: Any) -> Any:
        self._trap.step()
        self._secrets.add("a store's key", bytes(key))
        return self._store.claim(owner, key, *arguments)

    def release(self, owner: bytes, key: bytes) -> Any:
        self._trap.step()
        return self._store.release(owner, key)

    def owned(self, owner: bytes) -> Any:
        self._trap.step()
        return self._store.owned(owner)

    def close(self) -> None:
        self._store.close()


@dataclass
class Site:
    """An application whose errors are collected, and what its journey has shown so far that is secret."""

    on_server: bool = True
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.secrets = Secrets()
        self.secrets.add("a key", SECRET_KEY, FALLBACK, CSRF_KEY)
        self.secrets.add("a value", VALUE, USER_VALUE)
        self.errors: list[BaseException] = []
        #: Bugs of the store; of loaders; of a registered type; of a strategy; of views.
        self.store, self.loader, self.codec, self.strategy, self.view = (Trap() for _ in range(5))
        self.users = {name: User(name) for name in ("alice", "bob", "root")}
        self.ahead = 0
        self.app = app = Flask("site")
        app.config.update(
            SECRET_KEY=SECRET_KEY,
            SECRET_KEY_FALLBACKS=[FALLBACK],
            WTF_CSRF_SECRET_KEY=CSRF_KEY,
            CSRF_REQUIRE_TOKEN=False,
            CSRF_COOKIE="XSRF-TOKEN",
            **self.config,
        )
        if self.on_server:
            app.config.update(
                SESSION_STORE=BuggyStore(self.store, self.secrets),
                SESSION_RENEW_EVERY=1000,
                SESSION_REFRESH_AFTER=0,
                SESSION_MAX_BYTES=20_000,
                SESSION_MERGE={"shared": self._merge},
                USER_SESSION_MERGE={"basket": self._merge},
                SESSION_LIMIT_PER_USER=3,
            )
            self.login: LoginManager = Cloakroom(app).login_manager
        else:
            self.login = LoginManager(app)
            CSRFProtect(app)
        self.operators = UserKind("operator", app)
        for manager in (self.login, self.operators):
            manager.user_loader(self._load)
            manager.impersonation_allowed(lambda impersonator, user: True)
        register_type(Fragile, name="tests.reports.Fragile", encode=self._encode, decode=self._decode)
        app.register_error_handler(HTTPException, self._note)
        got_request_exception.connect(self._raised, app)
        if self.on_server:
            for interface in (app.session_interface, self.operators.interface_for(app)):
                interface.repository.clock = lambda: time.time() + self.ahead  # type: ignore[union-attr]
        add_views(self)

    def _load(self, user_id: str) -> Any:
        self.loader.step()
        return self.users.get(user_id)

    def _encode(self, value: Fragile) -> int:
        self.codec.step()
        return 1

    def _decode(self, stored: int) -> Fragile:
        self.codec.step()
        return Fragile()

    def _merge(self, base: Any, theirs: Any, mine: Any) -> Any:
        self.strategy.step()
        return mine

    def _note(self, error: HTTPException) -> HTTPException:
        if not isinstance(error, InternalServerError):  # of which the reason is collected
            self.errors.append(error)
        return error

    def _raised(self, app: Flask, exception: BaseException, **_: Any) -> None:
        self.errors.append(exception)

    @contextmanager
    def receiver_that_fails(self, signal: Any) -> Any:
        """Connect a receiver with a bug to a signal."""

        def receive(sender: Any, **_: Any) -> None:
            raise Bug("a mistake in somebody else's code")

        signal.connect(receive)
        try:
            yield
        finally:
            signal.disconnect(receive)


class Browser:
    """Sends requests, and takes to the secrets what their answers set and show."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.client: FlaskClient = site.app.test_client()

    def cookie(self, name: str) -> str:
        found = self.client.get_cookie(name)
        return "" if found is None else found.value

    def drop(self, *names: str) -> None:
        for name in names:
            self.client.delete_cookie(name)

    def put(self, name: str, value: str) -> None:
        self.client.set_cookie(name, value)

    def get(self, path: str, **form: str) -> str:
        secrets = self.site.secrets
        for name in (*COOKIES, "XSRF-TOKEN"):
            self._learn(name)
        answer = self.client.post(path, data=form) if form else self.client.get(path)
        for header in answer.headers.getlist("Set-Cookie"):
            value = header.partition("=")[2].partition(";")[0]
            secrets.add("a cookie that was set", value, *value.split("."))
        for name in COOKIES:
            self._learn(name)
        return answer.text

    def _learn(self, name: str) -> None:
        value = self.cookie(name)
        if value:
            self.site.secrets.add(f"the cookie {name}", value, *value.split("."))
            self.site.secrets.add("a key that seals", bytes(sealing_key(value)))


def add_views(site: Site) -> None:
    app = site.app

    def view(path: str) -> Callable[[Callable[..., Any]], Any]:
        return app.route(path, methods=["GET", "POST"], endpoint=path)

    @view("/token")
    def token() -> str:
        made = generate_csrf()
        site.secrets.add("a token", made)
        site.secrets.add("the secret of tokens", session["csrf_token"], session["csrf_token"].partition(".")[0])
        site.view.step()
        return made

    @view("/set")
    def set_value() -> str:
        session["value"] = VALUE
        session["list"] = [VALUE]
        site.view.step()
        return "set"

    @view("/get")
    def get_value() -> str:
        found = session.get("value")
        site.view.step()
        return str(found)

    @view("/flash")
    def flash_value() -> str:
        flash("hello")
        return "flashed"

    @view("/flashed")
    def flashed() -> str:
        return str(get_flashed_messages())

    @view("/belongs")
    def belongs() -> str:
        if site.on_server:
            user_session["value"] = USER_VALUE
            user_session.setdefault("basket", []).append(USER_VALUE)
        site.view.step()
        return "kept"

    @view("/login/<name>")
    def login(name: str) -> str:
        login_user(site.users[name], remember="remember" in request.values)
        site.view.step()
        return str(login_source_id())

    @view("/operator")
    def operator() -> str:
        site.operators.login_user(site.users["root"], remember=True)
        if site.on_server:
            site.operators.user_session["value"] = USER_VALUE
        return str(site.operators.current_user.id)

    @view("/me")
    def me() -> str:
        found = login_source_id()
        site.view.step()
        return str(found)

    @view("/impersonate")
    def see_as() -> str:
        impersonate(site.users["bob"])
        return "bob"

    @view("/stop")
    def stop() -> str:
        stop_impersonating()
        return "stopped"

    @view("/password")
    def password() -> str:
        user = site.users[current_user.id]
        user.password_hash += "."
        update_session_auth_hash(user)
        return "changed"

    @view("/conflict")
    def conflict() -> str:
        side = "theirs" if "nested" in request.args else "mine"
        session.get("csrf_token")
        session["shared"], session["plain"] = [VALUE, side], VALUE + side
        if site.on_server:
            user_session["basket"], user_session["plain"] = [USER_VALUE, side], USER_VALUE + side
        if side == "mine":
            beside("/conflict?nested=1")
        return "conflict"

    def beside(path: str) -> None:
        """Send another request of the same browser, in the middle of this one."""
        other = Browser(site)
        for name in COOKIES:
            if name in request.cookies:
                other.put(name, request.cookies[name])
        other.get(path)

    @view("/late")
    def late() -> str:
        session["value"] = VALUE
        if site.on_server:
            user_session["value"] = USER_VALUE
        beside("/logout")
        return "too late"

    @view("/confirm")
    def confirm() -> str:
        confirm_login()
        return "confirmed"

    @view("/revoke")
    def revoke() -> str:
        return str(site.on_server and [revoke_session(one.handle) for one in active_sessions() if not one.current])

    @view("/members")
    @login_required
    def members() -> str:
        return "members"

    @view("/lock")
    def lock() -> str:
        if site.on_server:
            with session.lock():  # type: ignore[attr-defined]
                session["value"] = VALUE
                site.view.step()
        return "locked"

    @view("/fragile")
    def fragile() -> str:
        if site.on_server:
            session.get("csrf_token")
            session["value"] = VALUE
            session["fragile"] = Fragile()
        return "stored"

    @view("/fragiles")
    def fragiles() -> str:
        return str(type(session.get("fragile")))

    @view("/devices")
    def devices() -> str:
        if not site.on_server:
            return "unknown"
        return f"{len(active_sessions())} {login_watch().is_good()} {user_session.undo_merge()}"

    @view("/everywhere")
    def everywhere() -> str:
        if site.on_server:
            logout_everywhere(keep_current=True)
            delete_user_data(site.users["bob"])
        return "ended"

    @view("/large")
    def large() -> str:
        session["value"] = VALUE
        session["large"] = [VALUE] * 1000
        return "too large" if site.on_server else "large"

    @view("/object")
    def an_object() -> str:
        session["value"], session["object"] = VALUE, object()
        return "refused"

    @view("/missing")
    def missing() -> str:
        session.get("csrf_token"), session.get("value"), session.get("list")
        return str(session["not there"])

    @view("/nothing")
    def nothing() -> str:
        session.get("csrf_token"), session.get("value")
        del session["not there"]
        return ""

    @view("/logout")
    def logout() -> str:
        logout_user()
        return "out"


def login_source_id() -> Any:
    return getattr(current_user, "id", None)


def authenticate_basic(request: Request) -> Any:
    """An authenticator with a bug."""
    raise Bug("a mistake in somebody else's code")


def journey(site: Site) -> None:
    """Go through the site, until an error is met that is not expected at this step."""
    browser = Browser(site)
    first_remember = ""

    def go(path: str, **form: str) -> str:
        answer = browser.get(path, **form)
        if any(isinstance(error, Bug) or error.__cause__ is not None for error in site.errors):
            raise Met
        return answer

    browser.put("session", "A" * 43)  # nobody's
    go("/members")
    token = go("/token")
    go("/set", csrf_token=token)
    go("/belongs", csrf_token=token)
    go("/flash")
    go("/flashed")
    go("/login/alice", csrf_token=token, remember="1")
    go("/set", csrf_token=token)  # void since the login: refused
    go("/belongs", csrf_token=go("/token"))
    go("/devices")
    go("/conflict")
    go("/lock")
    go("/fragile")
    go("/fragiles")
    go("/impersonate")
    go("/get")
    go("/stop")
    go("/operator")
    go("/operator")
    go("/password")
    old = browser.cookie("session")
    first_remember = browser.cookie("remember_token")
    site.ahead += 1500
    go("/get")  # a renewal
    new = browser.cookie("session")
    browser.put("session", old)
    go("/get")  # a parallel request
    site.ahead += 40
    browser.put("session", old)
    go("/get")  # a copy, perhaps
    browser.put("session", new)
    browser.drop("session")
    go("/me")  # by the remember token
    go("/belongs")
    site.ahead += 200
    browser.put("remember_token", first_remember)
    browser.drop("session")
    go("/me")  # an old token came back
    go("/login/bob", csrf_token=go("/token"))
    other = Browser(site)
    other.get("/login/bob", csrf_token=other.get("/token"))
    go("/revoke")
    go("/confirm")
    go("/everywhere")
    go("/belongs")
    go("/late")
    go("/logout")
    browser = Browser(site)
    for path in ("/large", "/object", "/missing", "/nothing"):
        go("/token")
        go("/set", csrf_token=go("/token"))
        go(path)


class Met(Exception):
    """The bug was met: the journey is over."""


def travel(site: Site) -> None:
    """Do the journey as far as it goes."""
    with suppress(Met):
        journey(site)


SIGNALS = [getattr(signals, name) for name in dir(signals) if hasattr(getattr(signals, name), "receivers")]
