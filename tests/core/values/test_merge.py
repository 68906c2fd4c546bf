"""What two requests did to one session becomes one session: laws of the merge, and a model of many requests."""

from __future__ import annotations

import copy
import operator
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from markupsafe import Markup

from flask_cloakroom import MISSING, SessionValueError
from flask_cloakroom.core.entries.record import Absence, Record
from flask_cloakroom.core.entries.tickets import Tickets
from flask_cloakroom.core.sessions.repository import Repository
from flask_cloakroom.core.values import codec
from flask_cloakroom.core.values.lazy import LazyDict
from flask_cloakroom.core.values.merge import STRATEGIES, MergeConflict, NotMergeable, merge
from flask_cloakroom.core.values.rebase import apply_changes, rebase
from flask_cloakroom.stores.memory import MemoryStore
from support.values import Line, identical


def same(left: Any, right: Any) -> bool:
    if left is MISSING or right is MISSING:
        return left is right
    return identical(left, right)


def merged(base: Any, theirs: Any, mine: Any, strategy: Any = None) -> tuple[Any, list[MergeConflict]]:
    """Merge, and make sure that no argument was changed by it."""
    before = copy.deepcopy((base, theirs, mine))
    chosen = STRATEGIES[strategy] if isinstance(strategy, str) else strategy
    result = merge(base, theirs, mine, same=same, path=("key",), strategy=chosen)
    assert all(map(same, before, (base, theirs, mine)))
    return result


# -- values that differ a little ------------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "b", "c", 1, (1, "x")])
LEAVES = st.sampled_from([0, 1, 2, True, False, 1.0, 0.0, "x", "y", "", None, Decimal("1.0"), b"x", (1,), (True,)])
NUMBERS = st.integers(0, 5)
FLAT = LEAVES | st.sets(NUMBERS, max_size=4) | st.frozensets(NUMBERS, max_size=3)
# `recursive` alone is nearly always a container at the top.
TREES = FLAT | st.recursive(
    FLAT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)


@st.composite
def edited(draw: st.DrawFn, value: Any) -> Any:
    """What a request may have made of ``value``: nothing, a small change somewhere in it, or something else."""
    kind = type(value)
    what = draw(st.sampled_from(["leave", "inside", "inside", "inside", "replace"]))
    if what == "leave":
        return copy.deepcopy(value)
    if what == "replace" or kind not in (dict, list, set, frozenset):
        return draw(TREES)
    if kind is dict:
        changed = {key: draw(edited(member)) for key, member in value.items() if draw(st.integers(0, 5))}
        return {**changed, **draw(st.dictionaries(KEYS, LEAVES, max_size=1))}
    if kind is list:
        if draw(st.booleans()):
            return copy.deepcopy(value) + draw(st.lists(LEAVES, max_size=2))
        return [draw(edited(member)) for member in value if draw(st.integers(0, 5))]
    return kind((value - draw(st.sets(NUMBERS, max_size=2))) | draw(st.sets(NUMBERS, max_size=2)))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, Any, Any]:
    """Base, theirs, mine; each may be missing."""
    base = draw(TREES | st.just(MISSING))
    if base is MISSING:
        return base, draw(TREES), draw(TREES)
    theirs, mine = (draw(edited(base) | st.just(MISSING)) for _ in range(2))
    return base, theirs, mine


# -- what is lost, what is made up ----------------------------------------------------------------------------


def lost(base: Any, side: Any, result: Any, path: tuple[Any, ...], reported: set[tuple[Any, ...]]) -> list[Any]:
    """Return the paths of what ``side`` made of ``base`` that is neither in ``result`` nor reported."""
    if same(side, base) or same(side, result) or path in reported:
        return []
    if type(side) is type(result) is dict:
        began = base if type(base) is dict else {}
        parts = ((side.get(key, MISSING), began.get(key, MISSING), key) for key in {**began, **side})
        return [
            gone for own, old, key in parts for gone in lost(old, own, result.get(key, MISSING), (*path, key), reported)
        ]
    if type(side) is type(result) in (set, frozenset):
        began = base if type(base) is type(side) else type(side)()
        return [path] if side - began - result or (began - side) & result else []
    if type(side) is type(result) is list:
        began = base if type(base) is list else []
        if identical(side[: len(began)], began):
            tail = side[len(began) :]
            starts = range(len(result) - len(tail) + 1)
            return [] if any(identical(result[start : start + len(tail)], tail) for start in starts) else [path]
        return [] if identical(result[: len(side)], side) else [path]
    return [path]


