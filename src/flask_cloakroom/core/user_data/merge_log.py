"""The merge log: which visitors' data were merged into a user's data, and how to undo the last merge."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from ...secret import SecretBytes
from ..values import codec

#: The key of the merge log in a user's entry. The application cannot use keys that begin with it.
MERGE_LOG_KEY: Final = "\0"
#: The greatest number of visitor ids in a log, each some 30 bytes. A thousand logins with visitor data, within the life
#: of a session, are no work of a person.
MAX_VISITOR_IDS: Final = 1000

#: The latest time that fits into an entry's header.
_LATEST: Final = 2**32 - 1

_NO_MERGES: Final[Mapping[str, int]] = MappingProxyType({})

#: The changed keys of a merge: key to packed value before and after, each None if the key was missing.
ChangedValues = dict[Any, tuple[bytes | None, bytes | None]]


class LastMerge(NamedTuple):
    """The changes of the last merge, for its undo."""

    #: The time of the merge in seconds since the epoch.
    at: int
    changed: ChangedValues


class MergeLog(NamedTuple):
    """The log in one user's entry. It is never changed in place."""

    #: Random bytes that each deletion changes. Data that was read before a deletion cannot be saved after it.
    generation: bytes = b""
    #: Visitor id to the time of its merge, in seconds since the epoch.
    merged: Mapping[str, int] = _NO_MERGES
    last: LastMerge | None = None

    def with_merged(self, visitor_id: str, now: int, keep: int) -> MergeLog:
        """Return a log with one more visitor id, and without ids that are older than ``keep`` seconds.

        By then no session and no tombstone has such visitor data any more.
        """
        young = {other: at for other, at in self.merged.items() if at + keep >= now}
        newest = sorted(young.items(), key=lambda merge: merge[1])[-(MAX_VISITOR_IDS - 1) :]
        return self._replace(merged={**dict(newest), visitor_id: now})

    def packed(self) -> bytes:
        """Return the log as bytes."""
        last = None if self.last is None else [self.last.at, _convert(self.last.changed, bytes)]
        return codec.pack([self.generation, dict(self.merged), last])

    @classmethod
    def from_packed(cls, packed: bytes) -> MergeLog:
        """Return the log that :meth:`packed` packed. Raises CodecError, ValueError or TypeError for other bytes."""
        generation, merged, last = codec.unpack(packed)
        if not isinstance(generation, bytes) or not _are_merges(merged):
            raise ValueError("a merge log of the wrong shape")
        if last is None:
            return cls(generation, merged)
        at, changed = last
        if not (_is_time(at) and _are_changed_values(changed)):
            raise ValueError("a last merge of the wrong shape")
        return cls(generation, merged, LastMerge(at, _convert(changed, SecretBytes)))


def _convert(changed: ChangedValues, kind: type[bytes]) -> ChangedValues:
    """Return the same values in another type of bytes. The codec packs plain bytes only."""
    return {
        key: (None if before is None else kind(before), None if after is None else kind(after))
        for key, (before, after) in changed.items()
    }


def _is_time(value: object) -> bool:
    return type(value) is int and 0 <= value <= _LATEST


def _are_merges(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) and _is_time(at) for name, at in value.items())


def _are_changed_values(value: object) -> bool:
    """Return True for a dict of pairs, each with the packed value before and after."""
    return isinstance(value, dict) and all(
        isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(part, bytes | None) for part in pair)
        for pair in value.values()
    )
