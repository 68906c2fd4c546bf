"""What two requests did to one session becomes one session. Knows nothing of Flask, stores or bytes.

Three-way: ``base`` is what both began with, ``theirs`` what another request has saved meanwhile, ``mine`` what
this one wants to save. What only one side changed is taken from that side. What both changed is merged:

- dicts key by key, all the way down;
- sets by what each side added and removed;
- lists of which a side only appended to: its tail goes to the end of the other side's list;
- anything else is contested: mine, the later commit, wins, unless one side deleted it. Then it stays
  deleted, because what was logged out must stay logged out. Each such case is a :class:`Clash`.

A key can have a strategy of its own instead: see :data:`STRATEGIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from enum import Enum
from functools import wraps
from typing import Any, Final, Literal, NamedTuple

Same = Callable[[Any, Any], bool]


class Missing(Enum):
    """The type of :data:`MISSING`."""

    MISSING = "MISSING"

    def __repr__(self) -> str:
        return "MISSING"


#: Stands for "there is no such key", where None could be a value.
MISSING: Final = Missing.MISSING


@dataclass(frozen=True, slots=True)
class Clash:
    """One thing that both sides changed and that could not be merged. Its ``repr()`` shows no value."""

    #: Keys from the top of the session down to what was contested.
    path: tuple[Any, ...]
    base: Any
    theirs: Any
    mine: Any
    kept: Literal["mine", "theirs"]

    def __repr__(self) -> str:
        return f"<Clash kept={self.kept}>"

    def told(self) -> dict[str, Any]:
        """Return it as the arguments of a signal."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class NotMergeable(Exception):
    """A strategy does not know what to do with these types."""


class Partly(NamedTuple):
    """What a strategy returns that had to drop something: the value, and what was contested, as seen from there."""

    value: Any
    clashes: list[Clash]


Strategy = Callable[[Any, Any, Any], Any]
#: Top-level keys, each with how its values merge.
Strategies = Mapping[Any, Strategy]


def merge(
    base: Any, theirs: Any, mine: Any, *, same: Same, path: tuple[Any, ...], strategy: Strategy | None = None
) -> tuple[Any, list[Clash]]:
    """Return the merged value (or :data:`MISSING`) and what was contested on the way.

    Each of the three may be :data:`MISSING`. ``same`` tells whether two values are stored as the same bytes:
    ``==`` would take 1 for True. The arguments are not changed, but the result may share parts with them.
    """
    clashes: list[Clash] = []
    if same(base, theirs):
        return mine, clashes
    if same(base, mine):
        return theirs, clashes
    if theirs is MISSING and mine is MISSING:
        return MISSING, clashes
    try:
        if strategy is not None:
            merged = strategy(base, theirs, mine)
            if not isinstance(merged, Partly):
                return merged, clashes
            return merged.value, [replace(clash, path=path + clash.path) for clash in merged.clashes]
    except NotMergeable:
        pass
    try:
        return _merge(base, theirs, mine, same, path, clashes), clashes
    except RecursionError:  # dicts so deep in each other are not looked into
        clash = _contested(base, theirs, mine, path)
        return (theirs if clash.kept == "theirs" else mine), [clash]


def _merge(base: Any, theirs: Any, mine: Any, same: Same, path: tuple[Any, ...], clashes: list[Clash]) -> Any:
    if same(base, theirs):
        return mine
    if same(base, mine):
        return theirs
    kind = type(mine)
    if type(theirs) is kind:
        # A base of another type shares nothing with either: both sides began anew.
        began: Any = base if type(base) is kind else kind() if kind in (dict, list, set, frozenset) else MISSING
        if kind is dict:
            return _merge_dicts(began, theirs, mine, same, path, clashes)
        if kind is set or kind is frozenset:
            return (theirs - (began - mine)) | (mine - began)
        if kind is list:
            if _begins_with(mine, began, same):
                return theirs + mine[len(began) :]
            if _begins_with(theirs, began, same):
                return mine + theirs[len(began) :]
    if same(theirs, mine):
        return mine
    clash = _contested(base, theirs, mine, path)
    clashes.append(clash)
    return theirs if clash.kept == "theirs" else mine


def _contested(base: Any, theirs: Any, mine: Any, path: tuple[Any, ...]) -> Clash:
    return Clash(path, base, theirs, mine, "theirs" if theirs is MISSING else "mine")


def _merge_dicts(
    base: Any, theirs: Any, mine: Any, same: Same, path: tuple[Any, ...], clashes: list[Clash]
) -> dict[Any, Any]:
    merged = {}
    for key in [*theirs, *(key for key in mine if key not in theirs)]:
        value = _merge(
            base.get(key, MISSING),
            theirs.get(key, MISSING),
            mine.get(key, MISSING),
            same,
            (*path, key),
            clashes,
        )
        if value is not MISSING:
            merged[key] = value
    return merged


def _begins_with(longer: list[Any], shorter: list[Any], same: Same) -> bool:
    return len(longer) >= len(shorter) and same(longer[: len(shorter)], shorter)


def _last(base: Any, theirs: Any, mine: Any) -> Any:
    return mine


def _first(base: Any, theirs: Any, mine: Any) -> Any:
    """What was saved first stays; also against a deletion that came later."""
    return mine if theirs is MISSING else theirs


def _sum(base: Any, theirs: Any, mine: Any) -> Any:
    """Both differences count: 5 → 6 on one side and 5 → 7 on the other give 8. A deleted one counts as 0."""
    start, other, own = (0 if value is MISSING else value for value in (base, theirs, mine))
    try:
        return other + (own - start)
    except (TypeError, ArithmeticError) as error:
        raise NotMergeable from error


