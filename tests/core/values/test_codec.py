"""Every value comes out of the codec as it went in, and damaged bytes are an error."""

from __future__ import annotations

import enum
import ipaddress
import os
import struct
import subprocess
import sys
import threading
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import flask_babel
import msgpack
import pytest
from babel.support import LazyProxy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markupsafe import Markup
from werkzeug.local import LocalProxy

from flask_cloakroom import register_type
from flask_cloakroom.core.values import codec
from flask_cloakroom.core.values.codec import CodecError, UnsupportedTypeError, pack, unpack
from support.values.every_type import (
    HASHABLE,
    VALUES,
    Bits,
    Colour,
    Level,
    Point,
    Right,
    identical,
)
from support.values.pickles import PROTOCOLS, touching_pickle

SRC = Path(codec.__file__).parents[2]


def in_another_order(value: Any) -> Any:
    """Return an equal value whose sets were filled in another order."""
    kind = type(value)
    if kind in (list, tuple):
        return kind(in_another_order(member) for member in value)
    if kind is dict:
        return {in_another_order(key): in_another_order(member) for key, member in value.items()}
    if kind in (set, frozenset):
        # Others that were there before push the members to other places of a greater table.
        others = [object() for _ in range(50)]
        filled: set[Any] = set(others)
        for member in reversed(list(value)):
            filled.add(in_another_order(member))
        filled.difference_update(others)
        return kind(filled)
    return value


def check_round_trip(value: Any) -> None:
    packed = pack(value)
    returned = unpack(packed)
    assert identical(returned, value)
    assert pack(returned) == packed


