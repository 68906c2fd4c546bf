"""A session that is full to the byte: its visitor may be refused a change, and is never locked out.

A login, a flash message or a CSRF token needs room in the session. Where there is none, the request may fail, but then
nothing of it happens, and the pages that only show something go on working.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import session
from werkzeug.test import TestResponse

from flask_cloakroom import generate_csrf, user_session
from support.sites.outcomes import OutcomeSite, State, Visitor, cookies_set_by

#: The limit of a session in these tests, in bytes.
MAX_BYTES = 4096
#: How many bytes of room the session still has. The keys of a login need some hundreds.
ROOM = (0, 1, 20, 60, 120, 240, 400)


@pytest.fixture
def site() -> Iterator[OutcomeSite]:
    """A site with views that fill the visitor's session or ``user_session``."""
    site = OutcomeSite("memory://", "no page of its own", SESSION_MAX_BYTES=MAX_BYTES)

    @site.app.post("/fill/<int:size>")
    def fill(size: int) -> str:
        session["filler"] = "x" * size
        return "ok"

    @site.app.post("/fill/user_session/<int:size>")
    def fill_user_session(size: int) -> str:
        user_session["filler"] = "x" * size
        return "ok"

    site.app.add_url_rule("/token", "token", generate_csrf, methods=["POST"])
    yield site
    site.close()


#: The size that fills a place, as the last visitor found it. Most visitors of one kind need the same.
_found: dict[str, int] = {}


def fill(visitor: Visitor, place: str, room: int) -> None:
    """Fill the visitor's session, or another place, so that ``room`` bytes are left."""

    def fits(size: int) -> bool:
        return visitor.open(f"/{place}/{size}").status_code == 200

    size = _found.get(place, 0)
    if not fits(size) or fits(size + 1):
        low, high = 0, MAX_BYTES
        while low < high:  # the largest size that the site accepts
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(middle) else (low, middle - 1)
        size = _found[place] = low
    visitor.do(f"/{place}/{size - room}")


def anonymous(visitor: Visitor, room: int) -> None:
    visitor.do("/cart/coat", "/note/note")
    fill(visitor, "fill", room)


def anonymous_with_wishes(visitor: Visitor, room: int) -> None:
    visitor.do("/cart/coat", "/wish/pen")
    fill(visitor, "fill/user_session", room)


def user_with_full_data(visitor: Visitor, room: int) -> None:
    visitor.has_at_home("/login?user=alice{n}", "/wish/book")
    device = visitor.with_cookies({}).do("/login?user=alice{n}")
    fill(device, "fill/user_session", room)
    visitor.do("/cart/coat", "/wish/pen")


def logged_in(visitor: Visitor, room: int) -> None:
    visitor.do("/login?user=alice{n}&remember=1", "/cart/coat", "/wish/book")
    fill(visitor, "fill", room)


def came_back(visitor: Visitor, room: int) -> None:
    visitor.do("/login?user=alice{n}&remember=1", "/wish/book").loses_sessions()
    visitor.open("/state", "GET")
    visitor.do("/cart/coat")
    fill(visitor, "fill", room)


VISITORS = [anonymous, anonymous_with_wishes, user_with_full_data, logged_in, came_back]

REQUESTS = [
    "/login?user=alice{n}",
    "/login?user=alice{n}&remember=1",
    "/login?user=bob{n}&remember=1",
    "/operator/login?user=root{n}",
    "/impersonate?user=bob{n}",
    "/confirm",
    "/password",
    "/rotate",
    "/note/later",
    "/show",
    "/token",
    "/plain",
]


def opens(visitor: Visitor) -> list[str]:
    """Return which of the pages that only show something do not work."""
    seen = [(path, visitor.open(path, "GET").status_code) for path in ("/state", "/state", "/messages")]
    return [f"afterwards {path} answers {status}" for path, status in seen if status != 200]


@pytest.mark.promise(5)
@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize("prepare", VISITORS, ids=lambda prepare: prepare.__name__)
def test_no_lockout(site: OutcomeSite, prepare: Callable[[Visitor, int], None], path: str) -> None:
    """Whatever the visitor tries, pages work afterwards, now and an hour later. Who was refused has what they had."""
    found = []
    for room in ROOM:
        visitor, twin = Visitor(site), Visitor(site)
        prepare(visitor, room)
        prepare(twin, room)
        answer = visitor.meets(path, None, stays_down=False)
        assert isinstance(answer.response, TestResponse), f"{answer.response!r} left wsgi_app"
        status = answer.response.status_code
        problems = opens(visitor)
        if status == 500 and cookies_set_by(answer.response):
            problems.append(f"sets {sorted(cookies_set_by(answer.response))}")
        if not problems:
            problems = differences(site, visitor, twin) if status >= 400 else opens_later(site, visitor)
        found += [f"{room} bytes of room, {status}: {problem}" for problem in problems]
    assert not found, "\n".join(found)


def differences(site: OutcomeSite, visitor: Visitor, twin: Visitor) -> list[str]:
    """Return in what the visitor differs from a twin who has not sent the request."""
    opens(twin)
    seen: State = visitor.state()
    expected = twin.state()
    return [] if seen == expected else [f"the visitor has {seen.differences(expected)}"]


def opens_later(site: OutcomeSite, visitor: Visitor) -> list[str]:
    """Return what does not work an hour later, in a session that was filled by a request which succeeded."""
    site.ahead += 3600
    return [*opens(visitor), *opens(visitor.loses_sessions())]


@pytest.mark.promise(9)
@pytest.mark.parametrize("room", ROOM)
def test_remember_token_without_room(site: OutcomeSite, room: int, caplog: pytest.LogCaptureFixture) -> None:
    """If the login of a remember token does not fit into the session, the visitor is anonymous and a WARNING says so.

    The token is not spent: when the session has room again, the token logs the visitor in, with all data.
    """
    visitor = Visitor(site)
    visitor.do("/login?user=alice{n}&remember=1", "/wish/book").loses_sessions().do("/cart/coat")
    fill(visitor, "fill", room)
    token = visitor.cookies["remember_token"]
    for _ in range(4):
        site.ahead += 600
        with caplog.at_level(logging.WARNING):
            shown = visitor.open("/state", "GET")
        assert shown.status_code == 200
        seen: Any = shown.json
        if seen["who"]:
            break  # there was room enough
        assert visitor.cookies["remember_token"] == token
        assert any(record.levelno == logging.WARNING for record in caplog.records)
        caplog.clear()
    assert seen["cart"] == ["coat"]
    visitor.do("/fill/0")
    state = visitor.state()
    assert (state.who, state.cart, state.wish, state.comes_back) == ("alice", ("coat",), ("book",), "alice"), state
