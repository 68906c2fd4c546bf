"""Values of every type that a session stores, for hypothesis, and a comparison that lets nothing pass."""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import struct
from datetime import datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from markupsafe import Markup

from flask_cloakroom import register_type

# -- registered classes ---------------------------------------------------------------------------------------
#
# The names "values.…" are in the frozen bytes of tests/core/entries/test_envelope.py. Without a name, a move of this
# file would change the bytes.


@register_type(name="values.Colour")
class Colour(enum.Enum):
    """Members whose values could not be stored by themselves; one is an alias."""

    RED = object()
    GREEN = (1, "two")
    VERT = GREEN


@register_type
class Level(enum.IntEnum):
    """Equal to ints, which must not make it one."""

    LOW = 1
    HIGH = 2


@register_type
class Size(enum.StrEnum):
    """Equal to strs, which must not make it one."""

    SMALL = "s"
    LARGE = "l"


@register_type(name="values.Right")
class Right(enum.Flag):
    """Combinations are no members; RW has a name of its own."""

    READ = 1
    WRITE = 2
    GRANT = 8
    RW = 3


@register_type
class Bits(enum.IntFlag):
    """Keeps bits that have no name."""

    ONE = 1
    FOUR = 4


@register_type
@dataclasses.dataclass
class Line:
    """An ordinary dataclass, with a default made by a factory and something that is no field."""

    kind: ClassVar[str] = "line"
    sku: Any
    quantity: Any = 1
    notes: list[Any] = dataclasses.field(default_factory=list)


@register_type(name="values.Point")
@dataclasses.dataclass(frozen=True)
class Point:
    """Frozen, so hashable: may be a key and lie in a set."""

    x: Any
    y: Any


@register_type
@dataclasses.dataclass(slots=True)
class Slotted:
    """Has no ``__dict__``."""

    value: Any


@register_type
@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """All at once, with a field that the constructor does not take."""

    given: Any
    found: Any = dataclasses.field(default=None, init=False)


@register_type
@dataclasses.dataclass(kw_only=True)
class Counted:
    """A field that ``__post_init__`` computes, and that changes afterwards."""

    parts: list[Any]
    changes: Any = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.changes = 0


class Money:
    """No dataclass and no Enum: registered with functions of its own."""

    def __init__(self, amount: Any, currency: Any) -> None:
        self.amount = amount
        self.currency = currency


register_type(
    Money,
    name="money",
    encode=lambda money: (money.amount, [money.currency]),
    decode=lambda stored: Money(stored[0], stored[1][0]),
)

# -- strategies -----------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(), max_size=12)  # lone surrogates included
DECIMALS = st.decimals(allow_nan=False) | st.sampled_from(
    [Decimal(text) for text in ("NaN", "-NaN", "NaN123", "Infinity", "-Infinity", "0E-7", "-0", "1.10", "1E+400000")]
)
SIGNALLING = st.sampled_from([Decimal("sNaN"), Decimal("-sNaN456")])
FIXED_ZONES = st.builds(
    timezone,
    st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)),
) | st.sampled_from(
    [
        timezone.utc,  # noqa: UP017
        timezone(timedelta(hours=1), "CET"),
        timezone(timedelta(0), "GMT"),
        timezone(timedelta(seconds=7, microseconds=9), ""),
    ]
)
ZONES = st.none() | FIXED_ZONES | st.sampled_from([ZoneInfo(key) for key in ("UTC", "Europe/Berlin", "Asia/Kolkata")])
FOLDS = st.integers(0, 1)
DATETIMES = st.builds(lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold), st.datetimes(), ZONES, FOLDS)
TIMES = st.builds(lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold), st.times(), ZONES, FOLDS)
INTEGERS = (
    st.integers()
    | st.integers(-(2**200), 2**200)
    | st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1])
)
FLOATS = st.floats() | st.sampled_from([0.0, -0.0, float("nan"), -float("nan"), float("inf"), 5e-324])
POSIX_TEXT = st.text(st.characters(exclude_characters="\0"), max_size=10)
# Python 3.11 writes PureWindowsPath("./c:x") as "c:x", which is another path; so no colons but a drive's.
WINDOWS_TEXT = st.builds(
    lambda drive, rest: drive + rest,
    st.sampled_from(["", "C:", "C:\\", "\\\\host\\share\\"]),
    st.text(st.characters(exclude_characters="\0:"), max_size=10),
)
ADDRESSES = st.ip_addresses()


