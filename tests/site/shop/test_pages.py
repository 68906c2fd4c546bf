"""All pages: the session page, errors, health, headers, and the rules of good HTML."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from flask import Flask, session
from flask.testing import FlaskClient
from sched_site import create_app
from sched_site.redis_client import redis

COOKIE = "sched_session"
PATHS = [
    *("/", "/cart", "/login", "/session", "/product/desk-bell", "/nothing-here"),
    *("/account", "/account/password", "/confirm", "/register"),
    *("/appointments", "/appointments/week", "/appointments/new", "/appointments/time-zone"),
]
VOID = {"meta", "link", "input", "br", "img", "hr"}


class Outline(HTMLParser):
    """What a screen reader makes of a page, as far as these tests ask."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def fill_and_sign_in(client: FlaskClient) -> None:
    client.post("/cart/add", data={"product": "desk-bell"})
    client.post("/cart/add", data={"product": "wall-calendar"})
    client.post("/login", data={"username": "mira", "password": "half-past-nine"})


@pytest.fixture
def visitor(client: FlaskClient) -> FlaskClient:
    """Somebody signed in, with two things in the cart."""
    fill_and_sign_in(client)
    return client


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("signed_in", [False, True])
def test_accessible(client: FlaskClient, signed_in: bool, path: str) -> None:
    """Every page has a language, a title, landmarks, one main heading, and names for its fields."""
    if signed_in:
        fill_and_sign_in(client)
    response = client.get(path, follow_redirects=True)
    page = Outline(response.text)
    assert page.all("html")[0]["lang"] == "en"
    assert re.search(r"<title>.+ · Sched</title>", response.text)
    assert [len(page.all(tag)) for tag in ("header", "nav", "main", "footer", "h1")] == [1, 1, 1, 1, 1]
    assert all(nav["aria-label"] for nav in page.all("nav"))

    skip = page.all("a")[0]
    assert skip["href"] == f"#{page.all('main')[0]['id']}"

    labelled = {label["for"] for label in page.all("label")}
    fields = [field for field in page.all("input", "select", "textarea") if field.get("type") != "hidden"]
    assert all(field["id"] in labelled for field in fields)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids)), "an id stands for one element"
    references = [
        reference
        for _, attributes in page.elements
        for name in ("aria-labelledby", "aria-describedby")
        for reference in (attributes.get(name) or "").split()
    ]
    assert set(references) <= set(ids)
    assert all(icon["aria-hidden"] == "true" for icon in page.all("i"))


@pytest.mark.parametrize("path", PATHS)
def test_self_contained(visitor: FlaskClient, path: str) -> None:
    """No script stands in a page, and nothing is loaded from elsewhere; what is loaded is there; browsers are told."""
    response = visitor.get(path, follow_redirects=True)
    page = Outline(response.text)
    scripts = [script["src"] for script in page.all("script")]
    assert scripts == ([] if path == "/nothing-here" else ["/static/notices.js"])
    assert not [attributes for _, attributes in page.elements if "style" in attributes]
    addresses = [link["href"] for link in page.all("link")]
    assert len(addresses) == 5
    for address in addresses + scripts:
        assert address is not None
        assert address.startswith("/")
        with visitor.get(address) as resource:
            assert resource.status_code == 200
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'; connect-src 'self';" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("path", PATHS)
def test_not_kept_by_browsers(visitor: FlaskClient, path: str) -> None:
    """A page is not kept by the browser, so the back button shows nothing of a session that is over."""
    assert "no-store" in visitor.get(path).headers["Cache-Control"]


def test_current_page_is_marked(visitor: FlaskClient) -> None:
    """The menu tells which page this is, not by colour alone."""
    for path in ("/", "/cart", "/session", "/account", "/appointments"):
        marked = [link for link in Outline(visitor.get(path).text).all("a") if "aria-current" in link]
        assert [link["href"] for link in marked] == [path]


def test_dark_rules(client: FlaskClient) -> None:
    """The dark style sheet has the toolkit's dark rules under the name that the pages use, and no others."""
    response = client.get("/dark.css")
    assert response.mimetype == "text/css"
    assert "color-scheme:dark" in response.text
    assert "data-bs-theme=dark" not in response.text
    rules = response.text.splitlines()
    assert len(rules) >= 6
    assert all(rule.startswith("[data-bs-theme=auto]") and rule.endswith("}") for rule in rules)
    page = Outline(client.get("/").text)
    assert page.all("html")[0]["data-bs-theme"] == "auto"
    (dark,) = (link for link in page.all("link") if link["href"] == "/dark.css")
    assert dark["media"] == "(prefers-color-scheme: dark)"


