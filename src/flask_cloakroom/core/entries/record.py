"""What is known of a session that was read, what came of a commit, and why there may be no session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from ..values.merge import MergeConflict
from ..values.rebase import Values
from .envelope import Header
from .tickets import public_id


class Absence(Enum):
    """Why there is no session for a ticket."""

    #: Nothing is stored: never was, expired, or revoked.
    UNKNOWN = "unknown"
    #: What is stored can't be read, so it is as good as nothing; it was logged.
    UNREADABLE = "unreadable"
    #: The session ended or moved on a moment ago. A request with this ticket must write nothing and set no cookie.
    SUPERSEDED = "superseded"
    #: The same, but longer ago than a request may last, and its mark still holds what its visitor was about to bring to
    #: their account. As good as unknown, but for a login of the same user.
    CARRIES = "carries"
    #: The ticket was renewed so long ago that a browser which got the new one would not send it: it never arrived,
    #: or somebody has a copy. As good as unknown, and reported.
    REUSED = "reused"


@dataclass(slots=True)
class Record:
    """A session as it was read or written: the base of the next commit."""

    ticket: str
    key: bytes
    version: bytes
    header: Header
    #: Key to packed value. Never changed in place.
    values: Values

    @property
    def sid(self) -> str:
        """The public id, for logs and pages."""
        return public_id(self.key)

    def __repr__(self) -> str:
        return f"<Record {self.sid} keys={len(self.values)}>"


class Committed(NamedTuple):
    """The changes are stored. ``merged`` says that another request's changes are in the record as well."""

    record: Record
    merged: bool
    conflicts: Sequence[MergeConflict]
