"""Tests of the optional operations ``purge`` and ``walk``."""

from __future__ import annotations

import pytest

from ..stores.base import Purges, Store, Walks
from .base import ContractBase, new_key
from .verbs import KEYS, create_entry


class PowersContract(ContractBase):
    """The tests of ``purge`` and ``walk``. They are skipped if the store lacks the operation."""

    def test_purge_takes_what_expired_in_bounded_batches(self, store: Store) -> None:
        """Each call of purge deletes at most ``limit`` expired entries, until none is left. Live entries stay."""
        if not isinstance(store, Purges):
            pytest.skip("this store has no purge")
        live = [create_entry(store, b"live", 60) for _ in range(5)]
        expired = [create_entry(store, b"old", 1)[0] for _ in range(7)]
        revived, _ = create_entry(store, b"live", 1)
        assert store.touch(revived, 60) is True
        self.let_expire(1)
        counts = []
        while count := store.purge(3):
            counts.append(count)
            assert count <= 3
        assert sum(counts) >= len(expired)
        for key, version in live:
            entry = store.load(key)
            assert entry is not None
            assert entry.version == version
        assert store.load(revived) is not None
        assert [store.load(key) for key in expired] == [None] * len(expired)
        assert store.purge(3) == 0

    def test_walk_yields_what_is_live(self, store: Store) -> None:
        """The walk yields each live entry with its store key, data and version. It yields no deleted entry."""
        if not isinstance(store, Walks):
            pytest.skip("this store has no walk")
        for key in KEYS:
            store.delete(key)
        kept = {key: store.create(key, b"data of " + key, 60) for key in KEYS}
        gone, _ = create_entry(store)
        store.delete(gone)
        walked = dict(store.walk())
        for key, version in kept.items():
            assert walked[key].data == b"data of " + key
            assert walked[key].version == version
            store.delete(key)
        assert gone not in walked

    def test_walk_goes_on_beside_changes(self, store: Store) -> None:
        """A walk yields all entries that exist during the whole walk, even if other entries come and go meanwhile."""
        if not isinstance(store, Walks):
            pytest.skip("this store has no walk")
        stays = {new_key() for _ in range(700)}
        for key in stays:
            store.create(key, b"stays", 60)
        going, _ = create_entry(store)
        walked = set()
        for number, (key, _) in enumerate(store.walk()):
            walked.add(key)
            if number == 0:
                store.delete(going)
                create_entry(store)
        assert stays <= walked
        for key in stays:
            store.delete(key)
