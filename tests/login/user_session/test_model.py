"""Random sequences of edits, logins, crashes, retries, logouts and undos do the same as a model."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from typing import Any

from flask import Flask
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flask_cloakroom import StoreError
from support.sites.user_session import MERGE, Browser, Died, Site

DEVICES = range(3)
USERS = ("alice", "bob")
Data = dict[str, Any]

EDITS = {
    "count": "user_session['count'] = user_session.get('count', 0) + {}",
    "best": "user_session['best'] = max(user_session.get('best', 0), {})",
    "name": "user_session['name'] = {}",
    "since": "user_session.setdefault('since', {})",
    "log": "user_session.setdefault('log', []).append({})",
    "tags": "[] if {0} in user_session.setdefault('tags', []) else user_session['tags'].append({0})",
    "box": "user_session.setdefault('box', {{}})['k{}'] = 1",
    "drop": "user_session.pop(['count', 'best', 'name', 'since', 'log', 'tags', 'box'][{} % 7], None)",
}


def edited(data: Data, kind: str, number: int) -> Data:
    """Return what an edit makes of it."""
    data = deepcopy(data)
    if kind == "count":
        data["count"] = data.get("count", 0) + number
    elif kind == "best":
        data["best"] = max(data.get("best", 0), number)
    elif kind == "name":
        data["name"] = number
    elif kind == "since":
        data.setdefault("since", number)
    elif kind == "log":
        data.setdefault("log", []).append(number)
    elif kind == "tags":
        data["tags"] = (
            [tag for tag in data.get("tags", []) if tag != number] + [number]
            if (number not in data.get("tags", []))
            else data["tags"]
        )
    elif kind == "box":
        data.setdefault("box", {})[f"k{number}"] = 1
    else:
        data.pop(["count", "best", "name", "since", "log", "tags", "box"][number % 7], None)
    return data


def merged(user: Data, visitor: Data) -> Data:
    """Return what the strategies make of the two."""
    made = {**visitor, **user}
    for key in user.keys() & visitor.keys():
        theirs, mine = user[key], visitor[key]
        made[key] = {
            "count": lambda a, b: a + b,
            "best": max,
            "name": lambda a, b: b,
            "since": lambda a, b: a,
            "log": lambda a, b: a + b,
            "tags": lambda a, b: a + [tag for tag in b if tag not in a],
            "box": lambda a, b: {**a, **b},
        }[key](theirs, mine)
    return made


def undone(before: Data, after: Data, now: Data) -> Data:
    """Return what is left of a merge when it is taken back."""
    left = deepcopy(now)
    for key in after:
        was, is_now = before.get(key), now.get(key)
        if after[key] == was or is_now is None:
            continue
        if is_now == after[key]:
            new: Any = was
        elif key == "count":
            new = is_now - (after[key] - (was or 0))
        elif key in ("log", "tags"):
            new = list(is_now)
            came = list(after[key])
            for member in was or []:
                came.remove(member)
            for member in came:
                if member in new:
                    del new[len(new) - 1 - new[::-1].index(member)]
            new = new or (None if was is None else new)
        elif key == "box":
            new = {name: 1 for name in is_now if name not in after[key] or name in (was or {})}
            new = new or (None if was is None else new)
        else:
            new = is_now
        if new is None:
            left.pop(key, None)
        else:
            left[key] = new
    return left


class Device:
    """What the model knows of a browser."""

    def __init__(self) -> None:
        self.user: str | None = None
        #: A visitor's.
        self.own: Data = {}
        #: The carried data in the tombstone of its ticket, after a login without an answer, and the owner of that data.
        self.left: tuple[str, Data] | None = None
        #: Whether that was merged.
        self.is_merged = False


class Belongings(RuleBasedStateMachine):
    """One site, three browsers, two users."""

    def __init__(self) -> None:
        super().__init__()
        app = Flask("shop")
        app.config.update(TESTING=True, SESSION_STORE="memory://", USER_SESSION_MERGE=MERGE)
        self.site = Site(app)
        self.store = self.site.watch()
        self.browsers = [Browser(self.site) for _ in DEVICES]
        self.devices = [Device() for _ in DEVICES]
        self.users: dict[str, Data] = {user: {} for user in USERS}
        #: What the last merge made of what.
        self.merges: dict[str, tuple[Data, Data] | None] = dict.fromkeys(USERS)

    @initialize()
    def begin(self) -> None:
        """Nothing is there."""

    @rule(number=st.sampled_from(DEVICES), kind=st.sampled_from(sorted(EDITS)), what=st.integers(1, 6))
    def edit(self, number: int, kind: str, what: int) -> None:
        """A visitor or a user changes something. With a ticket that a login has moved away nothing is kept."""
        device = self.devices[number]
        self.browsers[number].do(EDITS[kind].format(what))
        if device.user is not None:
            self.users[device.user] = edited(self.users[device.user], kind, what)
        elif device.left is None:
            device.own = edited(device.own, kind, what)

    @rule(number=st.sampled_from(DEVICES), user=st.sampled_from(USERS), reads=st.booleans())
    def log_in(self, number: int, user: str, reads: bool) -> None:
        """What the visitor has is merged into that user's."""
        assert self.browsers[number].login(user, "dict(user_session)" if reads else "").status_code == 200
        self.is_logged_in(number, user)

    @rule(number=st.sampled_from(DEVICES), user=st.sampled_from(USERS), other=st.sampled_from(USERS))
    def log_in_in_two_tabs(self, number: int, user: str, other: str) -> None:
        """The second request left the browser before the first was answered; it brings nothing more.

        But for what an unanswered login before these two left to that very user.
        """
        tab, device = self.browsers[number].copy(), self.devices[number]
        left = None if device.is_merged else device.left
        self.log_in(number, user, False)
        assert tab.login(other).status_code == 200
        if left is not None and left[0] == other != user:
            self.merge(*left)
        assert tab.show() in (self.users[other], {})

    @rule(
        number=st.sampled_from(DEVICES),
        user=st.sampled_from(USERS),
        call=st.integers(3, 10),
        took_effect=st.booleans(),
        fails=st.booleans(),
        then=st.sampled_from(["", "retry", "delete", "delete and retry", "edit and retry"]),
    )
    def crash(self, number: int, user: str, call: int, took_effect: bool, fails: bool, then: str) -> None:
        """The process dies in a login, or the store fails; what the browser sees then tells how far it came."""
        self.edit(number, "count", call)
        self.die(number, user, call, took_effect, fails, reads=call % 2 == 0)
        if "delete" in then:
            self.delete(user)
        if "edit" in then:
            self.edit(number, "count", call)
        if "retry" in then:
            self.log_in(number, user, False)

    def die(self, number: int, user: str, call: int, took_effect: bool, fails: bool, reads: bool) -> None:
        browser, device = self.browsers[number], self.devices[number]
        before = dict(browser.cookies)
        answer = None
        self.store.die_at(call, took_effect=took_effect, raises=StoreError if fails else Died)
        with suppress(Died):
            answer = browser.login(user, "dict(user_session)" if reads else "")
        self.store.calls_left = None
        if browser.cookies != before or (answer is not None and answer.status_code == 200):
            # It got its answer, perhaps with a merge that is still to come; the next request makes it.
            assert answer is not None
            browser.get("/session")
            self.is_logged_in(number, user)
            return
        self.look(number, user, device)

    def look(self, number: int, user: str, device: Device) -> None:
        """Find out what a login came to that was not answered. That it was for somebody else changes nothing."""
        is_there = self.browsers[number].get("/session").json
        if is_there or not (device.user or device.own or device.left):
            if device.user is not None:
                assert is_there["_user_id"] == device.user
            return
        if device.user is not None:
            # Its session has moved to where nobody has the ticket for; it is a visitor without anything.
            device.user, device.left, device.is_merged = None, (user, {}), True
            return
        if device.left is None:
            assert device.own
            device.left, device.own, device.is_merged = (user, device.own), {}, False
        owner, data = device.left
        if not device.is_merged and self.site.stored(owner) != self.users[owner]:
            device.is_merged = True
            self.merge(owner, data)

    def is_logged_in(self, number: int, user: str) -> None:
        """Go on as the model of that."""
        device = self.devices[number]
        if device.left is not None and device.left[0] == user and not device.is_merged:
            self.merge(user, device.left[1])
        if device.user is None and device.left is None:
            self.merge(user, device.own)
        device.user, device.own, device.left, device.is_merged = user, {}, None, False

    def merge(self, user: str, data: Data) -> None:
        if data:
            after = merged(self.users[user], data)
            self.merges[user] = (self.users[user], after)
            self.users[user] = after

    @rule(number=st.sampled_from(DEVICES))
    def log_out(self, number: int) -> None:
        """The visitor begins with nothing."""
        device = self.devices[number]
        if device.user is not None:
            self.browsers[number].logout()
            device.user = None
            assert self.browsers[number].show() == {}

    @rule(number=st.sampled_from(DEVICES))
    def undo(self, number: int) -> None:
        """The last merge is taken back, once."""
        user = self.devices[number].user
        self.browsers[number].do("user_session.undo_merge()")
        last = self.merges[user] if user is not None else None
        if user is not None and last is not None:
            self.users[user] = undone(*last, self.users[user])
            self.merges[user] = None

    @rule(user=st.sampled_from(USERS))
    def delete(self, user: str) -> None:
        """Nothing is left, and nothing that was merged comes back."""
        self.site.delete(user)
        self.users[user], self.merges[user] = {}, None

    @invariant()
    def what_is_stored_is_what_the_strategies_say(self) -> None:
        """Of every user, and of every visitor."""
        for user, data in self.users.items():
            assert self.site.stored(user) == data
        for number, device in enumerate(self.devices):
            shown = self.browsers[number].show()
            assert shown == (device.own if device.user is None else self.users[device.user])


Belongings.TestCase.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
TestBelongings = Belongings.TestCase
