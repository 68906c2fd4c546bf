"""What other processes do in the tests of stores. Imports little, because each process pays for it."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

from flask_cloakroom.stores.base import Conflict, Gone, Saved
from flask_cloakroom.stores.sqlite.store import SQLiteStore

#: The one entry that all change.
CHAIN = b"the chain"


def write_chain(path: str, number: int, turns: int, barrier: Barrier, results: Any) -> None:
    """Open a file that may not be there yet; create entries of one's own, and add links to one that all share.

    Puts the versions that this process wrote, in its order, into ``results``.
    """
    store = SQLiteStore(path, timeout=20)
    barrier.wait(60)
    store.create(CHAIN, b"", 600)
    links = []
    for turn in range(turns):
        own = b"%d.%d" % (number, turn)
        assert store.create(own, own, 600) is not None
        entry = store.load(CHAIN)
        while True:
            assert entry is not None
            link = b"%d.%d<%s\n" % (number, turn, entry.version.hex().encode())
            result = store.replace(CHAIN, entry.data + link, 600, entry.version)
            assert not isinstance(result, Gone)
            if isinstance(result, Saved):
                links.append((own, entry.version, result.version))
                break
            assert isinstance(result, Conflict)
            entry = result.entry
        assert store.delete(b"%d.%d" % (number, turn - 1)) is (turn > 0)
    store.close()
    results.put((number, links))


def use_and_leave(path: str, key: bytes) -> None:
    """Open a file, write to it, and end: what a worker does that is replaced by another."""
    store = SQLiteStore(path)
    assert store.create(key, b"of a process that has ended", 600) is not None
    store.close()


def hammer(path: str, number: int, writes: int, barrier: Barrier, results: Any) -> None:
    """Create and replace entries of 3 KB without a pause; put their keys and last versions into ``results``."""
    store = SQLiteStore(path)
    store.load(CHAIN)
    barrier.wait(60)
    versions: dict[bytes, bytes] = {}
    for turn in range(writes):
        key, data = b"%d.%d" % (number, turn % 500), b"%08d" % turn * 375
        if key in versions:
            saved = store.replace(key, data, 600, versions[key])
            assert isinstance(saved, Saved)
            versions[key] = saved.version
        else:
            version = store.create(key, data, 600)
            assert version is not None
            versions[key] = version
    store.close()
    results.put(versions)


def write_until_killed(path: str, acknowledge: int, offset: int, synchronous: str) -> None:
    """Create and replace for ever; after each write that was acknowledged, say so on a pipe."""
    store = SQLiteStore(path, synchronous=synchronous)
    number = offset
    while True:
        number += 1
        version = store.create(key_of(number), data_of(number, 1), 600)
        assert version is not None
        os.write(acknowledge, b"%d 1\n" % number)
        assert isinstance(store.replace(key_of(number), data_of(number, 2), 600, version), Saved)
        os.write(acknowledge, b"%d 2\n" % number)


def key_of(number: int) -> bytes:
    """Return the key of an entry."""
    return b"session %d" % number


def data_of(number: int, write: int) -> bytes:
    """Return what the ``write``-th write to it stores: from some bytes to several of SQLite's pages."""
    return b"%d %d " % (number, write) * (1 + number * 37 % 1000)


def expect(path: str, present: list[bytes], absent: list[bytes]) -> None:
    """Check, as a process that has just begun, which entries are there."""
    store = SQLiteStore(path)
    assert all(store.load(key) is not None for key in present)
    assert all(store.load(key) is None for key in absent)
    store.close()


def obey(path: str, calls: Connection) -> None:
    """Call methods of a store, whose names and arguments come over a pipe, and send their results back."""
    store = SQLiteStore(path)
    while (call := calls.recv()) is not None:
        verb, values = call
        try:
            result = getattr(store, verb)(*values)
        except Exception as error:
            result = error
        calls.send(result)
    store.close()
