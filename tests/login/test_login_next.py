"""Where a visitor may be sent: ``safe_next``, and the ``next`` that ``login_required`` writes."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask, redirect, request
from login_sites import MakeSite

from flask_cloakroom import login_required, make_next_param, safe_next
from flask_cloakroom.redirects import LONGEST_TARGET, safe_path

HOST = "shop.example:8000"

#: CVE-2023-49438, GHSA-w2j7-f3c6-g8cw, and what browsers make of URLs (WHATWG URL).
HOSTILE = [
    "",
    " ",
    "evil.example",
    "profile",
    "?a=1",
    "#a",
    "//evil.example",
    "///evil.example",
    "////evil.example",
    "/\\evil.example",
    "\\/evil.example",
    "\\\\evil.example",
    "/\\/evil.example",
    "/a\\b",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r/evil.example",
    "\t//evil.example",
    " //evil.example",
    "\x00//evil.example",
    "\x1f//evil.example",
    "/a\nSet-Cookie: x=1",
    "/a\r\nLocation: //evil.example",
    "\u00a0//evil.example",
    "\u2028//evil.example",
    "\u3000//evil.example",
    "\ufeff//evil.example",
    "/\u200b/evil.example",
    "http:evil.example",
    "http:/evil.example",
    "http:///evil.example",
    "http:////evil.example",
    "https:evil.example",
    "https:\\\\evil.example",
    "http:\\evil.example",
    "http://evil.example",
    "HTTP://EVIL.EXAMPLE",
    "http://evil.example/shop.example:8000",
    "http://evil.example?http://shop.example:8000",
    "http://evil.example#@shop.example:8000",
    f"http://{HOST}@evil.example",
    f"http://{HOST}:x@evil.example",
    f"http://evil.example@{HOST}/",
    f"http://@{HOST}/",
    f"http://{HOST}.evil.example/",
    f"http://evil.{HOST}/",
    f"http://evil{HOST}/",
    "http://shop.example/",
    "http://shop.example:80/",
    "http://shop.example:8000:9/",
    f"http://{HOST}\\@evil.example",
    f"//{HOST}/\\evil.example",
    "http://shop\u3002example:8000/",
    "http://\uff53hop.example:8000/",
    "http://shop.ex\u00e4mple:8000/",
    "http://[::1/",
    "http://[evil]/",
    f"ftp://{HOST}/",
    f"ws://{HOST}/",
    f"javascript://{HOST}/%0aalert(1)",
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "file:///etc/passwd",
    "mailto:a@evil.example",
    "/%2Fevil.example",
    "/%2f%2fevil.example",
    "/%252Fevil.example",
    "/%25252Fevil.example",
    "/%2525252525252Fevil.example",
    "/%5Cevil.example",
    "/%5cevil.example",
    "/%255Cevil.example",
    "/%09/evil.example",
    "/%0A/evil.example",
    "/%0d%0aLocation:%20//evil.example",
    "/%00",
    "/./\\evil.example",
    "/.//evil.example",
    "/..//evil.example",
    "/%2e%2e//evil.example",
    "/a/../../evil.example",
    "/a/%2e%2e/logout",
    "/" + "a" * LONGEST_TARGET,
    "/\ud800",
    "/a?\udfff",
]

HARMLESS = [
    ("/", "/"),
    ("/profile", "/profile"),
    ("/profile/", "/profile/"),
    ("/a//b", "/a//b"),
    ("/search?q=a+b&r=%26&s=//evil.example", "/search?q=a+b&r=%26&s=//evil.example"),
    ("/search?next=http://evil.example/%0a", "/search?next=http://evil.example/%0a"),
    ("/a#part", "/a#part"),
    ("/a%20b", "/a%20b"),
    ("/100%25", "/100%25"),
    ("/100%", "/100%"),
    ("/b\u00fccher/\u4f50\u85e4?q=\u00fc", "/b%C3%BCcher/%E4%BD%90%E8%97%A4?q=%C3%BC"),
    ("/b%C3%BCcher", "/b%C3%BCcher"),
    ("/a:b@c", "/a:b@c"),
    ("/...", "/..."),
    ("/a;x=1", "/a;x=1"),
    ('/"<script>', "/%22%3Cscript%3E"),
    (f"http://{HOST}", "/"),
    (f"http://{HOST}/a?b=c", "/a?b=c"),
    (f"https://{HOST.upper()}/a", "/a"),
    (f"http://{HOST}?a=b", "/?a=b"),
    (f"//{HOST}/a", None),
    (f"http://{HOST}//evil.example", None),
]


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
