"""A table of requests: which pages, browsers and proxies get what answer. The rule here parses no header at all: it
knows which page sent the request."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import pytest
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_cloakroom import CSRFError
from support.sites.csrf import ANY_METHOD, UNSAFE, make_app, reason_of

TRUSTED = "https://pay.example"


class Setup(NamedTuple):
    """A way to run the site: what the server sees of itself, and the origins of the pages in the table."""

    scheme: str
    host: str
    #: What "own" is to the browser.
    own: str
    #: Pages, besides those of trusted origins, whose Origin or Referer matches what the server knows of itself.
    match: frozenset[str]

    def origin(self, page: str) -> str:
        """Return the origin of a page."""
        scheme, _, host = self.own.partition("://")
        name = host.partition(":")[0]
        return {
            "own": self.own,
            "own by http": f"http://{host}",
            "own, other port": f"{scheme}://{name}:8443",
            "sibling": f"{scheme}://evil.{host}",
            "suffix": f"{scheme}://{name}.evil.example",
            "prefix": f"{scheme}://evil{host}",
            "other": "https://evil.example",
            "trusted": TRUSTED,
            "opaque": "null",
        }[page]


SETUPS = {
    "a LAN, by http": Setup("http", "192.168.1.5:5000", "http://192.168.1.5:5000", frozenset({"own", "own by http"})),
    "https": Setup("https", "shop.example", "https://shop.example", frozenset({"own"})),
    "https, a port": Setup("https", "shop.example:444", "https://shop.example:444", frozenset({"own"})),
    "https, the usual port named": Setup("https", "shop.example:443", "https://shop.example", frozenset({"own"})),
    "a proxy takes https off": Setup("http", "shop.example", "https://shop.example", frozenset({"own", "own by http"})),
    "a proxy rewrites the host": Setup("http", "app:8000", "https://shop.example", frozenset()),
    "IPv6": Setup("http", "[::1]:5000", "http://[::1]:5000", frozenset({"own", "own by http"})),
}
SITES = [None, "same-origin", "none", "same-site", "cross-site", "", "Same-Origin", "same-origin, cross-site"]
ORIGINS = [None, "own", "own by http", "own, other port", "sibling", "suffix", "prefix", "other", "trusted", "opaque"]
REFERERS = [None, "own", "own by http", "sibling", "other", "trusted"]
TOKENS = ["none", "good", "another session's"]
POLICIES: dict[str, dict[str, Any]] = {
    "default": {},
    "token too": {"CSRF_REQUIRE_TOKEN": True},
    "strict": {"WTF_CSRF_SSL_STRICT": True},
}


class Row(NamedTuple):
    """One request."""

    method: str
    site: str | None
    origin: str | None
    referer: str | None
    token: str


def headers_say(row: Row, setup: Setup) -> str:
    """Return "yes", "no" or "nothing", by who the sender is."""
    if row.site in ("same-origin", "none"):
        return "yes"
    if row.site is not None:
        return "yes" if row.origin == "trusted" else "no"
    page = row.referer if row.origin is None else row.origin
    if page is None:
        return "nothing"
    return "yes" if page == "trusted" or page in setup.match else "no"


def expected(row: Row, setup: Setup, policy: str) -> int:
    """Return the status that the row must get."""
    if row.method in ("GET", "HEAD", "OPTIONS"):
        return 200
    said = headers_say(row, setup)
    good = row.token == "good"
    if said == "nothing":
        return 400 if (policy == "strict" and setup.scheme == "https") or not good else 200
    return 200 if said == "yes" and (good or policy != "token too") else 400


def rows() -> list[Row]:
    """Every POST, and the other methods with every Sec-Fetch-Site."""
    posts = [Row("POST", *rest) for rest in itertools.product(SITES, ORIGINS, REFERERS[:1], TOKENS)]
    posts += [Row("POST", None, None, *rest) for rest in itertools.product(REFERERS, TOKENS)]
    # An Origin counts whatever the Referer says, and so does Sec-Fetch-Site: nothing is compared with the Referer.
    posts += [Row("POST", *rest, "none") for rest in itertools.product(SITES[:5], ORIGINS[1:], REFERERS[1:])]
    others = [method for method in [*ANY_METHOD, "OPTIONS"] if method != "POST"]
    return posts + [Row(method, site, None, None, "none") for method in others for site in SITES]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", SETUPS)
def test_every_row(name: str, policy: str) -> None:
    """Each request of the table gets the answer that the rule above says."""
    setup = SETUPS[name]
    app = make_app(CSRF_TRUSTED_ORIGINS=[TRUSTED], **POLICIES[policy])
    base = f"{setup.scheme}://{setup.host}"
    browser, somebody = app.test_client(), app.test_client()
    tokens = {
        "none": None,
        "good": browser.get("/form", base_url=base).text,
        "another session's": somebody.get("/form", base_url=base).text,
    }
    wrong, answers = [], {200: 0, 400: 0}
    for row in rows():
        headers = {
            "Sec-Fetch-Site": row.site,
            "Origin": row.origin and setup.origin(row.origin),
            "Referer": row.referer and setup.origin(row.referer) + "/page?x=https://shop.example/",
            "X-CSRFToken": tokens[row.token],
        }
        given = {name: value for name, value in headers.items() if value is not None}
        status = browser.open("/change", method=row.method, base_url=base, headers=given).status_code
        answers[expected(row, setup, policy)] += 1
        if status != expected(row, setup, policy):
            wrong.append((*row, status))
    assert wrong == []
    assert sum(answers.values()) > 500
    assert min(answers.values()) > 50


class TestAdvisories:
    """What went wrong elsewhere."""

    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec-Fetch-Site": "same-site", "Origin": "https://evil.shop.example"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "https://evil.shop.example"},
            {"Origin": "https://evil.shop.example", "Referer": "https://evil.shop.example/"},
            {"Referer": "https://evil.shop.example/"},
            {"Origin": "http://shop.example"},
            {"Referer": "http://shop.example/"},
        ],
    )
    def test_cve_2025_46721(self, headers: dict[str, str]) -> None:
        """An HTTPS sibling domain's POST is refused, and one of a page that came by plain HTTP."""
        client = make_app().test_client()
        assert client.post("/change", base_url="https://shop.example", headers=headers).status_code == 400
        assert client.post("/change", base_url="https://shop.example", headers={"Origin": "https://shop.example"}).text

    @pytest.mark.parametrize("page", ["https://evil.example", "null"])
    def test_origin_and_referer_that_agree(self, page: str) -> None:
        """Flask-SeaSurf compared the two with each other; both may be the attacker's."""
        headers = {"Origin": page, "Referer": f"{page}/page"}
        assert make_app().test_client().post("/change", headers=headers).status_code == 400


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost@evil.example",
        "http://evil.example#http://localhost",
        "http://localhost http://evil.example",
        "http://evil.example, http://localhost",
        "http://localhost/",
        "http:/localhost",
        "http:///localhost",
        "http://localhost\\@evil.example",
        "http://localhost:80a",
        "http://localhost:080000",
        "http://",
        "//localhost",
        "localhost",
        "",
        " ",
        "*",
        "NULL",
        "file://",
        "ftp://localhost",
        "http://localhost.",
        "http://locallhost",
        "http://l\xf6calhost",
        "http://localhost\x00",
        "https://localhost:80",
        "blob:http://localhost",
    ],
)
def test_origins_that_are_none_of_ours(origin: str) -> None:
    """Whatever is not exactly this site's origin is refused, also with the site's own Referer."""
    app = make_app()
    with app.test_request_context("/change", method="POST") as context:
        context.request.environ["HTTP_ORIGIN"] = origin
        context.request.environ["HTTP_REFERER"] = "http://localhost/"
        with pytest.raises(CSRFError):
            app.preprocess_request()


