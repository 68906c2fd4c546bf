"""Each flash message is shown once, by a response that was rendered; until then it is kept."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Response, abort, flash, get_flashed_messages, render_template_string, session
from markupsafe import Markup

from flask_cloakroom import StoreError
from flask_cloakroom.core.sessions.commit import Commit
from flask_cloakroom.core.values.flashes import LEASE_MS
from flask_cloakroom.core.values.own_keys import FLASH_LEASES, FLASHES
from flask_cloakroom.sessions.outage import SessionUnavailable
from flask_cloakroom.testing.schedules import Turns, in_every_order
from support.sites.requests_on_app import MakeApp, send, ticket_of
from support.sites.watched_store import watch

pytestmark = pytest.mark.promise(3)

PAGE = "{% for message in get_flashed_messages() %}[{{ message }}]{% endfor %}"


class Broken(Exception):
    """What a view does not expect."""


class Killed(BaseException):
    """Ends a request as the end of its process does: nothing is handled, nothing is saved."""


def add_views(app: Flask) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.config["SECRET"] = "of the application"

    @app.get("/flash/<text>")
    def tell(text: str) -> str:
        flash(text, "info")
        return "ok"

    @app.get("/show")
    def show() -> str:
        return render_template_string(PAGE)

    @app.get("/both/<text>")
    def both(text: str) -> str:
        flash(text)
        return render_template_string(PAGE)

    @app.get("/fail/<how>")
    def fail(how: str) -> str:
        flash("own")
        shown = render_template_string(PAGE)
        flash("later")
        session["seen"] = shown
        if how == "abort":
            abort(404)
        raise {"killed": Killed, "handled": KeyError}.get(how, Broken)(shown)

    @app.get("/break")
    def break_off() -> str:
        raise Broken(render_template_string(PAGE))

    @app.errorhandler(KeyError)
    def handled(error: KeyError) -> tuple[str, int]:
        return "handled", 409

    @app.get("/state")
    def state() -> dict[str, Any]:
        return {key: repr(value) for key, value in session.items()}


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    app = make_app()
    add_views(app)
    return app


def told(app: Flask) -> str:
    """Return the ticket of a visitor for whom there is a message, the first."""
    ticket = ticket_of(send(app, "/flash/one"))
    assert ticket
    return ticket


def test_as_flask_has_them(app: Flask) -> None:
    """Messages with and without categories, filtered, markup, in their order, once, and the same all request long."""

    @app.get("/all")
    def all_of_them() -> dict[str, Any]:
        return {
            "plain": get_flashed_messages(),
            "with": [list(pair) for pair in get_flashed_messages(with_categories=True)],
            "errors": get_flashed_messages(category_filter=["error"]),
            "escaped": render_template_string(PAGE),
        }

    @app.get("/say")
    def say() -> str:
        flash("a < b")
        flash(Markup("<b>bold</b>"), "error")
        return ""

    ticket = ticket_of(send(app, "/say"))
    shown = send(app, "/all", ticket).json
    assert shown["plain"] == ["a < b", "<b>bold</b>"]
    assert shown["with"] == [["message", "a < b"], ["error", "<b>bold</b>"]]
    assert shown["errors"] == ["<b>bold</b>"]
    assert shown["escaped"] == "[a &lt; b][<b>bold</b>]"
    assert send(app, "/show", ticket).text == ""
    assert send(app, "/state", ticket).json == {}


def test_a_lazy_string_becomes_its_text(app: Flask) -> None:
    """A message that is translated when it is shown is translated when it is stored."""
    from flask_babel import Babel, lazy_gettext

    Babel(app)
    app.add_url_rule("/lazy", "lazy", lambda: str(flash(lazy_gettext("Saved."))))
    ticket = ticket_of(send(app, "/lazy"))
    assert send(app, "/show", ticket).text == "[Saved.]"


@pytest.mark.parametrize("before", [0, 1], ids=["stored", "flashed by the HEAD too"])
def test_head_shows_none_and_takes_none(app: Flask, before: int) -> None:
    """Nobody sees the body of a HEAD: it writes nothing, and the next GET shows every message once, in order."""
    ticket = told(app)
    store = watch(app)
    for _ in range(2):
        shown = send(app, "/both/two" if before else "/show", ticket, method="HEAD")
        assert shown.status_code == 200
        assert ticket_of(shown) is None
    expected = "[one][two][two]" if before else "[one]"
    assert ("replace" in store.calls) == bool(before)
    assert FLASH_LEASES not in send(app, "/state", ticket).json
    assert send(app, "/show", ticket).text == expected
    assert send(app, "/show", ticket).text == ""


def test_head_of_one_page_beside_a_get_of_another(app: Flask) -> None:
    """The GET between the beginning and the end of a HEAD shows the messages; the HEAD brings none of them back."""

    @app.get("/slow")
    def slow() -> str:
        assert get_flashed_messages() == []
        assert send(app, "/show", ticket).text == "[one]"
        session["looked"] = True
        return render_template_string(PAGE)

    ticket = told(app)
    send(app, "/slow", ticket, method="HEAD")
    assert send(app, "/show", ticket).text == ""
    assert send(app, "/state", ticket).json == {"looked": "True"}


def test_shown_by_the_request_that_flashes(app: Flask) -> None:
    """What a page flashes and shows itself is nobody else's, and begins no session."""
    store = watch(app)
    response = send(app, "/both/now")
    assert response.text == "[now]"
    assert ticket_of(response) is None
    assert store.calls == []


