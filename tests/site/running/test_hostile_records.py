"""Every page of the site, with hostile or damaged records in the store under a right checksum."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flask import Flask, got_request_exception
from flask.testing import FlaskClient
from sched_site import create_app, notices, passwords
from werkzeug.test import TestResponse

from flask_cloakroom.core.sessions.repository import Repository
from support.sched.hostile_records import Forger, cases

#: Statuses that are right: a page, a redirect, a refusal; and 503, when nothing is known of a visitor.
GOOD = {200, 204, 302, 303, 308, 400, 403, 404, 405, 429, 503}
#: Where a URL needs something.
ARGUMENTS = {
    **{"slug": "desk-bell", "filename": "sched.css", "appointment_id": 1, "user_id": 1},
    **{"year": 2026, "number": 1},
}
FORM = {
    **{"product": "desk-bell", "quantity": "2", "username": "mira", "password": "half-past-nine", "repeat": "x"},
    **{"handle": "a.b", "user": "1", "title": "Tea", "time_zone": "UTC", "name": "Ada"},
}

Entries = dict[bytes, Any]


class World(NamedTuple):
    """A visitor, and what the store holds while they visit."""

    cookies: dict[str, str]
    entries: Entries
    owned: Entries
    #: The entries of which some are forged: those that a page of this visitor may read.
    keys: list[bytes]


@pytest.fixture
def app(empty_redis: str, monkeypatch: pytest.MonkeyPatch) -> Flask:
    monkeypatch.setattr(notices, "SUBSCRIBE_TIMEOUT", 0.0)
    app = create_app(
        {
            **{"REDIS_URL": empty_redis, "SESSION_STORE": "memory://", "OPERATORS": ["vera"], "OTHER_SITE_PORT": 1},
            **{"RATELIMIT_ENABLED": False, "NOTICE_STREAMS": 0},
        }
    )
    # Entries are counted as seen long ago, so that pages also write what they only read.
    app.config["SESSION_REFRESH_AFTER"] = 1
    return app


@pytest.mark.promise(11)
class TestPages:
    """A record is a session, or none, or a 503: never an error page, and no exception leaves the application."""

    @pytest.mark.timeout(300)
    def test_some_thousand(self, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
        """The same ones at each run."""
        self.run(app, monkeypatch, seed=1, number=3_000)

    @pytest.mark.soak
    @pytest.mark.timeout(1800)
    def test_twenty_thousand(self, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
        """Others than those."""
        self.run(app, monkeypatch, seed=2, number=20_000)

    def run(self, app: Flask, monkeypatch: pytest.MonkeyPatch, *, seed: int, number: int) -> None:
        worlds = make_worlds(app)
        # Signing in is not what this is about, and comparing with a hash of the old kind takes longer than all else.
        monkeypatch.setattr(passwords, "check_password_hash", lambda *_: False)
        pages = list(pages_of(app))
        outcomes: Counter[int] = Counter()
        failures: list[str] = []
        raised: list[BaseException] = []

        def note(sender: Flask, exception: BaseException, **_: Any) -> None:
            raised.append(exception)

        with got_request_exception.connected_to(note, app):
            for forger, at, page in cases(seed, number, len(worlds), len(pages)):
                method, path = pages[page]
                world = worlds[at]
                put(app, world, forger)
                raised.clear()
                response = visit(app, world, method, path)
                outcomes[response.status_code] += 1
                if response.status_code not in GOOD or raised:
                    failures.append(f"{forger!r} {method} {path} {response.status_code} {[*map(where, raised)]}")
        print(f"\n{number} requests, {len(pages)} pages, {len(worlds)} visitors: {sorted(outcomes.items())}")
        assert failures == [], "\n".join(failures)
        assert outcomes[200] > number / 5, "the records were so bad that no page was tried"


def pages_of(app: Flask) -> Iterator[tuple[str, str]]:
    """Yield the method and the path of every page."""
    with app.test_request_context():
        for rule in app.url_map.iter_rules():
            if rule.endpoint == "static" or rule.endpoint.startswith("bootstrap"):
                continue
            arguments = {name: ARGUMENTS[name] for name in rule.arguments}
            for method in sorted((rule.methods or set()) & {"GET", "POST"}):
                yield method, app.url_for(rule.endpoint, **arguments)


def where(error: BaseException) -> str:
    """Say what was raised, and where."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno} {last.name}: {str(error)[:100]}"


