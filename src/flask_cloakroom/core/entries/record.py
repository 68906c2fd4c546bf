"""A session as it was read, the reason if there is none, and the result of a commit."""

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

    #: The store has no session: it never existed, or it has expired or was ended.
    UNKNOWN = "unknown"
    #: The stored entry cannot be read. A log line says why.
    UNREADABLE = "unreadable"
    #: The session ended or moved a moment ago. A request with this ticket must write nothing and set no cookie.
    SUPERSEDED = "superseded"
    #: The session moved at a login, longer ago than a request may last, and its tombstone still holds carried data. The
    #: caller treats the ticket as unknown, except at a login of the same user.
    CARRIES = "carries"
    #: The ticket was renewed long ago, so the browser should have the new ticket. Either the response with the new
    #: ticket got lost, or somebody uses a copy of the old one. The caller treats it as unknown and reports it.
    REUSED = "reused"


@dataclass(slots=True)
class Record:
    """A session as it was last read or written. The next commit replaces this version."""

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
    """The result of a commit: the session as it is stored now."""

    record: Record
    #: Whether the record also contains changes of other requests.
    merged: bool
    #: The conflicts that the commit resolved.
    conflicts: Sequence[MergeConflict]
