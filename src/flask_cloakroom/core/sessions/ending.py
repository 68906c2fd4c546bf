"""How a session ends for good, by its key alone: without its ticket, and wherever it moves meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from ...errors import StoreError
from ...stores.base import Conflict, Entry, Saved, Walks
from ..entries import envelope
from ..entries.envelope import EnvelopeError, Header
from ..entries.namespace import PATIENCE, Namespace
from ..entries.tombstone import Tombstone
from .owner_index import OwnerIndex

#: So many moves are followed from one mark to the next. More do not happen while somebody follows them.
LONGEST_CHAIN: Final = 100


def bury(namespace: Namespace, key: bytes) -> bool:
    """Put a mark where nothing is, so that who is about to create a session there can't. False: something is there.

    The mark stands for ``tombstone.MARK_SECONDS``; whoever creates for longer than that takes it back.
    """
    mark, ttl = Tombstone.ended(namespace.now()).packed(key)
    return namespace.store.create(key, mark, ttl) is not None


def end(namespace: Namespace, key: bytes, *, spare: Callable[[Header], bool] | None = None) -> bool:
    """End the session under ``key``, or where it has moved to, or prevent that it is created. False: there was none.

    A mark stays in its place. ``spare`` is asked before, with the header, and may save it. Raises StoreError.
    """
    entry = namespace.store.load(key)
    while entry is None:
        if bury(namespace, key):
            return False
        entry = namespace.store.load(key)
    return end_entry(namespace, key, entry, spare)


def end_entry(namespace: Namespace, key: bytes, found: Entry, spare: Callable[[Header], bool] | None = None) -> bool:
    """Do the same from what was found under ``key``."""
    deadline = time.monotonic() + PATIENCE
    entry: Entry | None = found
    header: Header | None = None
    while entry is not None and time.monotonic() < deadline:
        key, entry, header = destination(namespace, key, entry)
        if entry is None or (header is not None and header.superseded):
            return False
        if header is not None and spare is not None and spare(header):
            return False
        mark, ttl = Tombstone.ended(namespace.now()).packed(key)
        result = namespace.store.replace(key, mark, ttl, entry.version)
        if type(result) is not Conflict:
            _release(namespace, header, key)
            return type(result) is Saved
        entry = result.entry
    if entry is None:
        return False
    # Somebody else's commits were faster for all that time; a deletion asks for no version.
    deleted = namespace.store.delete(key)
    _release(namespace, header, key)
    return deleted


class Destination(NamedTuple):
    """The place of a session by now: the key, the entry and its header. None where there is none or it is damaged."""

    key: bytes
    entry: Entry | None
    header: Header | None


def destination(namespace: Namespace, key: bytes, found: Entry) -> Destination:
    """Return the place to which the session has moved from ``key``, where ``found`` is stored.

    The header is that of a tombstone if the session has ended. Tombstones that lead in a circle lead to no session.
    Raises StoreError, also after :data:`LONGEST_CHAIN` moves: the session may still be alive, so nobody must be told
    that it has ended.
    """
    passed = {key}
    entry: Entry | None = found
    while entry is not None:
        try:
            header, payload, _ = envelope.open_header(entry.data, key)
        except EnvelopeError:
            return Destination(key, entry, None)
        successor = Tombstone.opened(header, payload).successor if header.superseded else b""
        if not successor:
            return Destination(key, entry, header)
        if successor in passed:
            return Destination(successor, None, None)
        if len(passed) > LONGEST_CHAIN:
            raise StoreError(f"a session has moved more than {LONGEST_CHAIN} times. Its marks were forged or damaged")
        passed.add(successor)
        key, entry = successor, namespace.store.load(successor)
    return Destination(key, None, None)


def header_of(key: bytes, entry: Entry) -> Header | None:
    """Return the header of what is stored under ``key``; None if it cannot be read."""
    try:
        return envelope.open_header(entry.data, key)[0]
    except EnvelopeError:
        return None


def walked(store: Walks) -> Iterator[tuple[bytes, Entry, Header | None]]:
    """Yield every live entry with its key and its header; None for the header if it cannot be read.

    An entry under the key of another counts as unreadable: nobody can use it, and it must not stop an operator who
    ends all sessions. Raises StoreError.
    """
    for key, entry in store.walk():
        try:
            header = header_of(key, entry)
        except StoreError:
            header = None
        yield key, entry, header


def _release(namespace: Namespace, header: Header | None, key: bytes) -> None:
    if header is not None and header.owner:
        OwnerIndex(namespace).release(header, key)
