"""Rebase one request's changes: apply them to the values that another request has stored. All values are packed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ...errors import SessionValueError
from ...secret import SecretBytes
from . import codec
from .merge import MISSING, MergeConflict, Strategies, merge

log = logging.getLogger("flask_cloakroom.sessions")

#: The values of a session: each session key with its packed value.
Values = dict[Any, bytes]
#: The changes of a request: each changed session key with its new packed value, or with None if the key was deleted.
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
    """Return the values ``theirs`` merged with ``changes``, and the conflicts.

    ``base``: the values to which ``changes`` were made. ``theirs``: the values that are stored now. ``setting``: the
    name of the setting that has the strategies, for the error's text. Raises SessionValueError if a strategy of the
    application returns a value that cannot be stored.
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
            raise SessionValueError(f"the result of {setting} for {key!r}", error.type_name, error.hint) from None
        conflicts += found
    return apply_changes(theirs, merged), conflicts


def _unpacked(packed: bytes | None) -> tuple[Any, bool]:
    """Return the unpacked value, and True if the unpacking failed. Without a packed value, return MISSING and False.

    The unpacking failed if the value cannot be decoded, or cannot be packed again. Then the value is MISSING.
    """
    if packed is None:
        return MISSING, False
    try:
        value = codec.unpack(packed)
        codec.pack(value)
    except (codec.CodecError, codec.UnsupportedTypeError) as error:
        log.warning("a value of a session cannot be merged, so one of the two changes is lost: %s", error)
        return MISSING, True
    return value, False


def same(left: Any, right: Any) -> bool:
    """Return True if two values have the same packed bytes. Each value may be MISSING, which equals only MISSING."""
    if left is MISSING or right is MISSING:
        return left is right
    return codec.pack(left) == codec.pack(right)
