"""Pages of two visitors behind a real nginx with a shared cache (``proxy_cache``)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import NamedTuple

import pytest
from flask import Flask, Response, session

from flask_cloakroom import Cloakroom, UserMixin, current_user, generate_csrf, login_user
from support.sched.forged import served
from support.sched.processes import TEST_TIMEOUT, end, eventually
from support.servers.nginx import listens, start_nginx
from support.servers.redis_server import free_port

CONF = """
events {{
}}
http {{
  access_log off;
  proxy_cache_path cache keys_zone=pages:1m;
  server {{
    listen 127.0.0.1:{outer};
    location / {{
      proxy_pass http://127.0.0.1:{inner};
      proxy_cache pages;
      add_header X-Cache $upstream_cache_status;
    }}
  }}
}}
"""
#: What views put into ``Vary``, a line each.
VARIES = {
    "none": [],
    "consent": ["X-Cookie-Consent"],
    "language": ["Accept-Language"],
    "two-lines": ["Accept-Language", "X-Cookie-Consent"],
    "other-case": ["COOKIE2, Accept"],
    "star": ["Accept, *"],
}


class User(UserMixin):
    """Somebody who may log in."""

    def __init__(self, name: str) -> None:
        self.id = name


def public(text: str, vary: list[str]) -> Response:
    """Return a page of which the view says that everybody may have it."""
    response = Response(text, headers=[("Vary", line) for line in vary])
    response.cache_control.public = True
    response.cache_control.max_age = 60
    return response


def make_site() -> Flask:
    app = Flask("site")
    app.config.update(SECRET_KEY="a key that is long enough", SESSION_STORE="memory://")
    Cloakroom(app).user_loader(User)
    app.add_url_rule("/login/<name>", "login", lambda name: str(login_user(User(name))))
    app.add_url_rule("/set/<name>", "set", lambda name: str(session.update(name=name)))
    for name, vary in VARIES.items():
        pages = {
            "session": lambda vary=vary: public(session.get("name", "nobody"), vary),
            "user": lambda vary=vary: public(getattr(current_user, "id", "nobody"), vary),
            "token": lambda vary=vary: public(generate_csrf(), vary),
            "plain": lambda vary=vary: public("the same for all", vary),
        }
        for page, view in pages.items():
            app.add_url_rule(f"/{page}/{name}", f"{page}-{name}", view)
    return app


class Page(NamedTuple):
    """What a visitor got."""

    text: str
    #: What nginx did: "HIT" if it answered out of its cache.
    cache: str
    cookie: str


class Site(NamedTuple):
    """Where nginx listens."""

    port: int

    def get(self, path: str, cookie: str = "") -> Page:
        """Ask for a page through nginx."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TEST_TIMEOUT)
        try:
            connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
            response = connection.getresponse()
            assert response.status == 200
            set_cookie = response.getheader("Set-Cookie", "").partition(";")[0]
            return Page(response.read().decode(), response.getheader("X-Cache", ""), set_cookie)
        finally:
            connection.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("shared-cache")
    outer = free_port()
    with (folder / "log").open("w+") as log, served(make_site()) as inner:
        proxy = start_nginx(folder, CONF.format(inner=inner, outer=outer), log)
        try:
            eventually(lambda: listens(outer))
            yield Site(outer)
        finally:
            end(proxy, signal.SIGQUIT)


@pytest.mark.parametrize("vary", VARIES)
@pytest.mark.parametrize("page", ["session", "user"])
def test_each_visitor_gets_their_own_page(site: Site, vary: str, page: str) -> None:
    """Whatever the view says of caching and of Vary."""
    how = "set" if page == "session" else "login"
    cookies = {name: site.get(f"/{how}/{name}").cookie for name in ("ann", "bob")}
    for _ in range(2):
        for name, cookie in cookies.items():
            assert site.get(f"/{page}/{vary}", cookie).text == name
        assert site.get(f"/{page}/{vary}").text == "nobody"


@pytest.mark.parametrize("vary", VARIES)
def test_each_visitor_gets_their_own_token(site: Site, vary: str) -> None:
    """Also a visitor who brings no cookie, and gets one with the page."""
    tokens = [site.get(f"/token/{vary}") for _ in range(2)]
    assert len({token.text for token in tokens}) == len({token.cookie for token in tokens}) == 2
    assert {token.cache for token in tokens} <= {"MISS", "BYPASS", "EXPIRED"}


@pytest.mark.parametrize("vary", [name for name in VARIES if name != "star"])
def test_what_is_the_same_for_all_is_kept(site: Site, vary: str) -> None:
    """The other tests would hold too if nginx kept nothing: a page that asks nothing of its visitor is kept."""
    first, second = site.get(f"/plain/{vary}"), site.get(f"/plain/{vary}", "session=x")
    assert (first.cache, second.cache) == ("MISS", "HIT")
    assert first.text == second.text == "the same for all"