def test_what_was_stored_comes_before_what_the_request_adds(app: Flask) -> None:
    """A page shows the messages in the order of their making."""
    ticket = told(app)
    assert send(app, "/both/two", ticket).text == "[one][two]"
    assert send(app, "/show", ticket).text == ""


def test_what_it_costs(app: Flask) -> None:
    """A page with messages asks the store three times: to load, to take them, to settle; one without only loads."""
    ticket = told(app)
    store = watch(app)
    assert send(app, "/show", ticket).text == "[one]"
    assert store.calls == ["load", "replace", "replace"]
    store.calls.clear()
    assert send(app, "/show", ticket).text == ""
    assert store.calls == ["load"]


@pytest.mark.parametrize("how", ["unexpected", "abort", "handled"])
def test_a_failed_response_keeps_them(app: Flask, how: str) -> None:
    """Whatever ends a request before its page is made: its messages are there for the next, each once, in order."""
    ticket = told(app)
    assert send(app, f"/fail/{how}", ticket).status_code in (500, 404, 409)
    assert send(app, "/state", ticket).json.keys() == {FLASHES, "seen"}
    assert send(app, "/show", ticket).text == "[one][own][later]"
    assert send(app, "/show", ticket).text == ""


def test_a_failed_first_response_keeps_its_own(app: Flask) -> None:
    """A visitor without a session gets one, for the message that the failed page did not show."""
    ticket = ticket_of(send(app, "/fail/unexpected"))
    assert ticket
    assert send(app, "/show", ticket).text == "[own][later]"


@pytest.mark.parametrize("how", ["unexpected", "abort", "handled"])
def test_the_page_of_the_error_may_show_them(app: Flask, how: str) -> None:
    """An error's own page that renders the messages delivers them, and nobody else does."""
    page = lambda error: (render_template_string(PAGE), 500)  # noqa: E731
    for expected in (Broken, 404, KeyError):
        app.register_error_handler(expected, page)
    ticket = told(app)
    assert send(app, f"/fail/{how}", ticket).text == "[one][own][later]"
    assert send(app, "/show", ticket).text == ""
    assert FLASH_LEASES not in send(app, "/state", ticket).json


