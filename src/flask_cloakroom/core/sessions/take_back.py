"""Take back a saved write of a session, because a later write of the same request has failed."""

from __future__ import annotations

import logging
from typing import Final

from ...errors import SessionTooLargeError, StoreError
from ...first_use import tell
from ...stores.base import Conflict, Entry, Saved
from ..entries.namespace import Namespace
from ..entries.ownership import Ownership
from ..entries.record import Committed, Record
from ..entries.tombstone import Tombstone
from ..values.merge import Strategies
from ..values.undo import undo_changes
from .commit import Edit
from .ending import end
from .owner_index import OwnerIndex

log = logging.getLogger("flask_cloakroom.sessions")

#: The log line if a write stays, with the public id of the session and the reason.
NOT_TAKEN_BACK: Final = "session %s: the changes of a request that failed stay in the session, because %s"


def take_back(namespace: Namespace, strategies: Strategies, committed: Committed) -> bool:
    """Take back a write. For arguments and result, see :meth:`.Repository.take_back`. Raises StoreError."""
    old, new = committed.before, committed.record
    if old is None:
        return delete_unused(namespace, new)
    try:
        if old.key == new.key:
            _undo_changes(namespace, strategies, old, new)
            return True
        return _move_back(namespace, strategies, old, new)
    except SessionTooLargeError as error:
        tell(log.warning, NOT_TAKEN_BACK, new.sid, error)
        return False


def delete_unused(namespace: Namespace, new: Record) -> bool:
    """Delete a new session. For arguments and result, see :meth:`.Repository.delete_unused`."""
    try:
        namespace.store.delete(new.key)
    except StoreError as error:
        tell(log.warning, "the unused session %s was not deleted and will expire: %s", new.sid, error)
        return False
    OwnerIndex(namespace).release(new.header, new.key)
    return True


def _undo_changes(namespace: Namespace, strategies: Strategies, old: Record, new: Record) -> None:
    """Undo the changes from ``old`` to ``new`` in the stored session. Do nothing if the session has ended."""
    header = new.header._replace(seen=old.header.seen, permanent=old.header.permanent)
    data = namespace.pack(new.ticket, new.key, header, old.values, old)
    ttl = namespace.lifetimes.remaining(header, namespace.clock())
    result = namespace.replace_entry(new.key, data, ttl, new.version)
    if type(result) is Saved:
        return
    edit = Edit(namespace, strategies, new, lambda now: undo_changes(old.values, new.values, now, strategies))
    if edit.rebase_on(result):
        edit.save()


def _move_back(namespace: Namespace, strategies: Strategies, old: Record, new: Record) -> bool:
    """Move a session back to its old ticket, and end the successor. Return False if that is impossible."""
    entry = namespace.store.load(new.key)
    if entry is None or _has_ended(new.key, entry):
        return True  # the session must not come back
    if entry.version != new.version:
        return _stay_at_successor(namespace, strategies, old, new)
    found = _put_back(namespace, old, new)
    if found is None:
        tell(log.warning, NOT_TAKEN_BACK, new.sid, "its tombstone does not exist any more")
        return False
    # The old session is put back before the successor ends, so that the visitor has a session in case the store fails
    # in between. The successor may have been ended or changed since the load above, so it is replaced by its version.
    # A parallel request may have followed a renewal to the successor. The tombstone leads it back, so that it can save.
    is_same_login = old.header.owner == new.header.owner
    now = namespace.now()
    tombstone = Tombstone.renewed(now, old.key, new.ticket, old.ticket) if is_same_login else Tombstone.ended(now)
    result = namespace.replace_entry(new.key, *tombstone.pack(new.key), new.version)
    if type(result) is Saved:
        OwnerIndex(namespace).release(new.header, new.key)
    elif type(found) is Saved:
        if type(result) is Conflict and not _has_ended(new.key, result.entry):
            namespace.replace_entry(old.key, *Tombstone.rotated(now, new.key).pack(old.key), found.version)
            return _stay_at_successor(namespace, strategies, old, new)
        end(namespace, old.key)
    return True


def _put_back(namespace: Namespace, old: Record, new: Record) -> Saved | Entry | None:
    """Write the old entry over the tombstone that leads to ``new``, also if that tombstone was not written yet.

    If another entry is in the place of the tombstone, return that entry and write nothing. Return None without entry.
    """
    header = old.header._replace(turn_until=0)
    data = namespace.pack(old.ticket, old.key, header, old.values, old)
    ttl = namespace.lifetimes.remaining(header, namespace.clock())
    owner = Ownership.parse(header.owner) if header.owner else None
    if owner is not None:
        OwnerIndex(namespace).claim(owner.name, old.key, ttl)
    entry = namespace.store.load(old.key)
    while entry is not None and (entry.version == old.version or _leads_to(new.key, old.key, entry)):
        result = namespace.replace_entry(old.key, data, ttl, entry.version)
        if type(result) is Saved:
            return result
        entry = result.entry if type(result) is Conflict else None
    return entry


def _stay_at_successor(namespace: Namespace, strategies: Strategies, old: Record, new: Record) -> bool:
    """Undo the changes in the successor, whose ticket another request uses. Return False if that is impossible."""
    if old.header.owner != new.header.owner:
        # The other request uses the login, so the login stays.
        tell(log.warning, NOT_TAKEN_BACK, new.sid, "another request uses its new ticket")
        return False
    _undo_changes(namespace, strategies, old, new)
    return True


def _has_ended(key: bytes, entry: Entry) -> bool:
    tombstone = Tombstone.read(key, entry)
    return tombstone is not None and not tombstone.successor


def _leads_to(successor: bytes, key: bytes, entry: Entry) -> bool:
    tombstone = Tombstone.read(key, entry)
    return tombstone is not None and tombstone.successor == successor
