"""Undo one change of a value, for example by a merge. Later changes of the value stay."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

from .codec import pack
from .merge import MISSING
from .rebase import same


def undo_change(before: Any, after: Any, now: Any, *, is_sum: bool = False) -> Any:
    """Return the present value ``now`` without the change from ``before`` to ``after``.

    A value that was changed again after ``after`` stays as it is in ``now``. In dicts, each key is treated like this.
    Sets and lists lose the members that the change added. ``is_sum``: numbers lose the difference that the change
    added. Each of the three values may be MISSING, and the result is MISSING if no value remains. No argument is
    changed. Raises UnsupportedTypeError for values that cannot be packed.
    """
    if same(now, after):
        return before
    if now is MISSING or same(before, after):
        return now
    if is_sum and (difference := _subtract(before, after, now)) is not None:
        return difference
    kind = type(now)
    if type(after) is not kind or kind not in (dict, list, set, frozenset):
        return now
    start = before if type(before) is kind else kind()
    result: Any
    if kind is dict:
        result = _undo_in_dict(start, after, now)
    elif kind is list:
        result = _undo_in_list(start, after, now)
    else:
        result = (now - (after - start)) | (start - after)
    return MISSING if before is MISSING and not result else result


def _subtract(before: Any, after: Any, now: Any) -> Any:
    """Return ``now`` minus the difference of ``after`` and ``before``. Return None if a value is no number.

    Return None also for numbers whose types do not fit together.
    """
    numbers = [0 if value is MISSING else value for value in (before, after, now)]
    if not all(isinstance(number, int | float | Decimal | complex) for number in numbers):
        return None
    try:
        return numbers[2] - (numbers[1] - numbers[0])
    except (TypeError, ArithmeticError):
        return None  # for example, a float cannot be subtracted from a Decimal


def _undo_in_dict(before: Any, after: Any, now: Any) -> dict[Any, Any]:
    result = {}
    for key in [*now, *(key for key in before if key not in now)]:
        value = undo_change(*(side.get(key, MISSING) for side in (before, after, now)))
        if value is not MISSING:
            result[key] = value
    return result


def _undo_in_list(before: Any, after: Any, now: Any) -> list[Any]:
    """Return the list ``now`` without the members that the change added.

    If a member is in the list several times, its last copies are removed, because a merge adds members at the end.
    """
    added = Counter(map(pack, after)) - Counter(map(pack, before))
    result = []
    for member in reversed(now):
        packed = pack(member)
        if added[packed]:
            added[packed] -= 1
        else:
            result.append(member)
    return result[::-1]
