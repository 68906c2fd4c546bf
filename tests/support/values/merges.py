"""Values that differ a little, for hypothesis, and the merge of them."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from flask_cloakroom import MISSING
from flask_cloakroom.core.values import codec
from flask_cloakroom.core.values.merge import STRATEGIES, MergeConflict, merge
from support.values.every_type import identical


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


def without_order(value: Any) -> Any:
    """A form in which the order of lists, dicts and sets does not count, but types do."""
    if type(value) in (list, set, frozenset):
        return type(value).__name__, sorted((without_order(member) for member in value), key=repr)
    if type(value) is dict:
        pairs = ((repr(key), without_order(member)) for key, member in value.items())
        return "dict", sorted(pairs, key=repr)
    return repr(value)


def packed(values: dict[Any, Any]) -> dict[Any, bytes]:
    return {key: codec.pack(value) for key, value in values.items()}
