"""Hard cases, each of which was a fault once."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from flask import Flask, send_file, session

from flask_cloakroom import (
    LockLostError,
    SessionTooLargeError,
    locked_session,
    register_type,
    session_conflict,
    session_rotated,
)
from flask_cloakroom.core.values import codec
from support.clock import CalmClock
from support.sites.requests_on_app import MakeApp, entries, send, ticket_of
from support.sites.watched_store import watch


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    app = make_app(SESSION_RENEW_EVERY=1000)
    app.add_url_rule("/fill", "fill", lambda: str(session.update(user="alice", n=10)))
    app.add_url_rule("/show", "show", lambda: dict(session))
    app.add_url_rule("/touch", "touch", lambda: str(session.get("n")))
    app.add_url_rule("/logout", "logout", lambda: str(session.destroy()))  # type: ignore[attr-defined]
    app.add_url_rule("/login", "login", lambda: str(session.rotate() or session.update(user="root")))  # type: ignore[attr-defined]
    return app


def let_pass(app: Flask, seconds: float) -> None:
    repository: Any = app.session_interface.repository  # type: ignore[attr-defined]
    before = repository.clock
    repository.clock = lambda: before() + seconds


@pytest.mark.parametrize("key", ["n", "items"])
@pytest.mark.parametrize("other", ["/login", "/logout"])
def test_late_answer_after_a_renewal(app: Flask, other: str, key: str) -> None:
    """A slow page that was led on to a renewed ticket doesn't send that ticket once it is dead.

    Nor does a page that read a list, in which the end of the request has to look for changes.
    """

    @app.get("/slow")
    def slow() -> str:
        shown = str(session.get(key))
        answers.append(send(app, other, renewed))
        return shown

    app.add_url_rule("/begin", "begin", lambda: str(session.update(n=10, items=["tea"])))
    answers: list[Any] = []
    ticket = ticket_of(send(app, "/begin"))
    let_pass(app, 1001)
    renewed = ticket_of(send(app, "/touch", ticket))
    late = send(app, "/slow", ticket)
    assert late.text == {"n": "10", "items": "['tea']"}[key]
    assert "Set-Cookie" not in late.headers


def test_lock_and_renewal(app: Flask) -> None:
    """A renewal between a request's reading and its locking: the block runs locked, on the session as it is."""

    @app.get("/pay")
    @locked_session()
    def pay() -> str:
        session["n"] -= 1
        return str(session["n"])

    ticket = ticket_of(send(app, "/fill"))
    store = watch(app)

    def renew() -> None:
        let_pass(app, 1001)
        send(app, "/touch", ticket)

    store.before["replace"] = renew
    response = send(app, "/pay", ticket)
    assert response.text == "9"
    assert send(app, "/show", ticket_of(response)).json == {"user": "alice", "n": 9}


def test_renewal_leaves_a_lock_alone(app: Flask) -> None:
    """A page beside a locked one renews the ticket: the lock goes along, and what was changed under it is saved."""

    @app.get("/pay")
    @locked_session(lease=5000)
    def pay() -> str:
        let_pass(app, 1001)
        renewed.append(ticket_of(send(app, "/touch", ticket)))
        let_pass(app, 20)  # longer than a renewed ticket leads on for those who come fresh
        session["n"] -= 1
        return "ok"

    renewed: list[Any] = []
    ticket = ticket_of(send(app, "/fill"))
    assert send(app, "/pay", ticket).status_code == 200
    assert send(app, "/show", renewed[0]).json == {"user": "alice", "n": 9}


def test_lock_of_a_session_that_ended(app: Flask) -> None:
    """The block doesn't run without a lock on a session that has just been ended."""

    @app.get("/pay")
    def pay() -> str:
        dict(session)
        send(app, "/logout", ticket)
        with session.lock():  # type: ignore[attr-defined]
            paid.append(1)
        return "paid"

    paid: list[int] = []
    ticket = ticket_of(send(app, "/fill"))
    with pytest.raises(LockLostError, match="has ended"):
        send(app, "/pay", ticket)
    assert not paid


@pytest.mark.parametrize("times", [{"timeout": -1}, {"lease": 0}, {"timeout": float("nan")}, {"lease": float("inf")}])
def test_times_of_a_lock(app: Flask, times: dict[str, float]) -> None:
    """A time that is none is a ValueError."""

    @app.get("/lock")
    def lock() -> str:
        with session.lock(**times):  # type: ignore[attr-defined]
            return "never"

    with pytest.raises(ValueError, match="timeout must be 0 or more"):
        send(app, "/lock", ticket_of(send(app, "/fill")))


def test_cookie_header_is_read_in_linear_time(app: Flask) -> None:
    """A header made to keep a regular expression busy: 64 KiB of it take about as long as 64 KiB that are not."""

    def seconds(filling: str) -> float:
        header = "session=a" + filling * 65_536 + "a"
        began = time.thread_time()
        response = app.test_client(use_cookies=False).get("/touch", headers={"Cookie": header})
        assert response.status_code == 200
        return time.thread_time() - began

    harmless = min(seconds("a") for _ in range(3))
    # A quadratic one takes a thousand times as long.
    assert min(seconds(" ") for _ in range(3)) < 20 * harmless


def test_receiver_that_fails(app: Flask) -> None:
    """A signal's receiver raises: the page is an error, and what was saved was saved once."""

    @app.get("/append")
    def append() -> str:
        session.setdefault("log", []).append("mine")
        session["user"] = "mine"
        if not others:
            others.append(send(app, "/other", ticket))
        return "ok"

    def fail(sender: Any, **arguments: Any) -> None:
        raise ZeroDivisionError

    others: list[Any] = []
    app.add_url_rule("/other", "other", lambda: str(session.update(user="theirs")))
    app.testing = False
    ticket = ticket_of(send(app, "/fill"))
    with session_conflict.connected_to(fail):
        assert send(app, "/append", ticket).status_code == 500
    assert send(app, "/show", ticket).json == {"user": "mine", "n": 10, "log": ["mine"]}
    with session_rotated.connected_to(fail):
        response = send(app, "/login", ticket)
    assert send(app, "/show", ticket_of(response)).json["user"] == "root"


