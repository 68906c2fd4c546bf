"""How a session ends for good, by its key alone: without its ticket, and wherever it moves meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..secret import SecretBytes
from ..stores.base import Conflict, Entry, Saved
from . import envelope
from .envelope import EnvelopeError, Header
from .merger import PATIENCE
from .ticket import KEY_BYTES

if TYPE_CHECKING:
    from .repository import Repository

#: So many moves are followed from one mark to the next. More do not happen while somebody follows them; marks that lead
#: in a circle are forged.
LONGEST_CHAIN: Final = 100


def bury(repository: Repository, key: bytes) -> bool:
    """Put a mark where nothing is, so that who is about to create a session there can't. False: something is there.

    The mark stands for ``repository.MARK_SECONDS``; whoever creates for longer than that takes it back.
    """
    mark, ttl = repository.mark()
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
    mark, ttl = repository.mark()
    deadline = time.monotonic() + PATIENCE
    entry: Entry | None = found
    header: Header | None = None
    while entry is not None and time.monotonic() < deadline:
        successor = successor_of(entry)
        if successor is not None:
            # A chain has as many links as renewals fit into the time; only a forged one would have no end.
            key, entry = successor, repository.store.load(successor) if successor else None
            continue
        header = header_of(entry)
        if header is not None and spare is not None and spare(header):
            return False
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

    Raises StoreError.
    """
    entry: Entry | None = found
    for _ in range(LONGEST_CHAIN):
        if entry is None or not (successor := successor_of(entry)):
            break
        key, entry = successor, repository.store.load(successor)
    return key, entry


def successor_of(entry: Entry) -> bytes | None:
    """Return the key of the session that a mark points to, b"" if to none; None if this is no mark."""
    try:
        header, payload, _ = envelope.open_header(entry.data)
    except EnvelopeError:
        return None  # it can't be read, but it can be ended
    return SecretBytes(payload[:KEY_BYTES]) if header.superseded else None


def header_of(entry: Entry) -> Header | None:
    """Return the header of what is stored; None if it cannot be read."""
    try:
        return envelope.open_header(entry.data)[0]
    except EnvelopeError:
        return None


def _release(repository: Repository, header: Header | None, key: bytes) -> None:
    if header is not None and header.owner:
        repository.owners.release(header, key)