def made_up(theirs: Any, mine: Any, result: Any) -> bool:
    """Tell whether something in ``result`` comes from neither side."""
    if same(result, theirs) or same(result, mine):
        return False
    if type(result) is dict:
        sides = [side if type(side) is dict else {} for side in (theirs, mine)]
        return any(made_up(*(side.get(key, MISSING) for side in sides), member) for key, member in result.items())
    members = [member for side in (theirs, mine) if type(side) is type(result) for member in side]
    if type(result) in (list, set, frozenset):
        return not all(any(identical(member, one) for one in members) for member in result)
    return True


def without_order(value: Any) -> Any:
    """A form in which the order of lists, dicts and sets does not count, but types do."""
    if type(value) in (list, set, frozenset):
        return type(value).__name__, sorted((without_order(member) for member in value), key=repr)
    if type(value) is dict:
        pairs = ((repr(key), without_order(member)) for key, member in value.items())
        return "dict", sorted(pairs, key=repr)
    return repr(value)


def check_laws(case: tuple[Any, Any, Any]) -> None:
    base, theirs, mine = case
    result, conflicts = merged(base, theirs, mine)
    for side, kept in ((theirs, "theirs"), (mine, "mine")):
        reported = {conflict.path for conflict in conflicts if conflict.kept != kept}
        assert lost(base, side, result, ("key",), reported) == []
    assert result is MISSING or not made_up(theirs, mine, result)
    for conflict in conflicts:
        found = (conflict.base, conflict.theirs, conflict.mine)
        assert all(same(part, at(whole, conflict.path)) for part, whole in zip(found, case, strict=True))
        assert not same(conflict.theirs, conflict.mine)
        assert not same(conflict.base, conflict.theirs)
        assert not same(conflict.base, conflict.mine)
        assert conflict.kept == ("theirs" if conflict.theirs is MISSING else "mine")
        assert same(at(result, conflict.path), conflict.theirs if conflict.kept == "theirs" else conflict.mine)
    mirrored, counterparts = merged(base, mine, theirs)
    assert {conflict.path for conflict in conflicts} == {conflict.path for conflict in counterparts}
    if not conflicts:
        assert without_order(mirrored) == without_order(result)


def at(value: Any, path: tuple[Any, ...]) -> Any:
    """Return what lies at a conflict's path, which begins with the top-level key."""
    for step in path[1:]:
        value = value.get(step, MISSING) if type(value) is dict else MISSING
    return value


