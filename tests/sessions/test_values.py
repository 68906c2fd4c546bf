"""Values that a session refuses, encrypted sessions, and registered types."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Flask, session
from markupsafe import Markup

from flask_cloakroom import SessionTooLargeError, SessionValueError, register_type
from support.sites.requests_on_app import MakeApp, send, ticket_of

VALUES: dict[str, Any] = {
    "tuple": (1, (2, "x")),
    "set": {1, 2},
    "frozenset": frozenset({"a"}),
    "bytes": b"\x00\xff",
    "naive": datetime(2026, 11, 20, 12),
    "aware": datetime(2026, 11, 20, 12, tzinfo=UTC),
    "date": date(2026, 11, 20),
    "uuid": UUID(int=7),
    "decimal": Decimal("1.20"),
    "big": 2**100,
    "markup": Markup("<b>x</b>"),
    "path": Path("/tmp/x"),
    "int keys": {1: "a", (2, 3): "b"},
}


@register_type
class Colour(Enum):
    RED = 1


@register_type(name="test.Point")
@dataclass
class Point:
    x: int
    tags: list[str]


def add_views(app: Flask) -> None:
    app.add_url_rule("/fill", "fill", lambda: str(session.__setitem__("user", "alice")))
    app.add_url_rule("/show", "show", lambda: dict(session))


@pytest.mark.promise(5)
def test_types_over_requests(make_app: MakeApp) -> None:
    """Every value comes back equal and of its type in the next request."""
    app = make_app()
    values = {**VALUES, "enum": Colour.RED, "point": Point(1, ["a"])}
    app.add_url_rule("/set", "set", lambda: str(session.update(values)))
    back: dict[str, Any] = {}
    app.add_url_rule("/get", "get", lambda: str(back.update(session)))
    send(app, "/get", ticket_of(send(app, "/set")))
    assert back == values
    assert {key: type(value) for key, value in back.items()} == {key: type(value) for key, value in values.items()}


@pytest.mark.promise(6)
def test_change_inside_a_registered_value(make_app: MakeApp) -> None:
    """A dataclass is watched like any other value."""
    app = make_app()
    app.add_url_rule("/set", "set", lambda: str(session.__setitem__("point", Point(1, []))))
    app.add_url_rule("/change", "change", lambda: str(session["point"].tags.append("new")))
    app.add_url_rule("/get", "get", lambda: str(session["point"]))
    ticket = ticket_of(send(app, "/set"))
    send(app, "/change", ticket)
    assert send(app, "/get", ticket).text == "Point(x=1, tags=['new'])"


class Shop:
    pass


@pytest.mark.promise(5)
@pytest.mark.parametrize(
    ("value", "path", "kind"),
    [
        (Shop(), "session['bad']", f"{__name__}.Shop"),
        ({"items": [1, Shop()]}, "session['bad']['items'][1]", f"{__name__}.Shop"),
        ([{"a": (1, {2: Shop()})}], "session['bad'][0]['a'][1][2]", f"{__name__}.Shop"),
        (defaultdict(list), "session['bad']", "collections.defaultdict"),
        ({"x": bytearray(b"secret")}, "session['bad']['x']", "bytearray"),
    ],
)
def test_unknown_type(make_app: MakeApp, value: Any, path: str, kind: str) -> None:
    """The error names the value's place and type, and what to do. The stored session stays."""
    app = make_app()
    add_views(app)

    @app.get("/bad")
    def bad() -> str:
        session["user"] = "mallory"
        session["bad"] = value
        return "ok"

    ticket = ticket_of(send(app, "/fill"))
    with pytest.raises(SessionValueError) as caught:
        send(app, "/bad", ticket)
    assert str(caught.value).startswith(f"{path} has a value of type {kind}, which a session cannot store. ")
    assert "secret" not in str(caught.value)
    assert send(app, "/show", ticket).json == {"user": "alice"}
    app.testing = False
    response = send(app, "/bad", ticket)
    assert response.status_code == 500
    assert "Set-Cookie" not in response.headers
    assert send(app, "/show", ticket).json == {"user": "alice"}


