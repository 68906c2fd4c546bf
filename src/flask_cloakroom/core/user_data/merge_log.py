"""What is noted in a user's entry beside their data: its generation, what was merged into it, and how to undo that."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from ...secret import SecretBytes
from ..values import codec

#: The key that the note lies under. No key of the application's begins with it.
NOTE: Final = "\0"
#: The most ids that are noted: so many logins with something to merge, within the life of a session, that nobody makes
#: them by hand. Each takes some 30 bytes.
MOST_MERGED: Final = 1000

#: The latest time that fits into an entry's header.
_LATEST: Final = 2**32 - 1

_NONE_MERGED: Final[Mapping[str, int]] = MappingProxyType({})


class Undo(NamedTuple):
    """The last merge."""

    #: Seconds since the epoch.
    at: int
    #: Key to packed value before and after.
    changed: dict[Any, tuple[bytes | None, bytes | None]]


class Note(NamedTuple):
    """Never changed in place."""

    #: Another one after each deletion, so that what was read before it can't be saved.
    generation: bytes = b""
    #: The id of each visitor's data that was merged, and when, in seconds since the epoch.
    merged: Mapping[str, int] = _NONE_MERGED
    undo: Undo | None = None

    def with_merged(self, visitor_id: str, now: int, keep: int) -> Note:
        """Note an id, and forget those that nobody can bring any more, being older than ``keep`` seconds."""
        young = {one: at for one, at in self.merged.items() if at + keep >= now}
        newest = sorted(young.items(), key=lambda noted: noted[1])[-(MOST_MERGED - 1) :]
        return self._replace(merged={**dict(newest), visitor_id: now})

    def packed(self) -> bytes:
        """Return it as bytes."""
        undo = None if self.undo is None else [self.undo.at, _each(self.undo.changed, bytes)]
        return codec.pack([self.generation, dict(self.merged), undo])

    @classmethod
    def unpacked(cls, packed: bytes) -> Note:
        """Undo :meth:`packed`. Raises CodecError, ValueError or TypeError for anything else."""
        generation, merged, undo = codec.unpack(packed)
        if not isinstance(generation, bytes) or not _is_log(merged):
            raise ValueError("a note of the wrong shape")
        if undo is None:
            return cls(generation, merged)
        at, changed = undo
        if not (_is_time(at) and _are_changes(changed)):
            raise ValueError("an undo of the wrong shape")
        return cls(generation, merged, Undo(at, _each(changed, SecretBytes)))


def _each(changed: Mapping[Any, Any], kind: type[bytes]) -> dict[Any, tuple[bytes | None, bytes | None]]:
    """Return the packed values before and after as this type; the codec takes plain bytes."""
    pairs = ((key, (before, after)) for key, (before, after) in changed.items())
    return {
        key: (None if before is None else kind(before), None if after is None else kind(after))
        for key, (before, after) in pairs
    }


def _is_time(value: object) -> bool:
    return type(value) is int and 0 <= value <= _LATEST


def _is_log(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) and _is_time(at) for one, at in value.items())


def _are_changes(value: object) -> bool:
    """Return whether a value maps keys to what was stored before and after, packed or None."""
    return isinstance(value, dict) and all(
        isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(part, bytes | None) for part in pair)
        for pair in value.values()
    )
