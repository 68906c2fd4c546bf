"""Taking a change back out of what it has become since: the undo of a merge. Knows nothing of Flask or stores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from .merge import MISSING, Same

#: Returns what a value is stored as.
Packed = Callable[[Any], bytes]


def take_back(before: Any, after: Any, now: Any, *, same: Same, packed: Packed, is_sum: bool = False) -> Any:
    """Return ``now`` without what led from ``before`` to ``after``; MISSING if nothing is left of it.

    What was changed since stays as it is now: a later edit counts for more than an undo. Dicts are looked into, sets
    and lists lose the members that came, and of ``is_sum`` the difference is subtracted. Each of the three may be
    MISSING; none is changed.
    """
    if same(now, after):
        return before
    if now is MISSING or same(before, after):
        return now
    if is_sum and (difference := _subtracted(before, after, now)) is not None:
        return difference
    kind = type(now)
    if type(after) is not kind or kind not in (dict, list, set, frozenset):
        return now
    began = before if type(before) is kind else kind()
    left: Any
    if kind is dict:
        left = _of_dicts(began, after, now, same, packed)
    elif kind is list:
        left = _of_lists(began, after, now, packed)
    else:
        left = (now - (after - began)) | (began - after)
    return MISSING if before is MISSING and not left else left


def _subtracted(before: Any, after: Any, now: Any) -> Any:
    numbers = [0 if value is MISSING else value for value in (before, after, now)]
    if not all(isinstance(number, int | float | Decimal | complex) for number in numbers):
        return None
    try:
        return numbers[2] - (numbers[1] - numbers[0])
    except (TypeError, ArithmeticError):
        return None  # a Decimal and a float, say


def _of_dicts(before: Any, after: Any, now: Any, same: Same, packed: Packed) -> dict[Any, Any]:
    left = {}
    for key in [*now, *(key for key in before if key not in now)]:
        value = take_back(
            before.get(key, MISSING), after.get(key, MISSING), now.get(key, MISSING), same=same, packed=packed
        )
        if value is not MISSING:
            left[key] = value
    return left


def _of_lists(before: Any, after: Any, now: Any, packed: Packed) -> list[Any]:
    """Return ``now`` without as many of each member as came: the last of them, because that is where they came."""
    came = Counter(map(packed, after)) - Counter(map(packed, before))
    left = []
    for member in reversed(now):
        name = packed(member)
        if came[name]:
            came[name] -= 1
        else:
            left.append(member)
    return left[::-1]
