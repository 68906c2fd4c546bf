"""Promise 7: every change of ``_user_id`` rotates the ticket, on every store."""

from __future__ import annotations

import time
from typing import Any

import pytest
from flask import Flask, session

from flask_cloakroom import LockLostError, session_rotated
from support.sites.requests_on_app import MakeApp, send, ticket_of

pytestmark = pytest.mark.promise(7)


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    app = make_app()

    @app.post("/do")
    def do() -> str:
        from flask import request

        return str(eval(request.get_data(as_text=True), {"session": session, "locked": locked}))

    app.add_url_rule("/late", "late")
    return app


def locked(before: dict[str, Any], inside: dict[str, Any], meanwhile: Any = lambda: None) -> None:
    """Change the session, lock it, change it again; ``meanwhile`` runs in the end, still under the lock."""
    session.update(before)
    with session.lock(lease=0.05):  # type: ignore[attr-defined]
        session.update(inside)
        meanwhile()


def do(app: Flask, ticket: str | None, code: str) -> str | None:
    response = send(app, "/do", ticket, method="POST", data=code)
    assert response.status_code == 200, response.text
    return ticket_of(response)


def contents(app: Flask, ticket: str | None) -> str:
    return str(send(app, "/do", ticket, method="POST", data="dict(session)").text)


@pytest.mark.parametrize(
    "change",
    [
        "session.update(_user_id='bob')",
        "session.pop('_user_id')",
        "session.__setitem__('_user_id', None)",
        "locked({'_user_id': 'bob'}, {})",
        "locked({}, {'_user_id': 'bob'})",
        "locked({'_user_id': 'carol'}, {'_user_id': 'bob'})",
    ],
)
def test_another_user_is_another_id(app: Flask, change: str) -> None:
    """Set, removed, or changed under the lock: a new ticket, the old one is dead, all else stays, and it is told."""
    before = do(app, None, "session.update(_user_id='alice', cart=[1])")
    told: list[Any] = []
    with session_rotated.connected_to(lambda sender, **arguments: told.append(arguments["reason"])):
        after = do(app, before, change)
    assert after
    assert after != before
    assert contents(app, before) == "{}"
    assert "'cart': [1]" in contents(app, after)
    assert set(told) == {"privilege"}


@pytest.mark.parametrize("end", ["session.destroy()", "session.update(_user_id='bob')"])
def test_a_late_request_begins_no_login(app: Flask, end: str) -> None:
    """A request with the ticket of before a logout or login that only writes ``_user_id``, as the remember cookie of
    another package would, is too late: nothing is stored and no cookie is set. A login says so with ``rotate()``."""
    ticket = do(app, None, "session.update(_user_id='alice')")
    do(app, ticket, end)
    assert do(app, ticket, "session.update(_user_id='alice')") is None
    assert do(app, ticket, "session.superseded and session.update(_user_id='alice') or session.rotate()")


@pytest.mark.parametrize("change", ["session.update(_user_id='alice')", "session.update(cart=[2])", "locked({}, {})"])
def test_the_same_user_is_the_same_id(app: Flask, change: str) -> None:
    """Nothing rotates without a reason."""
    before = do(app, None, "session.update(_user_id='alice', cart=[1])")
    assert do(app, before, change) is None
    assert "alice" in contents(app, before)


def test_a_lock_that_was_lost_gives_no_new_id(app: Flask) -> None:
    """The holder overslept and somebody else took the lock: the user does not change, and nothing else either."""
    ticket = do(app, None, "session.update(cart=[1])")

    def oversleep() -> None:
        time.sleep(0.1)
        do(app, ticket, "locked({}, {'other': 1})")

    app.view_functions["late"] = lambda: str(locked({}, {"_user_id": "bob"}, oversleep))
    with pytest.raises(LockLostError):
        send(app, "/late", ticket)
    assert contents(app, ticket) == "{'cart': [1], 'other': 1}"
