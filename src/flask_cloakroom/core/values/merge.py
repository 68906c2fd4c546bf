"""Three-way merge of the changes that two requests made to one session.

``base`` is the value that both requests read, ``theirs`` the value that the other request has saved, and ``mine`` the
value that this request wants to save. If only one request changed the value, its change counts. If both did:

- dicts are merged key by key, at every level;
- sets get the members that each request added, and lose those that each removed;
- if one request only appended members to a list, these members go to the end of the other request's list;
- any other two changes are a :class:`MergeConflict`. ``mine`` wins, because it is the later commit. But if one request
  deleted the value, the deletion always wins, so that a logout is not undone.

The application can give a session key another rule: see :data:`STRATEGIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Literal, NamedTuple

#: A function that returns True if two values have the same packed bytes.
Same = Callable[[Any, Any], bool]
#: The keys that lead to a value: a key of the session, then keys of the dicts in it.
Path = tuple[Any, ...]


class Missing(Enum):
    """The type of :data:`MISSING`."""

    MISSING = "MISSING"

    def __repr__(self) -> str:
        return "MISSING"


#: Stands for the value of a key that does not exist. None cannot be used for this, because None can be a session value.
MISSING: Final = Missing.MISSING


@dataclass(frozen=True, slots=True)
class MergeConflict:
    """Two changes of one value, of which only one could be saved. The ``repr()`` shows no value."""

    #: The keys that lead to the value. The first key is a key of the session.
    path: Path
    base: Any
    theirs: Any
    mine: Any
    kept: Literal["mine", "theirs"]

    def __repr__(self) -> str:
        return f"<MergeConflict kept={self.kept}>"

    def signal_arguments(self) -> dict[str, Any]:
        """Return the arguments of the signal that reports the conflict: the first key of ``path``, and all fields."""
        return {"key": self.path[0], **{field.name: getattr(self, field.name) for field in fields(self)}}


class NotMergeable(Exception):
    """A strategy raises this error for values that it cannot merge. Then the rules of this module are used."""


class PartialMerge(NamedTuple):
    """The result of a strategy that could not save all changes: the merged value, and the conflicts in it.

    The path of each conflict begins inside the value.
    """

    value: Any
    conflicts: list[MergeConflict]


Strategy = Callable[[Any, Any, Any], Any]
#: Maps a session key to the strategy for the values of this key.
Strategies = Mapping[Any, Strategy]


def merge(
    base: Any, theirs: Any, mine: Any, *, same: Same, path: Path, strategy: Strategy | None = None
) -> tuple[Any, list[MergeConflict]]:
    """Return the merged value, which may be :data:`MISSING`, and the conflicts.

    Each of the three values may be :data:`MISSING`. ``same``: compares two values by their packed bytes, because ``==``
    would take 1 and True for the same value. ``path``: the keys that lead to the value. ``strategy``: the rule for this
    value, or None. The arguments are not changed, but the result may contain parts of them.
    """
    conflicts: list[MergeConflict] = []
    if same(base, theirs):
        return mine, conflicts
    if same(base, mine):
        return theirs, conflicts
    if theirs is MISSING and mine is MISSING:
        return MISSING, conflicts
    try:
        if strategy is not None:
            merged = strategy(base, theirs, mine)
            if not isinstance(merged, PartialMerge):
                return merged, conflicts
            return merged.value, [replace(conflict, path=path + conflict.path) for conflict in merged.conflicts]
    except NotMergeable:
        pass
    try:
        return _merge(base, theirs, mine, same, path, conflicts), conflicts
    except RecursionError:  # the values are nested too deeply for Python, so the whole value is one conflict
        conflict = _conflict(base, theirs, mine, path)
        return (theirs if conflict.kept == "theirs" else mine), [conflict]


def _merge(base: Any, theirs: Any, mine: Any, same: Same, path: Path, conflicts: list[MergeConflict]) -> Any:
    if same(base, theirs):
        return mine
    if same(base, mine):
        return theirs
    kind = type(mine)
    if type(theirs) is kind:
        # If the base has another type, both requests replaced the value. Then the merge starts from an empty value.
        start: Any = base if type(base) is kind else kind() if kind in (dict, list, set, frozenset) else MISSING
        if kind is dict:
            return _merge_dicts(start, theirs, mine, same, path, conflicts)
        if kind is set or kind is frozenset:
            return (theirs - (start - mine)) | (mine - start)
        if kind is list:
            if _starts_with(mine, start, same):
                return theirs + mine[len(start) :]
            if _starts_with(theirs, start, same):
                return mine + theirs[len(start) :]
    if same(theirs, mine):
        return mine
    conflict = _conflict(base, theirs, mine, path)
    conflicts.append(conflict)
    return theirs if conflict.kept == "theirs" else mine


def _conflict(base: Any, theirs: Any, mine: Any, path: Path) -> MergeConflict:
    return MergeConflict(path, base, theirs, mine, "theirs" if theirs is MISSING else "mine")


def _merge_dicts(base: Any, theirs: Any, mine: Any, same: Same, path: Path, conflicts: list[MergeConflict]) -> Any:
    merged = {}
    for key in [*theirs, *(key for key in mine if key not in theirs)]:
        before, other, own = (side.get(key, MISSING) for side in (base, theirs, mine))
        value = _merge(before, other, own, same, (*path, key), conflicts)
        if value is not MISSING:
            merged[key] = value
    return merged


def _starts_with(longer: list[Any], shorter: list[Any], same: Same) -> bool:
    return len(longer) >= len(shorter) and same(longer[: len(shorter)], shorter)


def _last(base: Any, theirs: Any, mine: Any) -> Any:
    return mine


def _first(base: Any, theirs: Any, mine: Any) -> Any:
    """Return the value that was saved first, even if the later request deleted it."""
    return mine if theirs is MISSING else theirs


def _sum(base: Any, theirs: Any, mine: Any) -> Any:
    """Return the base plus the differences of both requests: 5 → 6 and 5 → 7 give 8. A missing value counts as 0."""
    start, other, own = (0 if value is MISSING else value for value in (base, theirs, mine))
    try:
        return other + (own - start)
    except (TypeError, ArithmeticError) as error:
        raise NotMergeable from error


def _max(base: Any, theirs: Any, mine: Any) -> Any:
    """Return the greater value. A deleted value counts as less than any other value."""
    if theirs is MISSING or mine is MISSING:
        return mine if theirs is MISSING else theirs
    try:
        return max(theirs, mine)
    except (TypeError, ArithmeticError) as error:  # for example a Decimal("NaN"), which cannot be compared
        raise NotMergeable from error


def _limit_depth(strategy: Strategy) -> Strategy:
    """Return a strategy that works like ``strategy``, but raises NotMergeable if the values are nested too deeply."""

    def run(base: Any, theirs: Any, mine: Any) -> Any:
        try:
            return strategy(base, theirs, mine)
        except RecursionError as error:
            raise NotMergeable from error

    return run


@_limit_depth
def _union(base: Any, theirs: Any, mine: Any) -> Any:
    """Return all members that either request added or changed, even if the other request removed them.

    A member is removed if one request removed it and the other request did not change it. This applies to sets, lists
    and dicts. The dicts in a dict are merged in the same way.
    """
    conflicts: list[MergeConflict] = []
    merged = _union_of(base, theirs, mine, (), conflicts)
    return PartialMerge(merged, conflicts) if conflicts else merged


def _union_of(base: Any, theirs: Any, mine: Any, path: Path, conflicts: list[MergeConflict]) -> Any:
    kinds = {type(value) for value in (theirs, mine) if value is not MISSING}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind not in (dict, list, set, frozenset):
        raise NotMergeable
    start, other, own = (_or_empty(value, kind) for value in (base, theirs, mine))
    if kind is dict:
        return _union_dicts(start, other, own, path, conflicts)
    if kind is list:
        is_own = _membership(own)
        is_removed = _membership([item for item in start if not is_own(item)])
        remaining = [item for item in other if not is_removed(item)]
        is_old = _membership(start + remaining)
        return remaining + [item for item in own if not is_old(item)]
    return (other - (start - own)) | (own - start)


def _or_empty(value: Any, kind: Any) -> Any:
    return value if type(value) is kind else kind()


def _union_dicts(base: Any, theirs: Any, mine: Any, path: Path, conflicts: list[MergeConflict]) -> dict[Any, Any]:
    merged = {}
    for key in [*theirs, *(key for key in mine if key not in theirs)]:
        start, other, own = (side.get(key, MISSING) for side in (base, theirs, mine))
        if other is MISSING or own is MISSING:
            present = own if other is MISSING else other
            if not _is_equal(present, start):  # one request added or changed the member, so it is not removed
                merged[key] = present
        elif _is_equal(own, start):
            merged[key] = other
        elif _is_equal(other, start) or _is_equal(other, own):
            merged[key] = own
        else:
            try:
                merged[key] = _union_of(start, other, own, (*path, key), conflicts)
            except NotMergeable:
                conflicts.append(_conflict(start, other, own, (*path, key)))
                merged[key] = own
    return merged


@_limit_depth
def _append(base: Any, theirs: Any, mine: Any) -> Any:
    """Return the list with the members that each request added, even if the other request emptied or deleted the list.

    A member that one request removed is not in the result.
    """
    if any(value is not MISSING and type(value) is not list for value in (theirs, mine)):
        raise NotMergeable
    start = _or_empty(base, list)
    remaining, added = remaining_and_added(start, _or_empty(theirs, list))
    own_remaining, own_added = remaining_and_added(start, _or_empty(mine, list))
    if own_remaining is not start:  # this request removed members
        remaining = own_remaining if remaining is start else list(filter(_membership(own_remaining), remaining))
    merged = remaining + added + own_added
    return MISSING if not merged and (theirs is MISSING or mine is MISSING) else merged


def remaining_and_added(start: list[Any], changed: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return two lists: the members of ``changed`` that are in ``start``, and its other members.

    If ``changed`` begins with all members of ``start``, the first list is the object ``start`` itself.
    """
    if _is_equal(changed[: len(start)], start):
        return start, changed[len(start) :]
    is_old = _membership(start)
    return [item for item in changed if is_old(item)], [item for item in changed if not is_old(item)]