class TestLaws:
    """The general rule."""

    @settings(max_examples=1000)
    @given(cases())
    def test_nothing_is_lost_without_a_word_and_nothing_made_up(self, case: tuple[Any, Any, Any]) -> None:
        """Promise 3. Each change is in the result, or in a MergeConflict that its request lost. All of the result comes
        from a request. A MergeConflict has the true values. The order of the requests does not change the conflicts."""
        check_laws(case)

    @pytest.mark.soak
    @pytest.mark.timeout(3600)
    @settings(max_examples=40_000)
    @given(cases())
    def test_nothing_is_lost_without_a_word_and_nothing_made_up_soak(self, case: tuple[Any, Any, Any]) -> None:
        """The same, many more times."""
        check_laws(case)

    @given(cases(), st.sampled_from([None, *STRATEGIES]))
    def test_an_unchanged_side_has_no_say(self, case: tuple[Any, Any, Any], strategy: str | None) -> None:
        """Whatever the strategy, what only one side changed is taken from that side, and nothing is in conflict."""
        base, changed, _ = case
        for theirs, mine in ((base, changed), (changed, base)):
            result, conflicts = merged(base, theirs, mine, strategy)
            assert same(result, changed)
            assert conflicts == []

    @pytest.mark.parametrize("strategy", [None, *STRATEGIES])
    @pytest.mark.parametrize("base", [5, 0.5, "text", ["item"], {"a": 1}, {1}, frozenset({1}), None, (1,)])
    def test_deleted_by_both_is_deleted(self, base: Any, strategy: str | None) -> None:
        """Two requests that both popped a key leave no key, whatever the strategy, and contest nothing."""
        assert merged(base, MISSING, MISSING, strategy) == (MISSING, [])

    @given(st.data())
    def test_disjoint_edits_survive_at_any_depth(self, data: st.DataObject) -> None:
        """Each side sets, changes and deletes leaves of its own in one deep dict; all of it is there, uncontested."""
        paths = data.draw(st.lists(st.lists(st.sampled_from("abc"), min_size=3, max_size=3).map(tuple), unique=True))
        owners = data.draw(st.lists(st.sampled_from("tmb"), min_size=len(paths), max_size=len(paths)))
        actions = data.draw(
            st.lists(st.sampled_from(["add", "change", "delete"]), min_size=len(paths), max_size=len(paths))
        )
        base: dict[str, Any] = {"keep": {"keep": {}}}
        for path, action in zip(paths, actions, strict=True):
            if action != "add":
                put(base, path, "old")
        sides = {owner: copy.deepcopy(base) for owner in "tmb"}
        expected = copy.deepcopy(base)
        for path, owner, action in zip(paths, owners, actions, strict=True):
            if owner != "b":
                put(sides[owner], path, MISSING if action == "delete" else [owner])
                put(expected, path, MISSING if action == "delete" else [owner])
        result, conflicts = merged(base, sides["t"], sides["m"])
        assert conflicts == []
        assert without_order(without_empty(result)) == without_order(without_empty(expected))

    @given(st.lists(TREES, max_size=4), st.lists(TREES, max_size=3), st.lists(TREES, max_size=3))
    def test_both_tails_survive_in_order(self, base: list[Any], first: list[Any], second: list[Any]) -> None:
        """What both sides append to a list is there once each, theirs before mine."""
        result, conflicts = merged(base, base + first, base + second)
        assert identical(result, base + first + second)
        assert conflicts == []

    @given(st.lists(TREES, min_size=1, max_size=4), st.lists(TREES, min_size=1, max_size=2), st.data())
    def test_a_tail_goes_to_what_the_other_made_of_the_list(
        self, base: list[Any], tail: list[Any], data: st.DataObject
    ) -> None:
        """Emptied, shortened, reordered or changed by one side, appended to by the other: both count."""
        other = data.draw(st.just([]) | st.just(base[1:]) | st.just(base[::-1]) | st.lists(TREES, max_size=3))
        for result, conflicts in (merged(base, other, base + tail), merged(base, base + tail, other)):
            if not identical(other[: len(base)], base):
                assert identical(result, other + tail)
                assert conflicts == []

    @given(*[st.sets(st.integers(0, 8)) for _ in range(3)], st.sampled_from([set, frozenset]))
    def test_sets(self, base: set[int], theirs: set[int], mine: set[int], kind: Any) -> None:
        """What either side added is in, what either side removed is out, what nobody touched stays."""
        result, conflicts = merged(kind(base), kind(theirs), kind(mine))
        expected = {
            member
            for member in range(9)
            if (member in theirs and member in mine) or (member not in base and (member in theirs or member in mine))
        }
        assert identical(result, kind(expected))
        assert conflicts == []

    @given(TREES, st.data())
    def test_deletion_wins_over_change_and_is_reported(self, base: Any, data: st.DataObject) -> None:
        """What one side deleted stays deleted, at the top and deep inside; the change is reported with its path."""
        changed = data.draw(TREES.filter(lambda value: not identical(value, base)))
        assert merged(base, MISSING, changed) == (MISSING, [MergeConflict(("key",), base, MISSING, changed, "theirs")])
        assert merged(base, changed, MISSING) == (MISSING, [MergeConflict(("key",), base, changed, MISSING, "mine")])
        result, conflicts = merged({"a": {"b": base, "c": 0}}, {"a": {"c": 1}}, {"a": {"b": changed, "c": 0}})
        assert identical(result, {"a": {"c": 1}})
        assert conflicts == [MergeConflict(("key", "a", "b"), base, MISSING, changed, "theirs")]

    def test_the_later_commit_wins_a_scalar(self) -> None:
        """And the loser is told, with where it was, and what each side had."""
        result, conflicts = merged({"a": {"b": 1}}, {"a": {"b": 2}}, {"a": {"b": 3}})
        assert result == {"a": {"b": 3}}
        assert conflicts == [MergeConflict(("key", "a", "b"), 1, 2, 3, "mine")]

    def test_the_same_on_both_sides_is_not_contested(self) -> None:
        """Two requests that set the same thing agree."""
        assert merged(1, 2, 2) == (2, [])
        assert merged({"a": 1}, {"a": 2}, {"a": 2}) == ({"a": 2}, [])
        assert merged(MISSING, "x", "x") == ("x", [])

    @pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), (True, 1.0), (0, False), ("1", b"1"), ((1,), [1])])
    def test_equal_is_not_the_same(self, one: Any, other: Any) -> None:
        """``1 == True == 1.0``; turning one into another is a change like any other."""
        result, conflicts = merged(one, other, one)
        assert type(result) is type(other)
        assert conflicts == []
        result, conflicts = merged(one, other, "mine")
        assert result == "mine"
        assert len(conflicts) == 1
        result, conflicts = merged([one], [other], [one, 2])  # it only looks as if they had appended nothing
        assert identical(result, [other, 2])

    @pytest.mark.parametrize("mine", [{"a": 1}, [1], {1}, "text", 5, None, (1,), frozenset({1})])
    @pytest.mark.parametrize("theirs", [{"b": 2}, [2], {2}, "other", 6, True, (2,), frozenset({2})])
    def test_a_change_of_type(self, theirs: Any, mine: Any) -> None:
        """Both sides made something new: containers of one kind are merged, everything else is in conflict."""
        result, conflicts = merged("base", theirs, mine)
        if type(theirs) is type(mine) and type(mine) in (dict, list, set, frozenset):
            assert conflicts == []
            assert len(result) == 2
        else:
            assert same(result, mine)
            assert conflicts == [MergeConflict(("key",), "base", theirs, mine, "mine")]

    @pytest.mark.parametrize("strategy", [None, "union", "append"])
    @pytest.mark.parametrize("in_list", [False, True])
    def test_too_deep_to_look_into(self, strategy: str | None, in_list: bool) -> None:
        """What nests deeper than Python goes is in conflict as a whole, or merged from outside; and no error."""

        def nest(leaf: Any) -> Any:
            for _ in range(900):
                leaf = {"k": leaf}
            return [leaf] if in_list else leaf

        def by_bytes(left: Any, right: Any) -> bool:
            return codec.pack(left) == codec.pack(right)

        chosen = None if strategy is None else STRATEGIES[strategy]
        base, theirs, mine = nest({}), nest({"a": 1}), nest({"b": 1})
        result, conflicts = merge(base, theirs, mine, same=by_bytes, path=("key",), strategy=chosen)
        assert result is mine
        assert [(conflict.path, conflict.kept) for conflict in conflicts] == [(("key",), "mine")]


