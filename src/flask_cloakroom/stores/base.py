"""What a store is: the contract on one screen. A store imports neither Flask nor another store.

Keys and data are bytes of any content, mostly of a subclass whose ``repr()`` hides them. ``ttl`` is whole seconds, at
least 1. Every call is atomic and safe between threads and processes, and works in a forked child of the process that
opened the store. Only :class:`~flask_cloakroom.errors.StoreError` leaves a store; its text never holds a key or data.

``flask_cloakroom.testing.StoreContract`` checks all of it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import NamedTuple, Protocol, Self, runtime_checkable

from ..secret import SecretBytes

#: Versions are random and not counted, so that a key that is deleted and created again never passes for
#: what it was. 8 bytes: two of the few versions that one key has within a request meet with odds of 2**-64.
VERSION_BYTES = 8


class _Entry(NamedTuple):
    data: bytes
    version: bytes


class Entry(_Entry):
    """What a store holds under a key, and the version of it. Its ``repr()`` does not show the data."""

    __slots__ = ()

    def __new__(cls, data: bytes, version: bytes) -> Self:
        # Here, because every store makes these, and an error reporter looks into tuples.
        return tuple.__new__(cls, (SecretBytes(data), version))


class Saved(NamedTuple):
    """``replace`` wrote; ``version`` is the new one."""

    version: bytes


class Conflict(NamedTuple):
    """``replace`` wrote nothing, because ``entry`` is there and not what was expected."""

    entry: Entry


class Gone(NamedTuple):
    """``replace`` wrote nothing, because nothing is there: deleted or expired. It never creates."""


class Store(Protocol):
    """The five verbs that every store has."""

    def load(self, key: bytes) -> Entry | None:
        """Return what is stored; None if nothing is, or if it expired."""

    def create(self, key: bytes, data: bytes, ttl: int) -> bytes | None:
        """Store a new entry and return its version; None if the key is live. Never overwrites."""

    def replace(self, key: bytes, data: bytes, ttl: int, expected: bytes) -> Saved | Conflict | Gone:
        """Write if the stored version is ``expected``; say what is there otherwise. Never creates."""

    def touch(self, key: bytes, ttl: int) -> bool:
        """Let the entry live for ``ttl`` from now, data and version unchanged; False if it is gone."""

    def delete(self, key: bytes) -> bool:
        """Delete, whatever the version; return whether a live entry was there. Idempotent."""

    def close(self) -> None:
        """Give back what the store opened itself, and nothing that was handed to it."""


@runtime_checkable
class Purges(Protocol):
    """A store whose expired entries take room until they are purged."""

    def purge(self, limit: int) -> int:
        """Delete at most ``limit`` expired entries, in one short transaction, and return how many."""


@runtime_checkable
class Walks(Protocol):
    """A store that can list what it holds, for operators. Not for requests."""

    def walk(self) -> Iterator[tuple[bytes, Entry]]:
        """Yield live entries. What is added or deleted meanwhile may or may not appear."""


class _Claim(NamedTuple):
    key: bytes
    left: float


class Claim(_Claim):
    """A key that may belong to an owner, and for how many seconds more that stays noted.

    Its ``repr()`` does not show the key.
    """

    __slots__ = ()

    def __new__(cls, key: bytes, left: float) -> Self:
        return tuple.__new__(cls, (SecretBytes(key), left))


@runtime_checkable
class Owners(Protocol):
    """A store that notes which keys may belong to an owner: an index beside the entries, of which it knows nothing.

    It may hold too much and must never hold too little, so whoever uses it claims before an entry is created and
    releases after it was deleted. ``owner`` is bytes of any content.
    """

    def claim(self, owner: bytes, key: bytes, ttl: int, limit: int | None = None) -> bool:
        """Note ``key`` for ``ttl`` seconds from now, or for longer if that is noted already.

        False, and nothing is changed, if ``limit`` (at least 1) other keys are noted. To count and to note is one
        atomic step: of any number of claims at once, ``limit`` succeed.
        """

    def release(self, owner: bytes, key: bytes) -> bool:
        """Forget ``key``; return whether it was noted. Idempotent."""

    def owned(self, owner: bytes) -> list[Claim]:
        """Return what is noted and has not expired: what was claimed for the shortest time to come is first.

        Claims of one ``ttl`` are in the order in which they were made.
        """


# A generator of our own, so that an application which calls random.seed() in each worker, or before each test, does not
# make the versions of two writers meet. They are no secret.
_versions = random.Random()  # noqa: S311
os.register_at_fork(after_in_child=_versions.seed)


def new_version() -> bytes:
    """Return a version that was never used before, by this process or another."""
    return _versions.randbytes(VERSION_BYTES)


def check_ttl(ttl: int) -> int:
    """Return ``ttl``; raise ValueError unless it is a whole number of seconds, at least 1."""
    if type(ttl) is not int or ttl < 1:
        raise ValueError(f"ttl must be whole seconds and at least 1, not {ttl!r}")
    return ttl