def test_a_failure_after_the_view_keeps_them(app: Flask) -> None:
    """An after_request function that fails keeps the page from getting out."""
    failing: list[bool] = []

    @app.after_request
    def fail(response: Response) -> Response:
        if failing:
            failing.clear()
            raise Broken
        return response

    ticket = told(app)
    failing.append(True)
    assert send(app, "/show", ticket).status_code == 500
    assert send(app, "/show", ticket).text == "[one]"


def test_a_failure_to_save_keeps_them(app: Flask) -> None:
    """A page that puts into the session what can't be stored is not sent, and its messages are kept."""
    app.add_url_rule("/bad", "bad", lambda: render_template_string(PAGE) + str(session.update(bad=object())))
    ticket = told(app)
    assert send(app, "/bad", ticket).status_code == 500
    assert send(app, "/show", ticket).text == "[one]"


def test_a_failing_view_under_test_keeps_them(app: Flask) -> None:
    """Where exceptions go through to the test or the debugger, messages are back at once."""
    app.config["PROPAGATE_EXCEPTIONS"] = True
    ticket = told(app)
    with pytest.raises(Broken):
        send(app, "/fail/unexpected", ticket)
    assert send(app, "/show", ticket).text == "[one]"


def test_messages_of_a_process_that_died_come_back(app: Flask) -> None:
    """They stay taken for as long as a request may last, and are then shown once."""
    repository = app.session_interface.repository  # type: ignore[attr-defined]
    ticket = told(app)
    with pytest.raises(Killed):
        send(app, "/fail/killed", ticket)
    assert send(app, "/show", ticket).text == ""
    now = repository.clock
    repository.clock = lambda: now() + LEASE_MS / 1000 + 1
    send(app, "/flash/two", ticket)
    assert send(app, "/show", ticket).text == "[one][two]"
    assert send(app, "/show", ticket).text == ""
    assert FLASH_LEASES not in send(app, "/state", ticket).json


@pytest.mark.parametrize(
    ("claims", "page"),
    [
        ("text", "[one]"),
        ({"a": 1}, "[one]"),
        ({"a": ("soon", [])}, "[one]"),
        ({"a": (2**60, [("info", "planted")])}, "[planted][one]"),
    ],
)
def test_strange_claims(app: Flask, claims: Any, page: str) -> None:
    """What an application of its own puts there breaks no page, and a lease without an end is none."""

    @app.get("/plant")
    def plant() -> str:
        session[FLASH_LEASES] = claims
        return ""

    ticket = told(app)
    send(app, "/plant", ticket)
    shown = send(app, "/show", ticket)
    assert shown.text == page
    assert send(app, "/show", ticket).text == ""


@pytest.mark.parametrize("value", ["text", None, {"a": 1}])
def test_strange_messages(app: Flask, value: Any) -> None:
    """Whatever stands under Flask's key can be taken out of the session, as from a dict."""
    app.add_url_rule("/plant", "plant", lambda: str(session.update({FLASHES: value})))
    app.add_url_rule("/pop", "pop", lambda: repr(session.pop(FLASHES)))
    ticket = told(app)
    send(app, "/plant", ticket)
    assert send(app, "/pop", ticket).text == repr(value)
    assert send(app, "/state", ticket).json == {}


def test_the_rest_of_the_session_is_saved_with_its_page(app: Flask) -> None:
    """Taking the messages saves nothing else ahead of time; nested changes before and after it are saved."""

    @app.get("/cart")
    def cart() -> str:
        session["cart"] = {"apple": [1]}
        return ""

    @app.get("/work")
    def work() -> str:
        held = session["cart"]
        held["apple"].append(2)
        session["a"] = 1
        shown = render_template_string(PAGE)
        assert "a" not in send(app, "/state", ticket).json
        held["apple"].append(3)
        return shown

    ticket = told(app)
    send(app, "/cart", ticket)
    assert send(app, "/work", ticket).text == "[one]"
    assert send(app, "/state", ticket).json == {"cart": "{'apple': [1, 2, 3]}", "a": "1"}


