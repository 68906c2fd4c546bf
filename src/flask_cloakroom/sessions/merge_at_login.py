"""Merge visitor data into the user's data at a login: once only, even after a crash or if the login is sent twice.

1. The login's commit stores the user in the session. The session still contains the visitor data.
2. The visitor data is merged into the user's data. The same write adds the visitor id to the merge log.
3. The visitor data is deleted from the session.

After a crash between two steps, the session's next request goes on with the next step. If the browser never received
the response to the login, it does not have the ticket of that session. For this case the tombstone of the old session
carries the visitor data. The next login of the same user with the old ticket merges that data.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from .. import signals
from ..core.entries.ownership import Ownership, user_id_in
from ..core.entries.record import Absence, Record
from ..core.user_data.merge_log import ChangedValues
from ..core.user_data.visitor import VisitorData, is_visitor_key, visitor_data_in
from ..core.values import codec
from ..core.values.merge import MISSING
from ..core.values.own_keys import USER_KEY, VISITOR_ID_KEY
from ..core.values.rebase import Changes, Values
from ..errors import CloakroomError, StoreError
from ..first_use import tell
from .work import SessionWork

log = logging.getLogger("flask_cloakroom.sessions")


class MergedValue(NamedTuple):
    """The change of one key of ``user_session`` by a merge or by its undo.

    ``before`` and ``after`` are the key's values, or MISSING if the key did not exist.
    """

    key: str
    before: Any
    after: Any


def will_merge(work: SessionWork) -> bool:
    """Return True if this request's login, when it is committed, may merge visitor data into the user's data."""
    return VISITOR_ID_KEY in work or work.absence in (Absence.SUPERSEDED, Absence.CARRIES)


def merge_before_commit(work: SessionWork) -> None:
    """Merge the stored session's visitor data, which an earlier login should have merged, into the user's data.

    This request's commit then deletes that visitor data from the session. Raises SessionUnavailable.
    """
    record = work.record
    assert record is not None
    with work.outage():
        is_merged = _merge_stored(work, record)
    if is_merged or USER_KEY in work.changes():
        for key in _visitor_keys(record.values):
            work.drop(key)


def merge_after_commit(work: SessionWork) -> None:
    """Merge the visitor data of a session whose login was just committed, and delete that data from the session.

    If the store fails, log a warning. The login stays valid, and the session's next request merges the visitor data.
    """
    record = work.record
    assert record is not None
    try:
        if not _merge_stored(work, record):
            return
        deleted = dict.fromkeys(_visitor_keys(record.values))
        committed = work.repository.commit(record, deleted)
    except StoreError as error:
        text = "session %s: visitor data was not merged. The next request tries again: %s"
        tell(log.warning, text, record.sid, error)
        return
    if committed is not None:
        work.note_save(committed)
        work.continue_from(committed.record, deleted)


def merge_carried(work: SessionWork, changes: Changes) -> None:
    """Merge the visitor data in the tombstones of the request's old tickets into the data of the user in ``changes``.

    Raises StoreError.
    """
    packed = changes.get(USER_KEY)
    if packed is None or work.absence not in (Absence.SUPERSEDED, Absence.CARRIES):
        return
    repository = work.repository
    user_id = codec.unpack(packed)
    owner = repository.tickets.owner_name(str(user_id))
    for ticket in work.request_tickets():
        carried = repository.carried_by(ticket)
        if carried is not None and carried.owner == owner:
            _merge(work, owner, user_id, carried.data)


def _visitor_keys(values: Values) -> list[Any]:
    return [key for key in values if key == VISITOR_ID_KEY or is_visitor_key(key)]


def _merge_stored(work: SessionWork, record: Record) -> bool:
    """Merge the visitor data of a stored session into the data of the session's user.

    Return True if the visitor data may be deleted from the session now. Raises StoreError.
    """
    owner, data = Ownership.parse(record.header.owner), visitor_data_in(record.values)
    if owner is None or data is None or not data.values:
        return True
    user_id = user_id_in(record.values)
    if user_id is None or work.repository.tickets.owner_name(str(user_id)) != owner.name:
        # The header and the values name different users: the entry is damaged or forged. No user may get the data.
        return False
    return _merge(work, owner.name, user_id, data)


def _merge(work: SessionWork, owner: str, user_id: Any, data: VisitorData) -> bool:
    """Merge visitor data into a user's data and return True. Return False and log an error if that is impossible."""
    try:
        merged = work.repository.user_data.merge(owner, data)
    except StoreError:
        raise
    except Exception as error:
        # The data may be too large, or the application's merge strategy raised an error. The login must not fail.
        text = str(error) if isinstance(error, CloakroomError) else type(error).__name__
        tell(log.error, "visitor data cannot be merged into user_session, so it stays in the session: %s", text)
        return False
    if merged is not None:
        work.note_merge(merged)
        for conflict in merged.conflicts:
            work.send(signals.user_session_conflict, user_id=str(user_id), **conflict.signal_arguments())
        if merged.changed and signals.user_session_merged.receivers:
            work.send(signals.user_session_merged, user_id=str(user_id), changes=unpack_changes(merged.changed))
    return True


def unpack_changes(changed: ChangedValues) -> tuple[MergedValue, ...]:
    """Return the changes of a merge with unpacked values. A value that cannot be decoded is MISSING."""
    return tuple(MergedValue(key, _unpack(before), _unpack(after)) for key, (before, after) in changed.items())


def _unpack(packed: bytes | None) -> Any:
    try:
        return MISSING if packed is None else codec.unpack(packed)
    except codec.CodecError:
        return MISSING
