"""A request that changes ``user_session`` and ``session`` saves both or neither, whichever save fails and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import flash, request, session
from werkzeug.test import TestResponse

from flask_cloakroom import confirm_login, current_user, login_user, user_session
from support.sites.outcomes import OutcomeSite, Visitor, cookies_set_by
from support.stores.faults import SAVES, Fault

pytestmark = pytest.mark.promise(3)

#: The limit of a session and of ``user_session`` in these tests, in bytes.
MAX_BYTES = 4096


class Unstorable:
    """A value that nothing can hold."""


# -- changes of user_session, each with its undo checked by what the next page shows --------------------------


def adds_first_value(data: Any) -> None:
    data["new"] = "value"


def appends(data: Any) -> None:
    data.setdefault("orders", []).append("order")


def changes_nested(data: Any) -> None:
    data.setdefault("address", {}).setdefault("lines", []).append("street")


def deletes(data: Any) -> None:
    data.pop("old", None)
    data["count"] = data.get("count", 0) + 1


def clears(data: Any) -> None:
    data.clear()
    data["only"] = 1


#: As many as SESSION_WORK, because a test pairs them.
EDITS = [adds_first_value, appends, changes_nested, deletes, clears]
#: Whose data a page changes: the customer's, or also the operator's.
KINDS = ["one kind", "both kinds"]


# -- what else the same request does with the session ---------------------------------------------------------


def counts() -> None:
    session["visits"] = session.get("visits", 0) + 1


def flashes() -> None:
    flash("saved")
    counts()


def rotates() -> None:
    session.rotate()  # type: ignore[attr-defined]
    counts()


def confirms() -> None:
    confirm_login()
    counts()


def clears_session() -> None:
    login = {key: value for key, value in session.items() if key.startswith("_")}
    session.clear()
    session.update(login, visits=100)


SESSION_WORK = [counts, flashes, rotates, confirms, clears_session]


@pytest.fixture(params=["memory", "sqlite", "redis"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OutcomeSite]:
    """A site whose page edits both kinds of user's data and both sessions, on each store in turn."""
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: "memory://",
        "sqlite": lambda: f"sqlite:///{tmp_path}/sessions.sqlite3",
        "redis": lambda: str(request.getfixturevalue("shared_server").url),
    }
    prefix = f"{tmp_path.name}:"
    site = OutcomeSite(
        urls[request.param](), "no page of its own", SESSION_MAX_BYTES=MAX_BYTES, SESSION_KEY_PREFIX=prefix
    )
    add_views(site)
    yield site
    site.close()


def add_views(site: OutcomeSite) -> None:
    steps: list[Callable[..., None]] = [*EDITS, *SESSION_WORK]
    by_name = {each.__name__: each for each in steps}
    failures: dict[str, Callable[[], object]] = {
        "unstorable session": lambda: session.update(broken=Unstorable()),
        "too large session": lambda: session.update(large="x" * 2 * MAX_BYTES),
        "unstorable user_session": lambda: user_session.update(broken=Unstorable()),
        "too large user_session": lambda: user_session.update(large="x" * 2 * MAX_BYTES),
        "unstorable operator data": lambda: site.operators.user_session.update(broken=Unstorable()),
        "too large operator data": lambda: site.operators.user_session.update(large="x" * 2 * MAX_BYTES),
    }

    @site.app.post("/edit")
    def edit() -> str:
        by_name[request.args["edit"]](user_session)
        if "operator" in request.args:
            by_name[request.args["edit"]](site.operators.user_session)
        by_name[request.args.get("work", "counts")]()
        if "failure" in request.args:
            failures[request.args["failure"]]()
        return "ok"

    @site.app.post("/fill-data")
    def fill_data() -> str:
        for data in (user_session, site.operators.user_session):
            data.update(old="value", address={"lines": ["house"]}, orders=["first"])
        return "ok"

    @site.app.post("/elsewhere")
    def elsewhere() -> str:
        user_session["elsewhere"] = "kept"
        user_session.setdefault("orders", []).append("elsewhere")
        return "ok"

    @site.app.get("/both")
    def both() -> dict[str, Any]:
        return {
            "who": current_user.get_id(),
            "data": dict(user_session),
            "operator's data": dict(site.operators.user_session),
            "visits": session.get("visits"),
            "flashes": session.get("_flashes", []),
        }

    @site.app.post("/login-here")
    def login_here() -> str:
        login_user(site.load_user(request.args["user"]))
        return "ok"


def logged_in(site: OutcomeSite, *, has_data: bool = True) -> Visitor:
    """Return a visitor who is logged in as a user of both kinds."""
    visitor = Visitor(site).do("/login-here?user=alice{n}", "/operator/login?user=root{n}")
    visitor.open("/messages", "GET")
    return visitor.do("/plain", "/fill-data") if has_data else visitor.do("/plain")


def shown(visitor: Visitor) -> dict[str, Any]:
    """Return all that a visitor has."""
    response = visitor.open("/both", "GET")
    assert response.status_code == 200, f"afterwards /both answers {response.status}"
    found: Any = response.json
    return dict(found)


