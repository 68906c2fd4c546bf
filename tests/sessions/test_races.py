"""Promises 3, 4 and 7: parallel requests, each in an order that the test forces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, session

from flask_cloakroom import session_conflict, session_discarded
from support.sites.requests_on_app import MakeApp, entries, send, ticket_of
from support.sites.watched_store import watch


class Meanwhile:
    """What another request does after this one has read its session and before it saves."""

    def __init__(self) -> None:
        self.work: Callable[[], Any] = lambda: None

    def __call__(self) -> None:
        self.work()


@pytest.fixture
def meanwhile() -> Meanwhile:
    return Meanwhile()


@pytest.fixture
def app(make_app: MakeApp, meanwhile: Meanwhile) -> Flask:
    app = make_app(SESSION_MERGE={"total": "sum", "best": "max", "wishes": "union"})

    @app.post("/change")
    def change() -> str:
        """Read everything, let the other request happen, then change."""
        from flask import request

        dict(session)
        meanwhile()
        exec(request.get_data(as_text=True), {"session": session})
        return "ok"

    @app.post("/do")
    def do() -> str:
        from flask import request

        exec(request.get_data(as_text=True), {"session": session})
        return "ok"

    @app.get("/show")
    def show() -> dict[str, Any]:
        return {"new": session.new, "session": {str(key): repr(value) for key, value in session.items()}}

    return app


def show(app: Flask, ticket: str | None) -> Any:
    return send(app, "/show", ticket).json["session"]


def fill(app: Flask, code: str = "session['user'] = 'alice'") -> str:
    ticket = ticket_of(send(app, "/do", method="POST", data=code))
    assert ticket
    return ticket


RACES = {
    "other keys": ("", "session['a'] = 1", "session['b'] = 2", {"a": "1", "b": "2"}),
    "nested keys": (
        "session['cart'] = {'apple': 1}",
        "session['cart']['pear'] = 2",
        "session['cart']['plum'] = 3",
        {"cart": "{'apple': 1, 'pear': 2, 'plum': 3}"},
    ),
    "appended": (
        "session['log'] = ['a']",
        "session['log'].append('b')",
        "session['log'].append('c')",
        {"log": "['a', 'b', 'c']"},
    ),
    "begun by both": (
        "",
        "session.setdefault('log', []).append('b')",
        "session.setdefault('log', []).append('c')",
        {"log": "['b', 'c']"},
    ),
    "sum": ("session['total'] = 5", "session['total'] += 1", "session['total'] += 1", {"total": "7"}),
    "max": ("session['best'] = 5", "session['best'] = 9", "session['best'] = 7", {"best": "9"}),
    "union": (
        "session['wishes'] = ['a']",
        "session['wishes'].append('b')",
        "session.pop('wishes')",
        {"wishes": "['b']"},
    ),
    "scalar": ("session['n'] = 1", "session['n'] = 2", "session['n'] = 3", {"n": "3"}),
    "deleted and changed": ("session['n'] = 1", "session.pop('n')", "session['n'] = 3", {}),
    "changed and deleted": ("session['n'] = 1", "session['n'] = 2", "session.pop('n')", {}),
    "emptied and added": ("session['n'] = 1", "session.pop('user'); session.pop('n')", "session['m'] = 1", {"m": "1"}),
}


@pytest.mark.promise(3)
@pytest.mark.parametrize("race", RACES)
def test_two_commits(app: Flask, meanwhile: Meanwhile, race: str) -> None:
    """Both requests read, then one saves, then the other: the changes of both are stored."""
    base, theirs, mine, expected = RACES[race]
    ticket = fill(app, f"session['user'] = 'alice'; {base}")
    meanwhile.work = lambda: send(app, "/do", ticket, method="POST", data=theirs)
    assert send(app, "/change", ticket, method="POST", data=mine).status_code == 200
    stored = show(app, ticket)
    if race != "emptied and added":
        assert stored.pop("user") == "'alice'"
    assert stored == expected


@pytest.mark.promise(3)
def test_conflict_is_told(app: Flask, meanwhile: Meanwhile) -> None:
    """A conflict is reported with the key, the base and both values."""
    told: list[Any] = []

    def listen(sender: Any, **arguments: Any) -> None:
        told.append((sender, arguments))

    ticket = fill(app, "session['cart'] = {'apple': 1, 'pear': 1}")
    meanwhile.work = lambda: send(app, "/do", ticket, method="POST", data="session['cart']['apple'] = 2")
    with session_conflict.connected_to(listen):
        send(app, "/change", ticket, method="POST", data="session['cart']['apple'] = 3; session['cart']['pear'] = 3")
    [(sender, arguments)] = told
    sid = arguments.pop("sid")
    assert sender is app
    assert len(sid) == 16
    assert arguments == {
        "key": "cart",
        "path": ("cart", "apple"),
        "base": 1,
        "theirs": 2,
        "mine": 3,
        "kept": "mine",
    }
    assert show(app, ticket) == {"cart": "{'apple': 3, 'pear': 3}"}


@pytest.mark.promise(4, 9)
@pytest.mark.parametrize("logout", ["session.destroy()", "session.clear()"])
@pytest.mark.parametrize("change", ["session['n'] = 1", "session['user'] = 'alice'", "pass"])
def test_logout_wins(app: Flask, meanwhile: Meanwhile, logout: str, change: str) -> None:
    """A request that began before a logout and ends after it leaves the ticket dead and sets no cookie."""
    ticket = fill(app)
    meanwhile.work = lambda: send(app, "/do", ticket, method="POST", data=logout)
    told: list[Any] = []

    def listen(sender: Any, **arguments: Any) -> None:
        told.append(arguments)

    with session_discarded.connected_to(listen):
        response = send(app, "/change", ticket, method="POST", data=change)
    assert response.status_code == 200
    assert "Set-Cookie" not in response.headers
    assert show(app, ticket) == {}
    if change == "session['n'] = 1":
        assert [(one["keys"], one["reason"]) for one in told] == [(("n",), "gone")]


@pytest.mark.promise(4)
def test_first_touch_after_the_logout(app: Flask) -> None:
    """A request that began before a logout and uses the session only afterwards begins no new session."""

    @app.post("/late")
    def late() -> str:
        send(app, "/do", ticket, method="POST", data="session.destroy()")
        session["n"] = 1
        return "ok"

    ticket = fill(app)
    response = send(app, "/late", ticket, method="POST")
    assert "Set-Cookie" not in response.headers
    assert show(app, ticket) == {}


@pytest.mark.promise(4)
def test_logout_between_load_and_store(app: Flask) -> None:
    """A logout right before the compare-and-set wins as well."""
    ticket = fill(app)
    store = watch(app)
    store.before["replace"] = lambda: send(app, "/do", ticket, method="POST", data="session.destroy()")
    response = send(app, "/do", ticket, method="POST", data="session['n'] = 1")
    assert "Set-Cookie" not in response.headers
    assert show(app, ticket) == {}


@pytest.mark.promise(4, 7)
def test_login_is_not_undone(app: Flask, meanwhile: Meanwhile) -> None:
    """A request that runs during a login saves nothing and sets no cookie. The browser keeps the new ticket."""
    ticket = fill(app)
    login = []

    def log_in() -> None:
        login.append(send(app, "/do", ticket, method="POST", data="session.rotate(); session['user'] = 'root'"))

    meanwhile.work = log_in
    response = send(app, "/change", ticket, method="POST", data="session['n'] = 1")
    assert "Set-Cookie" not in response.headers
    new_ticket = ticket_of(login[0])
    assert new_ticket not in (None, "", ticket)
    assert show(app, new_ticket) == {"user": "'root'"}
    assert show(app, ticket) == {}


@pytest.mark.promise(4, 7)
def test_old_ticket_after_a_login(app: Flask) -> None:
    """A request with the old ticket sees an empty session. Its changes are dropped, and it sets no cookie."""
    ticket = fill(app)
    new_ticket = ticket_of(send(app, "/do", ticket, method="POST", data="session.rotate()"))
    response = send(app, "/do", ticket, method="POST", data="session['n'] = 1")
    assert "Set-Cookie" not in response.headers
    assert show(app, ticket) == {}
    assert show(app, new_ticket) == {"user": "'alice'"}


@pytest.mark.parametrize("fresh", ["session.rotate()", "session.clear()"])
def test_second_click_on_login(app: Flask, fresh: str) -> None:
    """A second login with the old ticket, because the first answer was lost, logs the user in as well."""
    ticket = fill(app)
    send(app, "/do", ticket, method="POST", data="session.rotate(); session['user'] = 'root'")
    again = send(app, "/do", ticket, method="POST", data=f"{fresh}; session['user'] = 'root'")
    assert show(app, ticket_of(again)) == {"user": "'root'"}


@pytest.mark.promise(3, 7)
def test_rotation_takes_along_what_others_wrote(app: Flask) -> None:
    """A change that another request saves during a rotation is in the new session."""
    ticket = fill(app)
    store = watch(app)
    store.before["create"] = lambda: send(app, "/do", ticket, method="POST", data="session['n'] = 1")
    new_ticket = ticket_of(send(app, "/do", ticket, method="POST", data="session.rotate(); session['m'] = 2"))
    assert show(app, new_ticket) == {"user": "'alice'", "n": "1", "m": "2"}
    assert show(app, ticket) == {}


@pytest.mark.promise(4, 9)
def test_logout_while_the_session_moves(app: Flask) -> None:
    """A logout that comes between the two steps of a rotation ends both sessions."""
    ticket = fill(app)
    store = watch(app)
    store.before["replace"] = lambda: send(app, "/do", ticket, method="POST", data="session.destroy()")
    response = send(app, "/do", ticket, method="POST", data="session.rotate(); session['m'] = 2")
    assert ticket_of(response) is None
    assert show(app, ticket) == {}
    # Only the tombstone is left.
    assert entries(app) == 1


@pytest.mark.promise(7)
def test_two_logins_at_once(app: Flask) -> None:
    """Of two rotations of one session one wins. The other is withdrawn and sets no cookie."""
    ticket = fill(app)
    store = watch(app)
    first = []
    store.before["replace"] = lambda: first.append(send(app, "/do", ticket, method="POST", data="session.rotate()"))
    second = send(app, "/do", ticket, method="POST", data="session.rotate()")
    assert ticket_of(second) is None
    assert show(app, ticket_of(first[0])) == {"user": "'alice'"}
    assert entries(app) == 2  # the session, and the tombstone in its old place


@pytest.mark.promise(3, 7)
def test_parallel_requests_at_a_renewal(make_app: MakeApp) -> None:
    """Requests with the old ticket end on the same new ticket, and all their changes are stored."""
    app = make_app(SESSION_RENEW_EVERY=1000)
    app.add_url_rule("/n", "n", lambda: str(session.__setitem__("n", 1)))
    app.add_url_rule("/m", "m", lambda: str(session.__setitem__("m", 1)))
    app.add_url_rule("/show", "show", lambda: dict(session))
    repository = app.session_interface.repository  # type: ignore[attr-defined]
    ticket = ticket_of(send(app, "/n"))
    now = repository.clock()
    repository.clock = lambda: now + 1001
    renewed = send(app, "/m", ticket)
    new_ticket = ticket_of(renewed)
    assert new_ticket not in (None, "", ticket)
    parallel = send(app, "/show", ticket)
    assert parallel.json == {"n": 1, "m": 1}
    assert ticket_of(parallel) == new_ticket
    # In flight with the old ticket from before the renewal: merged into the successor.
    repository.clock = lambda: now + 1012
    late = send(app, "/show", ticket)
    assert late.json == {}
    assert "Set-Cookie" not in late.headers
    assert send(app, "/show", new_ticket).json == {"n": 1, "m": 1}


@pytest.mark.promise(3, 7)
def test_commit_follows_a_renewal(make_app: MakeApp) -> None:
    """A request that read before a renewal saves into the successor, and its response sends the new ticket."""
    app = make_app(SESSION_RENEW_EVERY=1000)
    app.add_url_rule("/touch", "touch", lambda: str(session.get("n")))
    repository = app.session_interface.repository  # type: ignore[attr-defined]
    now = repository.clock()
    renewed = []

    @app.get("/slow")
    def slow() -> str:
        session["slow"] = len(session)
        if not renewed:
            repository.clock = lambda: now + 1001
            renewed.append(send(app, "/touch", ticket))
            repository.clock = lambda: now + 5
        return "ok"

    app.add_url_rule("/fill", "fill", lambda: str(session.__setitem__("n", 1)))
    app.add_url_rule("/show", "show", lambda: dict(session))
    ticket = ticket_of(send(app, "/fill"))
    response = send(app, "/slow", ticket)
    assert ticket_of(response) == ticket_of(renewed[0])
    assert send(app, "/show", ticket_of(response)).json == {"n": 1, "slow": 1}


@pytest.mark.promise(4, 9)
def test_logout_while_a_renewal_happens(make_app: MakeApp) -> None:
    """A logout that read before a renewal ends the successor as well."""
    app = make_app(SESSION_RENEW_EVERY=1000)
    app.add_url_rule("/fill", "fill", lambda: str(session.__setitem__("n", 1)))
    app.add_url_rule("/show", "show", lambda: dict(session))
    app.add_url_rule("/logout", "logout", lambda: str(session.destroy()))  # type: ignore[attr-defined]
    repository = app.session_interface.repository  # type: ignore[attr-defined]
    now = repository.clock()
    ticket = ticket_of(send(app, "/fill"))
    store = watch(app)
    renewed = []

    def renew() -> None:
        repository.clock = lambda: now + 1001
        renewed.append(send(app, "/show", ticket))

    store.before["replace"] = renew
    send(app, "/logout", ticket)
    new_ticket = ticket_of(renewed[0])
    assert new_ticket
    assert send(app, "/show", new_ticket).json == {}


@pytest.mark.promise(4, 9)
def test_logout_after_a_login_of_another_tab(app: Flask, meanwhile: Meanwhile) -> None:
    """A logout that read before a rotation ends the moved session, and keeps the browser's new cookie."""
    ticket = fill(app)
    login = []
    meanwhile.work = lambda: login.append(send(app, "/do", ticket, method="POST", data="session.rotate()"))
    response = send(app, "/change", ticket, method="POST", data="session.destroy()")
    assert ticket_of(response) == ""
    new_ticket = ticket_of(login[0])
    assert new_ticket
    assert show(app, new_ticket) == {}


