"""The merge log: the ids of the visitors whose data was merged into a user's data, and the last merge's changes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from ...secret import SecretBytes
from ..values import codec

#: The key of the merge log among the values in a user's entry. The application cannot use keys that begin with NUL.
MERGE_LOG_KEY: Final = "\0"
#: The largest number of visitor ids in a merge log. Each takes some 30 bytes. No person logs in a thousand times with
#: visitor data within the lifetime of a session.
MAX_VISITOR_IDS: Final = 1000

#: The latest time that fits into an entry's header, in seconds since the epoch.
_LATEST: Final = 2**32 - 1

_NO_MERGES: Final[Mapping[str, int]] = MappingProxyType({})

#: The changes of a merge: each changed key with its packed values before and after the merge. None: the key is missing.
ChangedValues = dict[Any, tuple[bytes | None, bytes | None]]


class LastMerge(NamedTuple):
    """The changes of the last merge, which an undo of this merge needs."""

    #: The time of the merge in seconds since the epoch.
    at: int
    changed: ChangedValues


class MergeLog(NamedTuple):
    """The merge log of one user. This object is never changed; each change makes a new object."""

    #: Random bytes that are different after each deletion of the user's data. By these bytes, a commit notices that the
    #: data was deleted after a request had read it.
    generation: bytes = b""
    #: Each visitor id with the time of its merge, in seconds since the epoch.
    merged: Mapping[str, int] = _NO_MERGES
    last: LastMerge | None = None

    def with_merged(self, visitor_id: str, now: int, keep: int) -> MergeLog:
        """Return a log with one more visitor id, and without the ids that were merged more than ``keep`` seconds ago.

        ``now``: the present time in seconds since the epoch. ``keep``: the longest time for which a session or
        tombstone can still have visitor data that was merged.
        """
        young = {other: at for other, at in self.merged.items() if at + keep >= now}
        newest = sorted(young.items(), key=lambda merge: merge[1])[-(MAX_VISITOR_IDS - 1) :]
        return self._replace(merged={**dict(newest), visitor_id: now})

    def packed(self) -> bytes:
        """Return the merge log as bytes, for the user's entry."""
        last = None if self.last is None else [self.last.at, _convert(self.last.changed, bytes)]
        return codec.pack([self.generation, dict(self.merged), last])

    @classmethod
    def from_packed(cls, packed: bytes) -> MergeLog:
        """Return the log that :meth:`packed` packed. Raises CodecError, ValueError or TypeError for other bytes."""
        generation, merged, last = codec.unpack(packed)
        if not isinstance(generation, bytes) or not _are_merges(merged):
            raise ValueError("the merge log has values of wrong types")
        if last is None:
            return cls(generation, merged)
        at, changed = last
        if not (_is_time(at) and _are_changed_values(changed)):
            raise ValueError("the last merge has values of wrong types")
        return cls(generation, merged, LastMerge(at, _convert(changed, SecretBytes)))


def _convert(changed: ChangedValues, kind: type[bytes]) -> ChangedValues:
    """Return the same changes with packed values of the type ``kind``: bytes or SecretBytes.

    The codec refuses SecretBytes, and in memory the values are SecretBytes, so that no error report shows them.
    """
    return {
        key: (None if before is None else kind(before), None if after is None else kind(after))
        for key, (before, after) in changed.items()
    }


def _is_time(value: object) -> bool:
    return type(value) is int and 0 <= value <= _LATEST


def _are_merges(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) and _is_time(at) for name, at in value.items())


def _are_changed_values(value: object) -> bool:
    """Return True if ``value`` has the type :data:`ChangedValues`."""
    return isinstance(value, dict) and all(
        isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(part, bytes | None) for part in pair)
        for pair in value.values()
    )