@pytest.mark.parametrize("has_data", [True, False], ids=["user has data", "user has none"])
@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize(
    "failure",
    [
        "unstorable session",
        "too large session",
        "unstorable user_session",
        "too large user_session",
        "unstorable operator data",
        "too large operator data",
    ],
)
def test_value_that_cannot_be_saved(site: OutcomeSite, failure: str, kinds: str, has_data: bool) -> None:
    """The page is a 500, and nothing of the request is written: all is packed and checked before the first save.

    So not even another device sees a part of it for a moment.
    """
    visitor = logged_in(site, has_data=has_data)
    before = shown(visitor)
    found = []
    for edit, work in zip(EDITS, SESSION_WORK, strict=True):
        answer = visitor.meets(f"{path_of(edit, work, kinds)}&failure={failure}", None, stays_down=False)
        response = answer.response
        assert isinstance(response, TestResponse)
        assert response.status_code == 500
        if not set(SAVES).isdisjoint(answer.outage.calls):
            found.append(f"{edit.__name__}, {work.__name__}: something was written. Commands: {answer.outage}")
        seen = shown(visitor)
        if seen != before or cookies_set_by(response):
            cookies = sorted(cookies_set_by(response))
            found.append(f"{edit.__name__}, {work.__name__}: sets {cookies}, and {differing(seen, before, before)}")
            visitor = logged_in(site, has_data=has_data)
            before = shown(visitor)
    assert not found, "\n".join(found)


def path_of(edit: Callable[[Any], None], work: Callable[[], None], kinds: str) -> str:
    """Return the path of a page with this edit and this work on the session."""
    return f"/edit?edit={edit.__name__}&work={work.__name__}{'&operator=1' if kinds == 'both kinds' else ''}"


def save(number: int, *, took_effect: bool) -> Fault:
    """Return a fault at the save of this number in a request."""

    def hits(calls: list[str]) -> bool:
        return calls[-1] in SAVES and sum(verb in SAVES for verb in calls) == number

    return Fault(f"save {number}", hits, took_effect)


@pytest.mark.parametrize("took_effect", [False, True], ids=["fails", "answer lost"])
@pytest.mark.parametrize("work", SESSION_WORK, ids=lambda work: work.__name__)
@pytest.mark.parametrize("kinds", KINDS)
def test_each_save(site: OutcomeSite, kinds: str, work: Callable[[], None], took_effect: bool) -> None:
    """If one of a request's saves fails, or its answer is lost, all of the request is saved or nothing of it."""
    found = []
    for edit in EDITS:
        path = path_of(edit, work, kinds)
        dry = logged_in(site)
        before = without_numbers(dry, shown(dry))
        answer = dry.meets(path, None, stays_down=False)
        after = without_numbers(dry, shown(dry))
        assert after != before
        for number in range(1, sum(verb in SAVES for verb in answer.outage.calls) + 1):
            visitor = logged_in(site)
            answer = visitor.meets(path, save(number, took_effect=took_effect), stays_down=False)
            assert isinstance(answer.response, TestResponse)
            seen = without_numbers(visitor, shown(visitor))
            is_right = seen in (before, after) if answer.response.status_code == 503 else seen == after
            if not is_right:
                status = answer.response.status
                found.append(f"{edit.__name__}: {status}, {differing(seen, before, after)}. {answer.outage}")
    assert not found, "\n".join(found)


def without_numbers(visitor: Visitor, data: dict[str, Any]) -> dict[str, Any]:
    """Return what visitors of different numbers have in common."""
    assert data["who"] in (visitor.named("alice"), None)
    return {**data, "who": data["who"] and "alice"}


def differing(seen: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return the parts of what was seen, each with its state."""
    states = {
        name: "as before" if value == before[name] else "as after it" if value == after[name] else repr(value)
        for name, value in seen.items()
        if before[name] != after[name] or value != before[name]
    }
    return ", ".join(f"{name} is {state}" for name, state in states.items())


class TestAnotherRequest:
    """Another device of the user writes between the two saves, and then the session cannot be saved."""

    @pytest.mark.parametrize("edit", [appends, adds_first_value, deletes], ids=lambda edit: edit.__name__)
    def test_only_own_changes_are_taken_back(self, site: OutcomeSite, edit: Callable[[Any], None]) -> None:
        """The values of the other device stay, and the values of this request do not."""
        visitor = logged_in(site)
        before = shown(visitor)
        device = visitor.with_cookies({}).do("/login-here?user=alice{n}")

        def write_elsewhere_and_fail(calls: list[str]) -> bool:
            if calls[-1] not in SAVES or sum(verb in SAVES for verb in calls) != 2:
                return False
            with site.store.working():
                device.do("/elsewhere")
            return True

        answer = visitor.meets(
            f"/edit?edit={edit.__name__}", Fault("between", write_elsewhere_and_fail), stays_down=False
        )
        assert answer.outage.failed_at, answer.outage
        assert isinstance(answer.response, TestResponse)
        assert answer.response.status_code == 503
        seen = shown(visitor)
        expected = {**before["data"], "elsewhere": "kept", "orders": [*before["data"]["orders"], "elsewhere"]}
        assert seen["data"] == expected
        assert seen["visits"] == before["visits"]
