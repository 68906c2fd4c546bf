"""A request with a login in a header needs no token, because another site cannot make a browser send that header."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, Request, session
from flask.testing import FlaskClient

from flask_cloakroom import (
    Cloakroom,
    CSRFProtect,
    LoginManager,
    Refused,
    SeaSurf,
    UserKind,
    UserMixin,
    csrf_refused,
    current_user,
    login_required,
    login_user,
)
from support.sites.csrf import FOREIGN, Watched, make_app, reason_of

BEARER = {"Authorization": "Bearer alices"}


class User(UserMixin):
    def __init__(self, id: str) -> None:
        self.id = id


USERS = {name: User(name) for name in ("alice", "mallory")}
TOKENS = {"alices": USERS["alice"], "mallorys": USERS["mallory"]}


def by_bearer(request: Request) -> User | None:
    return TOKENS.get(request.authorization.token or "") if request.authorization else None


def add_logins(app: Flask) -> LoginManager:
    """Add a login by session and remember cookie, and a view that changes something of the user's."""
    manager: LoginManager = app.login_manager  # type: ignore[attr-defined]
    manager.user_loader(USERS.get)
    app.add_url_rule("/in/<name>", "in", lambda name: str(login_user(USERS[name], remember=True)))
    app.add_url_rule("/mine", "mine", login_required(lambda: current_user.id), methods=["POST"])
    return manager


@pytest.fixture
def app(kind: str) -> Flask:
    """A site with logins and the protection, without ``Cloakroom``."""
    app = make_app(kind, SECRET_KEY="a key that is long enough for tokens")
    LoginManager(app)
    add_logins(app)
    return app


def post(app: Flask, path: str = "/mine", **headers: str) -> Any:
    return app.test_client().post(path, headers={"Sec-Fetch-Site": "cross-site", **headers})


@pytest.mark.parametrize("headers", [{}, FOREIGN, {"Origin": "null"}, {"Referer": "https://evil.example/"}])
@pytest.mark.parametrize("loader", ["authenticator", "any authenticator", "request_loader"])
def test_needs_no_token(app: Flask, headers: dict[str, str], loader: str) -> None:
    """By an authenticator of the scheme, one that is always asked, or a request_loader; wherever it comes from."""
    manager: Any = app.login_manager  # type: ignore[attr-defined]
    register = {
        "authenticator": manager.authenticator("Bearer"),
        "any authenticator": manager.authenticator,
        "request_loader": manager.request_loader,
    }[loader]
    register(by_bearer)
    assert app.test_client().post("/mine", headers={**headers, **BEARER}).text == "alice"
    assert app.test_client().post("/mine", headers=headers).status_code == 400


@pytest.mark.parametrize("protection", [CSRFProtect, SeaSurf, None])
@pytest.mark.parametrize("first", [True, False])
def test_however_it_is_set_up(protection: Any, first: bool) -> None:
    """With ``Cloakroom``, or ``LoginManager`` and a protection in either order."""
    app = Flask("shop")
    app.config.update(TESTING=True, SESSION_STORE="memory://", CSRF_REQUIRE_TOKEN=True)
    parts = [Cloakroom] if protection is None else [LoginManager, protection]
    for part in parts if first else reversed(parts):
        part(app)
    if protection is not None:
        app.secret_key = "a key that is long enough"
    add_logins(app).authenticator("Bearer")(by_bearer)
    assert app.test_client().post("/mine", headers=BEARER).text == "alice"
    assert app.test_client().post("/mine").status_code in (400, 403)


def test_cookie_alone(app: Flask) -> None:
    """A forged form brings the cookie and no header: refused."""
    manager: Any = app.login_manager  # type: ignore[attr-defined]
    manager.authenticator("Bearer")(by_bearer)
    client = app.test_client()
    client.get("/in/alice")
    assert client.post("/mine", headers=FOREIGN).status_code == 400
    assert client.post("/mine", headers={"Sec-Fetch-Site": "same-origin"}).text == "alice"


@pytest.mark.parametrize("forgotten", ["session", "remember_token"])
def test_header_and_cookie(app: Flask, forgotten: str) -> None:
    """A request that brings the cookie of a session, or one that remembers a login, is checked as any other.

    The view could act by it: with Mallory's token in the header and Alice's session behind it.
    """
    manager: Any = app.login_manager  # type: ignore[attr-defined]
    manager.authenticator("Bearer")(by_bearer)
    app.add_url_rule("/cart", "cart", lambda: str(session.get("_user_id")), methods=["POST"])
    client = app.test_client()
    client.get("/in/alice")
    client.delete_cookie(forgotten)
    sent = {"Authorization": "Bearer mallorys"}
    for headers in ({}, FOREIGN):
        assert client.post("/cart", headers={**headers, **sent}).status_code == 400
    assert client.post("/mine", headers={"Sec-Fetch-Site": "same-origin", **sent}).text == "mallory"


