"""A store in the memory of this process, for tests and first steps. All entries are lost when the process ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from ..forking import call_in_child
from .base import Claim, Conflict, Entry, Gone, Saved, check_ttl, new_version


class MemoryStore:
    """Keeps entries in a dict. For one process only: a session of one worker process would not exist in another."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Make an empty store. ``clock`` returns seconds since the epoch. Tests pass a clock that they can set."""
        self.clock = clock
        self._entries: dict[bytes, tuple[Entry, float]] = {}
        self._owned: dict[bytes, dict[bytes, float]] = {}
        self._new_lock()
        # Another thread may hold the lock during a fork. The child has no such thread, so the lock would stay locked.
        call_in_child(self._new_lock)

    def __str__(self) -> str:
        return "memory of this process"

    def _new_lock(self) -> None:
        self._lock = threading.Lock()

    def _live(self, key: bytes) -> Entry | None:
        found = self._entries.get(key)
        if found is None or found[1] <= self.clock():
            return None
        return found[0]

    def _put(self, key: bytes, data: bytes, ttl: int) -> bytes:
        version = new_version()
        self._entries[key] = (Entry(bytes(data), version), self.clock() + ttl)
        return version

    def load(self, key: bytes) -> Entry | None:
        with self._lock:
            return self._live(key)

    def create(self, key: bytes, data: bytes, ttl: int) -> bytes | None:
        check_ttl(ttl)
        with self._lock:
            return None if self._live(key) else self._put(key, data, ttl)

    def replace(self, key: bytes, data: bytes, ttl: int, expected: bytes) -> Saved | Conflict | Gone:
        check_ttl(ttl)
        with self._lock:
            entry = self._live(key)
            if entry is None:
                return Gone()
            if entry.version != expected:
                return Conflict(entry)
            return Saved(self._put(key, data, ttl))

    def touch(self, key: bytes, ttl: int) -> bool:
        check_ttl(ttl)
        with self._lock:
            entry = self._live(key)
            if entry is None:
                return False
            self._entries[key] = (entry, self.clock() + ttl)
            return True

    def delete(self, key: bytes) -> bool:
        with self._lock:
            live = self._live(key) is not None
            self._entries.pop(key, None)
            return live

    def purge(self, limit: int) -> int:
        with self._lock:
            now = self.clock()
            expired = [key for key, (_, expires) in self._entries.items() if expires <= now][:limit]
            for key in expired:
                del self._entries[key]
            for owner in list(self._owned):
                self._live_claims(owner)
            return len(expired)

    def claim(self, owner: bytes, key: bytes, ttl: int, limit: int | None = None) -> bool:
        check_ttl(ttl)
        with self._lock:
            claims = self._live_claims(owner)
            if limit is not None and len(claims.keys() - {key}) >= limit:
                return False
            # The claim moves to the end of the dict, so that claims with the same expiry are in the order of the calls.
            claims[key] = max(claims.pop(key, 0.0), self.clock() + ttl)
            self._owned[owner] = claims
            return True

    def release(self, owner: bytes, key: bytes) -> bool:
        with self._lock:
            claims = self._live_claims(owner)
            was_there = claims.pop(key, None) is not None
            if not claims:
                self._owned.pop(owner, None)
            return was_there

    def owned(self, owner: bytes) -> list[Claim]:
        with self._lock:
            now = self.clock()
            claims = self._live_claims(owner)
            return [Claim(key, claims[key] - now) for key in sorted(claims, key=claims.__getitem__)]

    def _live_claims(self, owner: bytes) -> dict[bytes, float]:
        """Return the live claims of ``owner``, and delete the expired claims."""
        now = self.clock()
        claims = {key: expires for key, expires in self._owned.pop(owner, {}).items() if expires > now}
        if claims:
            self._owned[owner] = claims
        return claims

    def walk(self) -> Iterator[tuple[bytes, Entry]]:
        with self._lock:
            now = self.clock()
            live = [(key, entry) for key, (entry, expires) in self._entries.items() if expires > now]
        yield from live

    def close(self) -> None:
        with self._lock:
            self._entries.clear()
            self._owned.clear()