def test_session_page_of_a_new_visitor(app: Flask, client: FlaskClient) -> None:
    """Without a session the page says so, names the store all the same, and makes none."""
    response = client.get("/session")
    assert "The session is empty." in response.text
    assert "new, not stored yet" in response.text
    assert str(app.session_interface.store) in response.text  # type: ignore[attr-defined]
    assert 'id="sid"' not in response.text
    assert client.get_cookie(COOKIE) is None


def test_session_page(app: Flask, visitor: FlaskClient) -> None:
    """The page shows keys, types, values, the public id and the times, and never the ticket."""
    visitor.get("/")  # shows the messages
    with visitor:
        page = visitor.get("/session").text
        sid = session.sid  # type: ignore[attr-defined]
    assert sid
    assert f'id="sid">{sid}<' in page
    for text in ('user_session["cart"]', ">dict<", ">str<", "&#39;1&#39;", "_user_id", "Decimal(&#39;12.40&#39;)"):
        assert text in page
    assert page.count("<time datetime=") == 2
    assert "loaded from the store" in page
    cookie = visitor.get_cookie(COOKIE)
    assert cookie is not None
    assert cookie.value not in page


def test_session_page_escapes(app: Flask, client: FlaskClient) -> None:
    """What the session holds is shown as text, whatever it is, and long values are cut."""

    @app.get("/put")
    def put() -> str:
        session["<script>"] = ["<script>alert(1)</script>", {"long": "x" * 5_000}]
        return ""

    client.get("/put")
    page = client.get("/session").text
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") >= 2
    assert "characters)" in page
    assert "x" * 3_000 not in page


def test_health_leaves_the_session_alone(visitor: FlaskClient) -> None:
    """The health page answers a visitor without reading or renewing their session."""
    response = visitor.get("/health")
    assert response.json == {"status": "ok"}
    assert "Set-Cookie" not in response.headers
    assert "Vary" not in response.headers


def test_not_found(client: FlaskClient) -> None:
    """An unknown address has a friendly page that leads back."""
    response = client.get("/nothing-here")
    assert response.status_code == 404
    assert "Page not found" in response.text
    assert "Go to the shop" in response.text


def test_not_found_creates_no_session(client: FlaskClient, visitor: FlaskClient) -> None:
    """An error page reads a session, creates none and gives none a new ticket; caches keep it for nobody else."""
    for browser in (client.application.test_client(), visitor):
        response = browser.get("/nothing-here")
        assert response.headers["Vary"] == "Cookie"
        assert "Set-Cookie" not in response.headers


def test_broken(make_app: Callable[..., Flask]) -> None:
    """An unexpected exception is a friendly page that tells nothing of it; the session stays as it was."""
    app = make_app()

    @app.get("/break")
    def breaking() -> str:
        session["half"] = "done"
        raise LookupError("a secret")

    client = app.test_client()
    client.post("/cart/add", data={"product": "desk-bell"})
    response = client.get("/break")
    assert response.status_code == 500
    assert "Something went wrong" in response.text
    assert "secret" not in response.text
    assert "Desk bell" in client.get("/cart").text


def test_other_errors_have_a_page_too(client: FlaskClient) -> None:
    """An error without words of its own is shown with those that HTTP has for it."""
    response = client.post("/cart/add", data={"product": "x" * 100_000})
    assert response.status_code == 413
    assert "Request Entity Too Large" in response.text


def test_redis_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions and all else are in a private server, and with REDIS_URL in that one. Starting connects to neither."""

    def described() -> tuple[str, str]:
        app = create_app()
        return str(app.session_interface.store), redis.connector_for(app).label  # type: ignore[attr-defined]

    assert described() == ("Redis (embedded/0)", "embedded/0")
    monkeypatch.setenv("REDIS_URL", "redis://:secret@127.0.0.1:1/3")
    assert described() == ("Redis (127.0.0.1:1/3)", "127.0.0.1:1/3")
    assert not Path(os.environ["SCHED_INSTANCE_PATH"], "redis").exists()


def test_settings_by_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Any setting can come from the environment, with SCHED_ before its name."""
    monkeypatch.setenv("SCHED_SESSION_COOKIE_SECURE", "true")
    monkeypatch.setenv("SCHED_SESSION_STORE", f"sqlite:///{tmp_path}/other.sqlite3")
    app = create_app()
    assert app.config["SESSION_COOKIE_SECURE"] is True
    assert str(app.session_interface.store) == "SQLite (other.sqlite3)"  # type: ignore[attr-defined]