def _max(base: Any, theirs: Any, mine: Any) -> Any:
    """The greater of the two; one that was deleted is less than any."""
    if theirs is MISSING or mine is MISSING:
        return mine if theirs is MISSING else theirs
    try:
        return max(theirs, mine)
    except (TypeError, ArithmeticError) as error:  # a Decimal that is not a number cannot be compared
        raise NotMergeable from error


def _looks_inside(strategy: Strategy) -> Strategy:
    """Leave to the general rule what nests deeper than Python goes."""

    @wraps(strategy)
    def run(base: Any, theirs: Any, mine: Any) -> Any:
        try:
            return strategy(base, theirs, mine)
        except RecursionError as error:
            raise NotMergeable from error

    return run


@_looks_inside
def _union(base: Any, theirs: Any, mine: Any) -> Any:
    """Keep what either side added or changed, also where the other side removed it.

    A removal that nobody contests still counts. For dicts (all the way down), sets and lists.
    """
    clashes: list[Clash] = []
    merged = _union_of(base, theirs, mine, (), clashes)
    return Partly(merged, clashes) if clashes else merged


def _union_of(base: Any, theirs: Any, mine: Any, path: tuple[Any, ...], clashes: list[Clash]) -> Any:
    kinds = {type(value) for value in (theirs, mine) if value is not MISSING}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind not in (dict, list, set, frozenset):
        raise NotMergeable
    began, other, own = (_or_empty(value, kind) for value in (base, theirs, mine))
    if kind is dict:
        return _union_dicts(began, other, own, path, clashes)
    if kind is list:
        is_own = _finder(own)
        is_removed = _finder([item for item in began if not is_own(item)])
        kept = [item for item in other if not is_removed(item)]
        is_old = _finder(began + kept)
        return kept + [item for item in own if not is_old(item)]
    return (other - (began - own)) | (own - began)


def _or_empty(value: Any, kind: Any) -> Any:
    return value if type(value) is kind else kind()


def _union_dicts(
    base: dict[Any, Any], theirs: dict[Any, Any], mine: dict[Any, Any], path: tuple[Any, ...], clashes: list[Clash]
) -> dict[Any, Any]:
    merged = {}
    for key in [*theirs, *(key for key in mine if key not in theirs)]:
        began, other, own = (side.get(key, MISSING) for side in (base, theirs, mine))
        if other is MISSING or own is MISSING:
            left = own if other is MISSING else other
            if not _alike(left, began):  # added or changed; otherwise removed and not contested
                merged[key] = left
        elif _alike(own, began):
            merged[key] = other
        elif _alike(other, began) or _alike(other, own):
            merged[key] = own
        else:
            try:
                merged[key] = _union_of(began, other, own, (*path, key), clashes)
            except NotMergeable:
                clashes.append(_contested(began, other, own, (*path, key)))
                merged[key] = own
    return merged


@_looks_inside
def _append(base: Any, theirs: Any, mine: Any) -> Any:
    """What each side added to the list is kept, also where the other side emptied or deleted it.

    What one side took out stays out.
    """
    if any(value is not MISSING and type(value) is not list for value in (theirs, mine)):
        raise NotMergeable
    began = _or_empty(base, list)
    left, added = left_and_added(began, _or_empty(theirs, list))
    own_left, own_added = left_and_added(began, _or_empty(mine, list))
    if own_left is not began:  # mine took something out
        left = own_left if left is began else list(filter(_finder(own_left), left))
    merged = left + added + own_added
    return MISSING if not merged and (theirs is MISSING or mine is MISSING) else merged


def left_and_added(began: list[Any], grown: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return what is left of ``began`` in ``grown``, and what was added."""
    if _alike(grown[: len(began)], began):
        return began, grown[len(began) :]
    is_old = _finder(began)
    return [item for item in grown if is_old(item)], [item for item in grown if not is_old(item)]


def _finder(items: list[Any]) -> Callable[[Any], bool]:
    """Return a function that tells whether one like its argument is among ``items``. Lists may be long."""
    known: set[Any] = set()
    others = []
    for item in items:
        try:
            known.add(_hashable(item))
        except TypeError:
            others.append(item)

    def is_among(item: Any) -> bool:
        try:
            return _hashable(item) in known
        except TypeError:
            return any(_alike(one, item) for one in others)

    return is_among


def _hashable(value: Any) -> Any:
    """Return what is equal for two values exactly if they are alike. Raises TypeError if something is not hashable."""
    kind = type(value)
    if kind in (list, tuple):
        return kind, tuple(map(_hashable, value))
    if kind is dict:
        return kind, frozenset((key, _hashable(member)) for key, member in value.items())
    if kind is set:
        return kind, frozenset(value)
    return kind, repr(value) if kind in (float, Decimal) else value


def _alike(left: Any, right: Any) -> bool:
    """Tell whether two values are equal and of the same types: ``==`` would take 1 for True."""
    if type(left) is not type(right):
        return False
    if type(left) is dict:
        return left.keys() == right.keys() and all(_alike(left[key], right[key]) for key in left)
    if type(left) in (list, tuple):
        return len(left) == len(right) and all(map(_alike, left, right))
    if type(left) in (float, Decimal):  # one that is not a number is not even equal to itself
        return repr(left) == repr(right)
    return bool(left == right)


#: The names that SESSION_MERGE knows. Any callable ``(base, theirs, mine) -> value`` will do as well; it may be
#: given and may return MISSING, and raises :class:`NotMergeable` to leave the case to the general rule.
STRATEGIES: Final[dict[str, Strategy]] = {
    "last": _last,
    "first": _first,
    "sum": _sum,
    "max": _max,
    "union": _union,
    "append": _append,
}
