"""Classes that an application registered come out of the codec as they went in."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from flask_cloakroom import register_type
from flask_cloakroom.core.values import codec
from flask_cloakroom.core.values.codec import CodecError, UnsupportedTypeError, pack, unpack
from support.values.every_type import (
    Colour,
    Point,
    Slotted,
)


@pytest.mark.promise(5)
class TestRegistered:
    """Classes of the application."""

    def test_fields_that_came_later_get_their_defaults(self) -> None:
        """A stored instance of an older form of a dataclass is read by the newer one."""

        def make(fields: list[Any]) -> Any:
            made = dataclasses.make_dataclass("Evolving", fields)
            made.__module__, made.__qualname__ = "shop", "Evolving"
            return register_type(made)

        packed = pack(make([("kept", int), ("dropped", int)])(1, 2))
        newer = make([("kept", int), ("added", str, dataclasses.field(default="new"))])
        assert unpack(packed) == newer(1, "new")

    def test_a_class_that_is_not_registered_any_more(self) -> None:
        """Its values cannot be decoded. The error names the class and shows no value."""
        packed = pack([{"a": Point("secret", 2)}])
        forgotten = codec.registered_names.pop("values.Point")
        try:
            with pytest.raises(CodecError, match=r"'values\.Point' is not registered") as caught:
                unpack(packed)
        finally:
            codec.registered_names["values.Point"] = forgotten
        assert "secret" not in str(caught.value)

    def test_a_member_that_is_gone(self) -> None:
        """A stored Enum member that the class no longer has is an undecodable value."""
        packed = pack(Colour.RED)
        with pytest.raises(CodecError):
            unpack(packed.replace(b"RED", b"RUD"))

    def test_names_are_not_shared(self) -> None:
        """Two classes cannot stand behind one name."""
        with pytest.raises(ValueError, match="Give another name="):
            register_type(Slotted, name="money")

    def test_what_needs_functions_says_so(self) -> None:
        """A class that is neither Enum nor dataclass needs encode and decode."""
        with pytest.raises(TypeError, match="encode= and decode="):
            register_type(object)

    def test_a_dataclass_that_could_not_be_made_again(self) -> None:
        """Such a dataclass is refused at its registration, and not when a session is read."""

        @dataclasses.dataclass
        class WithInitVar:
            kept: int
            seed: dataclasses.InitVar[int]

        @dataclasses.dataclass(init=False)
        class WithItsOwn:
            kept: int

            def __init__(self, text: str) -> None:
                self.kept = int(text)

        for cls, name in ((WithInitVar, "seed"), (WithItsOwn, "text")):
            with pytest.raises(TypeError, match=f"needs '{name}', which is no field. Register it with encode="):
                register_type(cls)

        @register_type
        @dataclasses.dataclass
        class WithADefault:
            kept: int
            seed: dataclasses.InitVar[int] = 5

        assert unpack(pack(WithADefault(1, seed=2))) == WithADefault(1)

    @pytest.mark.parametrize("cls", [str, int, list, dict, tuple, datetime, Decimal, type(None), type(Path())])
    def test_what_needs_no_registration(self, cls: Any) -> None:
        """Its functions would never be called."""
        with pytest.raises(TypeError, match="without registration"):
            register_type(cls, encode=str, decode=str)

    def test_one_function_without_the_other(self) -> None:
        """Would be of no use, or quietly be left out."""
        for functions in ({"encode": str}, {"decode": str}):
            with pytest.raises(TypeError, match="belong together"):
                register_type(Slotted, **functions)  # type: ignore[call-overload]

    def test_as_a_decorator_with_a_name(self) -> None:
        """``@register_type(name=…)`` returns the class, and the name stands in the bytes."""

        @register_type(name="shop.wish")
        @dataclasses.dataclass
        class Wish:
            text: str

        assert unpack(pack(Wish("x"))) == Wish("x")
        assert b"shop.wish" in pack(Wish("x"))

    def test_a_function_that_fails_is_reported_as_such(self) -> None:
        """An error in ``encode`` is the cause of the error that is raised, and that error has the path of the value."""

        class Broken:
            pass

        def encode(value: Broken) -> Any:
            raise ValueError("no such row")

        register_type(Broken, name="broken", encode=encode, decode=lambda stored: stored)
        with pytest.raises(UnsupportedTypeError) as caught:
            pack({"a": [Broken()]})
        assert caught.value.path == ("a", 0)
        assert "ValueError" in caught.value.hint
        assert "no such row" not in caught.value.hint
        assert isinstance(caught.value.__cause__, ValueError)

    def test_what_decode_raises_is_a_codec_error(self) -> None:
        """Any exception of ``decode`` becomes a CodecError without the exception's text."""

        class Sour:
            pass

        def decode(stored: Any) -> Any:
            raise KeyError(stored)

        register_type(Sour, name="sour", encode=lambda value: "secret", decode=decode)
        with pytest.raises(CodecError) as caught:
            unpack(pack(Sour()))
        assert "secret" not in str(caught.value)
