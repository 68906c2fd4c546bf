"""A value that the codec cannot store is an error with the value's place and type."""

from __future__ import annotations

import collections
import dataclasses
import gc
import string
import threading
from collections.abc import Callable
from datetime import datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_cloakroom.core.values import codec
from flask_cloakroom.core.values.codec import UnsupportedTypeError, pack, unpack
from support.values.every_type import (
    Line,
    Money,
    Point,
    Slotted,
    identical,
)


class Text(str):
    """A subclass of str."""

    __slots__ = ()


class Number(int):
    """A subclass of int."""


class Ratio(float):
    """A subclass of float."""


class Items(list):  # type: ignore[type-arg]
    """A subclass of list."""


class Mapping(dict):  # type: ignore[type-arg]
    """A subclass of dict."""


class Pair(collections.namedtuple("Pair", "a b")):
    """A subclass of tuple."""

    __slots__ = ()


class Zone(tzinfo):
    """A tzinfo that nobody could find again."""

    def utcoffset(self, dt: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def dst(self, dt: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, dt: datetime | None) -> str:
        return "secret"


@dataclasses.dataclass(frozen=True)
class Unregistered:
    """Not known to the codec."""

    text: str = "secret"


UNSUPPORTED: dict[str, Callable[[], Any]] = {
    "object": object,
    "unregistered": Unregistered,
    "bytearray": lambda: bytearray(b"secret"),
    "memoryview": lambda: memoryview(b"secret"),
    "str subclass": lambda: Text("secret"),
    "int subclass": lambda: Number(7),
    "float subclass": lambda: Ratio(7.5),
    "list subclass": lambda: Items(["secret"]),
    "dict subclass": lambda: Mapping(secret=1),
    "namedtuple": lambda: Pair("secret", 2),
    "defaultdict": lambda: collections.defaultdict(list, secret=[1]),
    "OrderedDict": lambda: collections.OrderedDict(secret=1),
    "Counter": lambda: collections.Counter("secret"),
    "deque": lambda: collections.deque(["secret"]),
    "generator": lambda: (letter for letter in "secret"),
    "lambda": lambda: lambda: "secret",
    "module": lambda: string,
    "class": lambda: Unregistered,
    "exception": lambda: ValueError("secret"),
    "dict view": lambda: {"secret": 1}.keys(),
    "range": lambda: range(3),
    "ellipsis": lambda: ...,
    "datetime with its own zone": lambda: datetime(2026, 1, 1, tzinfo=Zone()),
    "time with its own zone": lambda: time(1, tzinfo=Zone()),
}


UNHASHABLE = {"bytearray", "list subclass", "dict subclass", "defaultdict", "OrderedDict", "Counter", "deque"}


UNHASHABLE |= {"dict view"}


#: How a value is put into another, and what that adds to the path. In a set there is no index.
WRAPPINGS: dict[str, Callable[[Any], tuple[Any, tuple[Any, ...]]]] = {
    "dict": lambda inner: ({"one": 1, "two": inner}, ("two",)),
    "dict, key of another type": lambda inner: ({(1, 2): inner}, ((1, 2),)),
    "list": lambda inner: ([0, b"\xc4", inner], (2,)),
    "tuple": lambda inner: ((inner, "after"), (0,)),
    "dataclass": lambda inner: (Line("x", inner), ("quantity",)),
    "frozen dataclass": lambda inner: (Point(0, inner), ("y",)),
}


WRAPPINGS_OF_HASHABLE: dict[str, Callable[[Any], tuple[Any, tuple[Any, ...]]]] = {
    "set": lambda inner: ({"first", inner}, ()),
    "frozenset": lambda inner: (frozenset({inner}), ()),
    "key": lambda inner: ({inner: 1}, (inner,)),
    "set of tuples": lambda inner: ({(1, inner)}, (1,)),
}


def refused(value: Any) -> UnsupportedTypeError:
    with pytest.raises(UnsupportedTypeError) as caught:
        pack(value)
    error = caught.value
    assert "secret" not in f"{error} {error.type_name} {error.hint}"
    return error


@pytest.mark.promise(5)
class TestUnsupported:
    """A value of another type is an error with its place and type."""

    @pytest.mark.parametrize("name", UNSUPPORTED)
    def test_at_the_top(self, name: str) -> None:
        """The error has an empty path, the name of the type, and advice."""
        culprit = UNSUPPORTED[name]()
        error = refused(culprit)
        assert error.path == ()
        assert error.type_name.rpartition(".")[2] == type(culprit).__name__
        assert error.hint

    @pytest.mark.parametrize("name", UNSUPPORTED)
    @given(
        names=st.lists(st.sampled_from(list(WRAPPINGS)), max_size=6),
        inner=st.sampled_from([*WRAPPINGS_OF_HASHABLE, ""]),
        in_money=st.booleans(),
    )
    @settings(max_examples=20)
    def test_at_any_depth(self, name: str, names: list[str], inner: str, in_money: bool) -> None:
        """The path leads to the value, through dicts, lists, tuples, sets, registered classes and keys."""
        culprit = value = UNSUPPORTED[name]()
        path: tuple[Any, ...] = ()
        if inner and name not in UNHASHABLE:
            value, path = WRAPPINGS_OF_HASHABLE[inner](value)
        for wrapping in names:
            value, step = WRAPPINGS[wrapping](value)
            path = step + path
        if in_money:  # only its encode function knows what is in it
            value, path = [Money(value, "EUR")], (0,)
        error = refused(value)
        assert error.path == path
        assert error.type_name.rpartition(".")[2] == type(culprit).__name__

    def test_a_deep_part_beside_it_does_not_lead_astray(self) -> None:
        """The path is that of the culprit, also where something deep, but allowed, comes first."""
        deep: Any = 1
        for _ in range(200):
            deep = [deep]
        assert refused({"deep": deep, "bad": object()}).path == ("bad",)

    def test_a_zone_says_what_to_use(self) -> None:
        """A tzinfo that cannot be found again by name is refused for that reason."""
        assert "zoneinfo.ZoneInfo" in refused([datetime(2026, 1, 1, tzinfo=Zone())]).hint

    def test_files_and_sockets(self, tmp_path: Path) -> None:
        """Files and sockets, which exist in this process only, are refused."""
        with (tmp_path / "file").open("w") as file:
            assert refused({"f": [file]}).path == ("f", 0)
        assert refused(threading.Lock()).path == ()

    @pytest.mark.parametrize("buffer", [bytearray(b"x"), memoryview(b"x"), bytearray(), bytearray(70_000)])
    def test_buffers_beside_bytes(self, buffer: Any) -> None:
        """The serializer would write them as bytes, and that is how they would come back."""
        for value in ([b"x", buffer], {"a": {"b": [b"x", buffer]}}, (b"x", [buffer]), Point(b"x", buffer), [[buffer]]):
            assert type(buffer).__name__ == refused(value).type_name

    def test_a_buffer_as_a_key(self) -> None:
        """A memoryview of bytes is hashable, and would come back as bytes too."""
        assert refused({"a": {memoryview(b"x"): 1}}).type_name == "memoryview"

    @pytest.mark.parametrize(
        "wrap", [lambda v: [v], lambda v: (v,), lambda v: {"k": v}, Slotted, lambda v: Point(0, v)]
    )
    @pytest.mark.parametrize("depth", [2_000, 200_000])
    def test_too_deep(self, wrap: Callable[[Any], Any], depth: int) -> None:
        """An error, not a crash, however deep it is."""
        value: Any = 1
        for _ in range(depth):
            value = wrap(value)
        error = refused(value)
        assert "too deeply" in error.hint
        dismantle(value)

    def test_self_containing(self) -> None:
        """A container that contains itself, directly or in a ring, is refused."""
        itself: list[Any] = []
        itself.append(itself)
        ring: dict[str, Any] = {}
        ring["ring"] = [(ring,)]
        line = Line("x")
        line.notes.append(line)
        for value in (itself, ring, line, {"a": itself}, [ring], (line,)):
            assert "contains itself" in refused(value).hint
        itself.clear()
        ring.clear()
        line.notes.clear()

    def test_mixed_depth_does_not_break_the_stack(self) -> None:
        """Tuples of lists of tuples …, each of which is within its own limit. In a thread, whose stack is smaller."""
        value: Any = []
        for _ in range(60):
            for _ in range(1000):
                value = [value]
            value = (value,)
        hints: list[str] = []
        worker = threading.Thread(target=lambda: hints.append(refused(value).hint))
        worker.start()
        worker.join()
        assert "too deeply" in hints[0]
        dismantle(value)

    def test_what_was_packed_is_readable_from_deeper_down(self) -> None:
        """The deepest that is taken at the top of the stack is read under 500 more frames."""
        value: Any = 1
        for _ in range(codec.MAX_DEPTH + 1):
            value = (value,)
        packed = pack(value)

        def deeper(frames: int) -> Any:
            return deeper(frames - 1) if frames else unpack(packed)

        assert identical(deeper(500), value)


def dismantle(value: Any) -> None:
    """Take something very deep apart: freeing it in one go may be too deep as well."""
    while type(value) in (list, tuple, dict, Slotted, Point):
        if type(value) in (list, tuple):
            value = value[0] if value else None
        elif type(value) is dict:
            value = value["k"]
        else:
            value = value.value if type(value) is Slotted else value.y
    gc.collect()
