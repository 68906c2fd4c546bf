"""What a visitor had becomes their user's: exactly once, whoever crashes, and however often a login is tried.

First the session becomes the user's, by its login's commit. Only then is what it holds merged into the user's entry,
which notes its id in the same write; and then it is dropped from the session. Whatever comes between leaves a session
that still holds it, and its next request, whatever that does, goes on from there.

If nobody got the answer to that login, nobody has the ticket of that session. For that the mark in the place of the
visitor's session keeps what they had, for the next login of the same user with the ticket of before.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from .. import signals
from ..core.entries.ownership import Ownership, user_id_in
from ..core.entries.record import Absence, Record
from ..core.user_data.repository import UserCommit
from ..core.user_data.visitor import VisitorData, is_visitor_key, visitor_data_in
from ..core.values import codec
from ..core.values.merge import MISSING
from ..core.values.own_keys import USER_KEY, VISITOR_ID_KEY
from ..core.values.rebase import Changes
from ..errors import CloakroomError, StoreError
from .work import SessionWork

log = logging.getLogger("flask_cloakroom.sessions")


class MergedValue(NamedTuple):
    """What became of one key of ``user_session`` by a merge, or by its undo. What was not there is MISSING."""

    key: str
    before: Any
    after: Any


def will_merge(work: SessionWork) -> bool:
    """Tell whether this request logged a user in whose login, once it is saved, merges a visitor's data."""
    if not work.has_touched(USER_KEY) or work.get(USER_KEY) is None:
        return False
    return VISITOR_ID_KEY in work or work.absence in (Absence.SUPERSEDED, Absence.CARRIES)


def settle(work: SessionWork) -> None:
    """Bring to the user what a login before this request did not come to. The request's own commit drops it.

    Raises StoreError.
    """
    record = work.record
    assert record is not None
    if _bring(work, record) or USER_KEY in work.changes():
        data = work.opened()
        for key in _keys_of(record):
            if key in data:
                del work[key]


def conclude(work: SessionWork) -> None:
    """Bring to the user what the session held, whose login has just been committed, and drop it.

    A store that fails now is no reason to fail the login: the next request goes on from here.
    """
    record = work.record
    assert record is not None
    try:
        if not _bring(work, record):
            return
        dropped = work.repository.commit(record, dict.fromkeys(_keys_of(record)))
    except StoreError as error:
        log.warning("session %s: what its visitor had is not yet the user's: %s", record.sid, error)
        return
    if dropped is not None:
        work.continue_from(dropped.record)


def claim_left(work: SessionWork, changes: Changes) -> None:
    """Bring to the user who logs in what they had in a session whose login they got no answer to. Raises StoreError."""
    packed = changes.get(USER_KEY)
    if packed is None or work.absence not in (Absence.SUPERSEDED, Absence.CARRIES):
        return
    repository = work.repository
    user_id = codec.unpack(packed)
    name = repository.tickets.owner_name(str(user_id))
    for ticket in work.brought_tickets():
        carried = repository.carried_by(ticket)
        if carried is not None and carried.owner == name:
            _merge(work, name, user_id, carried.data)


def _keys_of(record: Record) -> list[Any]:
    return [key for key in record.values if key == VISITOR_ID_KEY or is_visitor_key(key)]


def _bring(work: SessionWork, record: Record) -> bool:
    """Merge what the stored session holds. True if it is the user's by now, or was already."""
    owner, brought = Ownership.parse(record.header.owner), visitor_data_in(record.values)
    if owner is None or brought is None or not brought.values:
        return True
    user_id = user_id_in(record.values)
    if user_id is None or work.repository.tickets.owner_name(str(user_id)) != owner.name:
        # Header and contents name different users, as only a damaged or forged record does. So nobody gets the data.
        return False
    return _merge(work, owner.name, user_id, brought)


def _merge(work: SessionWork, name: str, user_id: Any, brought: VisitorData) -> bool:
    """Merge into a user's entry. False if it cannot be done, which is told to the log; then it stays where it is."""
    try:
        merged = work.repository.user_data.merge(name, brought)
    except StoreError:
        raise
    except Exception as error:
        # Too large, or a strategy of the application's that failed: no reason to keep the user out for ever.
        log.error("what a visitor had could not be merged into user_session and stays in the session: %s", _said(error))
        return False
    if merged is not None:
        _tell(work, str(user_id), merged)
    return True


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, CloakroomError) else type(error).__name__


def _tell(work: SessionWork, user_id: str, merged: UserCommit) -> None:
    for conflict in merged.conflicts:
        work.send(signals.user_session_conflict, user_id=user_id, **conflict.signal_arguments())
    if merged.changed and signals.user_session_merged.receivers:
        work.send(signals.user_session_merged, user_id=user_id, changes=values_of(merged.changed))


def values_of(changed: dict[Any, tuple[bytes | None, bytes | None]]) -> tuple[MergedValue, ...]:
    """Return what changed, as values. What cannot be decoded counts as missing."""
    return tuple(MergedValue(key, _value(before), _value(after)) for key, (before, after) in changed.items())


def _value(packed: bytes | None) -> Any:
    try:
        return MISSING if packed is None else codec.unpack(packed)
    except codec.CodecError:
        return MISSING
