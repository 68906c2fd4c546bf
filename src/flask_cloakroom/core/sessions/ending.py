"""End a session by its store key, without its ticket, even if the session moves to another store key meanwhile."""

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

#: The largest number of moves of a session that :func:`destination` follows from tombstone to tombstone. No session
#: moves so often while its tombstones exist.
LONGEST_CHAIN: Final = 100


def block_creation(namespace: Namespace, key: bytes) -> bool:
    """Store a tombstone under an unused store key, so that no request can create a session under this key.

    Return False, and store nothing, if the key has an entry. The tombstone expires after
    ``tombstone.TOMBSTONE_SECONDS``. A request that takes longer to create its session must delete the session again.
    """
    tombstone, ttl = Tombstone.ended(namespace.now()).pack(key)
    return namespace.create_entry(key, tombstone, ttl) is not None


def end(namespace: Namespace, key: bytes, *, except_for: Callable[[Header], bool] | None = None) -> bool:
    """End the session under the store key ``key``, or its successor if the session has moved. Store a tombstone.

    Return False if there was no such session. If the key has no entry, call :func:`block_creation`, so that a slow
    request cannot create the session later. ``except_for``: a function that is called with the session's header. If it
    returns True, the session does not end, and the result is False. Raises StoreError.
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
    """End the session of an entry. ``found``: the entry that the caller read under ``key``.

    For the result, ``except_for`` and errors see :func:`end`.
    """
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
        result = namespace.replace_entry(key, tombstone, ttl, entry.version)
        if type(result) is not Conflict:
            _release(namespace, header, key)
            return type(result) is Saved
        entry = result.entry
    if entry is None:
        return False
    # Other requests wrote before each try of this loop. A deletion needs no version, so it succeeds in any case.
    deleted = namespace.store.delete(key)
    _release(namespace, header, key)
    return deleted


class Destination(NamedTuple):
    """The store key to which a session has moved, with the entry under this key."""

    key: bytes
    #: The entry under ``key``, or None if the store has no such entry.
    entry: Entry | None
    #: The header of ``entry``, or None if the entry is missing or cannot be read.
    header: Header | None


def destination(namespace: Namespace, key: bytes, found: Entry) -> Destination:
    """Return the destination to which a session has moved. ``found``: the entry that the caller read under ``key``.

    If the session has ended, the result has the header of a tombstone, or no entry. If tombstones lead in a circle, the
    result has no entry. Raises StoreError, also after :data:`LONGEST_CHAIN` moves. Then the session may still exist, so
    the caller must not report its end.
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
                f"A session has moved more than {LONGEST_CHAIN} times, so its tombstones are forged or damaged. "
                "Check who else can write to the store."
            )
        passed.add(successor)
        key, entry = successor, namespace.store.load(successor)
    return Destination(key, None, None)


def header_of(key: bytes, entry: Entry) -> Header | None:
    """Return the header of the entry under ``key``. Return None if the entry cannot be read.

    Raises StoreError if the entry contains another store key than ``key``.
    """
    try:
        return envelope.open_header(entry.data, key)[0]
    except EnvelopeError:
        return None


def walk_entries(store: Walks) -> Iterator[tuple[bytes, Entry, Header | None]]:
    """Yield each live entry with its store key and its header. The header is None if it cannot be read.

    The header is None also if the entry contains another store key. If this raised an error, one such entry would break
    off the command of an operator who ends all sessions. Raises StoreError if the store fails.
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