@pytest.mark.promise(5)
class TestRoundTrip:
    """Promise 5: what goes in comes out."""

    @settings(max_examples=400)
    @given(VALUES)
    def test_every_value_comes_out_as_it_went_in(self, value: Any) -> None:
        """Equal and of the same type at every level; and packed again it is the same bytes, or reading would write."""
        check_round_trip(value)

    @pytest.mark.soak
    @pytest.mark.timeout(3600)
    @settings(max_examples=30_000)
    @given(VALUES)
    def test_every_value_comes_out_as_it_went_in_soak(self, value: Any) -> None:
        """The same, many more times."""
        check_round_trip(value)

    @given(st.dictionaries(HASHABLE, st.integers(), min_size=1, max_size=6))
    def test_keys_keep_their_types(self, value: dict[Any, int]) -> None:
        """A dict's keys may be of any supported hashable type, and stay in their order."""
        check_round_trip(value)

    @given(VALUES)
    def test_equal_values_give_equal_bytes(self, value: Any) -> None:
        """In whatever order a set was filled."""
        assert pack(in_another_order(value)) == pack(value)

    def test_bytes_do_not_depend_on_the_process(self) -> None:
        """Two workers hash strings differently, so their sets differ in order; their bytes do not."""
        code = (
            "from flask_cloakroom.core.values.codec import pack\n"
            "words = 'the quick brown fox jumps over a lazy dog'.split()\n"
            "print(pack([set(words), frozenset((word, len(word)) for word in words), {frozenset(words)}]).hex())"
        )
        seen = {
            subprocess.run(
                [sys.executable, "-c", code],
                env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(SRC)},
                capture_output=True,
                check=True,
                text=True,
            ).stdout
            for seed in range(3)
        }
        assert len(seen) == 1

    @pytest.mark.parametrize(
        "value",
        [
            True,
            1,
            1.0,
            Decimal(1),
            Level.LOW,
            Bits.ONE,
            complex(1),
            "s",
            Markup("s"),
            b"s",
            (1,),
            [1],
            {1},
            frozenset({1}),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_equal_things_of_different_types_differ_as_bytes(self, value: Any) -> None:
        """``1 == True == 1.0 == Decimal(1)``; the bytes, which decide what has changed, must not be."""
        others = [True, 1, 1.0, Decimal(1), Level.LOW, Bits.ONE, complex(1), "s", Markup("s"), b"s", (1,), [1], {1}]
        others += [frozenset({1})]
        assert [other for other in others if pack(other) == pack(value)] == [value]

    def test_empty_and_extreme(self) -> None:
        """The values at the ends of their types."""
        for value in (
            (),
            [],
            {},
            set(),
            frozenset(),
            "",
            b"",
            Markup(""),
            datetime.min,
            datetime.max.replace(tzinfo=UTC, fold=1),
            time.max,
            timedelta.min,
            timedelta.max,
            timedelta.resolution,
            10**5000,
            -(10**5000),
            "\ud800",
            "\udc00\ud800",
            "x" * 70_000,
            b"\xff" * 70_000,
            list(range(70_000)),
            ipaddress.ip_network("0.0.0.0/0"),
        ):
            check_round_trip(value)

    def test_utc_is_the_one_object(self) -> None:
        """Code compares ``moment.tzinfo is timezone.utc``."""
        assert unpack(pack(datetime.now(UTC))).tzinfo is UTC

    def test_a_zone_keeps_its_rules_and_its_name(self) -> None:
        """A ZoneInfo comes back as the zone, not as its offset of that day; a fixed offset with its name."""
        berlin = ZoneInfo("Europe/Berlin")
        summer = unpack(pack(datetime(2026, 7, 1, 12, tzinfo=berlin)))
        assert (summer + timedelta(days=180)).utcoffset() == timedelta(hours=1)
        named = unpack(pack(datetime(2026, 7, 1, tzinfo=timezone(timedelta(hours=2), "CEST"))))
        assert named.tzname() == "CEST"

    def test_both_passes_of_an_hour_that_comes_twice(self) -> None:
        """``fold`` tells the first 02:30 of a night in October from the second."""
        moments = [datetime(2026, 10, 25, 2, 30, fold=fold, tzinfo=ZoneInfo("Europe/Berlin")) for fold in (0, 1)]
        assert [unpack(pack(moment)).utcoffset() for moment in moments] == [timedelta(hours=2), timedelta(hours=1)]

    def test_flags_that_are_combinations_or_empty(self) -> None:
        """A combination is no member and has no name of its own; bits without a name are kept where the class does."""
        for value in (Right(0), Right.READ | Right.GRANT, Right.RW, ~Right.READ, Bits(0), Bits(2 | 64), ~Bits.ONE):
            assert unpack(pack(value)) is value

    def test_a_flag_is_stored_by_name(self) -> None:
        """Members that are numbered anew must not turn one right into another."""

        @register_type(name="renumbered")
        class Old(enum.Flag):
            READ = 1
            WRITE = 2

        packed = pack(Old.WRITE)

        class New(enum.Flag):
            GRANT = 1
            READ = 2
            WRITE = 4

        New.__qualname__ = Old.__qualname__  # the same class, after a deployment
        register_type(New, name="renumbered")
        assert unpack(packed) is New.WRITE


class DjangoLike:
    """What django.utils.functional.lazy makes, as far as it can be told from outside."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __add__(self, other: Any) -> str:
        return self._text + str(other)

    def __mod__(self, other: Any) -> str:
        return self._text % other


DjangoLike.__name__ = "__proxy__"


@pytest.mark.promise(5)
class TestStandIns:
    """Lazy strings become their text, proxies what they stand for."""

    @pytest.mark.parametrize(
        "lazy",
        [flask_babel.LazyString(lambda: "hé"), LazyProxy(lambda: "hé"), DjangoLike("hé"), LocalProxy(lambda: "hé")],
        ids=["flask_babel", "babel", "django", "LocalProxy"],
    )
    def test_lazy_strings(self, lazy: Any) -> None:
        """At the top, deep inside, and, where they can be one, as a key."""
        assert identical(unpack(pack(lazy)), "hé")
        assert identical(unpack(pack({"a": [(lazy,)]})), {"a": [("hé",)]})
        if type(lazy).__hash__ is not None:
            assert identical(unpack(pack({lazy: lazy})), {"hé": "hé"})

    @given(VALUES)
    def test_a_local_proxy_is_what_it_stands_for(self, value: Any) -> None:
        """Of whatever type; also a proxy of a proxy; and the bytes are those of the value itself."""
        assert pack(LocalProxy(lambda: value)) == pack(value)
        outer: LocalProxy[Any] = LocalProxy(lambda: LocalProxy(lambda: value))
        assert identical(unpack(pack([outer])), [value])

    @pytest.mark.parametrize(
        "value",
        [
            *(None, True, 5, -1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 1.5, "text", b"bytes", [1], {"a": 1}),
            *((1,), {1}, frozenset({1}), Decimal(1), Colour.RED, Point(1, 2), datetime.min, Markup("x"), Path("/")),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_a_local_proxy_of_each_kind(self, value: Any) -> None:
        """Those that the serializer knows by itself, those that it does not, and ints on both sides of the line."""
        assert pack([LocalProxy(lambda: value)]) == pack([value])

    def test_a_proxy_hides_nothing_unsupported(self) -> None:
        """What is not storable by itself is not storable behind a proxy."""
        for value in (bytearray(b"x"), [bytearray(b"x")], {"a": memoryview(b"x")}, object()):
            with pytest.raises(UnsupportedTypeError) as caught:
                pack({"k": LocalProxy(lambda value=value: value)})
            assert caught.value.path == ("k",)

    def test_an_unbound_proxy(self) -> None:
        """Outside of what it belongs to it stands for nothing: an error with the path, not a RuntimeError."""

        def unbound() -> Any:
            raise RuntimeError("outside of a request")

        with pytest.raises(UnsupportedTypeError) as caught:
            pack([1, LocalProxy(unbound)])
        assert caught.value.path == (1,)


@pytest.mark.promise(11)
class TestGarbage:
    """Bytes that this codec did not write."""

    @staticmethod
    def decode(data: bytes) -> None:
        try:
            unpack(data)
        except CodecError as error:
            assert len(str(error)) < 200  # noqa: PT017  garbage may be a value as well

    @given(st.binary(max_size=200))
    @example(b"")
    @example(b"\xc1")
    def test_any_bytes(self, data: bytes) -> None:
        """Any bytes give a value or a CodecError, and no other exception."""
        self.decode(data)

    @given(st.integers(-128, 127), st.binary(max_size=60), st.binary(max_size=4))
    @settings(max_examples=300)
    def test_any_bytes_as_each_extension_type(self, code: int, data: bytes, after: bytes) -> None:
        """Every decoder takes any content, and gives a value or a CodecError."""
        self.decode(msgpack.packb(msgpack.ExtType(code, data)) + after if code >= 0 else data)

    @pytest.mark.parametrize("code", [1, 2, 3, 4, 6, 7, 11, 32])
    def test_each_extension_type_with_the_addresses_of_a_network(self, code: int) -> None:
        """Of a type that is made of a list: a forger must not keep a worker busy with all addresses that there are."""
        for network in ("0.0.0.0/0", "::/0"):
            packed = msgpack.packb(msgpack.ExtType(code, pack(ipaddress.ip_network(network))))
            with pytest.raises(CodecError):
                unpack(packed)

    @given(st.sampled_from(sorted(codec._DECODERS)), VALUES)
    def test_each_extension_type_with_a_well_formed_content_of_another(self, code: int, value: Any) -> None:
        """What unpacks, but is not what the type is made of: a datetime of a dict, a set of unhashables …"""
        self.decode(msgpack.packb(msgpack.ExtType(code, pack(value))))

    @pytest.mark.soak
    @pytest.mark.timeout(3600)
    @settings(max_examples=100_000)
    @given(
        st.binary(max_size=400)
        | st.builds(
            lambda code, data: bytes([0xC7, len(data), code]) + data, st.integers(0, 40), st.binary(max_size=255)
        )
    )
    def test_any_bytes_soak(self, data: bytes) -> None:
        """The same, many more times."""
        self.decode(data)

    @given(VALUES, st.data())
    def test_cut_short_anywhere(self, value: Any, data: st.DataObject) -> None:
        """A truncated value is never read as a shorter value."""
        packed = pack(value)
        for length in range(min(len(packed), 80)):
            with pytest.raises(CodecError):
                unpack(packed[:length])
        if len(packed) > 80:
            with pytest.raises(CodecError):
                unpack(packed[: data.draw(st.integers(80, len(packed) - 1))])

    @given(VALUES, st.binary(min_size=1, max_size=5))
    def test_with_something_after_it(self, value: Any, rest: bytes) -> None:
        """A value with further bytes at its end is an error."""
        with pytest.raises(CodecError):
            unpack(pack(value) + rest)

    @given(VALUES, st.data())
    def test_one_byte_changed(self, value: Any, data: st.DataObject) -> None:
        """A value with one changed byte gives a value or a CodecError."""
        packed = bytearray(pack(value))
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
        self.decode(bytes(packed))

    @pytest.mark.parametrize(
        "bomb",
        [
            b"\xdd\xff\xff\xff\xff",  # an array of 4 G members
            b"\xdf\xff\xff\xff\xff",  # a map
            b"\xdb\xff\xff\xff\xffx",  # a str
            b"\xc6\xff\xff\xff\xffx",  # bytes
            b"\xc9\xff\xff\xff\xff\x01x",  # an extension
            b"\xdd\x7f\xff\xff\xff" * 100,  # arrays of arrays
            b"\x91" * 100_000 + b"\xc0",
            b"\x81\xa1a" * 100_000 + b"\xc0",
            b"\x81" * 100_000,
        ],
        ids=["array", "map", "str", "bytes", "ext", "arrays", "deep lists", "deep maps", "deep keys"],
    )
    def test_bombs(self, bomb: bytes) -> None:
        """A length without content, or endless depth, is an error that costs little memory and time."""
        with pytest.raises(CodecError):
            unpack(bomb)

    @pytest.mark.parametrize("code", [1, 2, 3, 32])
    @pytest.mark.parametrize("levels", [100, 400, 20_000])
    def test_extension_types_in_each_other(self, code: int, levels: int) -> None:
        """Each takes a piece of the stack that is not Python's; without a limit of our own the process would end."""
        data = b"\xc0"
        for _ in range(levels):
            inner = b"\x92\xa1n" + data if code == 32 else b"\x91" + data
            data = b"\xc9" + struct.pack(">Ib", len(inner), code) + inner
        caught: list[type[BaseException]] = []

        def run() -> None:
            try:
                unpack(data)
            except CodecError as error:
                caught.append(type(error))

        worker = threading.Thread(target=run)
        worker.start()
        worker.join()
        assert caught == [CodecError]

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_pickles_are_not_executed(self, protocol: int, tmp_path: Path) -> None:
        """Promise 11: a pickle is garbage like any other, at the top and inside every extension type."""
        witness = tmp_path / "executed"
        payload = touching_pickle(witness, protocol)
        for code in range(128):
            self.decode(msgpack.packb(msgpack.ExtType(code, payload)))
        self.decode(payload)
        with pytest.raises(CodecError):
            unpack(payload)
        assert not witness.exists()

    def test_nothing_of_the_contents_in_the_error(self) -> None:
        """The error shows none of the unreadable bytes, which may be a secret."""
        for code in codec._DECODERS:
            data = msgpack.packb(msgpack.ExtType(code, b"hunter2hunter2"))
            try:
                unpack(data)
            except CodecError as error:
                assert "hunter2" not in str(error)  # noqa: PT017  most codes raise, and none need to
