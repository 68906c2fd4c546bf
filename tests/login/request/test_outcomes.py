"""Promise 10, request by request: the store fails in the middle, and the visitor is who they were or should be.

Each row of :data:`ROWS` is a request: the visitor before it and the visitor after it. The tests let the store fail at
some command of the request. With exactly the cookies that the browser then has, the visitor must be as before the
request or as after it, with all data. A success must be as after it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest
from werkzeug.test import TestResponse

from flask_cloakroom.sessions import concurrent_login
from support.sites.outcomes import (
    POLICIES,
    SESSION_COOKIES,
    Answer,
    OutcomeSite,
    Policy,
    State,
    Visitor,
    cookies_set_by,
)
from support.stores.faults import SAVES, Fault, first_of, nth

pytestmark = pytest.mark.promise(10)

#: The log's words for a rotation whose last answer is lost, and whose second look failed too.
UNKNOWN_ROTATION = "it is unknown if its old ticket has become invalid"
#: The log's words for a remember token that a change of the password could not renew. It is refused from then on.
NOT_RENEWED = "a remember token was not renewed"
#: Seconds, for the site whose tickets are renewed.
RENEW_EVERY = 1000
STORES = ("memory", "sqlite", "redis")

ANONYMOUS = State(
    who="",
    fresh=False,
    operator="",
    cart=("coat",),
    wish=(),
    visits=1,
    flashes=("note",),
    comes_back="",
    operator_comes_back="",
    password="first",
)
#: A remembered customer.
ALICE = ANONYMOUS._replace(who="alice", fresh=True, wish=("book",), comes_back="alice")
#: The same, in a session that a remember token began.
BACK = ALICE._replace(fresh=False)
NOBODY = State("", False, "", (), (), 0, (), "", "", "first")


# A remember token whose end failed is ended before the next token is made, by a command or two more. So each of these
# functions makes a token. Otherwise the number of commands of a request would depend on the tests before.


def is_anonymous(visitor: Visitor) -> None:
    """Begin a session without a user. The user alice has something at home."""
    visitor.has_at_home("/begin?user=alice{n}&wish=book&remember=1").do("/begin")


def has_wishes(visitor: Visitor) -> None:
    """Begin a session without a user, with visitor data that a login will merge."""
    visitor.has_at_home("/begin?user=alice{n}&wish=book&remember=1").do("/begin?wish=pen")


def is_alice(visitor: Visitor) -> None:
    """Log alice in, remembered."""
    visitor.do("/begin?user=alice{n}&remember=1&wish=book")


def is_alice_among_operators(visitor: Visitor) -> None:
    """Log alice in, remembered. The operator root is logged in at home."""
    is_alice(visitor.has_at_home("/operator/login?user=root{n}"))


def has_an_operator(visitor: Visitor) -> None:
    """Log alice in, remembered, and root as an operator in the same browser."""
    is_alice(visitor)
    visitor.do("/operator/login?user=root{n}")


def is_not_remembered(visitor: Visitor) -> None:
    """Log alice in, not remembered, so that nothing but the session can show who she is."""
    visitor.do("/begin?user=alice{n}&wish=book")


def is_due(visitor: Visitor) -> None:
    """Log alice in, not remembered, and let the renewal of her ticket become due."""
    is_not_remembered(visitor)
    visitor.site.ahead += 2 * RENEW_EVERY


def lost_the_session(visitor: Visitor) -> None:
    """Log alice in, remembered, and lose the session."""
    is_alice(visitor)
    visitor.loses_sessions()


def has_a_cart_again(visitor: Visitor) -> None:
    """Log alice in, remembered, lose the session, and begin another one without asking who it is."""
    lost_the_session(visitor)
    visitor.do("/cart/coat", "/note/note")


def came_back(visitor: Visitor) -> None:
    """Log alice in by her remember token."""
    lost_the_session(visitor)
    visitor.open("/state", "GET")
    visitor.do("/begin")


class Row(NamedTuple):
    """A request."""

    name: str
    path: str
    prepare: Callable[[Visitor], None]
    before: State
    after: State
    #: Other states that a visitor may be in after a 503.
    also: tuple[State, ...] = ()
    #: Other states after a 503, if nobody can know whether the last save was done, because the store is down since.
    if_unknown: tuple[State, ...] = ()
    #: True: after a success, the cookies from before the request are no login any more.
    ends_login: bool = False

    #: How many seconds later the visitor comes back in the tests of each command. After the longer time, a used
    #: remember token or a renewed ticket is no longer exchanged for the same successor.
    waits: tuple[int, ...] = (0,)


MERGED = ANONYMOUS._replace(who="alice", fresh=True, wish=("book", "pen"), flashes=("note", "welcome"))
RESUMED = NOBODY._replace(who="alice", wish=("book",), comes_back="alice")

#: A customer who is not remembered.
PLAIN = ALICE._replace(comes_back="")
#: A customer and an operator in one browser.
ROOT = ALICE._replace(operator="root", operator_comes_back="root", flashes=("note", "on duty"))

ROWS = [
    Row("plain page", "/plain", is_alice, ALICE, ALICE._replace(visits=2)),
    Row(
        "login",
        "/login?user=alice{n}",
        is_anonymous,
        ANONYMOUS,
        ANONYMOUS._replace(who="alice", fresh=True, wish=("book",), flashes=("note", "welcome")),
    ),
    Row(
        "login with remember",
        "/login?user=alice{n}&remember=1",
        is_anonymous,
        ANONYMOUS,
        ALICE._replace(flashes=("note", "welcome")),
    ),
    Row("comes back remembered", "/plain", lost_the_session, RESUMED, RESUMED._replace(visits=1), waits=(0, 600)),
    Row(
        "comes back remembered with a cart",
        "/plain",
        has_a_cart_again,
        BACK._replace(visits=0),
        BACK._replace(visits=1),
        waits=(0, 600),
    ),
    Row(
        "logout",
        "/logout",
        is_alice,
        ALICE,
        NOBODY._replace(flashes=("goodbye",)),
        # A session or token that a logout has ended stays ended.
        also=(ALICE._replace(comes_back=""), NOBODY),
        ends_login=True,
    ),
    Row("re-login", "/login?user=alice{n}&remember=1", is_alice, ALICE, ALICE._replace(flashes=("note", "welcome"))),
    Row(
        "login of somebody else",
        "/login?user=bob{n}&remember=1",
        is_alice,
        ALICE,
        ALICE._replace(who="bob", wish=(), flashes=("note", "welcome"), comes_back="bob"),
        ends_login=True,
    ),
    Row("confirm", "/confirm", came_back, BACK, ALICE._replace(flashes=("confirmed", "note"))),
    Row("rotate", "/rotate", is_alice, ALICE, ALICE._replace(visits=2)),
    Row("confirm, not remembered", "/confirm", is_not_remembered, PLAIN, PLAIN._replace(flashes=("confirmed", "note"))),
    Row("rotate, not remembered", "/rotate", is_not_remembered, PLAIN, PLAIN._replace(visits=2)),
    Row(
        "password change, not remembered",
        "/password",
        is_not_remembered,
        PLAIN,
        PLAIN._replace(flashes=("changed", "note"), password="second"),
        ends_login=True,
    ),
    Row(
        "password change",
        "/password",
        is_alice,
        ALICE,
        ALICE._replace(flashes=("changed", "note"), password="second"),
        ends_login=True,
    ),
    Row(
        "impersonation",
        "/impersonate?user=bob{n}",
        is_alice,
        ALICE,
        ALICE._replace(who="bob", fresh=False, wish=(), flashes=("note", "seen as another")),
    ),
    Row("flash shown", "/show", is_alice, ALICE, ALICE._replace(flashes=())),
    Row("user_session merge", "/login?user=alice{n}", has_wishes, ANONYMOUS._replace(wish=("pen",)), MERGED),
    Row(
        "operator kind",
        "/operator/login?user=root{n}",
        is_alice_among_operators,
        ALICE,
        ALICE._replace(operator="root", operator_comes_back="root", flashes=("note", "on duty")),
        # The customer's session was saved last, and the operator's login was taken back or not sent.
        if_unknown=(ALICE._replace(flashes=("note", "on duty")),),
    ),
    Row(
        "another operator",
        "/operator/login?user=bob{n}",
        has_an_operator,
        ROOT,
        ROOT._replace(operator="bob", operator_comes_back="bob", flashes=("note", "on duty", "on duty")),
        if_unknown=(ROOT._replace(flashes=("note", "on duty", "on duty")),),
    ),
]

#: A request of a site with SESSION_RENEW_EVERY.
RENEWAL = Row("renewal", "/plain", is_due, PLAIN, PLAIN._replace(visits=2), waits=(0, 600))

FAULTS = [
    first_of("load fails", "load"),
    first_of("first save fails", *SAVES),
    Fault("second store call fails", lambda calls: len(calls) == 2),
    first_of("answer lost", *SAVES, took_effect=True),
    Fault("every answer lost", lambda calls: calls[-1] in SAVES, took_effect=True, repeats=True),
]

#: Each fault, and whether the store stays down after it. A store that is down loses no more answers.
FAILURES = [(fault, down) for down in (False, True) for fault in FAULTS if not (down and fault.repeats)]

GetSite = Callable[..., OutcomeSite]


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no request wait for the session of a parallel request: here the earlier request has failed, or is over."""
    monkeypatch.setattr(concurrent_login, "JOIN_PATIENCE", 0.0)


