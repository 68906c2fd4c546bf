"""A stolen copy of a cookie gives an anonymous page after the login has ended or moved."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from itertools import product
from typing import Any, Final, NamedTuple

import pytest

from flask_cloakroom import active_sessions, logout_everybody, logout_everywhere, revoke_session
from flask_cloakroom.core.entries import envelope
from flask_cloakroom.core.entries.envelope import EntryKind
from flask_cloakroom.core.entries.family import TOKEN_OVERLAP
from flask_cloakroom.core.entries.tombstone import TOMBSTONE_SECONDS
from support.servers.redis_server import RedisServer
from support.sites.login import Browser, MakeSite, Site

RENEW_EVERY: Final = 60
SESSION, TOKEN, BOTH = ("session",), ("remember_token",), ("session", "remember_token")


class Theft(NamedTuple):
    """A site, a browser of Alice's that something will happen to, and another one of hers."""

    site: Site
    browser: Browser
    other: Browser
    ahead: list[float]
    #: The store keys of entries that look like tombstones, and that live as long as a remembered login.
    lasting: set[bytes]

    def do(self, browser: Browser, work: Callable[[], Any]) -> None:
        self.site.work = work
        assert browser.open("/work").status_code == 200


class Event(NamedTuple):
    """What happens, whose the browser is afterwards, and the captured cookies that it must make worthless."""

    happen: Callable[[Theft], Any]
    leaves: str
    ends: tuple[tuple[str, ...], ...]


def revoke(theft: Theft) -> None:
    theft.do(theft.other, lambda: [revoke_session(one.handle) for one in active_sessions() if not one.current])


def change_password(theft: Theft) -> None:
    theft.site.users["alice"].password_hash = "argon2:second"


def renew(theft: Theft) -> None:
    before = theft.browser.cookies["session"]
    theft.ahead[0] += RENEW_EVERY + 1
    theft.browser.open("/who")
    assert theft.browser.cookies["session"] != before
    theft.ahead[0] += TOMBSTONE_SECONDS - 1


def use_token(theft: Theft) -> None:
    theft.browser.client.delete_cookie("session")
    assert theft.browser.who == "alice"
    before = keys(theft.site)
    assert theft.browser.who == "alice", "this request shows that the browser has the new session"
    theft.lasting.update(keys(theft.site) - before)
    theft.ahead[0] += TOKEN_OVERLAP + 1


EVENTS: Final = {
    "logout": Event(lambda theft: theft.browser.open("/logout"), "nobody", (SESSION, TOKEN, BOTH)),
    "revoked from another device": Event(revoke, "nobody", (SESSION, TOKEN, BOTH)),
    "logout everywhere": Event(
        lambda theft: theft.do(theft.other, logout_everywhere), "nobody", (SESSION, TOKEN, BOTH)
    ),
    "logout of everybody": Event(
        lambda theft: theft.do(theft.site.browser(), logout_everybody), "nobody", (SESSION, TOKEN, BOTH)
    ),
    "password changed": Event(change_password, "nobody", (SESSION, TOKEN, BOTH)),
    "login confirmed": Event(lambda theft: theft.browser.open("/confirm"), "alice", (SESSION,)),
    "logged in again": Event(lambda theft: theft.browser.login("alice"), "alice", (SESSION,)),
    "another user": Event(lambda theft: theft.browser.login("bob"), "bob", (SESSION, TOKEN, BOTH)),
    "ticket renewed": Event(renew, "alice", (SESSION,)),
    "token used": Event(use_token, "nobody", (TOKEN,)),
}
STORES: Final = ("memory", "sqlite", "redis", "cookie")
#: Replayed at once, and after the tombstone has expired.
WHEN: Final = ("at once", "later")


def cells() -> list[Any]:
    """Return the table: what happens, what was captured, when it is replayed, where sessions are."""
    found = []
    for (name, event), when, store in product(EVENTS.items(), WHEN, STORES):
        if store == "cookie" and name != "password changed":
            continue  # nothing that is on the server knows of the login, and only what the user object says can end it
        for names in event.ends:
            found.append(pytest.param(event, names, when, store, id=f"{name}-{'+'.join(names)}-{when}-{store}"))
    return found


@pytest.fixture
def theft(make_site: MakeSite, redis_server: RedisServer, store: str) -> Theft:
    urls = {"memory": "memory://", "sqlite": "sqlite:///s.db", "redis": redis_server.url, "cookie": "memory://"}
    site = make_site(
        "cookie" if store == "cookie" else "server",
        store=urls[store],
        SESSION_NAMESPACE=secrets.token_hex(8),
        SESSION_RENEW_EVERY=RENEW_EVERY,
    )
    ahead = [0.0]
    if store != "cookie":
        repository = site.app.session_interface.repository  # type: ignore[attr-defined]
        repository.clock = lambda: time.time() + ahead[0]
    browser = site.browser("alice", remember=True)
    browser.open("/cart/apple")
    return Theft(site, browser, site.browser("alice"), ahead, set())


def keys(site: Site) -> set[bytes]:
    store = site.app.session_interface.store  # type: ignore[attr-defined]
    return {key for key, _ in store.walk()}


def forget_marks(theft: Theft) -> None:
    """Let the tombstones of ended sessions expire."""
    store = theft.site.app.session_interface.store  # type: ignore[attr-defined]
    for key, entry in list(store.walk()):
        if envelope.open_header(entry.data, key)[0].kind is EntryKind.TOMBSTONE and key not in theft.lasting:
            store.delete(key)


@pytest.mark.promise(9)
@pytest.mark.parametrize(("event", "names", "when", "store"), cells())
def test_replay(theft: Theft, event: Event, names: tuple[str, ...], when: str, store: str) -> None:
    """Nobody is logged in by it, at the first request and at those that follow with whatever that one set."""
    # Not the same one: a token may be good for one use.
    assert theft.site.browser("alice", remember=True).copy(*names).who == "alice", "such a cookie is worth something"
    thief = theft.browser.copy(*names)
    event.happen(theft)
    if when == "later" and store != "cookie":
        forget_marks(theft)
    assert thief.who == "nobody"
    assert [thief.open(path).status_code for path in ("/members", "/secret")] == [401, 401]
    if store != "cookie":
        assert thief.open("/contents").json == {}
    assert thief.who == "nobody"
    if event.leaves != "nobody":
        assert theft.browser.who == event.leaves, "and whose login it is has noticed nothing"
