"""``flask.session`` behaves as a dict, across requests."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask, session

from flask_cloakroom import SessionValueError
from support.sites.requests_on_app import MakeApp, send, ticket_of


def run(app: Flask, work: Any, ticket: str | None = None) -> tuple[Any, str | None]:
    """Run ``work`` in a request and return its result and the ticket that the browser has afterwards."""
    box = []
    rule = f"/{len(app.view_functions)}"
    app.add_url_rule(rule, rule, lambda: (box.append(work()), "ok")[1])
    response = send(app, rule, ticket)
    assert response.status_code == 200
    set_now = ticket_of(response)
    return box[0], ticket if set_now is None else set_now


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    app = make_app()
    app._check_setup_finished = lambda f_name: None  # type: ignore[method-assign]  # views are added between requests
    return app


def fill() -> None:
    session.update({"user": "alice", "cart": {"items": [1, 2]}, "n": 3})


def test_reading(app: Flask) -> None:
    """get, [], in, len, iteration, keys, values, items, dict(), == and copies give what was stored, in order."""
    _, ticket = run(app, fill)

    def read() -> list[Any]:
        return [
            session["user"],
            session.get("user"),
            session.get("nobody"),
            session.get("nobody", 7),
            "user" in session,
            "nobody" in session,
            len(session),
            bool(session),
            list(session),
            list(reversed(session)),  # type: ignore[call-overload]
            list(session.keys()),
            list(session.values()),
            list(session.items()),
            dict(session),
            session == {"n": 3, "user": "alice", "cart": {"items": [1, 2]}},
            session.copy(),  # type: ignore[attr-defined]
            session | {"n": 4},  # type: ignore[operator]
            {"z": 1} | session,  # type: ignore[operator]
            json.loads(json.dumps(dict(session))),
        ]

    all_of_it = {"user": "alice", "cart": {"items": [1, 2]}, "n": 3}
    assert run(app, read, ticket)[0] == [
        "alice",
        "alice",
        None,
        7,
        True,
        False,
        3,
        True,
        list(all_of_it),
        list(reversed(all_of_it)),
        list(all_of_it),
        list(all_of_it.values()),
        list(all_of_it.items()),
        all_of_it,
        True,
        all_of_it,
        all_of_it | {"n": 4},
        {"z": 1} | all_of_it,
        all_of_it,
    ]


@pytest.mark.parametrize(
    ("work", "result", "left"),
    [
        (lambda: session.pop("user"), "alice", {"n": 3}),
        (lambda: session.pop("nobody", None), None, {"user": "alice", "n": 3}),
        (lambda: session.setdefault("user", "bob"), "alice", {"user": "alice", "n": 3}),
        (lambda: session.setdefault("new", []), [], {"user": "alice", "n": 3, "new": []}),
        (lambda: session.update(n=4, m=5), None, {"user": "alice", "n": 4, "m": 5}),
        (lambda: session.update({"n": 4}), None, {"user": "alice", "n": 4}),
        (lambda: session.__delitem__("n"), None, {"user": "alice"}),
        (lambda: session.popitem(), ("n", 3), {"user": "alice"}),
    ],
)
def test_changing(app: Flask, work: Any, result: Any, left: Any) -> None:
    """pop, setdefault, update, del and popitem do what they do to a dict, and it is saved."""
    _, ticket = run(app, lambda: session.update({"user": "alice", "n": 3}))
    returned, ticket = run(app, work, ticket)
    assert returned == result
    stored, _ = run(app, lambda: dict(session), ticket)
    assert stored == left


def test_update_in_place(app: Flask) -> None:
    """``|=`` changes the session itself and stays the session."""

    def work() -> bool:
        proxy: Any = session
        before = proxy._get_current_object()
        proxy |= {"n": 1}
        return proxy._get_current_object() is before

    same, ticket = run(app, work)
    assert same
    assert run(app, lambda: dict(session), ticket)[0] == {"n": 1}


def test_missing_key_is_a_key_error(app: Flask) -> None:
    """A key that is not there raises KeyError with the key, as in a dict."""

    def work() -> str:
        for attempt in (lambda: session["nobody"], lambda: session.pop("nobody"), lambda: session.__delitem__("x")):
            with pytest.raises(KeyError):
                attempt()
        return "done"

    assert run(app, work)[0] == "done"


@pytest.mark.promise(6)
def test_nested_changes_are_saved(app: Flask) -> None:
    """A change deep inside a value is saved without ``session.modified``."""
    _, ticket = run(app, fill)
    run(app, lambda: session["cart"]["items"].append({"id": 3}), ticket)
    run(app, lambda: session["cart"]["items"][2].update(quantity=2), ticket)
    assert run(app, lambda: session["cart"], ticket)[0] == {"items": [1, 2, {"id": 3, "quantity": 2}]}


@pytest.mark.promise(6)
def test_one_object_in_one_request(app: Flask) -> None:
    """Reading a key twice gives the same object, so that changes through either are one."""
    _, ticket = run(app, fill)
    assert run(app, lambda: session["cart"] is session["cart"] is session.get("cart"), ticket)[0]


@pytest.mark.promise(5)
@pytest.mark.parametrize("key", [5, None, True, (1, "a"), 2.5, b"bytes", frozenset({1})])
def test_keys_keep_their_types(app: Flask, key: Any) -> None:
    """A key that is not a str is found again as what it is."""
    _, ticket = run(app, lambda: session.__setitem__(key, "value"))
    assert run(app, lambda: list(session.items()), ticket)[0] == [(key, "value")]
    assert type(run(app, lambda: next(iter(session)), ticket)[0]) is type(key)


@pytest.mark.promise(5)
def test_key_of_an_unknown_type(app: Flask) -> None:
    """A key that can't be stored is refused where it is set."""

    def work() -> str:
        with pytest.raises(SessionValueError, match="a session key has a value of type object"):
            session[object()] = 1  # type: ignore[index]
        return "done"

    assert run(app, work)[0] == "done"