def test_other_cookies(app: Flask) -> None:
    """One that logs nobody in, as a load balancer's, makes no difference."""
    manager: Any = app.login_manager  # type: ignore[attr-defined]
    manager.authenticator("Bearer")(by_bearer)
    client = app.test_client()
    client.set_cookie("lb", "7")
    assert client.post("/mine", headers=BEARER).text == "alice"


@pytest.mark.parametrize("mode", ["navigate", "no-cors", "nested-navigate", ""])
def test_header_that_no_page_set(app: Flask, mode: str) -> None:
    """A form has none: a proxy has put it in, which knows the visitor by a cookie of its own. Refused."""
    manager: Any = app.login_manager  # type: ignore[attr-defined]
    manager.authenticator("Bearer")(by_bearer)
    assert post(app, **BEARER, **{"Sec-Fetch-Mode": mode}).status_code == 400
    assert post(app, **BEARER, **{"Sec-Fetch-Mode": "cors"}).text == "alice"


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "Digest", "Negotiate", "NTLM"])
@pytest.mark.parametrize("loader", ["authenticator", "request_loader"])
def test_what_browsers_send_by_themselves(app: Flask, scheme: str, loader: str) -> None:
    """Is as good as a cookie to a forger."""
    manager: Any = app.login_manager  # type: ignore[attr-defined]
    getattr(manager, loader)(lambda request: USERS["alice"])
    assert post(app, Authorization=f"{scheme} eDp4").status_code == 400
    assert post(app, Authorization=f"{scheme}\teDp4").status_code == 400
    assert post(app, Authorization=" ").status_code == 400


@pytest.mark.parametrize("loader", ["authenticator", "request_loader"])
@pytest.mark.parametrize("shown", ["query", "cookie", "certificate", "form"])
def test_what_is_no_header(app: Flask, loader: str, shown: str) -> None:
    """A key in the URL, a form or a cookie of its own, or a client certificate, is no header: a form can bring it."""
    manager: Any = app.login_manager  # type: ignore[attr-defined]

    def find(request: Request) -> User | None:
        keys = {
            "query": request.args.get("api_key"),
            "cookie": request.cookies.get("api_key"),
            "form": request.form.get("api_key"),
            "certificate": request.environ.get("SSL_CLIENT_S_DN"),
        }
        return TOKENS.get(keys[shown] or "")

    getattr(manager, loader)(find)
    client = app.test_client()
    if shown == "cookie":
        client.set_cookie("api_key", "alices")
    response = client.post(
        "/mine?api_key=alices",
        data={"api_key": "alices"},
        headers=FOREIGN,
        environ_base={"SSL_CLIENT_S_DN": "alices"},
    )
    assert reason_of(response) == "The request comes from another site."


@pytest.mark.parametrize("headers", [{}, FOREIGN])
def test_header_of_its_own(app: Flask, headers: dict[str, str]) -> None:
    """An authenticator for another header is the only one that is asked, and then it has to know it."""
    manager: Any = app.login_manager  # type: ignore[attr-defined]
    manager.authenticator(header="X-API-Key")(lambda request: TOKENS.get(request.headers.get("X-API-Key", "")))
    client = app.test_client()
    assert client.post("/mine", headers={**headers, "X-API-Key": "alices"}).text == "alice"
    assert client.post("/mine", headers={**headers, "X-API-Key": "made up"}).status_code == 401
    assert client.post("/mine", headers=headers).status_code == 400
    client.get("/in/alice")
    assert client.post("/mine", headers={**headers, "X-API-Key": "alices"}).status_code == 400
    assert client.post("/mine", headers={"Sec-Fetch-Site": "same-origin"}).text == "alice"


def test_header_without_its_authenticator(app: Flask) -> None:
    """Where an authenticator finds the user by a header that it was not registered for, nobody knows that: a token."""
    manager: Any = app.login_manager  # type: ignore[attr-defined]
    manager.authenticator(lambda request: TOKENS.get(request.headers.get("X-API-Key", "")))
    assert post(app, **{"X-API-Key": "alices"}).status_code == 400


@pytest.mark.parametrize(
    "header", ["Cookie", "authorization", "User-Agent", "Accept-Language", "Content-Type", "Sec-Fetch-Site", "", "a b"]
)
def test_headers_that_cannot_be(header: str) -> None:
    """What browsers or proxies set, or let any page set, proves nothing: an error when it is registered."""
    with pytest.raises(ValueError, match="X-API-Key"):
        LoginManager().authenticator(header=header)(by_bearer)
    with pytest.raises(ValueError, match="scheme"):
        LoginManager().authenticator("Bearer", header="X-API-Key")(by_bearer)


