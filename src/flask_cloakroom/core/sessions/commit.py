"""Write one request's changes over those of other requests: tries, turns, and when to give up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Final

from ...errors import ContentionError
from ...secret import as_secrets
from ...stores.base import Conflict, Entry, Gone, Saved
from ..entries.envelope import Header
from ..entries.namespace import COMMIT_PATIENCE, LONGEST_WAIT, Namespace
from ..entries.record import Absence, Committed, Record
from ..values.merge import MergeConflict, Strategies
from ..values.rebase import Changes, Values, apply_changes, rebase

#: Milliseconds for which one request has its turn to write. A turn is for a single commit.
TURN_MS: Final = 1000


class Commit:
    """One request's changes, and the session that they are to be written over.

    After a first conflict the request merges and tries again. After a second one it takes a turn: it writes into the
    session's header that the other requests must wait. Without turns, a request with much to merge would lose every
    race against requests with little to merge.
    """

    # Class attributes, so that a commit without a conflict sets none of them.
    merged = False
    conflicts: Sequence[MergeConflict] = ()
    _losses = 0
    _has_turn = False
    _deadline = 0.0

    def __init__(self, namespace: Namespace, strategies: Strategies, record: Record, changes: Changes) -> None:
        self.namespace = namespace
        self._strategies = strategies
        self._base = record.values
        self._changes = changes
        #: The session to replace with the next write.
        self.record = record
        #: The values to write next.
        self.values = apply_changes(record.values, changes)

    @property
    def header(self) -> Header:
        """The stored header, without a turn."""
        header = self.record.header
        return header._replace(turn_until=0) if header.turn_until else header

    def committed(self, version: bytes, header: Header) -> Committed:
        """Return the result, after :attr:`values` were written with this header and got this version."""
        old = self.record
        record = Record(old.ticket, old.key, version, header, self.values)
        return Committed(record, self.merged, self.conflicts)

    def await_turn(self) -> bool:
        """Wait while another request has the turn. False: the session has ended meanwhile."""
        while self.record.header.turn_until and not self._has_turn and self._is_others_turn(self.record):
            entry = self._wait_and_load()
            if entry is None or not self.rebase_entry(entry):
                return False
        return True

    def rebase_on(self, result: Conflict | Gone | Saved) -> bool:
        """Prepare the next try after a write that was refused. False: the session has ended.

        Raises ContentionError if the tries take longer than :data:`.COMMIT_PATIENCE` seconds.
        """
        if type(result) is not Conflict:
            return False
        self._losses += 1
        self._has_turn = False  # the turn is over, because other requests do not write during it
        if self._losses == 1:
            self._deadline = time.monotonic() + COMMIT_PATIENCE
            return self.rebase_entry(result.entry)
        return self._take_turn(result.entry)

    def rebase_entry(self, entry: Entry) -> bool:
        """Merge the changes with the entry that another request wrote. False: the session has ended."""
        found = self._open(entry)
        if found is None:
            return False
        self._merge(found)
        return True

    def _take_turn(self, entry: Entry | None) -> bool:
        """Write only the turn into the header, which is quick, and merge afterwards. False: the session has ended."""
        namespace = self.namespace
        while entry is not None and (found := self._open(entry)) is not None:
            self.record = found  # the session may have moved, so the next entry is loaded from its new key
            if self._is_others_turn(found):
                entry = self._wait_and_load()
                continue
            header = found.header._replace(turn_until=namespace.now_ms() + TURN_MS)
            result = namespace.replace(found, header, found.values)
            if type(result) is Saved:
                self._has_turn = True
                self._merge(Record(found.ticket, found.key, result.version, header, found.values))
                return True
            self._check_deadline()
            entry = result.entry if type(result) is Conflict else None
        return False

    def _open(self, entry: Entry) -> Record | None:
        found: Record | Absence | str = self.namespace.open(self.record.ticket, self.record.key, entry, was_read=True)
        if isinstance(found, str):
            found = self.namespace.load(found)
        if not isinstance(found, Record):
            return None
        found.values = as_secrets(found.values)
        return found

    def _merge(self, found: Record) -> None:
        self.record = found
        self.merged = self.merged or found.values != self._base
        # Always from the first base. Otherwise a third try would take the second try's changes for another request's.
        base = as_secrets(self._base)  # a traceback shows local variables while an application's strategies run
        self.values, self.conflicts = rebase(base, found.values, self._changes, self._strategies)

    def _is_others_turn(self, found: Record) -> bool:
        # A turn with more time left comes from a server whose clock is ahead, and does not count.
        return 0 < found.header.turn_until - self.namespace.now_ms() <= TURN_MS

    def _wait_and_load(self) -> Entry | None:
        self._check_deadline()
        time.sleep(random.uniform(LONGEST_WAIT / 10, LONGEST_WAIT))  # noqa: S311  no secret: it only spreads the tries
        return self.namespace.store.load(self.record.key)

    def _check_deadline(self) -> None:
        now = time.monotonic()
        self._deadline = self._deadline or now + COMMIT_PATIENCE
        if now >= self._deadline:
            raise ContentionError(
                f"other requests changed session {self.record.sid} again and again for {COMMIT_PATIENCE:g} s, so it "
                "could not be saved. Try the request again"
            )


class Edit(Commit):
    """Changes that a function makes from the stored values, anew for each try."""

    def __init__(
        self, namespace: Namespace, strategies: Strategies, record: Record, edit: Callable[[Values], Changes]
    ) -> None:
        self._edit = edit
        super().__init__(namespace, strategies, record, edit(record.values))

    def _merge(self, found: Record) -> None:
        self.record = found
        self.merged = True
        self.values = apply_changes(found.values, self._edit(found.values))
