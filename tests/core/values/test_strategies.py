"""The named strategies of the merge, and strategies of an application."""

from __future__ import annotations

import copy
import operator
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_cloakroom import MISSING
from flask_cloakroom.core.values.merge import STRATEGIES, MergeConflict, NotMergeable, merge
from support.values.every_type import Line
from support.values.merges import KEYS, LEAVES, merged, same, without_order


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
    """The strategies that SESSION_MERGE can declare."""

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
