"""Idle timeout, absolute timeout, renewal, and when the cookie is sent again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask, session

from flask_cloakroom import passive, session_reused
from support.sites.requests_on_app import MakeApp, send, ticket_of

HOUR = 3600


class Clock:
    """Moves the repository's time; the store's stands still, as one would that forgets to expire."""

    def __init__(self, app: Flask) -> None:
        repository: Any = app.session_interface.repository  # type: ignore[attr-defined]
        start = repository.clock()
        self.passed = 0.0
        repository.clock = lambda: start + self.passed


def add_views(app: Flask) -> Clock:
    app.add_url_rule("/fill", "fill", lambda: str(session.__setitem__("user", "alice")))
    app.add_url_rule("/read", "read", lambda: str(session.get("user")))
    app.add_url_rule("/write", "write", lambda: str(session.__setitem__("n", session.get("n", 0) + 1)))
    app.add_url_rule("/poll", "poll", passive(lambda: str(session.get("user"))))
    return Clock(app)


def max_age(response: Any) -> int | None:
    for header in response.headers.getlist("Set-Cookie"):
        for part in header.split("; "):
            if part.startswith("Max-Age="):
                return int(part[8:])
    return None


@pytest.mark.promise(4)
def test_idle_time(make_app: MakeApp) -> None:
    """A session that was not used for PERMANENT_SESSION_LIFETIME is over, even if the store still has it."""
    app = make_app(PERMANENT_SESSION_LIFETIME=timedelta(hours=1))
    clock = add_views(app)
    ticket = ticket_of(send(app, "/fill"))
    clock.passed = HOUR - 1
    assert send(app, "/read", ticket).text == "alice"
    clock.passed = 2 * HOUR + 5
    assert send(app, "/read", ticket).text == "None"


@pytest.mark.parametrize("path", ["/read", "/write"])
def test_use_lengthens_the_session_and_its_cookie(make_app: MakeApp, path: str) -> None:
    """After a tenth of the idle time, the next use writes "last seen" and sends the cookie again."""
    app = make_app(PERMANENT_SESSION_LIFETIME=HOUR)
    clock = add_views(app)
    first = send(app, "/fill")
    ticket = ticket_of(first)
    assert max_age(first) == HOUR
    clock.passed = 300
    assert ticket_of(send(app, path, ticket)) is None
    for clock.passed in range(400, 10 * HOUR, 400):
        response = send(app, path, ticket)
        assert ticket_of(response) == ticket
        assert max_age(response) == HOUR


def test_refresh_each_request_off(make_app: MakeApp) -> None:
    """With SESSION_REFRESH_EACH_REQUEST = False only a change lengthens the session."""
    app = make_app(PERMANENT_SESSION_LIFETIME=HOUR, SESSION_REFRESH_EACH_REQUEST=False)
    clock = add_views(app)
    ticket = ticket_of(send(app, "/fill"))
    clock.passed = 1000
    assert ticket_of(send(app, "/read", ticket)) is None
    assert ticket_of(send(app, "/write", ticket)) == ticket
    clock.passed = 1000 + HOUR - 1
    assert send(app, "/read", ticket).text == "alice"
    clock.passed = 1000 + HOUR + 5
    assert send(app, "/read", ticket).text == "None"


@pytest.mark.parametrize("settings", [{}, {"SESSION_RENEW_EVERY": 1000}])
def test_polling_is_no_activity(make_app: MakeApp, settings: dict[str, Any]) -> None:
    """A passive view reads the session and does not keep it alive, not even by a renewal of its ticket."""
    app = make_app(PERMANENT_SESSION_LIFETIME=HOUR, **settings)
    clock = add_views(app)
    ticket = ticket_of(send(app, "/fill"))
    for clock.passed in range(0, HOUR, 600):
        response = send(app, "/poll", ticket)
        assert response.text == "alice"
        ticket = ticket_of(response) or ticket
    clock.passed = HOUR + 5
    assert send(app, "/poll", ticket).text == "None"


def test_refresh_after(make_app: MakeApp) -> None:
    """SESSION_REFRESH_AFTER = 0 writes "last seen" at each request."""
    app = make_app(SESSION_REFRESH_AFTER=0)
    add_views(app)
    ticket = ticket_of(send(app, "/fill"))
    assert ticket_of(send(app, "/read", ticket)) == ticket


@pytest.mark.promise(4)
def test_absolute_limit(make_app: MakeApp) -> None:
    """SESSION_ABSOLUTE_LIFETIME ends a session that is in use. Its cookie never lasts longer."""
    app = make_app(PERMANENT_SESSION_LIFETIME=HOUR, SESSION_ABSOLUTE_LIFETIME=timedelta(hours=2))
    clock = add_views(app)
    ticket = ticket_of(send(app, "/fill"))
    for clock.passed in range(600, 2 * HOUR, 600):
        response = send(app, "/write", ticket)
        assert response.status_code == 200
        assert (max_age(response) or 0) <= 2 * HOUR - clock.passed + 1
    clock.passed = 2 * HOUR + 5
    assert send(app, "/read", ticket).text == "None"


@pytest.mark.promise(4)
def test_absolute_limit_survives_rotation(make_app: MakeApp) -> None:
    """A new id does not make the session younger."""
    app = make_app(SESSION_ABSOLUTE_LIFETIME=2 * HOUR, PERMANENT_SESSION_LIFETIME=10 * HOUR)
    app.add_url_rule("/rotate", "rotate", lambda: str(session.rotate()))  # type: ignore[attr-defined]
    clock = add_views(app)
    ticket = ticket_of(send(app, "/fill"))
    clock.passed = HOUR
    ticket = ticket_of(send(app, "/rotate", ticket))
    clock.passed = 2 * HOUR + 5
    assert send(app, "/read", ticket).text == "None"


def test_store_expiry(make_app: MakeApp) -> None:
    """The store itself deletes a session after its idle time."""
    import time

    app = make_app(PERMANENT_SESSION_LIFETIME=1)
    add_views(app)
    began = time.monotonic()
    ticket = ticket_of(send(app, "/fill"))
    # On a machine that stood still meanwhile the second may be over.
    assert send(app, "/read", ticket).text == "alice" or time.monotonic() - began >= 1
    key = app.session_interface.repository.tickets.fingerprint(ticket)  # type: ignore[attr-defined]
    store = app.session_interface.store  # type: ignore[attr-defined]
    deadline = time.monotonic() + 10
    while store.load(key) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert send(app, "/read", ticket).text == "None"


def test_cookie_that_ends_with_the_browser(make_app: MakeApp) -> None:
    """SESSION_PERMANENT = False sends no lifetime; ``session.permanent = True`` does, and it is remembered."""
    app = make_app(SESSION_PERMANENT=False)
    app.add_url_rule("/keep", "keep", lambda: str(setattr(session, "permanent", True)))
    app.add_url_rule("/kept", "kept", lambda: str(session.permanent))
    clock = add_views(app)
    first = send(app, "/fill")
    ticket = ticket_of(first)
    assert max_age(first) is None
    assert send(app, "/kept", ticket).text == "False"
    kept = send(app, "/keep", ticket)
    assert ticket_of(kept) == ticket
    assert max_age(kept) == 31 * 24 * HOUR
    clock.passed = 700
    assert send(app, "/kept", ticket).text == "True"


def test_permanent_alone_is_saved(make_app: MakeApp) -> None:
    """``session.permanent = True`` alone, without another change, is saved."""
    app = make_app()
    app.add_url_rule("/short", "short", lambda: str(session.update(n=1) or setattr(session, "permanent", False)))
    app.add_url_rule("/keep", "keep", lambda: str(setattr(session, "permanent", True)))
    app.add_url_rule("/kept", "kept", lambda: str(session.permanent))
    Clock(app)  # which stands still
    first = send(app, "/short")
    assert max_age(first) is None
    kept = send(app, "/keep", ticket_of(first))
    assert max_age(kept) == 31 * 24 * HOUR
    assert send(app, "/kept", ticket_of(first)).text == "True"


def test_permanent_in_before_request(make_app: MakeApp) -> None:
    """``session.permanent = True`` before each request opens no session and makes no entry."""
    app = make_app()
    app.before_request(lambda: setattr(session, "permanent", True))
    app.add_url_rule("/alone", "alone", lambda: "hello")
    add_views(app)
    response = send(app, "/alone")
    assert "Set-Cookie" not in response.headers
    assert "Vary" not in response.headers
    assert max_age(send(app, "/fill"))


def test_cookie_lifetime_is_capped(make_app: MakeApp) -> None:
    """A cookie lasts 400 days at most (RFC 6265bis)."""
    app = make_app(PERMANENT_SESSION_LIFETIME=timedelta(days=1000))
    add_views(app)
    assert max_age(send(app, "/fill")) == 400 * 24 * HOUR


@pytest.mark.promise(7)
def test_renewal_is_periodic(make_app: MakeApp) -> None:
    """SESSION_RENEW_EVERY gives a new ticket. A use of the old ticket after the overlap is reported."""
    app = make_app(SESSION_RENEW_EVERY=HOUR)
    clock = add_views(app)
    ticket = ticket_of(send(app, "/fill"))
    clock.passed = HOUR - 1
    assert ticket_of(send(app, "/read", ticket)) in (None, ticket)
    clock.passed = HOUR + 1
    new_ticket = ticket_of(send(app, "/read", ticket))
    assert new_ticket not in (None, ticket)
    clock.passed = HOUR + 100
    reused: list[Any] = []

    def listen(sender: Any, **arguments: Any) -> None:
        reused.append(arguments)

    with session_reused.connected_to(listen):
        assert send(app, "/read", ticket).text == "None"
    assert len(reused) == 1
    assert send(app, "/read", new_ticket).text == "alice"


def test_lost_answer_of_a_renewal_locks_nobody_out(make_app: MakeApp) -> None:
    """A visitor who never got the new ticket can begin a new session after the overlap."""
    app = make_app(SESSION_RENEW_EVERY=HOUR)
    clock = add_views(app)
    ticket = ticket_of(send(app, "/fill"))
    clock.passed = HOUR + 1
    send(app, "/read", ticket)
    clock.passed = HOUR + 100
    again = ticket_of(send(app, "/fill", ticket))
    assert again
    assert send(app, "/read", again).text == "alice"
