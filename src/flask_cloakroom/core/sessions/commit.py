"""Write one request's changes to a session that other requests change at the same time."""

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

#: The length of a turn in milliseconds. During a turn, only one request writes the session, and only once.
TURN_MS: Final = 1000


class Commit:
    """Writes one request's changes to a session that other requests may write at the same time.

    After the first conflict, the request merges its changes with the new values and tries again. After the second
    conflict, the request takes a turn: it writes into the session's header that other requests must wait. Without
    turns, a request whose merge takes long would have a new conflict at each try, because other requests are faster.
    """

    # Class attributes, because a commit without a conflict need not set them.
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
        #: The session in the store, which the next write replaces.
        self.record = record
        #: The packed values of the next write.
        self.values = apply_changes(record.values, changes)

    @property
    def header(self) -> Header:
        """The header of :attr:`record`, without a turn."""
        header = self.record.header
        return header._replace(turn_until=0) if header.turn_until else header

    def committed(self, version: bytes, header: Header) -> Committed:
        """Return the result of the commit. Call this after :attr:`values` were written with this header.

        ``version``: the version that the store returned for this write.
        """
        old = self.record
        record = Record(old.ticket, old.key, version, header, self.values)
        return Committed(record, self.merged, self.conflicts, old)

    def save(self, next_header: Callable[[], Header] | None = None) -> Committed | None:
        """Try the write until it succeeds. Return None if the session has ended.

        ``next_header``: a function that returns the header to write. It is called for each try. None: the header stays.
        """
        while self.await_turn():
            header = self.header if next_header is None else next_header()
            result = self.namespace.replace(self.record, header, self.values)
            if type(result) is Saved:
                return self.committed(result.version, header)
            if not self.rebase_on(result):
                break
        return None

    def await_turn(self) -> bool:
        """Wait while another request has the turn. Return False if the session has ended meanwhile, otherwise True."""
        while self.record.header.turn_until and not self._has_turn and self._is_others_turn(self.record):
            entry = self._wait_and_load()
            if entry is None or not self.rebase_entry(entry):
                return False
        return True

    def rebase_on(self, result: Conflict | Gone | Saved) -> bool:
        """Prepare the next try after a write that failed with ``result``. Return False if the session has ended.

        Return True if the caller shall try again. Raises ContentionError if the tries take longer than
        :data:`.COMMIT_PATIENCE` seconds.
        """
        if type(result) is not Conflict:
            return False
        self._losses += 1
        self._has_turn = False  # a write failed, so another request wrote, and this request's turn must be over
        if self._losses == 1:
            self._deadline = time.monotonic() + COMMIT_PATIENCE
            return self.rebase_entry(result.entry)
        return self._take_turn(result.entry)

    def rebase_entry(self, entry: Entry) -> bool:
        """Merge the changes with the values in ``entry``, which another request wrote.

        Return True, or False if the session has ended.
        """
        found = self._open(entry)
        if found is None:
            return False
        self._merge(found)
        return True

    def _take_turn(self, entry: Entry | None) -> bool:
        """Take a turn, and then merge the changes. Return False if the session has ended, otherwise True.

        To take a turn, this method writes only a new header. Such a write is quick, because it needs no merge before.
        """
        namespace = self.namespace
        while entry is not None and (found := self._open(entry)) is not None:
            self.record = found  # the session may have moved, and then _wait_and_load() must use its new store key
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
        # as_secrets() hides the packed values in tracebacks, because a merge strategy can raise an error.
        base = as_secrets(self._base)
        # Each try begins with the base that this request read first. If a try began with the merged values of the try
        # before, rebase() would take this request's changes for changes of another request.
        self.values, self.conflicts = rebase(base, found.values, self._changes, self._strategies)

    def _is_others_turn(self, found: Record) -> bool:
        # If a turn has more than TURN_MS left, the clock of the server that wrote it is wrong. Such a turn is ignored.
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
                f"Other requests changed session {self.record.sid} again and again for {COMMIT_PATIENCE:g} s, so this "
                "request could not save it. Try the request again."
            )


class Edit(Commit):
    """Changes that a function computes from the values in the store. The function is called again for each try."""

    def __init__(
        self, namespace: Namespace, strategies: Strategies, record: Record, edit: Callable[[Values], Changes]
    ) -> None:
        self._edit = edit
        super().__init__(namespace, strategies, record, edit(record.values))

    def _merge(self, found: Record) -> None:
        self.record = found
        self.merged = True
        self.values = apply_changes(found.values, self._edit(found.values))
