"""A session as it was read from the store, the reasons why a ticket has no session, and the result of a commit."""

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
    """The reason why a ticket has no session."""

    #: The store has no such session. The session never existed, or has expired, or was ended.
    UNKNOWN = "unknown"
    #: The entry in the store cannot be read. A log line says why.
    UNREADABLE = "unreadable"
    #: The session ended or moved a moment ago. A request with this ticket must write nothing and set no cookie.
    SUPERSEDED = "superseded"
    #: The session moved at a login, and its tombstone still has carried data. The login was longer ago than a request
    #: may last. The caller treats the ticket as UNKNOWN, except at a login of the same user.
    CARRIES = "carries"
    #: The ticket was renewed long ago, so the browser should have the new ticket. Either the response with the new
    #: ticket was lost, or an attacker uses a copy of the old ticket. The caller treats the ticket as UNKNOWN, and
    #: reports its use.
    REUSED = "reused"


@dataclass(slots=True)
class Record:
    """A session as this request has last read or written it. The next commit replaces this version."""

    ticket: str
    key: bytes
    version: bytes
    header: Header
    #: Each session key with its packed value. This dict is never changed; a commit makes a new dict.
    values: Values

    @property
    def sid(self) -> str:
        """The public id of the session, for logs and pages."""
        return public_id(self.key)

    def __repr__(self) -> str:
        return f"<Record {self.sid} keys={len(self.values)}>"


class Committed(NamedTuple):
    """The result of a commit. ``record`` is the session as the commit has stored it."""

    record: Record
    #: True if the record also contains changes of other requests.
    merged: bool
    #: The conflicts that the commit resolved.
    conflicts: Sequence[MergeConflict]
    #: The session that the commit replaced, or that moved to the ticket of ``record``. None for a new session.
    before: Record | None = None
    #: False if the session has moved, but it is unknown whether the old ticket has become invalid.
    acknowledged: bool = True