def visit(app: Flask, world: World, method: str, path: str) -> TestResponse:
    client = app.test_client()
    for name, value in world.cookies.items():
        client.set_cookie(name, value)
    response = client.open(path, method=method, data=FORM if method == "POST" else None)
    response.close()
    return response


def put(app: Flask, world: World, forger: Forger) -> None:
    """Let the store hold what the visitor's world has, some of it forged."""
    store = repository_of(app).store
    store._entries = dict(world.entries)  # type: ignore[attr-defined]
    store._owned = {owner: dict(claims) for owner, claims in world.owned.items()}  # type: ignore[attr-defined]
    for key in forger.some_of(world.keys):
        entry, expires = store._entries[key]  # type: ignore[attr-defined]
        data = forger.forged(key, entry.data)
        store._entries[key] = (entry._replace(data=data), expires)  # type: ignore[attr-defined]


def make_worlds(app: Flask) -> list[World]:
    """Return visitors in all their states: strangers, signed in, remembered, an operator, and with ids that moved."""
    worlds = []
    store: Any = repository_of(app).store
    users = {repository_of(app).tickets.user_key(repository_of(app).tickets.owner_name(user)) for user in "1234"}
    for name, password, remember in (
        *(("", "", False), ("mira", "half-past-nine", False), ("mira", "half-past-nine", True)),
        ("vera", "a-quarter-to-six", True),
    ):
        others = store._entries.keys() - users
        client = app.test_client()
        client.get("/product/desk-bell")
        client.post("/cart/add", data={"product": "desk-bell"})
        client.post("/cart/add", data={"product": "desk-bell"})
        before = cookies_of(client)
        if name:
            form = {"username": name, "password": password, **({"remember": "y"} if remember else {})}
            assert client.post("/login", data=form).status_code == 302
        cookies = cookies_of(client)
        worlds.append(world_of(app, cookies, others))
        if name:
            worlds.append(world_of(app, before, others))  # the mark of the visitor's session, with what they brought
        if remember:
            worlds.append(world_of(app, {"sched_remember": cookies["sched_remember"]}, others))
    worlds.append(renewed(app, worlds[1].cookies))
    return worlds


def renewed(app: Flask, cookies: dict[str, str]) -> World:
    """Return the world of a visitor whose ticket was renewed a moment ago."""
    repository = repository_of(app)
    others = repository.store._entries.keys()  # type: ignore[attr-defined]
    record: Any = repository.load(cookies["sched_session"])
    assert repository.rotate(record, {}, renewal=True) is not None
    return world_of(app, cookies, others - {record.key})


def world_of(app: Flask, cookies: dict[str, str], others: Set[bytes]) -> World:
    """Return the world of these cookies. ``others``: keys of entries that have nothing to do with this visitor."""
    store: Any = repository_of(app).store
    entries = dict(store._entries)
    owned = {owner: dict(claims) for owner, claims in store._owned.items()}
    return World(cookies, entries, owned, [key for key in entries if key not in others])


def cookies_of(client: FlaskClient) -> dict[str, str]:
    found = {name: client.get_cookie(name) for name in ("sched_session", "sched_remember")}
    return {name: cookie.value for name, cookie in found.items() if cookie is not None}


def repository_of(app: Flask) -> Repository:
    return app.session_interface.repository  # type: ignore[attr-defined, no-any-return]
