"""A model of many requests on one session."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from flask_cloakroom import MISSING
from flask_cloakroom.core.entries.record import Absence, Record
from flask_cloakroom.core.entries.tickets import Tickets
from flask_cloakroom.core.sessions.repository import Repository
from flask_cloakroom.core.values.lazy import LazyDict
from flask_cloakroom.core.values.merge import STRATEGIES
from flask_cloakroom.stores.memory import MemoryStore
from support.values.merges import packed, same

EDITS = ["own", "top", "log", "deep", "tag", "untag", "views", "best", "scalar", "doomed", "delete"]


class View(LazyDict):
    """One request's session, without Flask."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self._reset(record.values)
        #: What was there when this request began, for keys where the model has to know.
        self.began = {key: copy.deepcopy(self.get(key, MISSING)) for key in ("scalar", "doomed", "tags")}


class Requests(RuleBasedStateMachine):
    """Requests load one session at random moments, edit it, and commit in random order through the Repository.

    The model is told what each request meant, and knows nothing of merging but how one scalar is decided.
    """

    def __init__(self) -> None:
        super().__init__()
        self.repository = Repository(
            MemoryStore(clock=lambda: 1000.0),
            Tickets("model"),
            strategies={"views": STRATEGIES["sum"], "best": STRATEGIES["max"]},
            clock=lambda: 1000.0,
        )
        self.running: list[View] = []
        self.serial = 0
        self.renewals = 0

    @initialize()
    def create(self) -> None:
        start = {"own": {}, "log": [], "deep": {"log": [["first"]]}, "tags": set(range(6)), "views": 0, "best": 0}
        start |= {"scalar": 0, "doomed": 0}
        self.ticket = self.repository.create(packed(start)).ticket
        self.own: dict[int, int] = {}
        self.items: list[tuple[int, int]] = []
        self.deep_items: list[tuple[int, int]] = []
        self.tags = set(range(6))
        self.views = 0
        self.best = 0
        self.decided: dict[str, Any] = {"scalar": 0, "doomed": 0}

    def load(self) -> View:
        record = self.repository.load(self.ticket)
        assert isinstance(record, Record)
        return View(record)

    @precondition(lambda self: len(self.running) < 6)
    @rule()
    def begin(self) -> None:
        view = self.load()
        self.serial += 1
        view.number = self.serial
        view.meant = {"own": {}, "log": [], "deep": [], "views": 0, "best": 0}
        self.running.append(view)

    @precondition(lambda self: self.running)
    @rule(
        which=st.integers(0, 5),
        what=st.sampled_from(
            ["own", "top", "log", "deep", "tag", "untag", "views", "best", "scalar", "doomed", "delete"]
        ),
        number=st.integers(0, 9),
    )
    def edit(self, which: int, what: str, number: int) -> None:
        view = self.running[which % len(self.running)]
        self.serial += 1
        unique = self.serial
        meant = view.meant
        if what == "own":
            view["own"][unique] = meant["own"][unique] = unique
        elif what == "top":
            view[f"top {unique}"] = {"value": unique}
            meant["own"][f"top {unique}"] = {"value": unique}
        elif what == "log":
            view["log"].append((view.number, unique))
            meant["log"].append((view.number, unique))
        elif what == "deep":
            view["deep"]["log"].append((view.number, unique))
            meant["deep"].append((view.number, unique))
        elif what == "tag":
            view["tags"].add(number)
        elif what == "untag":
            view["tags"].discard(number)
        elif what == "views":
            view["views"] += number
            meant["views"] += number
        elif what == "best":
            view["best"] = max(view["best"], number)
            meant["best"] = max(meant["best"], number)
        elif what == "delete":
            view.pop("doomed", None)
        else:
            view[what] = unique

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 5), renews=st.booleans())
    def commit(self, which: int, renews: bool) -> None:
        view = self.running.pop(which % len(self.running))
        # At most once a second, so no more than so many of them while the old tickets still lead on.
        if renews and self.renewals < 8:
            self.renewals += 1
            committed = self.repository.rotate(view.record, view.changes(), renewal=True)
            assert committed is not None
            self.ticket = committed.record.ticket
        else:
            committed = self.repository.commit(view.record, view.changes())
            assert committed is not None
        assert {conflict.path[0] for conflict in committed.conflicts} == self.remember(view)
        self.check()

    def remember(self, view: View) -> set[str]:
        """Apply to the model what the request meant; return the keys that must be reported."""
        self.own |= view.meant["own"]
        self.items += view.meant["log"]
        self.deep_items += view.meant["deep"]
        self.views += view.meant["views"]
        self.best = max(self.best, view.meant["best"])
        self.tags |= view["tags"] - view.began["tags"]
        self.tags -= view.began["tags"] - view["tags"]
        conflicts = set()
        for key, stored in self.decided.items():
            began, mine = view.began[key], view.get(key, MISSING)
            if same(began, mine) or same(stored, mine):
                continue
            if not same(stored, began):
                conflicts.add(key)
                if stored is MISSING:
                    continue
            self.decided[key] = mine
        return conflicts

    def check(self) -> None:
        found = dict(self.load())
        assert {**found.pop("own"), **{key: found.pop(key) for key in [*found] if key.startswith("top")}} == self.own
        for items, meant in ((found.pop("log"), self.items), (found.pop("deep")["log"][1:], self.deep_items)):
            assert sorted(items) == sorted(meant)
            by_request: dict[int, list[int]] = {}
            for request, item in items:
                by_request.setdefault(request, []).append(item)
            assert all(first < second for own in by_request.values() for first, second in pairwise(own))
        assert found.pop("tags") == self.tags
        assert found.pop("views") == self.views
        assert found.pop("best") == self.best
        assert found == {key: value for key, value in self.decided.items() if value is not MISSING}


@pytest.mark.promise(3)
class TestManyRequests:
    """No lost updates: promise 3, through the real repository."""

    def test_all_that_is_not_contested_is_there(self) -> None:
        """Whenever they loaded and in whatever order they commit, renewals of the ticket in between included; and what
        was in conflict, and nothing else, is reported."""
        run_state_machine_as_test(Requests, settings=settings(max_examples=250, stateful_step_count=40))

    @pytest.mark.soak
    @pytest.mark.timeout(3600)
    def test_all_that_is_not_contested_is_there_soak(self) -> None:
        """The same, many more times and for longer."""
        run_state_machine_as_test(Requests, settings=settings(max_examples=5_000, stateful_step_count=80))

    @given(st.integers(0, 5), st.integers(0, 5), st.booleans())
    def test_delete_always_wins(self, before: int, after: int, renewed: bool) -> None:
        """Promise 4: commits after a destroy write nothing, and the session stays gone by each of its tickets."""
        machine = Requests()
        machine.create()
        views = [machine.load() for _ in range(before + after)]
        for view in views:
            view["own"][id(view)] = 1
        tickets = [machine.ticket]
        for number, view in enumerate(views[:before]):
            changes = view.changes()
            if renewed and number == 0:
                committed = machine.repository.rotate(view.record, changes, renewal=True)
                assert committed is not None
                tickets.append(committed.record.ticket)
            else:
                assert machine.repository.commit(view.record, changes) is not None
        last = machine.repository.load(tickets[-1])
        assert isinstance(last, Record)
        assert machine.repository.destroy(last)
        for view in views[before:]:
            assert machine.repository.commit(view.record, view.changes()) is None
        assert [machine.repository.load(ticket) for ticket in tickets] == [Absence.SUPERSEDED] * len(tickets)
