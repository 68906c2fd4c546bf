"""Laws of the three-way merge: the changes of two requests become one session."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_cloakroom import MISSING
from flask_cloakroom.core.values import codec
from flask_cloakroom.core.values.merge import STRATEGIES, MergeConflict, merge
from support.values.every_type import identical
from support.values.merges import TREES, cases, merged, same, without_order


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


@pytest.mark.promise(3)
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
        """A list has the items that each side appended, once each: theirs before mine."""
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
        """The set has each item that one side added, lacks each item that one side removed, and keeps all others."""
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
        """A deleted key stays deleted, at every level. The other side's change is reported with its path."""
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
        """Values that nest too deep for Python are one conflict, or are merged at levels above, without an error."""

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
