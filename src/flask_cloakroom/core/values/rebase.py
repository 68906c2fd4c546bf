"""One request's changes, carried over to what another request has stored meanwhile: bytes in, bytes out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from ...errors import SessionValueError
from ...secret import SecretBytes
from . import codec
from .merge import MISSING, Clash, Strategies, merge

log = logging.getLogger("flask_cloakroom.sessions")

#: Key to packed value, as stored.
Values = dict[Any, bytes]
#: A change of one key: its packed value, or None where it was deleted.
Changes = Mapping[Any, bytes | None]


class Contested(NamedTuple):
    """A conflict that had a loser: the top-level key and what clashed there."""

    key: Any
    clash: Clash


def applied(values: Values, changes: Changes) -> Values:
    """Return ``values`` with ``changes``; neither is changed."""
    if not changes:
        return values
    result: dict[Any, Any] = {**values, **changes}
    if None in changes.values():
        return {key: packed for key, packed in result.items() if packed is not None}
    return result


def rebase(
    base: Values,
    theirs: Values,
    changes: Changes,
    strategies: Strategies,
    *,
    setting: str = "SESSION_MERGE",
) -> tuple[Values, list[Contested]]:
    """Return ``theirs`` with ``changes``, which were made to ``base``, and what was contested.

    Raises SessionValueError if a strategy of the application returns what can't be stored.
    """
    settled: dict[Any, bytes | None] = {}
    contested: list[Contested] = []
    for key, mine in changes.items():
        before, other = base.get(key), theirs.get(key)
        if before == other:
            settled[key] = mine
            continue
        three, unreadable = [], False
        for packed in (before, other, mine):
            value, failed = _unpacked(packed)
            three.append(value)
            unreadable = unreadable or failed
        if unreadable:
            # Nothing can be merged; the later change wins, unless one side deleted it.
            settled[key] = None if other is None else mine
            clash = Clash((key,), three[0], three[1], three[2], "theirs" if other is None else "mine")
            contested.append(Contested(key, clash))
            continue
        value, clashes = merge(*three, same=same, path=(key,), strategy=strategies.get(key))
        try:
            settled[key] = None if value is MISSING else SecretBytes(codec.pack(value))
        except codec.UnsupportedTypeError as error:
            raise SessionValueError(f"what {setting} made of {key!r}", error.type_name, error.hint) from None
        contested += [Contested(key, clash) for clash in clashes]
    return applied(theirs, settled), contested


def _unpacked(packed: bytes | None) -> tuple[Any, bool]:
    """Return the value, or MISSING, and whether that is because it cannot be decoded, or not be packed again."""
    if packed is None:
        return MISSING, False
    try:
        value = codec.unpack(packed)
        codec.pack(value)
    except (codec.CodecError, codec.UnsupportedTypeError) as error:
        log.warning("a value of a session cannot be merged: %s", error)
        return MISSING, True
    return value, False


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are stored as the same bytes. Either may be MISSING."""
    if left is MISSING or right is MISSING:
        return left is right
    return codec.pack(left) == codec.pack(right)
