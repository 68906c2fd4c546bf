"""Put a request's changes on top of the values that another request stored."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from flask_cloakroom import MISSING, SessionValueError
from flask_cloakroom.core.values import codec
from flask_cloakroom.core.values.merge import merge
from flask_cloakroom.core.values.rebase import apply_changes, rebase
from support.values.every_type import identical
from support.values.merges import KEYS, cases, packed, same


@pytest.mark.promise(3)
class TestRebase:
    """One request's changes on top of what another has stored."""

    @given(st.dictionaries(KEYS, cases(), max_size=4))
    def test_is_the_merge_of_each_changed_key(self, data: dict[Any, tuple[Any, Any, Any]]) -> None:
        """Key by key what ``merge`` says; keys that this request left alone are as they are stored."""
        base, theirs, mine = (
            packed({key: case[side] for key, case in data.items() if case[side] is not MISSING}) for side in range(3)
        )
        changes = {key: mine.get(key) for key in data if base.get(key) != mine.get(key)}
        before = (dict(base), dict(theirs), dict(changes))
        result, reported = rebase(base, theirs, changes, {})
        assert (base, theirs, changes) == before
        for key, case in data.items():
            expected, conflicts = merge(*case, same=same, path=(key,))
            if key in changes:
                assert result.get(key) == (None if expected is MISSING else codec.pack(expected))
                found = [one for one in reported if one.path[0] == key and type(one.path[0]) is type(key)]
                assert [conflict.path for conflict in found] == [conflict.path for conflict in conflicts]
            else:
                assert result.get(key) == theirs.get(key)

    @pytest.mark.parametrize(
        ("base", "theirs", "mine", "expected"),
        [
            ([1], [True], [1, 2], [True, 2]),
            ({"a": 1}, {"a": 1.0}, {"a": 1, "b": 2}, {"a": 1.0, "b": 2}),
            ({"a": 1, "b": 2}, {"a": 1}, {"a": True, "b": 2}, {"a": True}),
            ({"n": float("nan")}, {"n": float("nan"), "t": 1}, {"n": float("nan"), "m": 2}, None),
            ({"n": 0.0}, {"n": -0.0}, {"n": 0.0, "m": 2}, {"n": -0.0, "m": 2}),
            ({"s": "x"}, {"s": Markup("x")}, {"s": "x", "m": 2}, {"s": Markup("x"), "m": 2}),
            ({"d": Decimal("1.0")}, {"d": Decimal("1.00")}, {"d": Decimal("1.0"), "m": 2}, None),
        ],
    )
    def test_the_same_is_what_is_the_same_as_bytes(self, base: Any, theirs: Any, mine: Any, expected: Any) -> None:
        """``==`` would take 1 for True, and one NaN for a change of another."""
        if expected is None:
            expected = {**theirs, **{key: value for key, value in mine.items() if key not in base}}
        result, conflicts = rebase(packed({"k": base}), packed({"k": theirs}), packed({"k": mine}), {})
        assert identical(codec.unpack(result["k"]), expected)
        assert conflicts == []

    @pytest.mark.parametrize(
        ("base", "theirs", "mine", "kept"),
        [
            ("garbage", "theirs", "mine", "mine"),
            ("base", "garbage", "mine", "mine"),
            ("garbage", None, "mine", "theirs"),
            ("garbage", "theirs", None, "mine"),
        ],
    )
    def test_what_cannot_be_decoded_is_not_merged(
        self, base: str | None, theirs: str | None, mine: str | None, kept: str
    ) -> None:
        """The later change wins, unless the key was deleted meanwhile; it is reported, and nothing is raised, as it was
        not this request's mistake."""
        sides = {None: {}, "garbage": {"k": b"\xc1"}}
        stored = [sides.get(side, {"k": codec.pack(side)}) for side in (base, theirs, mine)]
        result, conflicts = rebase(stored[0], stored[1], {"k": stored[2].get("k")}, {})
        assert result == (stored[2] if kept == "mine" else stored[1])
        assert [(conflict.path, conflict.kept) for conflict in conflicts] == [(("k",), kept)]

    def test_what_a_strategy_returns_must_be_storable(self) -> None:
        """An error that names the key, and nothing of the values."""
        strategies = {"k": lambda base, theirs, mine: object()}
        base, theirs, mine = (codec.pack(f"secret {side}") for side in range(3))
        with pytest.raises(SessionValueError, match="'k'") as caught:
            rebase({"k": base}, {"k": theirs}, {"k": mine}, strategies)
        assert "secret" not in str(caught.value)

    def test_applied_changes_nothing_in_place(self) -> None:
        """And None deletes."""
        values = packed({"a": 1, "b": 2})
        before = dict(values)
        assert apply_changes(values, {"a": None, "c": b"\x03"}) == {"b": values["b"], "c": b"\x03"}
        assert apply_changes(values, {"missing": None}) == before
        assert values == before