@pytest.fixture(scope="module", params=STORES)
def get_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GetSite]:
    """Return a function that returns the site of a policy on each store in turn. Each site is made once."""
    folder: Path = tmp_path_factory.mktemp("outcomes")
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: "memory://",
        "redis": lambda: str(request.getfixturevalue("shared_server").url),
    }
    sites: dict[tuple[Policy, int | None], OutcomeSite] = {}

    def get(policy: Policy, renew_every: int | None = None) -> OutcomeSite:
        wanted = policy, renew_every
        if wanted not in sites:
            make_url = urls.get(request.param, lambda: f"sqlite:///{folder}/{len(sites)}.sqlite3")
            prefix = f"outcomes-{uuid.uuid4().hex}:"
            settings = {"SESSION_KEY_PREFIX": prefix, "SESSION_RENEW_EVERY": renew_every}
            sites[wanted] = OutcomeSite(make_url(), policy, **settings)
        return sites[wanted]

    yield get
    for site in sites.values():
        site.close()


class Cell:
    """One request of one visitor with one fault, and the judgement of it."""

    def __init__(self, site: OutcomeSite, row: Row, fault: Fault | None, *, stays_down: bool, wait: float = 0) -> None:
        self.row = row
        self.visitor = Visitor(site)
        row.prepare(self.visitor)
        self.answer: Answer = self.visitor.meets(row.path, fault, stays_down=stays_down)
        site.ahead += wait

    @cached_property
    def problems(self) -> list[str]:
        """Return a sentence for each problem, or an empty list. The visitor's clock goes on."""
        response, outage = self.answer.response, self.answer.outage
        if not isinstance(response, TestResponse):
            return [f"{type(response).__name__} left wsgi_app: {response}. Commands: {outage}"]
        if response.status_code == 503:
            found = self._header_problems(response)
        elif response.status_code < 400:
            found = []
        else:
            found = ["expected a success or a 503"]
        try:
            found += self._state_problems(response)
        except AssertionError as error:
            found.append(str(error))
        if found:
            set_cookies = sorted(cookies_set_by(response))
            found.append(f"Seen: {response.status}, Set-Cookie {set_cookies}. Commands: {outage}")
        return found

    def _header_problems(self, response: TestResponse) -> list[str]:
        found = [] if response.headers.get("Retry-After") else ["the 503 has no Retry-After"]
        wrong = cookies_set_by(response) - self._allowed_cookies()
        if wrong:
            found.append(f"the 503 sets {', '.join(sorted(wrong))}")
        return found

    def _allowed_cookies(self) -> set[str]:
        """Return the cookies of ours that a 503 may set: normally none.

        If it is unknown which ticket of a rotation is good, the 503 may set the new one, because the old one may be
        dead. Only a 503 for something else in the same request is such a case.
        """
        return set(SESSION_COOKIES) if self.answer.warns(UNKNOWN_ROTATION) else set()

    def _state_problems(self, response: TestResponse) -> list[str]:
        row, cookies = self.row, self.visitor.cookies
        seen = self.visitor.state()
        if response.status_code == 503:
            # The new ticket without the remember cookie is a login that is not remembered, or still is as before.
            back = row.before.comes_back if row.before.comes_back == row.after.comes_back else ""
            operator_back = row.before.operator_comes_back
            undelivered = row.after._replace(comes_back=back, operator_comes_back=operator_back)
            allowed = [row.before, row.after, undelivered, *row.also]
            if self.answer.outage.hides_a_replacement:
                allowed += row.if_unknown
        else:
            allowed = [row.after]
            if self.answer.warns(NOT_RENEWED):
                allowed.append(row.after._replace(comes_back=""))
        found = []
        if seen not in allowed:
            found.append(
                f"the visitor with {sorted(cookies)} is neither as before ({seen.differences(row.before) or 'equal'}) "
                f"nor as after the request ({seen.differences(row.after) or 'equal'})"
            )
        if row.ends_login and response.status_code < 400:
            found += self._login_problems()
        return found

    def _login_problems(self) -> list[str]:
        """Return what is wrong if the cookies from before the request are still a login.

        A logout has ended them. After another request, the end of the old token may have failed. Then it is tried again
        at the next use of a remember token. If it is unknown if the old ticket is dead, it may live until it expires.
        """
        if self.answer.warns(UNKNOWN_ROTATION):
            return []
        if self.row.path != "/logout":
            self.visitor.has_at_home("/begin?user=bob{n}&remember=1")
        old = self.visitor.with_cookies(self.answer.cookies).state()
        return [f"the cookies from before are still a login: {old}"] if old.who or old.comes_back else []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_without_a_fault(get_site: GetSite, row: Row) -> None:
    """The table is right: a visitor whose request succeeds is as the row says, and without the request as before."""
    for policy in POLICIES:
        site = get_site(policy)
        cell = Cell(site, row, None, stays_down=False)
        assert isinstance(cell.answer.response, TestResponse)
        assert cell.answer.response.status_code < 400
        assert not cell.problems, "\n".join(cell.problems)
        untouched = Visitor(site)
        row.prepare(untouched)
        assert untouched.state() == row.before


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("fault", "stays_down"),
    FAILURES,
    ids=[f"{f.name}, {'stays down' if down else 'back at once'}" for f, down in FAILURES],
)
def test_table(get_site: GetSite, row: Row, policy: Policy, fault: Fault, stays_down: bool) -> None:
    """The visitor is who they were or who they should be, with all data. There is no 500, and a 503 can be retried."""
    cell = Cell(get_site(policy), row, fault, stays_down=stays_down)
    assert cell.answer.outage.failed_at, f"the fault never came: {cell.answer.outage}"
    assert not cell.problems, "\n".join(cell.problems)