def test_logout_of_what_is_gone_touches_no_cookie(app: Flask, meanwhile: Meanwhile) -> None:
    """The second of two logouts ends nothing, and does not delete the cookie of a later login."""
    ticket = fill(app)
    meanwhile.work = lambda: send(app, "/do", ticket, method="POST", data="session.destroy()")
    assert ticket_of(send(app, "/change", ticket, method="POST", data="session.destroy()")) is None


@pytest.mark.promise(3, 7)
def test_renewals_at_the_same_time(make_app: MakeApp, meanwhile: Meanwhile) -> None:
    """Of several requests that find a renewal due one renews. All end on its ticket, and no change is lost."""
    app = make_app(SESSION_RENEW_EVERY=1000)
    app.add_url_rule("/fill", "fill", lambda: str(session.__setitem__("n", 1)))
    app.add_url_rule("/show", "show", lambda: dict(session))
    app.add_url_rule("/other", "other", lambda: str(session.__setitem__("other", 1)))

    @app.get("/first")
    def first() -> str:
        session["first"] = len(session)
        meanwhile()
        return "ok"

    repository = app.session_interface.repository  # type: ignore[attr-defined]
    now = repository.clock()
    ticket = ticket_of(send(app, "/fill"))
    repository.clock = lambda: now + 1001
    others = []
    meanwhile.work = lambda: others.append(send(app, "/other", ticket))
    response = send(app, "/first", ticket)
    assert ticket_of(response) == ticket_of(others[0]) not in (None, "", ticket)
    assert send(app, "/show", ticket_of(response)).json == {"n": 1, "other": 1, "first": 1}


@pytest.mark.promise(3)
def test_flash_messages_of_parallel_requests(app: Flask, meanwhile: Meanwhile) -> None:
    """Both messages are kept. A message that arrives while others are shown waits for the next page."""
    from flask import flash, get_flashed_messages

    app.add_url_rule("/flash/<text>", "flash", lambda text: str(flash(text)))

    @app.get("/messages")
    def messages() -> list[str]:
        shown = get_flashed_messages()
        meanwhile()
        return shown

    ticket = fill(app)
    send(app, "/flash/one", ticket)
    meanwhile.work = lambda: send(app, "/flash/two", ticket)
    assert send(app, "/messages", ticket).json == ["one"]
    meanwhile.work = lambda: None
    assert send(app, "/messages", ticket).json == ["two"]
    assert send(app, "/messages", ticket).json == []