@pytest.mark.parametrize("when", ["before", "after", "both"])
def test_changes_of_others_are_merged_all_the_same(app: Flask, when: str) -> None:
    """Another request that saves before the messages are taken, or after it, loses nothing, nor does this one."""
    app.add_url_rule("/push/<text>", "push", lambda text: str(session.setdefault("log", []).append(text)))

    @app.get("/work")
    def work() -> str:
        held = session.setdefault("log", [])
        if when != "after":
            send(app, "/push/before", ticket)
        shown = render_template_string(PAGE)
        if when != "before":
            send(app, "/push/after", ticket)
        held.append("own")
        return shown

    ticket = told(app)
    send(app, "/push/first", ticket)
    assert send(app, "/work", ticket).text == "[one]"
    others = ["before", "after"] if when == "both" else [when]
    assert send(app, "/state", ticket).json == {"log": repr(["first", *others, "own"])}


def test_two_pages_that_each_have_one(app: Flask) -> None:
    """Pages that have taken different messages settle each its own, whichever is ready first."""
    rendered, may_end = threading.Event(), threading.Event()

    @app.get("/slow")
    def slow() -> str:
        shown = render_template_string(PAGE)
        rendered.set()
        assert may_end.wait(10)
        return shown

    @app.get("/quick")
    def quick() -> str:
        shown = render_template_string(PAGE)
        send(app, "/flash/two", ticket)
        other.start()
        assert rendered.wait(10)
        return shown

    ticket = told(app)
    texts: list[str] = []
    other = threading.Thread(target=lambda: texts.append(send(app, "/slow", ticket).text))
    assert send(app, "/quick", ticket).text == "[one]"
    assert send(app, "/state", ticket).json.keys() == {FLASH_LEASES}
    may_end.set()
    other.join()
    assert texts == ["[two]"]
    assert send(app, "/state", ticket).json == {}


def test_given_back_beside_new_ones(app: Flask) -> None:
    """What another request flashes meanwhile, and this one has seen, is not doubled when this one fails."""

    @app.get("/work")
    def work() -> str:
        shown = render_template_string(PAGE)
        send(app, "/flash/two", ticket)
        with session.lock():  # type: ignore[attr-defined]  # reads the session anew
            flash("own")
        raise Broken(shown)

    ticket = told(app)
    assert send(app, "/work", ticket).status_code == 500
    assert send(app, "/show", ticket).text == "[one][two][own]"
    assert send(app, "/show", ticket).text == ""


@pytest.mark.parametrize("end", ["clear", "destroy"])
def test_what_a_view_ended_does_not_come_back(app: Flask, end: str) -> None:
    """After ``clear()`` a failure brings no old message, and what the view set since is saved, like before or not."""

    @app.get("/anew")
    def anew() -> str:
        get_flashed_messages()
        getattr(session, end)()
        session.update(language="en", new="yes")
        flash("new")
        abort(404)

    app.add_url_rule("/begin", "begin", lambda: str(session.update(language="en")))
    ticket = told(app)
    send(app, "/begin", ticket)
    new = ticket_of(send(app, "/anew", ticket))
    assert send(app, "/show", new).text == "[new]"
    assert send(app, "/state", new).json == {"language": "'en'", "new": "'yes'"}


@pytest.mark.parametrize("fails", [False, True])
def test_in_a_session_that_is_full(app: Flask, fails: bool) -> None:
    """Messages can be shown, and given back, where there is no room to note that they are taken."""
    repository = app.session_interface.repository  # type: ignore[attr-defined]
    ticket = told(app)
    repository.max_bytes = len(repository.store.load(repository.tickets.fingerprint(ticket)).data)
    if fails:
        send(app, "/break", ticket)
    assert send(app, "/show", ticket).text == "[one]"
    assert send(app, "/show", ticket).text == ""
    assert send(app, "/state", ticket).json == {}


