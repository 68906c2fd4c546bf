"""The contract of a store, on one screen. A store imports neither Flask nor another store.

Keys and data are bytes with any content, mostly of a subclass whose ``repr()`` hides them. ``ttl`` is a whole number of
seconds, at least 1. Every call is atomic, safe between threads and processes, and works in a forked child of the
process that opened the store. The only error that leaves a store is :class:`~flask_cloakroom.errors.StoreError`. Its
text never contains a key or data.

``flask_cloakroom.testing.StoreContract`` tests all of this.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import NamedTuple, Protocol, Self, runtime_checkable

from ..secret import SecretBytes

#: Versions are random and not counted: after a key was deleted and created again, an old version must not match.
#: With 8 bytes, two of the few versions that one key has during a request are equal with a probability of 2**-64.
VERSION_BYTES = 8


class _Entry(NamedTuple):
    data: bytes
    version: bytes


class Entry(_Entry):
    """The data that a store has for a key, and its version. ``repr()`` does not show the data."""

    __slots__ = ()

    def __new__(cls, data: bytes, version: bytes) -> Self:
        # Error reporters look into tuples. The data is hidden here, because every store makes entries.
        return tuple.__new__(cls, (SecretBytes(data), version))


class Saved(NamedTuple):
    """The answer of ``replace`` after it wrote, with the new ``version``."""

    version: bytes


class Conflict(NamedTuple):
    """The answer of ``replace`` if it wrote nothing, because the stored ``entry`` has another version."""

    entry: Entry


class Gone(NamedTuple):
    """The answer of ``replace`` if it wrote nothing, because the entry was deleted or has expired."""


class Store(Protocol):
    """The five operations that every store has, and ``close``."""

    def load(self, key: bytes) -> Entry | None:
        """Return the entry of ``key``; None if there is none or if it has expired."""

    def create(self, key: bytes, data: bytes, ttl: int) -> bytes | None:
        """Store a new entry and return its version; None if there is a live entry. Never overwrite a live entry."""

    def replace(self, key: bytes, data: bytes, ttl: int, expected: bytes) -> Saved | Conflict | Gone:
        """Write if the stored version is ``expected``, and return what was done. Never create an entry."""

    def touch(self, key: bytes, ttl: int) -> bool:
        """Let the entry expire ``ttl`` seconds from now, with the same data and version; False if there is none."""

    def delete(self, key: bytes) -> bool:
        """Delete the entry in any version. Return whether there was a live one."""

    def close(self) -> None:
        """Close everything that the store opened itself. Do not close a client that the application made."""


@runtime_checkable
class Purges(Protocol):
    """A store that does not delete expired entries by itself."""

    def purge(self, limit: int) -> int:
        """Delete at most ``limit`` expired entries, in one short transaction, and return their number."""


@runtime_checkable
class Walks(Protocol):
    """A store that can list its entries: for commands of an operator, not for requests."""

    def walk(self) -> Iterator[tuple[bytes, Entry]]:
        """Yield each live key and its entry. Entries that are created or deleted meanwhile may or may not appear."""


class _Claim(NamedTuple):
    key: bytes
    left: float


class Claim(_Claim):
    """A key that may belong to an owner, and the seconds (``left``) after which the claim expires.

    ``repr()`` does not show the key.
    """

    __slots__ = ()

    def __new__(cls, key: bytes, left: float) -> Self:
        return tuple.__new__(cls, (SecretBytes(key), left))


@runtime_checkable
class Owners(Protocol):
    """A store with an owner index: claims, each of which says that a key may belong to an owner.

    The index knows nothing of the entries. It may have too many claims and must never lack one. So a caller claims a
    key before it creates the entry, and releases the key after it deleted the entry. ``owner`` is bytes with any
    content.
    """

    def claim(self, owner: bytes, key: bytes, ttl: int, limit: int | None = None) -> bool:
        """Store a claim for ``ttl`` seconds from now, and return True. Never shorten an existing claim.

        If ``owner`` has claims for ``limit`` (at least 1) other keys, change nothing and return False. Counting and
        storing are one atomic step: of any number of parallel calls, ``limit`` succeed.
        """

    def release(self, owner: bytes, key: bytes) -> bool:
        """Delete the claim. Return whether there was a live one."""

    def owned(self, owner: bytes) -> list[Claim]:
        """Return the claims that have not expired, in the order in which they will.

        Claims with the same ``ttl`` are in the order in which they were made.
        """


# A generator of its own: an application may call random.seed() in each worker or test. With the shared generator, the
# versions of two writers would then be equal. Versions are no secret.
_versions = random.Random()  # noqa: S311
os.register_at_fork(after_in_child=_versions.seed)


def new_version() -> bytes:
    """Return a version that no process has used before."""
    return _versions.randbytes(VERSION_BYTES)


def check_ttl(ttl: int) -> int:
    """Return ``ttl``. Raises ValueError unless it is a whole number of seconds, at least 1."""
    if type(ttl) is not int or ttl < 1:
        raise ValueError(f"ttl must be whole seconds and at least 1, not {ttl!r}. Round it up.")
    return ttl
