"""What a visitor had becomes their user's: exactly once, whoever crashes, and however often a login is tried.

First the session becomes the user's, by its login's commit. Only then is what it holds merged into the user's entry,
which notes its id in the same write; and then it is dropped from the session. Whatever comes between leaves a session
that still holds it, and its next request, whatever that does, goes on from there.

If nobody got the answer to that login, nobody has the ticket of that session. For that the mark in the place of the
visitor's session keeps what they had, for the next login of the same user with the ticket of before.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import signals
from ..core.entries.record import Absence, Record
from ..core.sessions.owners import Ownership, user_id_in
from ..core.user_data.repository import Merged
from ..core.user_data.visitor import Brought, brought_in, is_visitors
from ..core.values import codec
from ..core.values.merge import MISSING
from ..core.values.own_keys import USER_KEY, VISITOR_ID
from ..core.values.rebase import Changes
from ..errors import CloakroomError, StoreError

if TYPE_CHECKING:
    from .session import ServerSession

log = logging.getLogger("flask_cloakroom.sessions")


class MergedValue(NamedTuple):
    """What became of one key of ``user_session`` by a merge, or by its undo. What was not there is MISSING."""

    key: str
    before: Any
    after: Any


def is_owed(record: Record | None) -> bool:
    """Tell whether a stored session is a user's and holds what is still to be brought to them."""
    return record is not None and record.header.owner != "" and VISITOR_ID in record.values


def will_merge(session: ServerSession) -> bool:
    """Tell whether this request logged a user in whose login, once it is saved, merges a visitor's data."""
    if not session.has_touched(USER_KEY) or session.get(USER_KEY) is None:
        return False
    return VISITOR_ID in session or session._absence in (Absence.SUPERSEDED, Absence.LEFT)


def settle(session: ServerSession) -> None:
    """Bring to the user what a login before this request did not come to. The request's own commit drops it.

    Raises StoreError.
    """
    record = session._record
    if record is None or not is_owed(record):
        return
    if _bring(session, record) or USER_KEY in session._changes():
        data = session._opened()
        for key in _keys_of(record):
            if key in data:
                del session[key]


def conclude(session: ServerSession) -> None:
    """Bring to the user what the session held, whose login has just been committed, and drop it.

    A store that fails now is no reason to fail the login: the next request goes on from here.
    """
    record = session._record
    if record is None or not is_owed(record):
        return
    try:
        if not _bring(session, record):
            return
        dropped = session._interface.repository.commit(record, dict.fromkeys(_keys_of(record)))
    except StoreError as error:
        log.warning("session %s: what its visitor had is not yet the user's: %s", record.sid, error)
        return
    if dropped is not None:
        if dropped.record.ticket != record.ticket:
            session._cookie = dropped.record.ticket
        session._record = dropped.record
        session._rebase(dropped.record.values)


def claim_left(session: ServerSession, changes: Changes) -> None:
    """Bring to the user who logs in what they had in a session whose login they got no answer to. Raises StoreError."""
    packed = changes.get(USER_KEY)
    if packed is None or session._absence not in (Absence.SUPERSEDED, Absence.LEFT):
        return
    repository = session._interface.repository
    user_id = codec.unpack(packed)
    name = repository.tickets.owner_name(str(user_id))
    for ticket in session._brought_tickets():
        left = repository.left_by(ticket)
        if left is not None and left.name == name:
            _merge(session, name, user_id, left.brought)


def _keys_of(record: Record) -> list[Any]:
    return [key for key in record.values if key == VISITOR_ID or is_visitors(key)]


def _bring(session: ServerSession, record: Record) -> bool:
    """Merge what the stored session holds. True if it is the user's by now, or was already."""
    owner, brought = Ownership.parse(record.header.owner), brought_in(record.values)
    if owner is None or brought is None or not brought.values:
        return True
    user_id = user_id_in(record.values)
    if user_id is None or session._interface.repository.tickets.owner_name(str(user_id)) != owner.name:
        # Header and contents name different users, as only a damaged or forged record does. So nobody gets the data.
        return False
    return _merge(session, owner.name, user_id, brought)


def _merge(session: ServerSession, name: str, user_id: Any, brought: Brought) -> bool:
    """Merge into a user's entry. False if it cannot be done, which is told to the log; then it stays where it is."""
    try:
        merged = session._interface.repository.user_data.merge(name, brought)
    except StoreError:
        raise
    except Exception as error:
        # Too large, or a strategy of the application's that failed: no reason to keep the user out for ever.
        log.error("what a visitor had could not be merged into user_session and stays in the session: %s", _said(error))
        return False
    if merged is not None:
        _tell(session, str(user_id), merged)
    return True


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, CloakroomError) else type(error).__name__


def _tell(session: ServerSession, user_id: str, merged: Merged) -> None:
    for key, clash in merged.contested:
        session._send(signals.user_session_conflict, user_id=user_id, key=key, **clash.told())
    if merged.changed and signals.user_session_merged.receivers:
        session._send(signals.user_session_merged, user_id=user_id, changes=values_of(merged.changed))


def values_of(changed: dict[Any, tuple[bytes | None, bytes | None]]) -> tuple[MergedValue, ...]:
    """Return what changed, as values. What cannot be decoded counts as missing."""
    return tuple(MergedValue(key, _value(before), _value(after)) for key, (before, after) in changed.items())


def _value(packed: bytes | None) -> Any:
    try:
        return MISSING if packed is None else codec.unpack(packed)
    except codec.CodecError:
        return MISSING