def put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for step in path[:-1]:
        tree = tree.setdefault(step, {})
    if value is MISSING:
        tree.pop(path[-1], None)
    else:
        tree[path[-1]] = value


def without_empty(tree: Any) -> Any:
    """Dicts that were only made to put something into, or emptied, are beside the point."""
    if type(tree) is not dict:
        return tree
    pairs = {key: without_empty(member) for key, member in tree.items()}
    return {key: member for key, member in pairs.items() if member != {}}


# -- declared strategies --------------------------------------------------------------------------------------


def commit_all(
    start: Any, edits: Sequence[Any], order: random.Random, strategy: str
) -> tuple[Any, list[MergeConflict]]:
    """Let requests load at random moments and commit in random order; ``edits`` make a new value of a loaded one."""
    stored, conflicts = start, []
    waiting = list(edits)
    running: list[tuple[Any, Any]] = []
    while waiting or running:
        if waiting and (not running or order.random() < 0.5):
            running.append((copy.deepcopy(stored), waiting.pop()))
        else:
            base, edit = running.pop(order.randrange(len(running)))
            stored, found = merged(base, stored, edit(copy.deepcopy(base)), strategy)
            conflicts += found
    return stored, conflicts


ORDERS = st.integers(0, 2**32).map(random.Random)