def _interface(address: Any, missing_bits: int) -> Any:
    return ipaddress.ip_interface((address, max(0, address.max_prefixlen - missing_bits)))


INTERFACES = st.builds(_interface, ADDRESSES, st.integers(0, 40))
IP_TYPES = (
    ADDRESSES
    | INTERFACES
    | INTERFACES.map(lambda interface: interface.network)
    | st.sampled_from([ipaddress.ip_address("fe80::1%eth0"), ipaddress.ip_interface("fe80::1%eth0/64")])
)
ENUMS = (
    st.sampled_from([*Colour, *Level, *Size])
    | st.integers(0, 15).map(lambda bits: Right(bits & 0b1011))
    | st.integers(0, 255).map(Bits)
)

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    INTEGERS,
    FLOATS,
    TEXT,
    st.binary(max_size=12),
    st.complex_numbers(),
    DECIMALS,
    DATETIMES,
    st.dates(),
    TIMES,
    st.timedeltas(),
    st.uuids(),
    TEXT.map(Markup),
    POSIX_TEXT.map(Path),
    POSIX_TEXT.map(PurePosixPath),
    WINDOWS_TEXT.map(PureWindowsPath),
    IP_TYPES,
    ENUMS,
)


@st.composite  # for its short name: hypothesis writes strategies out in messages
def scalars(draw: st.DrawFn) -> Any:
    """What holds nothing else and is hashable. No signalling NaN: it is not."""
    return draw(_SCALARS)


#: What can be a key and lie in a set.
HASHABLE = st.recursive(
    scalars(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.frozensets(inner, max_size=3),
        st.builds(Point, inner, inner),
    ),
    max_leaves=5,
)


def _with_found(value: Everything, found: Any) -> Everything:
    object.__setattr__(value, "found", found)
    return value


def _changed(value: Counted, changes: Any) -> Counted:
    value.changes = changes
    return value


# `recursive` alone is nearly always a container at the top.
VALUES = scalars() | st.recursive(
    HASHABLE | SIGNALLING,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(TEXT | HASHABLE, inner, max_size=4),
        st.sets(HASHABLE, max_size=4),
        st.frozensets(HASHABLE, max_size=3),
        st.builds(Line, inner, inner, st.lists(inner, max_size=2)),
        st.builds(Point, inner, inner),
        st.builds(Slotted, inner),
        st.builds(_with_found, st.builds(Everything, given=inner), inner),
        st.builds(_changed, st.builds(Counted, parts=st.lists(inner, max_size=2)), inner),
        st.builds(Money, inner, inner),
    ),
    max_leaves=12,
)

# -- comparing ------------------------------------------------------------------------------------------------


def identical(left: Any, right: Any) -> bool:
    """Tell whether two values are equal and of the same types all the way down, NaN, -0.0, fold and zone included."""
    kind = type(left)
    if kind is not type(right):
        return False
    if kind in (list, tuple):
        return len(left) == len(right) and all(map(identical, left, right))
    if kind is dict:
        return identical(list(left.items()), list(right.items()))
    if kind in (set, frozenset):
        return _same_members(left, right)
    if kind is float:
        return struct.pack(">d", left) == struct.pack(">d", right)
    if kind is complex:
        return identical((left.real, left.imag), (right.real, right.imag))
    if kind is Decimal:
        return bool(left.as_tuple() == right.as_tuple())
    if kind in (datetime, time):
        same_clock = left.replace(tzinfo=None) == right.replace(tzinfo=None)
        return bool(same_clock and left.fold == right.fold and _same_zone(left.tzinfo, right.tzinfo))
    if isinstance(left, enum.Enum):
        return left is right
    if dataclasses.is_dataclass(left):
        names = [field.name for field in dataclasses.fields(left)]
        return all(identical(getattr(left, name), getattr(right, name)) for name in names)
    if kind is Money:
        return identical([left.amount, left.currency], [right.amount, right.currency])
    return bool(left == right)


def _same_members(left: Any, right: Any) -> bool:
    rest = list(right)
    for member in left:
        found = next((index for index, other in enumerate(rest) if identical(member, other)), None)
        if found is None:
            return False
        del rest[found]
    return not rest


def _same_zone(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if type(left) is timezone:
        return left == right and left.tzname(None) == right.tzname(None)
    return left is right
