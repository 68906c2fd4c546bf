"""``session.lock()``: one request at a time, for changes that cannot be merged."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from flask import Flask, session

from flask_cloakroom import (
    LockLostError,
    LockTimeoutError,
    SessionTooLargeError,
    SessionValueError,
    locked_session,
    passive,
)
from support.sites.requests_on_app import MakeApp, entries, send, ticket_of


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    app = make_app()
    app.add_url_rule("/fill", "fill", lambda: str(session.update(credit=10, log=[])))
    app.add_url_rule("/show", "show", lambda: dict(session))
    return app


def in_threads(count: int, work: Any) -> list[Any]:
    results: list[Any] = [None] * count

    def run(number: int) -> None:
        results[number] = work(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_withdrawals_never_go_below_zero(app: Flask) -> None:
    """20 requests at once withdraw 1 of 10 under the lock: 10 succeed, and the account is empty."""

    @app.get("/withdraw")
    @locked_session(timeout=30)
    def withdraw() -> str:
        if session["credit"] < 1:
            return "no"
        credit = session["credit"]
        time.sleep(0.002)  # as a view that asks a bank: without the lock, others would read the same credit now
        session["credit"] = credit - 1
        return "yes"

    ticket = ticket_of(send(app, "/fill"))
    answers = in_threads(20, lambda _: send(app, "/withdraw", ticket).text)
    assert sorted(answers) == ["no"] * 10 + ["yes"] * 10
    assert send(app, "/show", ticket).json["credit"] == 0


def test_async_views(app: Flask) -> None:
    """An async view holds the lock until its last ``await``, and one that is passive sets that before it begins."""

    @app.get("/other")
    def other() -> str:
        try:
            with session.lock(timeout=0):  # type: ignore[attr-defined]
                return "in"
        except LockTimeoutError:
            return "out"

    @app.get("/async")
    @passive
    @locked_session(timeout=0)
    async def view() -> str:
        await asyncio.sleep(0)
        return f"{send(app, '/other', ticket).text} {session.passive}"  # type: ignore[attr-defined]

    ticket = ticket_of(send(app, "/fill"))
    assert send(app, "/async", ticket).text == "out True"
    assert send(app, "/other", ticket).text == "in"


@pytest.mark.promise(3)
def test_changes_before_and_under_the_lock_are_saved(app: Flask) -> None:
    """What was changed before the block, in it and after it is there, and the id stays."""

    @app.get("/work")
    def work() -> str:
        session["before"] = 1
        with session.lock():  # type: ignore[attr-defined]
            session["log"].append("inside")
            with session.lock():  # type: ignore[attr-defined]  # once more is no deadlock
                session["inside"] = 2
        session["log"].append("after")
        return "ok"

    ticket = ticket_of(send(app, "/fill"))
    assert ticket_of(send(app, "/work", ticket)) is None
    assert send(app, "/show", ticket).json == {
        "credit": 10,
        "log": ["inside", "after"],
        "before": 1,
        "inside": 2,
    }


@pytest.mark.promise(3)
def test_values_are_fresh_under_the_lock(app: Flask) -> None:
    """What another request saved meanwhile is seen inside, and its own change of other keys survives."""

    @app.get("/work")
    def work() -> str:
        before = session["credit"]
        send(app, "/spend", ticket)
        with session.lock():  # type: ignore[attr-defined]
            return f"{before} {session['credit']}"

    app.add_url_rule("/spend", "spend", lambda: str(session.update(credit=3)))
    ticket = ticket_of(send(app, "/fill"))
    assert send(app, "/work", ticket).text == "10 3"


def test_saved_before_the_lock_is_free(app: Flask) -> None:
    """The change is in the store at the end of the block, not only at the end of the request."""

    @app.get("/work")
    def work() -> Any:
        with session.lock():  # type: ignore[attr-defined]
            session["credit"] = 4
        return send(app, "/show", ticket).json

    ticket = ticket_of(send(app, "/fill"))
    assert send(app, "/work", ticket).json["credit"] == 4


def test_timeout(app: Flask) -> None:
    """A request that does not get the lock in time gets an error and changes nothing."""

    @app.get("/work")
    def work() -> str:
        with session.lock():  # type: ignore[attr-defined]
            return str(send(app, "/wait", ticket).text)

    @app.get("/wait")
    def wait() -> str:
        try:
            with session.lock(timeout=0.05):  # type: ignore[attr-defined]
                session["credit"] = 0
        except LockTimeoutError as error:
            return str(error)
        return "taken"

    ticket = ticket_of(send(app, "/fill"))
    assert "has held this session's lock for longer than 0.05 s" in send(app, "/work", ticket).text
    assert send(app, "/show", ticket).json["credit"] == 10


def test_holder_that_overslept(app: Flask) -> None:
    """A holder whose lease ran out and was taken over cannot write its changes."""

    @app.get("/sleepy")
    def sleepy() -> str:
        try:
            with session.lock(lease=0.01):  # type: ignore[attr-defined]
                session["credit"] -= 1
                send(app, "/quick", ticket)
        except LockLostError:
            return "lost"
        return "kept"

    @app.get("/quick")
    def quick() -> str:
        with session.lock():  # type: ignore[attr-defined]
            session["credit"] -= 5
        return "ok"

    ticket = ticket_of(send(app, "/fill"))
    assert send(app, "/sleepy", ticket).text == "lost"
    assert send(app, "/show", ticket).json["credit"] == 5


def test_exception_gives_the_lock_back(app: Flask) -> None:
    """A view that fails under the lock leaves it free."""

    @app.get("/fail")
    def fail() -> str:
        with session.lock():  # type: ignore[attr-defined]
            raise ZeroDivisionError

    @app.get("/unstorable")
    def unstorable() -> str:
        with session.lock():  # type: ignore[attr-defined]
            session["x"] = object()
        return "never"

    @app.get("/too-large")
    def too_large() -> str:
        with session.lock():  # type: ignore[attr-defined]
            session["x"] = "x" * 2_000_000
        return "never"

    @app.get("/next")
    def following() -> str:
        with session.lock(timeout=0):  # type: ignore[attr-defined]
            return "mine"

    ticket = ticket_of(send(app, "/fill"))
    with pytest.raises(ZeroDivisionError):
        send(app, "/fail", ticket)
    assert send(app, "/next", ticket).text == "mine"
    for path, error in (("/unstorable", SessionValueError), ("/too-large", SessionTooLargeError)):
        with pytest.raises(error):
            send(app, path, ticket)
        assert send(app, "/next", ticket).text == "mine"


@pytest.mark.promise(4)
def test_lock_against_logout(app: Flask) -> None:
    """A session that ends under the lock stays ended."""

    @app.get("/work")
    def work() -> str:
        with session.lock():  # type: ignore[attr-defined]
            send(app, "/logout", ticket)
            session["credit"] = 0
        return "ok"

    app.add_url_rule("/logout", "logout", lambda: str(session.destroy()))  # type: ignore[attr-defined]
    ticket = ticket_of(send(app, "/fill"))
    response = send(app, "/work", ticket)
    assert "Set-Cookie" not in response.headers
    assert send(app, "/show", ticket).json == {}


def test_visitor_without_session(app: Flask) -> None:
    """A session that is not stored yet needs no lock, because no other request has its ticket."""

    @app.get("/work")
    def work() -> str:
        with session.lock():  # type: ignore[attr-defined]
            return "ok"

    assert send(app, "/work").text == "ok"
    assert entries(app) == 0
