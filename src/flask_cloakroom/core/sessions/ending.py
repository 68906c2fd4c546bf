"""How a session ends for good, by its key alone: without its ticket, and wherever it moves meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from ...errors import StoreError
from ...secret import SecretBytes
from ...stores.base import Conflict, Entry, Saved, Walks
from ..entries import envelope
from ..entries.envelope import EnvelopeError, Header
from ..entries.tickets import KEY_BYTES
from .commit import PATIENCE

if TYPE_CHECKING:
    from .repository import Repository

#: So many moves are followed from one mark to the next. More do not happen while somebody follows them.
LONGEST_CHAIN: Final = 100


def bury(repository: Repository, key: bytes) -> bool:
    """Put a mark where nothing is, so that who is about to create a session there can't. False: something is there.

    The mark stands for ``repository.MARK_SECONDS``; whoever creates for longer than that takes it back.
    """
    mark, ttl = repository.mark(key)
    return repository.store.create(key, mark, ttl) is not None


def end(repository: Repository, key: bytes, *, spare: Callable[[Header], bool] | None = None) -> bool:
    """End the session under ``key``, or where it has moved to, or prevent that it is created. False: there was none.

    A mark stays in its place. ``spare`` is asked before, with the header, and may save it. Raises StoreError.
    """
    entry = repository.store.load(key)
    while entry is None:
        if bury(repository, key):
            return False
        entry = repository.store.load(key)
    return end_entry(repository, key, entry, spare)


def end_entry(repository: Repository, key: bytes, found: Entry, spare: Callable[[Header], bool] | None = None) -> bool:
    """Do the same from what was found under ``key``."""
    deadline = time.monotonic() + PATIENCE
    entry: Entry | None = found
    header: Header | None = None
    while entry is not None and time.monotonic() < deadline:
        key, entry = destination(repository, key, entry)
        if entry is None or successor_in(key, entry) is not None:
            return False
        header = header_of(key, entry)
        if header is not None and spare is not None and spare(header):
            return False
        mark, ttl = repository.mark(key)
        result = repository.store.replace(key, mark, ttl, entry.version)
        if type(result) is not Conflict:
            _release(repository, header, key)
            return type(result) is Saved
        entry = result.entry
    if entry is None:
        return False
    # Somebody else's commits were faster for all that time; a deletion asks for no version.
    deleted = repository.store.delete(key)
    _release(repository, header, key)
    return deleted


def destination(repository: Repository, key: bytes, found: Entry) -> tuple[bytes, Entry | None]:
    """Return what is where the session has moved to from what was found under ``key``: that itself if it has not.

    Marks that lead in a circle lead to no session. Raises StoreError, also after :data:`LONGEST_CHAIN` moves: then the
    session may still be alive, so nobody must be told that it has ended.
    """
    entry: Entry | None = found
    passed = {key}
    while entry is not None and (successor := successor_in(key, entry)):
        if successor in passed:
            return successor, None
        if len(passed) > LONGEST_CHAIN:
            raise StoreError(f"a session has moved more than {LONGEST_CHAIN} times. Its marks were forged or damaged")
        passed.add(successor)
        key, entry = successor, repository.store.load(successor)
    return key, entry


def successor_in(key: bytes, entry: Entry) -> bytes | None:
    """Return the key of the session that the mark under ``key`` points to, b"" if to none; None if this is no mark."""
    try:
        header, payload, _ = envelope.open_header(entry.data, key)
    except EnvelopeError:
        return None  # it can't be read, but it can be ended
    return successor_key(payload) if header.superseded else None


def successor_key(payload: bytes) -> bytes:
    """Return the key that a mark's payload begins with; b"" if the payload is shorter than a key."""
    return SecretBytes(payload[:KEY_BYTES] if len(payload) >= KEY_BYTES else b"")


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


def _release(repository: Repository, header: Header | None, key: bytes) -> None:
    if header is not None and header.owner:
        repository.owners.release(header, key)