def test_introspection_gives_nothing_away(app: Flask) -> None:
    """``sid`` is stable, and neither it nor ``repr`` holds the ticket or what is stored."""
    (before, new), ticket = run(app, lambda: ((session.sid, session.new), fill())[0])  # type: ignore[attr-defined]
    assert (before, new) == (None, True)
    assert ticket
    (sid, text, new), _ = run(app, lambda: (session.sid, repr(session._get_current_object()), session.new), ticket)  # type: ignore[attr-defined]
    assert not new
    assert run(app, lambda: session.sid, ticket)[0] == sid  # type: ignore[attr-defined]
    for secret in (ticket, "alice", "cart"):
        assert secret not in sid
        assert secret not in text


def test_times(app: Flask) -> None:
    """``created`` and ``last_seen`` are moments in UTC, None while nothing is stored."""
    times, ticket = run(app, lambda: ((session.created, session.last_seen), fill())[0])  # type: ignore[attr-defined]
    assert times == (None, None)
    created, seen = run(app, lambda: (session.created, session.last_seen), ticket)[0]  # type: ignore[attr-defined]
    assert created == seen
    assert created.utcoffset().total_seconds() == 0


def test_modified_tells_of_changes(app: Flask) -> None:
    """``session.modified`` is true exactly if there is something to save, nested changes included."""
    _, ticket = run(app, fill)

    def work() -> list[bool]:
        seen = [session.modified]
        session["user"] = "alice"
        seen.append(session.modified)
        session["cart"]["items"].append(3)
        seen.append(session.modified)
        session["cart"]["items"].pop()
        seen.append(session.modified)
        return seen

    assert run(app, work, ticket)[0] == [False, False, True, False]


def test_test_client_transaction(app: Flask) -> None:
    """Flask's ``client.session_transaction()`` reads and writes the session."""
    app.add_url_rule("/read", "read", lambda: session.get("user", "nobody"))
    client = app.test_client()
    with client.session_transaction() as transaction:
        transaction["user"] = "alice"
    assert client.get("/read").text == "alice"
    with client.session_transaction() as transaction:
        assert transaction["user"] == "alice"


@pytest.mark.promise(6)
def test_change_after_the_response_is_reported(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """What a streamed body writes into the session comes too late: it is logged, with the key."""
    from flask import stream_with_context

    def stream() -> Any:
        @stream_with_context
        def body() -> Any:
            session["late"] = "secret"
            yield "x"

        return app.response_class(body())

    app.add_url_rule("/stream", "stream", stream)
    assert send(app, "/stream").text == "x"
    assert "session['late'] was changed after the response was made" in caplog.text
    assert "secret" not in caplog.text