@pytest.mark.parametrize(
    ("referer", "passes"),
    [
        ("http://localhost", True),
        ("http://localhost/", True),
        ("HTTP://LOCALHOST/", True),
        ("http://localhost?x", True),
        ("http://localhost:80/", True),
        ("http://localhost@evil.example/", False),
        ("http://user@localhost/", False),
        ("http://localhost\\.evil.example/", False),
        ("http://localhost.evil.example/", False),
        ("http://localhost:8080/", False),
        ("http://evil.example/http://localhost/", False),
        ("about:blank", False),
        ("/change", False),
        ("http:localhost/", False),
    ],
)
def test_referers(referer: str, passes: bool) -> None:
    """Without Sec-Fetch-Site and Origin, the Referer's own origin must be this site's."""
    response = make_app().test_client().post("/change", headers={"Referer": referer})
    assert (response.status_code == 200) is passes


def test_empty_referer_says_nothing() -> None:
    """It is as good as none, so it takes the token."""
    client = make_app().test_client()
    assert reason_of(client.post("/change", headers={"Referer": ""})) == "The CSRF token is missing."
    token = client.get("/form").text
    assert client.post("/change", headers={"Referer": "", "X-CSRFToken": token}).status_code == 200


@pytest.mark.parametrize("method", [*UNSAFE, "LINK", "PURGE"])
def test_methods_nobody_thought_of(method: str) -> None:
    """Every method that is not safe is checked, unless WTF_CSRF_METHODS says which are."""
    app = make_app()
    app.add_url_rule("/any", "any", lambda: "done", methods=["LINK", "PURGE", *UNSAFE])
    assert app.test_client().open("/any", method=method).status_code == 400


def test_forwarded_headers_are_not_believed() -> None:
    """What a proxy says counts only with werkzeug's ProxyFix; anybody can send these."""
    app = make_app()
    forged = {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    assert app.test_client().post("/change", headers=forged).status_code == 400


def test_proxy_fix() -> None:
    """With it the host and the scheme are those of the browser."""
    app = make_app()
    app.wsgi_app = ProxyFix(app.wsgi_app, x_host=1, x_proto=1)  # type: ignore[method-assign]
    headers = {"X-Forwarded-Host": "shop.example", "X-Forwarded-Proto": "https"}
    client = app.test_client()
    for origin, status in [("https://shop.example", 200), ("http://shop.example", 400), ("http://localhost", 400)]:
        assert client.post("/change", headers={**headers, "Origin": origin}).status_code == status


def test_strict_and_with_token() -> None:
    """With both settings a request over HTTPS that says where it comes from needs the token, and passes with it."""
    app = make_app(WTF_CSRF_SSL_STRICT=True, CSRF_REQUIRE_TOKEN=True)
    client = app.test_client()
    token = client.get("/form", base_url="https://localhost").text
    sent = {"base_url": "https://localhost", "headers": {"Sec-Fetch-Site": "same-origin"}}
    assert client.post("/change", **sent).status_code == 400
    assert client.post("/change", data={"csrf_token": token}, **sent).text == "changed"