@pytest.mark.promise(5)
def test_too_large(make_app: MakeApp) -> None:
    """The error names the limit, the setting and the largest key with its size. The stored session stays."""
    app = make_app(SESSION_MAX_BYTES=2000)
    add_views(app)
    app.add_url_rule("/large", "large", lambda: str(session.update(small="x", picture="y" * 3000)))
    ticket = ticket_of(send(app, "/fill"))
    with pytest.raises(SessionTooLargeError) as caught:
        send(app, "/large", ticket)
    for part in (
        "SESSION_MAX_BYTES allows 2000",
        "session['picture'] with 3003 bytes",
        "Put this data into a database",
    ):
        assert part in str(caught.value)
    assert "yyy" not in str(caught.value)
    assert send(app, "/show", ticket).json == {"user": "alice"}
    with pytest.raises(SessionTooLargeError):
        send(app, "/large")


def test_type_that_is_not_registered_any_more(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    """After a deploy without the registration, the key counts as missing and is logged, and its bytes stay."""
    from flask_cloakroom.core.values import codec

    app = make_app()
    add_views(app)
    app.add_url_rule("/set", "set", lambda: str(session.update(user="alice", point=Point(1, []))))
    app.add_url_rule("/in", "in", lambda: f"{'point' in session} {len(session)} {session.get('point')}")
    app.add_url_rule("/write", "write", lambda: str(session.__setitem__("n", 1)))
    app.add_url_rule("/get", "get", lambda: str(session["point"]))
    ticket = ticket_of(send(app, "/set"))
    forgotten = codec.registered_names.pop("test.Point")
    try:
        assert send(app, "/in", ticket).text == "False 1 None"
        assert send(app, "/show", ticket).json == {"user": "alice"}
        assert send(app, "/write", ticket).status_code == 200
        assert "'point'" in caplog.text
        assert "'test.Point' is not registered" in str(caplog.records[0].message) or "undecodable" in caplog.text
    finally:
        codec.registered_names["test.Point"] = forgotten
    assert send(app, "/get", ticket).text == "Point(x=1, tags=[])"


@pytest.fixture
def sealed_app(make_app: MakeApp) -> Flask:
    app = make_app(SESSION_ENCRYPTION=True)
    add_views(app)
    app.add_url_rule("/write", "write", lambda: str(session.__setitem__("n", session.get("n", 0) + 1)))
    app.add_url_rule("/rotate", "rotate", lambda: str(session.rotate()))  # type: ignore[attr-defined]
    return app


@pytest.mark.promise(8)
def test_sealed_store_shows_nothing(sealed_app: Flask) -> None:
    """With SESSION_ENCRYPTION the store shows neither keys nor values; with the ticket all are readable."""
    ticket = ticket_of(send(sealed_app, "/fill"))
    assert ticket
    for _ in range(2):
        send(sealed_app, "/write", ticket)
    stored = [entry.data for _, entry in sealed_app.session_interface.store.walk()]  # type: ignore[attr-defined]
    for secret in (b"alice", b"user", ticket.encode()):
        assert all(secret not in data for data in stored)
    assert send(sealed_app, "/show", ticket).json == {"user": "alice", "n": 2}
    ticket = ticket_of(send(sealed_app, "/rotate", ticket))
    assert send(sealed_app, "/show", ticket).json == {"user": "alice", "n": 2}


@pytest.mark.promise(8)
def test_sealed_record_of_another(sealed_app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """A record that is copied under another ticket's key opens nothing: it is a 503, as a store's stray answer is."""
    victim, attacker = ticket_of(send(sealed_app, "/fill")), ticket_of(send(sealed_app, "/write"))
    repository = sealed_app.session_interface.repository  # type: ignore[attr-defined]
    stolen = repository.store.load(repository.tickets.fingerprint(victim)).data
    key = repository.tickets.fingerprint(attacker)
    repository.store.replace(key, stolen, 100, repository.store.load(key).version)
    response = send(sealed_app, "/show", attacker)
    assert (response.status_code, response.headers.get("Set-Cookie")) == (503, None)
    assert "belongs to another key" in caplog.text
    assert send(sealed_app, "/show", victim).json == {"user": "alice"}


@pytest.mark.promise(8)
def test_plain_record_where_sealed_ones_are_expected(make_app: MakeApp) -> None:
    """CVE-2026-39324: no fallback. Once encryption is on, a record that is not sealed is not believed."""
    plain, sealed = make_app(), make_app(SESSION_ENCRYPTION=True)
    sealed.session_interface.repository.store = plain.session_interface.store  # type: ignore[attr-defined]
    add_views(plain)
    add_views(sealed)
    assert send(sealed, "/show", ticket_of(send(plain, "/fill"))).json == {}
    assert send(plain, "/show", ticket_of(send(sealed, "/fill"))).json == {"user": "alice"}
