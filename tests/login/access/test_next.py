"""Redirect targets: ``safe_next``, and the parameter ``next`` that ``login_required`` writes."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask, redirect, request

from flask_cloakroom import login_required, make_next_param, safe_next
from flask_cloakroom.redirects import safe_path
from support.redirect_targets import HARMLESS, HOST, HOSTILE
from support.sites.login import MakeSite


@pytest.mark.parametrize("target", HOSTILE)
def test_hostile_targets(target: str) -> None:
    """None leads anywhere but to the default."""
    assert safe_path(target, HOST) is None


@pytest.mark.parametrize(("target", "path"), HARMLESS)
def test_paths_of_the_site(target: str, path: str | None) -> None:
    """They are put together again, and what comes out is taken once more as the same."""
    assert safe_path(target, HOST) == path
    if path is not None:
        assert safe_path(path, HOST) == path
        assert path.isascii()


def test_no_host_is_no_host() -> None:
    """A request that names no host makes no URL one of this site."""
    assert safe_path("http:///evil.example", "") is None
    assert safe_path("http://evil.example", "") is None


@pytest.fixture
def app() -> Flask:
    app = Flask("shop")
    app.secret_key = "a key that is long enough"
    app.add_url_rule("/go", "go", lambda: redirect(safe_next("/default")), methods=["GET", "POST"])
    app.add_url_rule("/wish", "wish", lambda: str(__import__("flask").session.update(next=request.args["next"])))
    return app


def location(app: Any, path: str, **options: Any) -> str:
    return str(app.test_client().open(path, **options).headers["Location"])


def test_query_and_form(app: Flask) -> None:
    """The form comes before the query, and the first that is there decides."""
    assert location(app, "/go") == "/default"
    assert location(app, "/go?next=/a") == "/a"
    assert location(app, "/go?next=/a", method="POST", data={"next": "/b"}) == "/b"
    assert location(app, "/go?next=/a", method="POST", data={"next": ""}) == "/a"
    assert location(app, "/go?next=/a", method="POST", data={"next": "//evil.example"}) == "/default"


@pytest.mark.parametrize("target", [target for target in HOSTILE if "\ud800" not in target and "\udfff" not in target])
def test_hostile_targets_in_a_request(app: Flask, target: str) -> None:
    """As they arrive: in the query, in the form, and in the session."""
    client = app.test_client()
    assert client.get("/go", query_string={"next": target}).headers["Location"] == "/default"
    assert client.post("/go", data={"next": target}).headers["Location"] == "/default"
    app.config["USE_SESSION_FOR_NEXT"] = True
    with client.session_transaction() as session:
        session["next"] = target
    assert client.get("/go").headers["Location"] == "/default"


def test_session(app: Flask) -> None:
    """With USE_SESSION_FOR_NEXT it is taken out of the session, once; what lies there otherwise is not looked at."""
    client = app.test_client()
    client.get("/wish?next=/kept")
    assert client.get("/go").headers["Location"] == "/default"
    app.config["USE_SESSION_FOR_NEXT"] = True
    assert client.get("/go?next=/a").headers["Location"] == "/kept"
    assert client.get("/go?next=/a").headers["Location"] == "/a"
    for wrong in (5, ["/a"], None):
        with client.session_transaction() as session:
            session["next"] = wrong
        assert client.get("/go").headers["Location"] == "/default"


@pytest.mark.parametrize("in_session", [False, True])
@pytest.mark.parametrize("wanted", ["/members", "/members?a=%26b&c=%C3%BC", "/b%C3%BCcher"])
def test_both_ways(make_site: MakeSite, kind: str, in_session: bool, wanted: str) -> None:
    """``login_required`` notes the page, and ``safe_next`` leads there."""
    site = make_site(kind, USE_SESSION_FOR_NEXT=in_session)
    site.manager.login_view = "enter"
    site.app.add_url_rule("/enter", "enter", lambda: redirect(safe_next("/default")))
    site.app.add_url_rule("/b\u00fccher", "books", login_required(lambda: "books"))
    client = site.app.test_client()
    response = client.get(wanted)
    assert response.headers["Location"].startswith("/enter")
    assert ("next=" in response.headers["Location"]) is not in_session
    assert client.get(response.headers["Location"]).headers["Location"] == wanted


@pytest.mark.parametrize("path", ["//evil.example/x", "/\\evil.example", "/%2F%2Fevil.example", "/%5Cevil.example"])
def test_what_is_written_is_safe(make_site: MakeSite, path: str) -> None:
    """A request for a path that looks like a host does not lead to that host, whoever reads ``next`` unchecked."""
    site = make_site(USE_SESSION_FOR_NEXT=False)
    site.manager.login_view = "/enter"
    site.app.url_map.merge_slashes = False
    site.app.add_url_rule("/<path:anything>", "any", login_required(lambda anything: "x"))
    response = site.app.test_client().get(path, base_url="http://shop.example")
    written = parse_qs(urlsplit(response.headers.get("Location", "")).query).get("next", ["/"])[0]
    assert safe_path(written, "shop.example") == written


def test_make_next_param_has_one_slash() -> None:
    """However many the path had."""
    assert make_next_param("/login", "http://shop.example//evil.example/a?b=c") == "/evil.example/a?b=c"


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({"Referer": f"http://{HOST}/cart?a=1"}, "/login?next=%2Fcart%3Fa%3D1"),
        ({"Referer": "http://evil.example/cart"}, "/login"),
        ({}, "/login"),
    ],
)
def test_a_view_that_cannot_be_visited(make_site: MakeSite, headers: dict[str, str], wanted: str) -> None:
    """After the login one is back on the page with the button, and not at a 405; never on another site's page."""
    site = make_site()
    site.manager.login_view = "/login"
    site.app.add_url_rule("/buy", "buy", login_required(lambda: "bought"), methods=["POST"])
    answer = site.app.test_client().post("/buy", base_url=f"http://{HOST}", headers=headers)
    assert answer.location == wanted