class TestStrategies:
    """What SESSION_MERGE can declare."""

    @given(st.integers() | st.just(MISSING), st.lists(st.integers(), max_size=12), ORDERS)
    def test_sum_counts_everything(self, start: Any, deltas: list[int], order: random.Random) -> None:
        """Any number of requests that add to a counter, in any order, add up."""
        edits = [lambda value, delta=delta: (0 if value is MISSING else value) + delta for delta in deltas]
        result, conflicts = commit_all(start, edits, order, "sum")
        assert conflicts == []
        assert (0 if result is MISSING else result) == (0 if start is MISSING else start) + sum(deltas)

    @pytest.mark.parametrize(
        ("base", "theirs", "mine", "expected"),
        [
            (5, 6, 7, 8),
            (Decimal("1.10"), Decimal("1.20"), Decimal("1.15"), Decimal("1.25")),
            (timedelta(1), timedelta(2), timedelta(3), timedelta(4)),
            (2 + 1j, 3, 2 + 2j, 3 + 1j),
            (5, MISSING, 7, 2),
            (5, 7, MISSING, 2),
            (MISSING, 1, 1, 2),
            (10**30, 10**30 + 1, 10**30 + 2, 10**30 + 3),
        ],
    )
    def test_sum_of_what_can_be_added(self, base: Any, theirs: Any, mine: Any, expected: Any) -> None:
        """Numbers of all kinds and spans of time; a deleted counter began again at 0."""
        result, conflicts = merged(base, theirs, mine, "sum")
        assert result == expected
        assert conflicts == []

    @pytest.mark.parametrize(
        ("base", "theirs", "mine"),
        [
            (1, "two", 3),
            ("a", "ab", "ac"),
            (0, 10**400, 1.5),
            (Decimal(0), Decimal("sNaN"), Decimal(1)),
            (datetime(2026, 1, 1, tzinfo=UTC), MISSING, datetime(2026, 1, 2, tzinfo=UTC)),
            (1, None, 2),
        ],
    )
    def test_sum_of_what_cannot_be_added(self, base: Any, theirs: Any, mine: Any) -> None:
        """Is left to the general rule, which reports it, instead of failing the request."""
        assert merged(base, theirs, mine, "sum") == merged(base, theirs, mine)
        assert len(merged(base, theirs, mine, "sum")[1]) == 1

    @given(st.integers() | st.just(MISSING), st.lists(st.integers(), min_size=1), ORDERS)
    def test_max_keeps_the_greatest(self, start: Any, scores: list[int], order: random.Random) -> None:
        """Of all that were reached, in whatever order they are saved."""
        edits = [lambda value, score=score: score if value is MISSING else max(value, score) for score in scores]
        result, conflicts = commit_all(start, edits, order, "max")
        assert conflicts == []
        assert result == max([*scores, *([] if start is MISSING else [start])])

    @pytest.mark.parametrize(("theirs", "mine"), [(1, "x"), (Decimal("NaN"), Decimal(1)), (None, 2), ({}, {"a": 1})])
    def test_max_of_what_has_no_order(self, theirs: Any, mine: Any) -> None:
        """Is left to the general rule."""
        assert merged("base", theirs, mine, "max") == merged("base", theirs, mine)

    def test_max_is_not_undone_by_a_deletion(self) -> None:
        """A missing value is less than any, unless nothing else was done."""
        assert merged(1, MISSING, 2, "max") == (2, [])
        assert merged(1, 2, MISSING, "max") == (2, [])
        assert merged(1, 1, MISSING, "max") == (MISSING, [])

    @given(
        st.lists(st.integers(), max_size=3) | st.just(MISSING), st.lists(st.lists(st.integers(), max_size=3)), ORDERS
    )
    def test_append_keeps_every_tail(self, start: Any, tails: list[list[int]], order: random.Random) -> None:
        """Each request's own items are all there, as often and in the order that it added them."""
        marked = [[(number, item) for item in tail] for number, tail in enumerate(tails)]
        edits = [lambda value, tail=tail: ([] if value is MISSING else value) + tail for tail in marked]
        result, conflicts = commit_all(start, edits, order, "append")
        items = [] if result is MISSING else result
        assert conflicts == []
        assert len(items) == (0 if start is MISSING else len(start)) + sum(map(len, tails))
        for number, tail in enumerate(marked):
            assert [item for item in items if type(item) is tuple and item[0] == number] == tail

    @pytest.mark.parametrize(
        ("base", "theirs", "mine", "expected"),
        [
            (["shown"], ["shown", "t"], MISSING, ["t"]),
            (["shown"], MISSING, ["shown", "m"], ["m"]),
            (["shown"], ["shown", "t"], [], ["t"]),
            (["shown"], ["shown", "t"], ["m"], ["t", "m"]),
            (["shown"], ["t"], ["shown", "m"], ["t", "m"]),
            (["shown"], ["t"], ["m"], ["t", "m"]),
            (["shown"], ["shown", "shown"], MISSING, ["shown"]),
            (["x", "y"], ["y", "t"], ["x", "m"], ["t", "m"]),
            (["shown"], [], MISSING, MISSING),
            (MISSING, ["t"], ["m"], ["t", "m"]),
            ("no list", ["t"], ["m"], ["t", "m"]),
            ([1], [1, True], [True], [True, True]),
        ],
    )
    def test_append_after_taking_out(self, base: Any, theirs: Any, mine: Any, expected: Any) -> None:
        """Flash messages: one request shows what is there while another adds. What was shown is not shown again, what
        was added is not lost, whichever of them commits first."""
        result, conflicts = merged(base, theirs, mine, "append")
        assert same(result, expected)
        assert conflicts == []

    @pytest.mark.parametrize("strategy", ["append", "union", None])
    @pytest.mark.parametrize(
        "make",
        [int, lambda number: ("info", str(number)), lambda number: {"sku": number, "sizes": [{number}, 0.5]}],
        ids=["ints", "flash messages", "dicts"],
    )
    def test_long_lists(self, strategy: str | None, make: Any) -> None:
        """The time of a merge grows with the length of the list, not with its square."""
        base = [make(number) for number in range(20_000)]
        theirs, mine = [*base, make(-1)], [*base[1:], make(-2)]
        chosen = None if strategy is None else STRATEGIES[strategy]
        began = time.process_time()
        result, conflicts = merge(base, theirs, mine, same=operator.eq, path=("key",), strategy=chosen)
        assert time.process_time() - began < 5  # a square would take minutes
        assert len(result) == 20_001
        assert conflicts == []

    @pytest.mark.parametrize("strategy", ["append", "union"])
    def test_lists_of_what_cannot_be_hashed(self, strategy: str) -> None:
        """Instances of the application's classes are compared by their own ``==``."""
        first, second, third, fourth = (Line(number) for number in range(4))
        result, conflicts = merged([first, second], [first, second, third], [second, fourth], strategy)
        assert result == [second, third, fourth]
        assert conflicts == []

    def test_append_to_what_is_no_list(self) -> None:
        """Is left to the general rule."""
        assert merged([], "text", [1], "append") == merged([], "text", [1])

    @pytest.mark.parametrize(
        ("base", "theirs", "mine", "expected"),
        [
            ({}, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
            ({"a": 1, "b": 2}, {"b": 2}, {"a": 5, "b": 2}, {"a": 5, "b": 2}),  # changed beats removed
            ({"a": 1, "b": 2}, {"b": 2}, {"a": 1}, {}),  # removals that nobody contests
            ({"a": 1}, MISSING, {"a": 1, "b": 2}, {"b": 2}),
            ({"a": 1}, {"a": 1, "b": 2}, MISSING, {"b": 2}),
            ({"x": {"a": 1}}, {}, {"x": {"a": 2}}, {"x": {"a": 2}}),
            ({"x": {"a": 1}}, {"x": {"a": 1, "b": 1}}, {"x": {"c": 1}}, {"x": {"b": 1, "c": 1}}),
            ({"a": 1}, {"a": True}, {"a": 1, "b": 0}, {"a": True, "b": 0}),
            ({"a": [1]}, {"a": [1], "t": 0}, {"a": [True]}, {"a": [True], "t": 0}),
            ({1, 2}, {2, 3}, {1, 4}, {3, 4}),
            (frozenset({1}), frozenset({1, 2}), frozenset({1, 3}), frozenset({1, 2, 3})),
            ([1, 2], [2, 3], [1, 2, 4], [2, 3, 4]),
            (["a"], ["a", "b"], ["a", "b"], ["a", "b"]),
            ([1], [1, 2], [True], [2, True]),
            (MISSING, {"a"}, {"b"}, {"a", "b"}),
        ],
    )
    def test_union(self, base: Any, theirs: Any, mine: Any, expected: Any) -> None:
        """Keeps what either side added or changed, also where the other removed it."""
        result, conflicts = merged(base, theirs, mine, "union")
        assert without_order(result) == without_order(expected)
        assert conflicts == []

    def test_union_reports_what_it_has_to_drop(self) -> None:
        """One quantity changed by both: the later one wins, and the earlier is reported with its whole path."""
        result, conflicts = merged(
            {"items": {"tea": 1, "milk": 1}},
            {"items": {"tea": 2, "milk": 1}},
            {"items": {"tea": 3, "milk": 1, "jam": 1}},
            "union",
        )
        assert result == {"items": {"tea": 3, "milk": 1, "jam": 1}}
        assert conflicts == [MergeConflict(("key", "items", "tea"), 1, 2, 3, "mine")]

    def test_union_of_scalars(self) -> None:
        """Is left to the general rule."""
        assert merged(1, 2, 3, "union") == merged(1, 2, 3)

    @given(st.dictionaries(KEYS, LEAVES, max_size=3), st.data())
    def test_union_of_many_requests(self, start: dict[Any, Any], data: st.DataObject) -> None:
        """Whatever is added to a dict by anybody is there, also if others empty it meanwhile."""
        count = data.draw(st.integers(0, 8))
        emptying = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
        edits = [
            lambda value, number=number, empties=empties: {**({} if empties else value), f"own {number}": number}
            for number, empties in enumerate(emptying)
        ]
        # One who has loaded another's key and empties the dict removes it on purpose; so none of them may have.
        result, conflicts = start, []
        for edit in edits:
            result, found = merged(start, result, edit(copy.deepcopy(start)), "union")
            conflicts += found
        assert {key for key in result if str(key).startswith("own")} == {f"own {number}" for number in range(count)}
        assert conflicts == []

    def test_last(self) -> None:
        """The later commit wins, as was asked for; a deletion too."""
        assert merged({"a": 1}, {"a": 1, "b": 2}, {"c": 3}, "last") == ({"c": 3}, [])
        assert merged(1, MISSING, 2, "last") == (2, [])

    def test_a_function_of_the_application(self) -> None:
        """Gets base, theirs, mine; what it returns counts, MISSING included; NotMergeable means the general rule."""
        assert merged(1, 2, 3, lambda base, theirs, mine: (base, theirs, mine)) == ((1, 2, 3), [])
        assert merged(1, 2, 3, lambda base, theirs, mine: MISSING) == (MISSING, [])

        def refuse(base: Any, theirs: Any, mine: Any) -> Any:
            raise NotMergeable

        assert merged(1, 2, 3, refuse) == merged(1, 2, 3)

    def test_what_a_function_raises_is_not_hidden(self) -> None:
        """A mistake in the application's function is the application's to see."""

        def broken(base: Any, theirs: Any, mine: Any) -> Any:
            return theirs + "text"

        with pytest.raises(TypeError):
            merged(1, 2, 3, broken)


# -- bytes in, bytes out --------------------------------------------------------------------------------------


def packed(values: dict[Any, Any]) -> dict[Any, bytes]:
    return {key: codec.pack(value) for key, value in values.items()}


class TestRebase:
    """One request's changes on top of what another has stored."""

    @given(st.dictionaries(KEYS, cases(), max_size=4))
    def test_is_the_merge_of_each_changed_key(self, data: dict[Any, tuple[Any, Any, Any]]) -> None:
        """Key by key what ``merge`` says; keys that this request left alone are as they are stored."""
        base, theirs, mine = (
            packed({key: case[side] for key, case in data.items() if case[side] is not MISSING}) for side in range(3)
        )
        changes = {key: mine.get(key) for key in data if base.get(key) != mine.get(key)}
        before = (dict(base), dict(theirs), dict(changes))
        result, reported = rebase(base, theirs, changes, {})
        assert (base, theirs, changes) == before
        for key, case in data.items():
            expected, conflicts = merge(*case, same=same, path=(key,))
            if key in changes:
                assert result.get(key) == (None if expected is MISSING else codec.pack(expected))
                found = [one for one in reported if one.path[0] == key and type(one.path[0]) is type(key)]
                assert [conflict.path for conflict in found] == [conflict.path for conflict in conflicts]
            else:
                assert result.get(key) == theirs.get(key)

    @pytest.mark.parametrize(
        ("base", "theirs", "mine", "expected"),
        [
            ([1], [True], [1, 2], [True, 2]),
            ({"a": 1}, {"a": 1.0}, {"a": 1, "b": 2}, {"a": 1.0, "b": 2}),
            ({"a": 1, "b": 2}, {"a": 1}, {"a": True, "b": 2}, {"a": True}),
            ({"n": float("nan")}, {"n": float("nan"), "t": 1}, {"n": float("nan"), "m": 2}, None),
            ({"n": 0.0}, {"n": -0.0}, {"n": 0.0, "m": 2}, {"n": -0.0, "m": 2}),
            ({"s": "x"}, {"s": Markup("x")}, {"s": "x", "m": 2}, {"s": Markup("x"), "m": 2}),
            ({"d": Decimal("1.0")}, {"d": Decimal("1.00")}, {"d": Decimal("1.0"), "m": 2}, None),
        ],
    )
    def test_the_same_is_what_is_the_same_as_bytes(self, base: Any, theirs: Any, mine: Any, expected: Any) -> None:
        """``==`` would take 1 for True, and one NaN for a change of another."""
        if expected is None:
            expected = {**theirs, **{key: value for key, value in mine.items() if key not in base}}
        result, conflicts = rebase(packed({"k": base}), packed({"k": theirs}), packed({"k": mine}), {})
        assert identical(codec.unpack(result["k"]), expected)
        assert conflicts == []

    @pytest.mark.parametrize(
        ("base", "theirs", "mine", "kept"),
        [
            ("garbage", "theirs", "mine", "mine"),
            ("base", "garbage", "mine", "mine"),
            ("garbage", None, "mine", "theirs"),
            ("garbage", "theirs", None, "mine"),
        ],
    )
    def test_what_cannot_be_decoded_is_not_merged(
        self, base: str | None, theirs: str | None, mine: str | None, kept: str
    ) -> None:
        """The later change wins, unless the key was deleted meanwhile; it is reported, and nothing is raised, as it was
        not this request's mistake."""
        sides = {None: {}, "garbage": {"k": b"\xc1"}}
        stored = [sides.get(side, {"k": codec.pack(side)}) for side in (base, theirs, mine)]
        result, conflicts = rebase(stored[0], stored[1], {"k": stored[2].get("k")}, {})
        assert result == (stored[2] if kept == "mine" else stored[1])
        assert [(conflict.path, conflict.kept) for conflict in conflicts] == [(("k",), kept)]

    def test_what_a_strategy_returns_must_be_storable(self) -> None:
        """An error that names the key, and nothing of the values."""
        strategies = {"k": lambda base, theirs, mine: object()}
        base, theirs, mine = (codec.pack(f"secret {side}") for side in range(3))
        with pytest.raises(SessionValueError, match="'k'") as caught:
            rebase({"k": base}, {"k": theirs}, {"k": mine}, strategies)
        assert "secret" not in str(caught.value)

    def test_applied_changes_nothing_in_place(self) -> None:
        """And None deletes."""
        values = packed({"a": 1, "b": 2})
        before = dict(values)
        assert apply_changes(values, {"a": None, "c": b"\x03"}) == {"b": values["b"], "c": b"\x03"}
        assert apply_changes(values, {"missing": None}) == before
        assert values == before


# -- many requests on one session -----------------------------------------------------------------------------


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