HOW = ["only it", "from it on", "answer lost", "answer lost, then down"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize("how", HOW)
def test_each_command(get_site: GetSite, row: Row, how: str) -> None:
    """The same holds for a fault at each command of a request, and for remembered visitors who try again later."""
    fail_at_each_command(get_site("no page of its own"), row, how)


@pytest.mark.parametrize("how", HOW)
def test_renewal(get_site: GetSite, how: str) -> None:
    """The same holds for a request in which the ticket is renewed, and for visitors who come back later."""
    fail_at_each_command(get_site("no page of its own", RENEW_EVERY), RENEWAL, how)


def fail_at_each_command(site: OutcomeSite, row: Row, how: str) -> None:
    dry = Cell(site, row, None, stays_down=False)
    assert not dry.problems, "\n".join(dry.problems)
    commands = len(dry.answer.outage.calls)
    assert commands
    found = []
    for number, wait in product(range(1, commands + 1), row.waits):
        fault = nth(number, took_effect="lost" in how)
        cell = Cell(site, row, fault, stays_down=how in ("from it on", "answer lost, then down"), wait=wait)
        # A request may end a token of an earlier one by the way, so that the dry run may have had a command more.
        assert cell.answer.outage.failed_at or number > 1, f"the fault never came: {cell.answer.outage}"
        if cell.problems:
            found.append(f"command {number} of {commands}, {wait} s later: " + "\n  ".join(cell.problems))
    assert not found, "\n".join(found)
