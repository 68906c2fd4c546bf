"""Undo one change of a value, for example by a merge. Later changes of the value stay."""

from __future__ import annotations

import logging
from collections import Counter
from decimal import Decimal
from typing import Any

from ...secret import SecretBytes
from .codec import CodecError, UnsupportedTypeError, pack, unpack
from .merge import MISSING, STRATEGIES, Strategies, merge
from .rebase import Changes, Values, same

log = logging.getLogger("flask_cloakroom.sessions")


def undo_changes(before: Values, after: Values, now: Values, strategies: Strategies) -> Changes:
    """Return the changes to the values ``now`` that undo a write, which changed the values ``before`` to ``after``.

    All values are packed. A value that another request has changed after the write loses only the change of the write.
    If both changes cannot be told apart, the value stays as it is.
    """
    changes: dict[Any, bytes | None] = {}
    for key in {**before, **after}:
        three = before.get(key), after.get(key), now.get(key)
        if three[0] == three[1]:
            continue
        if three[1] == three[2]:
            changes[key] = three[0]
            continue
        try:
            old, written, present = (MISSING if packed is None else unpack(packed) for packed in three)
            is_sum = strategies.get(key) is STRATEGIES["sum"]
            # The merge also puts back list members that the write removed. But at a conflict it would let the old value
            # win over the later change of the other request.
            value, conflicts = merge(written, present, old, same=same, path=(key,))
            if conflicts or is_sum:
                value = undo_change(old, written, present, is_sum=is_sum)
            changes[key] = None if value is MISSING else SecretBytes(pack(value))
        except (CodecError, UnsupportedTypeError, RecursionError) as error:
            log.warning("a value cannot be compared, so the change of a request that failed stays: %s", error)
    return changes


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
