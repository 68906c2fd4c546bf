"""The state of a request's work on its session, from the first use to the response."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, session

from flask_cloakroom import Session, StoreError
from flask_cloakroom.sessions.outage import SessionUnavailable
from flask_cloakroom.sessions.work import Phase


def make_app() -> Flask:
    app = Flask(__name__)
    app.config["SESSION_STORE"] = "memory://"
    Session(app)
    return app


def phases_of(app: Flask, view: Any) -> tuple[list[Phase], list[bool]]:
    """Return the phases that ``view`` and the time after the response see, and whether cookies can be sent then."""
    seen: list[Phase] = []
    can_send: list[bool] = []

    def note() -> None:
        work: Any = session._get_current_object()  # type: ignore[attr-defined]
        seen.append(work.phase)
        can_send.append(work.can_send_cookies)

    app.add_url_rule("/", "page", lambda: view(note))
    app.teardown_request(lambda _error: note())
    client = app.test_client()
    client.set_cookie("session", "A" * 43)  # a ticket without a session
    client.get("/")
    return seen, can_send


def test_a_session_that_changes() -> None:
    """Is not opened, open, and then saved. Cookies can be sent until the response is made."""

    def view(note: Any) -> str:
        note()
        session["name"] = "Ann"
        note()
        return ""

    seen, can_send = phases_of(make_app(), view)
    assert seen == [Phase.NOT_OPENED, Phase.OPEN, Phase.SAVED]
    assert can_send == [True, True, False]


def test_a_session_that_is_left_alone() -> None:
    """Is closed by the response."""

    def view(note: Any) -> str:
        note()
        return ""

    assert phases_of(make_app(), view)[0] == [Phase.NOT_OPENED, Phase.CLOSED]


def test_a_session_during_its_load() -> None:
    """Is opening for code that runs meanwhile, such as the store."""
    app = make_app()
    store: Any = app.session_interface.store  # type: ignore[attr-defined]
    load, notes = store.load, []

    def view(note: Any) -> str:
        notes.append(note)
        return str(session.get("name"))

    def watched_load(key: bytes) -> Any:
        notes[0]()
        return load(key)

    store.load = watched_load
    assert phases_of(app, view)[0] == [Phase.OPENING, Phase.SAVED]


def test_a_session_whose_store_fails() -> None:
    """Has failed, for the rest of the request, and its repr says so."""
    app = make_app()
    store: Any = app.session_interface.store  # type: ignore[attr-defined]
    texts: list[str] = []

    def fail(key: bytes) -> Any:
        raise StoreError("the store failed")

    def view(note: Any) -> str | Response:
        try:
            session.get("name")
        except SessionUnavailable:
            note()
            texts.append(repr(session))
        return ""

    store.load = fail
    seen, can_send = phases_of(app, view)
    assert seen == [Phase.FAILED, Phase.FAILED]
    assert can_send == [False, False]
    assert texts == ["<ServerSession failed>"]
