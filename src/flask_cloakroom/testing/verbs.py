"""Tests of each operation of a store: its answers, and what it must not change."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import pytest

from ..stores.base import Conflict, Entry, Gone, Saved, Store
from .base import ContractBase, new_key

#: Data that a protocol, a driver or a column type might change or refuse.
DATA: Final = {
    "empty": b"",
    "one NUL": b"\0",
    "NULs": b"\0" * 100,
    "every byte": bytes(range(256)),
    "as long as a version": b"12345678",
    "line ends": b"\r\n\r\n+OK\r\n$-1\r\n:1\r\n",
    "looks like an answer": b"END\r\nVALUE x 0 5\r\nhello\r\n",
    "no UTF-8": b"\xff\xfe\xc3\x28\x80",
    "SQL": b"'; DROP TABLE cloakroom_entries; --",
    "a number": b"42",
    "JSON": b'{"a": null}',
    "a pickle": b"\x80\x04K\x01.",
    "spaces at the ends": b"  x  ",
    "one MiB": random.Random(1).randbytes(1024 * 1024),  # noqa: S311  only to be incompressible
}

#: Keys that a prefix, pattern, collation, text column or path might confuse.
KEYS: Final = [
    b"",
    b"\0",
    b"\0\0",
    b"a",
    b"A",
    b"a\0",
    b"a ",
    b" a",
    b"a\n",
    b"ab",
    b"abc",
    b"a*",
    b"a?",
    b"a[b]",
    b"a%",
    b"a_",
    b"a/b",
    b"../a",
    b"a:b",
    b"{a}",
    b"'a'",
    b'"a"',
    b"\\x61",
    b"61",
    b"\xc3\xa9",
    b"e\xcc\x81",
    b"\xff",
    b"\xff\xff",
    bytes(range(64)),
    b"\xff" * 64,
]

DAY: Final = 24 * 3600

_BAD_TTLS: Final = [0, -1, 1.5, 1.0, True, "60", None]

_WITH_TTL: Final[dict[str, Callable[[Store, bytes, bytes, Any], object]]] = {
    "create": lambda store, key, version, ttl: store.create(key, b"new", ttl),
    "replace": lambda store, key, version, ttl: store.replace(key, b"new", ttl, version),
    "touch": lambda store, key, version, ttl: store.touch(key, ttl),
}


def create_entry(store: Store, data: bytes = b"data", ttl: int = 60) -> tuple[bytes, bytes]:
    """Create an entry, and return its key and version."""
    key = new_key()
    version = store.create(key, data, ttl)
    assert version is not None
    return key, version


class VerbContract(ContractBase):
    """``load``, ``create``, ``replace``, ``touch`` and ``delete``."""

    def test_nothing_is_there_before_it_is_created(self, store: Store) -> None:
        """For a new key every operation but create finds nothing, and creates nothing."""
        key = new_key()
        assert store.load(key) is None
        assert store.replace(key, b"data", 60, b"12345678") == Gone()
        assert store.touch(key, 60) is False
        assert store.delete(key) is False
        assert store.load(key) is None

    def test_create_stores(self, store: Store) -> None:
        """load returns the data that create stored, with the version that create returned."""
        key, version = create_entry(store, b"coat")
        assert store.load(key) == Entry(b"coat", version)

    def test_create_never_overwrites(self, store: Store) -> None:
        """For a live key create answers None. Data and version stay."""
        key, version = create_entry(store, b"first")
        assert store.create(key, b"second", 60) is None
        assert store.load(key) == Entry(b"first", version)

    def test_replace_writes_over_the_expected_version(self, store: Store) -> None:
        """replace answers Saved with a new version, and load returns this version from then on."""
        key, version = create_entry(store, b"first")
        saved = store.replace(key, b"second", 60, version)
        assert isinstance(saved, Saved)
        assert saved.version != version
        assert store.load(key) == Entry(b"second", saved.version)

    def test_replace_over_another_version_writes_nothing(self, store: Store) -> None:
        """replace answers Conflict with the stored entry, which stays."""
        key, first = create_entry(store, b"first")
        saved = store.replace(key, b"second", 60, first)
        assert isinstance(saved, Saved)
        present = Entry(b"second", saved.version)
        assert store.replace(key, b"third", 60, first) == Conflict(present)
        assert store.load(key) == present

    def test_replace_never_creates(self, store: Store) -> None:
        """For a deleted entry replace answers Gone, even with its last version, and creates nothing."""
        key, version = create_entry(store)
        store.delete(key)
        assert store.replace(key, b"back again", 60, version) == Gone()
        assert store.load(key) is None

    def test_replace_expects_what_no_entry_has(self, store: Store) -> None:
        """A version that was never returned matches nothing: no entry, and no missing entry."""
        key, version = create_entry(store, b"data")
        empty, version_of_empty = create_entry(store, b"")
        for expected in (b"", b"\0", b"\0" * 8, b"x" * 8, b"x" * 9, b"0", b"nil", version[:-1], version + b"\0"):
            assert store.replace(new_key(), b"new", 60, expected) == Gone()
            assert store.replace(key, b"new", 60, expected) == Conflict(Entry(b"data", version))
            assert store.replace(empty, b"new", 60, expected) == Conflict(Entry(b"", version_of_empty))

    def test_replace_with_the_same_data_is_a_new_version(self, store: Store) -> None:
        """Each write makes a new version, even with the same data. An older version then conflicts."""
        key, first = create_entry(store, b"same")
        saved = store.replace(key, b"same", 60, first)
        assert isinstance(saved, Saved)
        assert saved.version != first
        assert isinstance(store.replace(key, b"same", 60, first), Conflict)

    def test_touch_changes_neither_data_nor_version(self, store: Store) -> None:
        """After a touch, replace with the version from before it succeeds."""
        key, version = create_entry(store, b"data")
        assert store.touch(key, 120) is True
        assert store.load(key) == Entry(b"data", version)
        assert isinstance(store.replace(key, b"new", 60, version), Saved)

    def test_delete_is_final_and_can_be_repeated(self, store: Store) -> None:
        """delete tells whether there was a live entry. Afterwards every operation finds nothing."""
        key, version = create_entry(store)
        assert store.delete(key) is True
        assert store.delete(key) is False
        assert store.load(key) is None
        assert store.touch(key, 60) is False
        assert store.replace(key, b"data", 60, version) == Gone()
        assert store.load(key) is None

    def test_delete_asks_for_no_version(self, store: Store) -> None:
        """delete deletes the entry in any version."""
        key, version = create_entry(store)
        store.replace(key, b"changed by somebody else", 60, version)
        assert store.delete(key) is True
        assert store.load(key) is None

    def test_what_is_created_again_is_another_entry(self, store: Store) -> None:
        """After delete and create, the old version conflicts, even with the same data."""
        key, first = create_entry(store, b"same")
        store.delete(key)
        second = store.create(key, b"same", 60)
        assert second is not None
        assert second != first
        assert store.replace(key, b"new", 60, first) == Conflict(Entry(b"same", second))

    def test_versions_never_repeat(self, store: Store) -> None:
        """A key never has the same version twice, even if it is written, deleted and created again many times."""
        key = new_key()
        seen = set()
        for _ in range(25):
            version = store.create(key, b"data", 60)
            assert version is not None
            seen.add(version)
            for _ in range(3):
                saved = store.replace(key, b"data", 60, version)
                assert isinstance(saved, Saved)
                version = saved.version
                seen.add(version)
            store.delete(key)
        assert len(seen) == 25 * 4

    def test_versions_do_not_come_from_the_random_module(self, store: Store) -> None:
        """If an application calls random.seed() in each worker, the versions of two workers still differ."""
        state = random.getstate()
        try:
            versions = []
            for _ in range(2):
                random.seed(0)
                versions.append(create_entry(store)[1])
        finally:
            random.setstate(state)
        assert versions[0] != versions[1]

    @pytest.mark.parametrize("data", DATA.values(), ids=DATA.keys())
    def test_data_is_bytes_of_any_content(self, store: Store, data: bytes) -> None:
        """create, replace, load and Conflict return the same bytes that were written."""
        key, version = create_entry(store, data)
        entry = store.load(key)
        assert entry is not None
        assert isinstance(entry.data, bytes)  # a subclass, which hides it: see Entry
        assert type(entry.version) is bytes
        assert entry == Entry(data, version)
        assert store.replace(key, b"other", 60, b"no such") == Conflict(entry)
        saved = store.replace(key, data + b"more", 60, version)
        assert isinstance(saved, Saved)
        assert store.replace(key, data, 60, saved.version) is not None
        again = store.load(key)
        assert again is not None
        assert again.data == data

    def test_keys_are_bytes_of_any_content(self, store: Store) -> None:
        """No key is confused with another, whatever bytes it has."""
        for key in KEYS:
            store.delete(key)
        entries = {}
        for key in KEYS:
            version = store.create(key, b"data of " + key, 60)
            assert version is not None
            entries[key] = Entry(b"data of " + key, version)
        assert {key: store.load(key) for key in KEYS} == entries
        for number, key in enumerate(KEYS):
            assert store.delete(key) is True
            assert [store.load(other) is None for other in KEYS] == [n <= number for n in range(len(KEYS))]

    @pytest.mark.parametrize("verb", _WITH_TTL)
    def test_ttl_is_whole_seconds_and_at_least_one(self, store: Store, verb: str) -> None:
        """Any other ttl is a ValueError and changes nothing, for a live key and for a new one."""
        live, version = create_entry(store, b"data")
        unused = new_key()
        for ttl in _BAD_TTLS:
            for key in (live, unused):
                with pytest.raises(ValueError, match="ttl"):
                    _WITH_TTL[verb](store, key, version, ttl)
        assert store.load(live) == Entry(b"data", version)
        assert store.load(unused) is None

    def test_long_lives(self, store: Store) -> None:
        """A ttl works even if some systems would take it for a date, or if it ends after the year 2038."""
        for ttl in (31 * DAY, 400 * DAY, 20 * 365 * DAY):
            key, version = create_entry(store, b"data", ttl)
            assert store.load(key) == Entry(b"data", version)
            assert store.touch(key, ttl) is True
            saved = store.replace(key, b"new", ttl, version)
            assert isinstance(saved, Saved)
            assert store.load(key) == Entry(b"new", saved.version)

    def test_expired_is_gone_for_every_verb(self, store: Store) -> None:
        """After its ttl an entry counts as deleted. The last ttl counts, even if it is shorter."""
        read, version = create_entry(store, b"old", 1)
        touched, _ = create_entry(store, b"old", 1)
        deleted, _ = create_entry(store, b"old", 1)
        made_again, first = create_entry(store, b"old", 1)
        held_on, _ = create_entry(store, b"kept", 1)
        assert store.touch(held_on, 60) is True
        written_on, its_version = create_entry(store, b"old", 1)
        assert isinstance(store.replace(written_on, b"kept", 60, its_version), Saved)
        let_go, _ = create_entry(store, b"old", 60)
        assert store.touch(let_go, 1) is True
        written_off, its_version = create_entry(store, b"old", 60)
        assert isinstance(store.replace(written_off, b"old", 1, its_version), Saved)

        self.let_expire(1)

        assert store.load(read) is None
        assert store.replace(read, b"new", 60, version) == Gone()
        assert store.touch(touched, 60) is False
        assert store.load(touched) is None
        assert store.delete(deleted) is False
        assert store.load(let_go) is None
        assert store.load(written_off) is None
        for kept in (held_on, written_on):
            entry = store.load(kept)
            assert entry is not None
            assert entry.data == b"kept"

        second = store.create(made_again, b"new", 60)
        assert second is not None, "create must overwrite an expired entry"
        assert second != first
        assert store.load(made_again) == Entry(b"new", second)
        assert store.replace(made_again, b"late", 60, first) == Conflict(Entry(b"new", second))

    def test_its_name_tells_no_secret(self, store: Store) -> None:
        """str() and repr() of a store show neither keys nor data."""
        key = b"key-that-nobody-may-see"
        store.delete(key)
        assert store.create(key, b"data-that-nobody-may-see", 60) is not None
        shown = str(store) + repr(store)
        for secret in (key, b"data-that-nobody-may-see"):
            assert secret.decode() not in shown
            assert secret.hex() not in shown
        store.delete(key)
