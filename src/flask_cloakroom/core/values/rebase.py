"""Rebase one request's changes on the values that another request has stored. All values are packed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ...errors import SessionValueError
from ...secret import SecretBytes
from . import codec
from .merge import MISSING, MergeConflict, Strategies, merge

log = logging.getLogger("flask_cloakroom.sessions")

#: The stored values of a session: key to packed value.
Values = dict[Any, bytes]
#: The changed keys: key to packed value, or None for a deleted key.
Changes = Mapping[Any, bytes | None]


def apply_changes(values: Values, changes: Changes) -> Values:
    """Return ``values`` with ``changes``, as bytes that error reports do not show. Neither argument is changed."""
    result: dict[Any, bytes | None] = {**values, **changes}
    return {key: SecretBytes(packed) for key, packed in result.items() if packed is not None}


def rebase(
    base: Values,
    theirs: Values,
    changes: Changes,
    strategies: Strategies,
    *,
    setting: str = "SESSION_MERGE",
) -> tuple[Values, list[MergeConflict]]:
    """Return the values ``theirs`` with ``changes`` that were made to ``base``, and the conflicts.

    ``setting``: the setting of the strategies, for the error. Raises SessionValueError if a strategy of the application
    returns a value that cannot be stored.
    """
    merged: dict[Any, bytes | None] = {}
    conflicts: list[MergeConflict] = []
    for key, mine in changes.items():
        before, other = base.get(key), theirs.get(key)
        if before == other:
            merged[key] = mine
            continue
        three, unreadable = [], False
        for packed in (before, other, mine):
            value, failed = _unpacked(packed)
            three.append(value)
            unreadable = unreadable or failed
        if unreadable:
            # The values cannot be merged. The later change wins, unless the other request deleted the key.
            merged[key] = None if other is None else mine
            conflicts.append(MergeConflict((key,), three[0], three[1], three[2], "theirs" if other is None else "mine"))
            continue
        value, found = merge(*three, same=same, path=(key,), strategy=strategies.get(key))
        try:
            merged[key] = None if value is MISSING else SecretBytes(codec.pack(value))
        except codec.UnsupportedTypeError as error:
            raise SessionValueError(f"what {setting} made of {key!r}", error.type_name, error.hint) from None
        conflicts += found
    return apply_changes(theirs, merged), conflicts


def _unpacked(packed: bytes | None) -> tuple[Any, bool]:
    """Return the value, or MISSING for None, and False. Return MISSING and True if the value cannot be used.

    A value cannot be used if it cannot be decoded, or cannot be packed again.
    """
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
    """Return True if two values are stored as the same bytes. Each of them may be MISSING."""
    if left is MISSING or right is MISSING:
        return left is right
    return codec.pack(left) == codec.pack(right)