def _membership(items: list[Any]) -> Callable[[Any], bool]:
    """Return a function that returns True if its argument is in ``items``.

    The function searches in a set, because a search through a long list for each member would take too long.
    """
    known: set[Any] = set()
    others = []
    for item in items:
        try:
            known.add(_as_hashable(item))
        except TypeError:
            others.append(item)

    def is_member(item: Any) -> bool:
        try:
            return _as_hashable(item) in known
        except TypeError:
            return any(_is_equal(other, item) for other in others)

    return is_member


def _as_hashable(value: Any) -> Any:
    """Return a hashable form of a value. Two forms are equal if and only if :func:`_is_equal` returns True.

    Raises TypeError if a part of the value is not hashable.
    """
    kind = type(value)
    if kind in (list, tuple):
        return kind, tuple(map(_as_hashable, value))
    if kind is dict:
        return kind, frozenset((key, _as_hashable(member)) for key, member in value.items())
    if kind is set:
        return kind, frozenset(value)
    return kind, repr(value) if kind in (float, Decimal) else value


def _is_equal(left: Any, right: Any) -> bool:
    """Return True if two values are equal and have the same types at every level. So 1 and True are not equal."""
    if type(left) is not type(right):
        return False
    if type(left) is dict:
        return left.keys() == right.keys() and all(_is_equal(left[key], right[key]) for key in left)
    if type(left) in (list, tuple):
        return len(left) == len(right) and all(map(_is_equal, left, right))
    if type(left) in (float, Decimal):  # NaN is not equal to itself
        return repr(left) == repr(right)
    return bool(left == right)


#: The strategies by their names in the setting SESSION_MERGE. The setting also accepts a function
#: ``(base, theirs, mine) -> value``. Each argument and the result may be MISSING. The function can raise
#: :class:`NotMergeable`. Then the rules of this module are used.
STRATEGIES: Final[dict[str, Strategy]] = {
    "last": _last,
    "first": _first,
    "sum": _sum,
    "max": _max,
    "union": _union,
    "append": _append,
}
