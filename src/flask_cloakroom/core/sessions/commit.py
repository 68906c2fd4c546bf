"""One request's changes against all others': retries, turns, and when to give up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Final

from ...errors import ContentionError
from ...secret import as_secrets
from ...stores.base import Conflict, Entry, Gone, Saved
from ..entries.envelope import Header
from ..entries.namespace import LONGEST_WAIT, PATIENCE, Namespace
from ..entries.record import Absence, Record
from ..values.merge import MergeConflict, Strategies
from ..values.rebase import Changes, Values, apply_changes, rebase

#: How long a request may have its turn at a contended session before the others go on without it; milliseconds. It
#: needs but one commit for it.
TURN_MS: Final = 1000


class Merger:
    """One request's changes, carried on top of whatever is stored by now, until they are in.

    A race that is lost costs nothing but another try. Who loses twice announces it in the session's header, and whoever
    sees that lets it go first. Without that, requests with much to merge would lose against those with little for ever.
    """

    # What is only needed once a race was lost stands here, so that a commit that loses none sets none of it.
    merged = False
    conflicts: Sequence[MergeConflict] = ()
    _losses = 0
    _has_turn = False
    _deadline = 0.0

    def __init__(self, namespace: Namespace, strategies: Strategies, record: Record, changes: Changes) -> None:
        self.namespace = namespace
        self._strategies = strategies
        # From here on the values are in local variables, while stores and an application's strategies are called.
        self._base = as_secrets(record.values)
        self._changes = changes
        self.record = record
        self.values = apply_changes(self._base, changes)

    @property
    def header(self) -> Header:
        """The header that the next write begins with: as it is stored, and nobody's turn."""
        header = self.record.header
        return header._replace(turn_until=0) if header.turn_until else header

    def ready(self) -> bool:
        """Wait while another request has its turn. False if the session has ended meanwhile."""
        while self.record.header.turn_until and not self._has_turn and self._is_their_turn(self.record):
            entry = self._look_again()
            if entry is None or not self.meet(entry):
                return False
        return True

    def lose_to(self, result: Conflict | Gone | Saved) -> bool:
        """After a write that did not go through: be ready for the next. False if the session has ended.

        Raises ContentionError when it has lost for too long.
        """
        if type(result) is not Conflict:
            return False
        self._losses += 1
        self._has_turn = False  # or it would not have lost
        if self._losses == 1:
            self._deadline = time.monotonic() + PATIENCE
            return self.meet(result.entry)
        return self._take_turn(result.entry)

    def meet(self, entry: Entry) -> bool:
        """Merge with what is stored now. False if the session has ended; True if ``record`` is ready to be tried."""
        found = self._find(entry)
        if found is None:
            return False
        self._merge(found)
        return True

    def _take_turn(self, entry: Entry | None) -> bool:
        """Announce that it is this request's turn, which is quickly written, and merge only then."""
        namespace = self.namespace
        while entry is not None and (found := self._find(entry)) is not None:
            self.record = found  # it may have moved; what comes next is looked for there
            if self._is_their_turn(found):
                entry = self._look_again()
                continue
            until = namespace.now_ms() + TURN_MS
            header = found.header._replace(turn_until=until)
            result = namespace.replace(found, header, found.values)
            if type(result) is Saved:
                self._has_turn = True
                self._merge(Record(found.ticket, found.key, result.version, header, found.values))
                return True
            self._check_patience()
            entry = result.entry if type(result) is Conflict else None
        return False

    def _find(self, entry: Entry) -> Record | None:
        # However long ago it was renewed: this request had read it before.
        found: Record | Absence | str = self.namespace.open(self.record.ticket, self.record.key, entry, late=True)
        if isinstance(found, str):
            found = self.namespace.load(found)
        if not isinstance(found, Record):
            return None
        found.values = as_secrets(found.values)
        return found

    def _merge(self, found: Record) -> None:
        self.record = found
        self.merged = self.merged or found.values != self._base
        # From the first base each time, so that a third try doesn't take its second for somebody else's.
        self.values, self.conflicts = rebase(self._base, found.values, self._changes, self._strategies)

    def _is_their_turn(self, found: Record) -> bool:
        # Longer than a turn lasts is the work of a clock that is ahead of ours: nobody's turn.
        return 0 < found.header.turn_until - self.namespace.now_ms() <= TURN_MS

    def _look_again(self) -> Entry | None:
        self._check_patience()
        time.sleep(random.uniform(LONGEST_WAIT / 10, LONGEST_WAIT))  # noqa: S311  spreads the tries, hides nothing
        return self.namespace.store.load(self.record.key)

    def _check_patience(self) -> None:
        now = time.monotonic()
        self._deadline = self._deadline or now + PATIENCE
        if now >= self._deadline:
            raise ContentionError(
                f"session {self.record.sid}: for {PATIENCE:g} s each try to save it met another request's change"
            )


class Editor(Merger):
    """Changes that depend on what is stored at the moment they are written, whatever was read before."""

    def __init__(
        self, namespace: Namespace, strategies: Strategies, record: Record, edit: Callable[[Values], Changes]
    ) -> None:
        self._edit = edit
        super().__init__(namespace, strategies, record, edit(record.values))

    def _merge(self, found: Record) -> None:
        self.record = found
        self.merged = True
        self.values = apply_changes(found.values, self._edit(found.values))
