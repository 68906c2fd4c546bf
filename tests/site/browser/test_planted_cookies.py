"""A sibling domain plants a cookie in a real browser, under a name that only looks like the session's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask, Response, request, session
from playwright.sync_api import Browser

from flask_cloakroom import Session
from support.sched.browsing import visit
from support.sched.forged import self_signed, served

pytestmark = pytest.mark.browser

NAME = "__Host-session"


class Site:
    """A site over HTTPS, a sibling domain of it over plain HTTP, and the ticket that this one has of the site."""

    def __init__(self, url: str, sibling: str, ticket: str, headers: list[bytes]) -> None:
        self.url = url
        self.sibling = sibling
        self.ticket = ticket
        #: The Cookie headers that came to the site, as they were sent.
        self.headers = headers


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    app = Flask("site")
    app.config.update(SESSION_STORE="memory://", SESSION_COOKIE_NAME=NAME)
    Session(app)
    headers: list[bytes] = []

    @app.get("/")
    def index() -> str:
        headers.append(request.environ.get("HTTP_COOKIE", "").encode("latin-1"))
        return f"You are {session.get('name', 'nobody')}."

    app.add_url_rule("/be/<name>", "be", lambda name: str(session.update(name=name)))
    mallory = app.test_client()
    mallory.get("/be/mallory", base_url="https://localhost")
    cookie = mallory.get_cookie(NAME)
    assert cookie is not None

    sibling = Flask("sibling")

    @sibling.get("/plant/<int:sign>")
    def plant(sign: int) -> Response:
        name = (chr(sign) if sign else "") + NAME
        response = Response("planted")
        response.headers.add("Set-Cookie", f"{name}={cookie.value}; Domain=shop.test; Path=/")
        return response

    tls = self_signed(Path(tmp_path_factory.mktemp("planted")))
    with served(app, tls) as port, served(sibling) as other:
        yield Site(f"https://shop.test:{port}", f"http://b.shop.test:{other}", cookie.value, headers)


@pytest.mark.parametrize("sign", [0xA0, 0x85, 0])
def test_a_planted_cookie_is_not_taken(browser: Browser, site: Site, sign: int) -> None:
    """Chromium keeps the name that begins with a byte which is no white space, and sends it as it is. The site takes
    it for another cookie, and the visitor is nobody. The name itself, without that byte, the browser refuses."""
    context = visit(browser, site, ignore_https_errors=True)
    page = context.new_page()
    page.goto(f"{site.sibling}/plant/{sign}")
    site.headers.clear()
    page.goto("/")
    assert page.locator("body").inner_text() == "You are nobody."
    planted = bytes([sign]) + f"{NAME}={site.ticket}".encode()
    assert (planted in site.headers[0]) == bool(sign), "the browser has changed; look at what it sends"
    page.goto("/be/ann")
    page.goto("/")
    assert page.locator("body").inner_text() == "You are ann."
    context.close()