def test_clear_and_a_value_too_large(make_app: MakeApp) -> None:
    """What comes after ``clear()`` cannot be stored: what was stored before stays."""
    app = make_app(SESSION_MAX_BYTES=2000)
    app.add_url_rule("/fill", "fill", lambda: str(session.update(user="alice")))
    app.add_url_rule("/show", "show", lambda: dict(session))
    app.add_url_rule("/bad", "bad", lambda: str(session.clear() or session.update(x="x" * 3000)))
    ticket = ticket_of(send(app, "/fill"))
    with pytest.raises(SessionTooLargeError):
        send(app, "/bad", ticket)
    assert send(app, "/show", ticket).json == {"user": "alice"}


def test_clear_and_lock(app: Flask) -> None:
    """A lock after ``clear()`` doesn't bring back what was cleared."""

    @app.get("/both")
    def both() -> str:
        session.clear()
        with session.lock():  # type: ignore[attr-defined]
            return str(session.get("user"))

    ticket = ticket_of(send(app, "/fill"))
    response = send(app, "/both", ticket)
    assert response.text == "None"
    assert ticket_of(response) == ""
    assert send(app, "/show", ticket).json == {}


def test_error_page_after_an_unstorable_value(app: Flask) -> None:
    """The error page sees the session as it is stored, so that it can't take what it misses for missing."""

    @app.errorhandler(500)
    def sorry(error: Any) -> Any:
        session.setdefault("user", "nobody")
        return str(session["user"]), 500

    app.add_url_rule("/bad", "bad", lambda: str(session.update(x=object())))
    app.testing = False
    ticket = ticket_of(send(app, "/fill"))
    assert send(app, "/bad", ticket).text == "alice"
    assert send(app, "/show", ticket).json == {"user": "alice", "n": 10}


@pytest.mark.parametrize("logout", ["session.pop('user', None)", "session.__delitem__('user')"])
def test_logout_by_a_worker_that_cannot_decode(app: Flask, logout: str) -> None:
    """During a deploy: a key whose type this worker doesn't know is removed all the same."""

    @register_type(name="test.Account", encode=lambda account: "alice", decode=lambda stored: Account())
    class Account:
        pass

    app.add_url_rule("/in", "in", lambda: str(session.update(user=Account())))
    app.add_url_rule("/out", "out", lambda: str(eval(logout, {"session": session})))
    ticket = ticket_of(send(app, "/in"))
    known = codec.registered_names.pop("test.Account")
    assert send(app, "/out", ticket).status_code == 200
    codec.registered_names["test.Account"] = known
    assert send(app, "/show", ticket).json == {}


def test_turn_of_a_clock_that_is_ahead(app: Flask) -> None:
    """A turn that was announced by a host whose clock is minutes ahead keeps nobody waiting."""
    app.add_url_rule("/write", "write", lambda: str(session.update(n=11)))
    ticket = ticket_of(send(app, "/fill"))
    repository = app.session_interface.repository  # type: ignore[attr-defined]
    record = repository.load(ticket)
    header = record.header._replace(turn_until=repository.now_ms() + 600_000)
    repository.replace(record, header, record.values)
    with CalmClock() as clock:
        began = clock.time()
        assert send(app, "/write", ticket).status_code == 200
        assert clock.time() - began < 1
    assert send(app, "/show", ticket).json["n"] == 11


def test_lower_limit_lets_large_sessions_shrink(make_app: MakeApp) -> None:
    """After SESSION_MAX_BYTES was lowered a session above it can be read, refreshed and made smaller, not larger."""
    app = make_app(SESSION_MAX_BYTES=10_000, SESSION_REFRESH_AFTER=0)
    app.add_url_rule("/fill", "fill", lambda: str(session.update(user="alice", x="x" * 5000)))
    app.add_url_rule("/touch", "touch", lambda: str(session.get("user")))
    app.add_url_rule("/more", "more", lambda: str(session.update(y="y")))
    app.add_url_rule("/logout", "logout", lambda: str(session.pop("user")))
    ticket = ticket_of(send(app, "/fill"))
    app.session_interface.repository.max_bytes = 2000  # type: ignore[attr-defined]
    assert send(app, "/touch", ticket).status_code == 200
    with pytest.raises(SessionTooLargeError):
        send(app, "/more", ticket)
    assert send(app, "/logout", ticket).status_code == 200
    assert send(app, "/touch", ticket).text == "None"


@pytest.mark.parametrize("page", ["a file", "no status"])
def test_pages_for_503(app: Flask, page: str) -> None:
    """Whatever an error handler makes of it, an outage while saving is a 503."""
    from flask_cloakroom import StoreError

    @app.errorhandler(503)
    def sorry(error: Any) -> Any:
        return send_file(io.BytesIO(b"sorry"), mimetype="text/plain") if page == "a file" else "sorry"

    def fail() -> None:
        raise StoreError("down")

    app.add_url_rule("/write", "write", lambda: str(session.update(n=11)))
    ticket = ticket_of(send(app, "/fill"))
    watch(app).before["replace"] = fail
    response = send(app, "/write", ticket)
    assert (response.status_code, response.text) == (503, "sorry")
    assert send(app, "/show", ticket).json["n"] == 10
    assert entries(app) == 1