def test_taken_twice(app: Flask) -> None:
    """By code of the application's own, in a view that fails then: all of them are back, in their order."""

    @app.get("/twice")
    def twice() -> str:
        for text in ("two", "three"):
            flash(text)
            session.pop(FLASHES)
        raise Broken

    ticket = told(app)
    assert send(app, "/twice", ticket).status_code == 500
    assert send(app, "/show", ticket).text == "[one][two][three]"


def test_messages_are_in_no_repr(app: Flask) -> None:
    """They are what the session contains, and a tracer prints the variables of a page that failed."""
    seen = []

    @app.get("/look")
    def look() -> str:
        flash("own")
        get_flashed_messages()
        seen.append(repr(session.shown_flashes) + repr(session))  # type: ignore[attr-defined]
        return ""

    send(app, "/look", told(app))
    assert seen
    assert not {"own", "one"} & set(re.findall(r"\w+", seen[0]))


@pytest.mark.parametrize("late", [False, True])
def test_a_view_that_looks_at_everything(app: Flask, late: bool) -> None:
    """What another page has taken stays that page's, also where there is nothing left for this one."""

    @app.get("/look")
    def look() -> str:
        dict(session)
        if late:
            send(app, "/show", ticket)
        return render_template_string(PAGE)

    ticket = told(app)
    with pytest.raises(Killed):
        send(app, "/fail/killed", ticket)
    send(app, "/flash/two", ticket)
    assert send(app, "/look", ticket).text == ("" if late else "[two]")
    assert list(send(app, "/state", ticket).json) == [FLASH_LEASES]