def test_refused_credential(app: Flask) -> None:
    """Is a 401 with its challenge, and nothing falls back to a cookie; with one, the request is a 400."""
    manager: Any = app.login_manager  # type: ignore[attr-defined]
    manager.authenticator("Bearer", challenge='Bearer realm="api"')(by_bearer)
    refused = post(app, Authorization="Bearer made-up")
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="api"'
    client = app.test_client()
    client.get("/in/alice")
    assert client.post("/mine", headers={**FOREIGN, "Authorization": "Bearer made-up"}).status_code == 400


def test_header_that_nobody_knows(app: Flask) -> None:
    """A request_loader that finds nobody, or a header that no loader looks at, leaves the request as it was."""
    assert post(app, Authorization="Bearer alices").status_code == 400
    manager: Any = app.login_manager  # type: ignore[attr-defined]
    manager.request_loader(by_bearer)
    assert post(app, Authorization="Bearer made-up").status_code == 400


def test_site_without_loaders() -> None:
    """A LoginManager that cannot log in anybody is not asked."""
    app = make_app("cookie")
    LoginManager(app)
    assert post(app, "/change", **BEARER).status_code == 400


class TestKindsOfUser:
    """Customers by a cookie, operators by a header."""

    @pytest.fixture
    def operators(self, app: Flask) -> UserKind:
        kind = UserKind("operator", app)
        kind.user_loader(USERS.get)
        kind.authenticator("Bearer")(by_bearer)
        app.add_url_rule("/office/in", "office_in", lambda: str(kind.login_user(USERS["alice"])))
        app.add_url_rule("/office", "office", kind.login_required(lambda: kind.current_user.id), methods=["POST"])
        return kind

    def test_by_header(self, app: Flask, operators: UserKind) -> None:
        """An operator's token is enough for an operator's view, and makes nobody a customer."""
        assert post(app, "/office", **BEARER).text == "alice"
        assert post(app, "/mine", **BEARER).status_code == 401

    @pytest.mark.parametrize("path", ["/in/alice", "/office/in"])
    def test_with_a_cookie_of_either(self, app: Flask, operators: UserKind, path: str) -> None:
        """With the cookie of a customer or of an operator the request is checked, whatever the view."""
        client = app.test_client()
        client.get(path)
        for view in ("/mine", "/office"):
            assert client.post(view, headers={**FOREIGN, **BEARER}).status_code == 400

    def test_one_refuses_what_is_the_others(self, app: Flask, operators: UserKind) -> None:
        """Both have authenticators for the scheme: a token that one of them knows is enough."""
        manager: Any = app.login_manager  # type: ignore[attr-defined]

        @manager.authenticator("Bearer")
        def never(request: Request) -> Any:
            raise Refused("no customer's")

        assert post(app, "/office", **BEARER).text == "alice"
        assert post(app, "/office", Authorization="Bearer made-up").status_code == 401

    def test_without_others(self, kind: str) -> None:
        """A kind of user in an application that has no other."""
        app = make_app(kind)
        operators = UserKind("operator", app)
        operators.authenticator("Bearer")(by_bearer)
        assert post(app, "/change", **BEARER).text == "changed"
        assert post(app, "/change").status_code == 400


class TestCosts:
    """What it costs."""

    @pytest.fixture
    def client(self) -> FlaskClient:
        app = make_app()
        LoginManager(app)
        add_logins(app).authenticator("Bearer")(self.find)
        self.asked = 0
        self.store = Watched(app)
        return app.test_client()

    def find(self, request: Request) -> User | None:
        self.asked += 1
        return by_bearer(request)

    def test_request_that_says_where_it_comes_from(self, client: FlaskClient) -> None:
        """Loads no user for the check."""
        client.post("/change", headers={"Sec-Fetch-Site": "same-origin", **BEARER})
        assert self.asked == 0

    @pytest.mark.parametrize("headers", [{}, FOREIGN])
    def test_request_with_a_header(self, client: FlaskClient, headers: dict[str, str]) -> None:
        """The user is found once, for the check and the view, and there is no store command, cookie or Vary: Cookie."""
        response = client.post("/mine", headers={**headers, **BEARER})
        assert (self.asked, self.store.calls) == (1, [])
        assert "Set-Cookie" not in response.headers
        assert "Cookie" not in ", ".join(response.headers.getlist("Vary"))

    def test_forged_request(self, client: FlaskClient) -> None:
        """Asks no authenticator and no store."""
        client.post("/mine", headers=FOREIGN)
        assert (self.asked, self.store.calls) == (0, [])


def test_it_is_no_refusal(app: Flask) -> None:
    """Nothing is logged or told; and ``protect()`` agrees."""
    manager: Any = app.login_manager  # type: ignore[attr-defined]
    manager.authenticator("Bearer")(by_bearer)
    app.add_url_rule("/own", "own", lambda: str(app.extensions["csrf"].protect()), methods=["POST"])
    with csrf_refused.connected_to(lambda *_, **__: pytest.fail("a refusal was told"), app):
        assert post(app, "/own", **BEARER).text == "None"
