"""End a session by its key, without its ticket, even if the session moves to another key meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from ...errors import StoreError
from ...stores.base import Conflict, Entry, Saved, Walks
from ..entries import envelope
from ..entries.envelope import EntryKind, EnvelopeError, Header
from ..entries.namespace import COMMIT_PATIENCE, Namespace
from ..entries.tombstone import Tombstone
from .owner_index import OwnerIndex

#: The most moves of a session that are followed from tombstone to tombstone. No session moves so often meanwhile.
LONGEST_CHAIN: Final = 100


def block_creation(namespace: Namespace, key: bytes) -> bool:
    """Store a tombstone under an unused key, so that no request can create a session there. False: the key is used.

    The tombstone stays for ``tombstone.TOMBSTONE_SECONDS``. A request that takes longer to create its session must
    delete that session again.
    """
    tombstone, ttl = Tombstone.ended(namespace.now()).pack(key)
    return namespace.store.create(key, tombstone, ttl) is not None


def end(namespace: Namespace, key: bytes, *, except_for: Callable[[Header], bool] | None = None) -> bool:
    """End the session under ``key``, or at the key to which it moved, and leave a tombstone. False: there was none.

    If there is no entry yet, no request can create a session under ``key`` afterwards. ``except_for``: called with the
    session's header; if the function returns True, the session stays. Raises StoreError.
    """
    entry = namespace.store.load(key)
    while entry is None:
        if block_creation(namespace, key):
            return False
        entry = namespace.store.load(key)
    return end_entry(namespace, key, entry, except_for)


def end_entry(
    namespace: Namespace, key: bytes, found: Entry, except_for: Callable[[Header], bool] | None = None
) -> bool:
    """End a session as :func:`end` does. ``found``: the entry that the caller read under ``key``."""
    deadline = time.monotonic() + COMMIT_PATIENCE
    entry: Entry | None = found
    header: Header | None = None
    while entry is not None and time.monotonic() < deadline:
        key, entry, header = destination(namespace, key, entry)
        if entry is None or (
            header is not None
            and (header.kind is EntryKind.TOMBSTONE or (except_for is not None and except_for(header)))
        ):
            return False
        tombstone, ttl = Tombstone.ended(namespace.now()).pack(key)
        result = namespace.store.replace(key, tombstone, ttl, entry.version)
        if type(result) is not Conflict:
            _release(namespace, header, key)
            return type(result) is Saved
        entry = result.entry
    if entry is None:
        return False
    # Other requests' commits came first each time. A deletion needs no version, so it cannot lose.
    deleted = namespace.store.delete(key)
    _release(namespace, header, key)
    return deleted


class Destination(NamedTuple):
    """The place to which a session has moved."""

    key: bytes
    #: None if there is no entry.
    entry: Entry | None
    #: None if there is no entry, or if it cannot be read.
    header: Header | None


def destination(namespace: Namespace, key: bytes, found: Entry) -> Destination:
    """Return the place to which a session has moved. ``found``: the entry that the caller read under ``key``.

    The header is a tombstone's if the session has ended. Tombstones in a circle lead to no session. Raises StoreError,
    also after :data:`LONGEST_CHAIN` moves: then the session may still live, so the caller must not report its end.
    """
    passed = {key}
    entry: Entry | None = found
    while entry is not None:
        try:
            header, payload, _ = envelope.open_header(entry.data, key)
        except EnvelopeError:
            return Destination(key, entry, None)
        is_tombstone = header.kind is EntryKind.TOMBSTONE
        successor = Tombstone.from_payload(header, payload).successor if is_tombstone else b""
        if not successor:
            return Destination(key, entry, header)
        if successor in passed:
            return Destination(successor, None, None)
        if len(passed) > LONGEST_CHAIN:
            raise StoreError(
                f"a session has moved more than {LONGEST_CHAIN} times, so its tombstones are forged or damaged. "
                "Check who else can write to the store"
            )
        passed.add(successor)
        key, entry = successor, namespace.store.load(successor)
    return Destination(key, None, None)


def header_of(key: bytes, entry: Entry) -> Header | None:
    """Return the header of the entry under ``key``; None if it cannot be read.

    Raises StoreError for the entry of another key.
    """
    try:
        return envelope.open_header(entry.data, key)[0]
    except EnvelopeError:
        return None


def walk_entries(store: Walks) -> Iterator[tuple[bytes, Entry, Header | None]]:
    """Yield each live entry with its key and its header; None for a header that cannot be read. Raises StoreError.

    The entry of another key counts as unreadable. Otherwise a single one would stop an operator who ends all sessions.
    """
    for key, entry in store.walk():
        try:
            header = header_of(key, entry)
        except StoreError:
            header = None
        yield key, entry, header


def _release(namespace: Namespace, header: Header | None, key: bytes) -> None:
    if header is not None:
        OwnerIndex(namespace).release(header, key)