def test_streamed_pages_take_them_for_good(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """A body that is made after the session was saved shows the messages too, once, and nobody is warned."""
    from flask import stream_with_context

    @app.get("/stream")
    def stream() -> Any:
        def body() -> Iterator[str]:
            yield "begin "
            yield from get_flashed_messages()

        return stream_with_context(body())

    ticket = told(app)
    with caplog.at_level(logging.WARNING):
        assert send(app, "/stream", ticket).text == "begin one"
    assert caplog.messages == []
    assert send(app, "/show", ticket).text == ""
    assert send(app, "/state", ticket).json == {}


def test_after_a_logout_elsewhere(app: Flask) -> None:
    """A page whose session ends while it is made shows what it had, and brings nothing back."""
    app.add_url_rule("/end", "end", lambda: str(session.destroy()))  # type: ignore[attr-defined]

    @app.get("/work")
    def work() -> str:
        dict(session)
        send(app, "/end", ticket)
        return render_template_string(PAGE)

    ticket = told(app)
    assert send(app, "/work", ticket).text == "[one]"
    assert send(app, "/show", ticket).text == ""
    assert send(app, "/state", ticket).json == {}


def test_with_a_new_id(app: Flask) -> None:
    """A page that shows messages and changes the session's id leaves none behind."""

    @app.get("/rotate")
    def rotate() -> str:
        shown = render_template_string(PAGE)
        session.rotate()  # type: ignore[attr-defined]
        return shown

    ticket = told(app)
    response = send(app, "/rotate", ticket)
    assert response.text == "[one]"
    assert send(app, "/state", ticket_of(response)).json == {}


def test_under_the_lock(app: Flask) -> None:
    """Messages can be taken while the session is locked, and the lock holds."""

    @app.get("/locked")
    def locked() -> str:
        with session.lock():  # type: ignore[attr-defined]
            session["n"] = session.get("n", 0) + 1
            return render_template_string(PAGE)

    ticket = told(app)
    assert send(app, "/locked", ticket).text == "[one]"
    assert send(app, "/state", ticket).json == {"n": "1"}


def down() -> None:
    raise StoreError("down")


def test_a_store_that_is_down(app: Flask) -> None:
    """Messages that cannot be taken are not shown: 503, and they are there afterwards."""
    store = watch(app)
    store.before["replace"] = down
    ticket = told(app)
    assert send(app, "/show", ticket).status_code == 503
    assert send(app, "/show", ticket).text == "[one]"


def test_a_store_that_is_down_when_they_come_back(app: Flask) -> None:
    """Also a view that catches the failure answers 503: it has seen a session that is not the visitor's."""

    @app.get("/careless")
    def careless() -> str:
        with contextlib.suppress(SessionUnavailable):
            session.get("anything")
        return "fine"

    repository = app.session_interface.repository  # type: ignore[attr-defined]
    ticket = told(app)
    with pytest.raises(Killed):
        send(app, "/fail/killed", ticket)
    now = repository.clock
    repository.clock = lambda: now() + LEASE_MS / 1000 + 1
    watch(app).before["replace"] = down
    assert send(app, "/careless", ticket).status_code == 503


class TestEveryOrder:
    """Two requests on one session, in every order that their calls of the store can have."""

    @pytest.fixture
    def run(self, make_app: MakeApp, app: Flask, monkeypatch: pytest.MonkeyPatch) -> Any:
        # Who waits for another's turn asks the store as often as there is time for, and no order comes twice.
        monkeypatch.setattr(Commit, "_is_others_turn", lambda *_: False)

        def run(*paths: str) -> list[tuple[list[str], list[str]]]:
            """Return what each request showed in each order, and what came after both."""
            seen = []

            def once(turns: Turns) -> None:
                ticket = ticket_of(send(app, "/flash/one"))
                assert ticket

                def visit(path: str, store: Any) -> str:
                    own = make_app(SESSION_STORE=store)
                    add_views(own)
                    return str(send(own, path, ticket).text)

                operations = [lambda store, path=path: visit(path, store) for path in paths]
                shown = turns.run(*operations)
                later = [send(app, "/show", ticket).text for _ in range(2)]
                assert FLASH_LEASES not in send(app, "/state", ticket).json
                seen.append((shown, later))

            in_every_order(app.session_interface.store, once)  # type: ignore[attr-defined]
            return seen

        return run

    def test_two_pages_that_show_them(self, run: Any) -> None:
        """One of the two shows the message, and no page after them."""
        seen = run("/show", "/show")
        assert len(seen) >= 6
        for shown, later in seen:
            assert sorted(shown) == ["", "[one]"]
            assert later == ["", ""]
        assert {tuple(shown) for shown, _ in seen} == {("[one]", ""), ("", "[one]")}

    def test_a_page_and_a_new_message(self, run: Any) -> None:
        """The new one is shown once, by that page or the next."""
        seen = run("/show", "/flash/two")
        for shown, later in seen:
            assert (shown[0] + later[0]).replace("][", "] [").split() == ["[one]", "[two]"]
            assert later[1] == ""
        assert {shown[0] for shown, _ in seen} == {"[one]", "[one][two]"}

    def test_two_new_messages(self, run: Any) -> None:
        """Both are shown."""
        for _, later in run("/flash/two", "/flash/three"):
            assert sorted(later[0].strip("[]").split("][")) == ["one", "three", "two"]
            assert later[1] == ""

    def test_two_pages_that_flash_and_show(self, run: Any) -> None:
        """Each shows its own, and the stored one is shown by one of them."""
        for shown, later in run("/both/two", "/both/three"):
            assert sorted("".join(shown).strip("[]").split("][")) == ["one", "three", "two"]
            assert later == ["", ""]

    def test_a_page_that_fails_and_one_that_does_not(self, run: Any) -> None:
        """Nothing is lost and nothing is shown twice."""
        seen = run("/break", "/show")
        assert len(seen) >= 6
        for shown, later in seen:
            assert "Internal Server Error" in shown[0]
            assert sorted([shown[1], later[0]]) == ["", "[one]"]
            assert later[1] == ""
        assert {shown[1] for shown, _ in seen} == {"", "[one]"}
