"""The contract of a store, on one screen. A store imports neither Flask nor another store.

A ``key`` is a store key: the place of one entry. Keys and data are bytes with any content. Most of them are of a
subclass of bytes whose ``repr()`` hides the content. ``ttl`` (time to live) is a whole number of seconds, at least 1,
after which an entry or claim expires. An entry is live until it expires or is deleted. Every call is atomic, safe
between threads and processes, and works in a forked child of the process that opened the store. A store raises only
:class:`~flask_cloakroom.errors.StoreError`. The text of this error never contains a key or data.

``flask_cloakroom.testing.StoreContract`` tests this contract.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import NamedTuple, Protocol, Self, runtime_checkable

from ..secret import SecretBytes

#: Length of a version in bytes. Versions are random numbers and not a count: if an entry is deleted and created again,
#: no version of the old entry may match. Two versions of 8 bytes are equal with a probability of 2**-64.
VERSION_BYTES = 8


class _Entry(NamedTuple):
    data: bytes
    version: bytes


class Entry(_Entry):
    """The data that is stored under a key, and the version of this data. ``repr()`` does not show the data."""

    __slots__ = ()

    def __new__(cls, data: bytes, version: bytes) -> Self:
        # An error reporter shows the members of a tuple, so the data is wrapped. Here, so that no store can omit it.
        return tuple.__new__(cls, (SecretBytes(data), version))


class Saved(NamedTuple):
    """The result of :meth:`Store.replace` if it wrote: the new ``version`` of the entry."""

    version: bytes


class Conflict(NamedTuple):
    """The result of :meth:`Store.replace` if it wrote nothing, because the stored ``entry`` has another version."""

    entry: Entry


class Gone(NamedTuple):
    """The result of :meth:`Store.replace` if it wrote nothing, because the entry was deleted or has expired."""


class Store(Protocol):
    """The five operations that every store has, and ``close``."""

    def load(self, key: bytes) -> Entry | None:
        """Return the live entry under ``key``. Return None if the store has no live entry there."""

    def create(self, key: bytes, data: bytes, ttl: int) -> bytes | None:
        """Store a new entry and return its version. Return None, and write nothing, if ``key`` has a live entry."""

    def replace(self, key: bytes, data: bytes, ttl: int, expected: bytes) -> Saved | Conflict | Gone:
        """Overwrite the live entry if its version is ``expected``. The result says what happened. Create no entry."""

    def touch(self, key: bytes, ttl: int) -> bool:
        """Let the entry expire ``ttl`` seconds from now, unchanged. Return False if ``key`` has no live entry."""

    def delete(self, key: bytes) -> bool:
        """Delete the entry, whatever its version is. Return False if ``key`` had no live entry."""

    def close(self) -> None:
        """Close all files and connections that the store opened. Do not close a client that the application made."""


@runtime_checkable
class Purges(Protocol):
    """A store in which expired entries take space until :meth:`purge` deletes them."""

    def purge(self, limit: int) -> int:
        """Delete at most ``limit`` expired entries, in one short transaction, and return their number."""


@runtime_checkable
class Walks(Protocol):
    """A store that can list its entries. Commands of an operator list the entries; requests never do."""

    def walk(self) -> Iterator[tuple[bytes, Entry]]:
        """Yield each live entry with its key. An entry that is created or deleted during the walk may be missing."""


class _Claim(NamedTuple):
    key: bytes
    left: float


class Claim(_Claim):
    """A key whose entry may belong to an owner. The claim expires in ``left`` seconds.

    ``repr()`` does not show the key.
    """

    __slots__ = ()

    def __new__(cls, key: bytes, left: float) -> Self:
        return tuple.__new__(cls, (SecretBytes(key), left))


@runtime_checkable
class Owners(Protocol):
    """A store with an owner index. The index consists of claims. A claim says that a key may belong to an owner.

    The store does not compare claims with entries. A claim without an entry does no harm, but an entry without a claim
    could not be listed and ended. So a caller claims a key before it creates the entry, and releases the key after it
    has deleted the entry. ``owner`` is bytes with any content.
    """

    def claim(self, owner: bytes, key: bytes, ttl: int, limit: int | None = None) -> bool:
        """Store a claim that expires ``ttl`` seconds from now, and return True. Never shorten an existing claim.

        If ``owner`` already has live claims for ``limit`` (at least 1) other keys, change nothing and return False. The
        store counts and writes in one atomic step, so parallel calls cannot exceed ``limit``.
        """

    def release(self, owner: bytes, key: bytes) -> bool:
        """Delete the claim of ``owner`` for ``key``. Return False if there was no live claim."""

    def owned(self, owner: bytes) -> list[Claim]:
        """Return the live claims of ``owner``, sorted by their expiry. The claim that expires first comes first.

        Claims that were made with the same ``ttl`` are in the order in which they were made.
        """


# A random generator for versions only. An application may call random.seed() in each worker or test. If versions came
# from the shared generator of the module random, two workers would then make equal versions. Versions are no secret.
_versions = random.Random()  # noqa: S311
os.register_at_fork(after_in_child=_versions.seed)


def new_version() -> bytes:
    """Return a new version for an entry: random bytes, which no process has used before."""
    return _versions.randbytes(VERSION_BYTES)


def check_ttl(ttl: int) -> int:
    """Return ``ttl``. Raises ValueError unless it is a whole number of seconds, at least 1."""
    if type(ttl) is not int or ttl < 1:
        raise ValueError(f"ttl must be a whole number of seconds, at least 1, and not {ttl!r}. Round the number up.")
    return ttl
