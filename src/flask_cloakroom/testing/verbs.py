"""Tests of each operation of a store: its answers, and the entries that it must not change."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import pytest

from ..stores.base import Conflict, Entry, Gone, Saved, Store
from .base import ContractBase, new_key

#: Data that a faulty protocol, driver or column type might change or refuse, by a name for the test.
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

#: Store keys that a store might confuse if it uses them in a prefix, pattern, collation, text column or path.
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
    """Create an entry under a random store key, and return the store key and the version."""
    key = new_key()
    version = store.create(key, data, ttl)
    assert version is not None
    return key, version


class VerbContract(ContractBase):
    """The tests of ``load``, ``create``, ``replace``, ``touch`` and ``delete``, which every store has."""

    def test_nothing_is_there_before_it_is_created(self, store: Store) -> None:
        """For a store key without an entry, load, replace, touch and delete find nothing and create nothing."""
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
        """If the store key has a live entry, create returns None. The entry's data and version do not change."""
        key, version = create_entry(store, b"first")
        assert store.create(key, b"second", 60) is None
        assert store.load(key) == Entry(b"first", version)

    def test_replace_writes_over_the_expected_version(self, store: Store) -> None:
        """If the expected version is stored, replace stores the data and returns Saved with the new version."""
        key, version = create_entry(store, b"first")
        saved = store.replace(key, b"second", 60, version)
        assert isinstance(saved, Saved)
        assert saved.version != version
        assert store.load(key) == Entry(b"second", saved.version)

    def test_replace_over_another_version_writes_nothing(self, store: Store) -> None:
        """If another version is stored, replace returns Conflict with the stored entry. The entry does not change."""
        key, first = create_entry(store, b"first")
        saved = store.replace(key, b"second", 60, first)
        assert isinstance(saved, Saved)
        present = Entry(b"second", saved.version)
        assert store.replace(key, b"third", 60, first) == Conflict(present)
        assert store.load(key) == present

    def test_replace_never_creates(self, store: Store) -> None:
        """If the entry was deleted, replace returns Gone, even with the entry's last version, and creates nothing."""
        key, version = create_entry(store)
        store.delete(key)
        assert store.replace(key, b"back again", 60, version) == Gone()
        assert store.load(key) is None

    def test_replace_expects_what_no_entry_has(self, store: Store) -> None:
        """With a version that the store never returned, replace answers Conflict, or Gone without an entry."""
        key, version = create_entry(store, b"data")
        empty, version_of_empty = create_entry(store, b"")
        for expected in (b"", b"\0", b"\0" * 8, b"x" * 8, b"x" * 9, b"0", b"nil", version[:-1], version + b"\0"):
            assert store.replace(new_key(), b"new", 60, expected) == Gone()
            assert store.replace(key, b"new", 60, expected) == Conflict(Entry(b"data", version))
            assert store.replace(empty, b"new", 60, expected) == Conflict(Entry(b"", version_of_empty))

    def test_replace_with_the_same_data_is_a_new_version(self, store: Store) -> None:
        """Each write makes a new version, even with the same data. A replace of the older version is a Conflict."""
        key, first = create_entry(store, b"same")
        saved = store.replace(key, b"same", 60, first)
        assert isinstance(saved, Saved)
        assert saved.version != first
        assert isinstance(store.replace(key, b"same", 60, first), Conflict)

    def test_touch_changes_neither_data_nor_version(self, store: Store) -> None:
        """After a touch, load returns the same data and version, and replace with this version succeeds."""
        key, version = create_entry(store, b"data")
        assert store.touch(key, 120) is True
        assert store.load(key) == Entry(b"data", version)
        assert isinstance(store.replace(key, b"new", 60, version), Saved)

    def test_delete_is_final_and_can_be_repeated(self, store: Store) -> None:
        """delete returns True if it deleted a live entry. After it every operation finds nothing."""
        key, version = create_entry(store)
        assert store.delete(key) is True
        assert store.delete(key) is False
        assert store.load(key) is None
        assert store.touch(key, 60) is False
        assert store.replace(key, b"data", 60, version) == Gone()
        assert store.load(key) is None

    def test_delete_asks_for_no_version(self, store: Store) -> None:
        """delete deletes the entry no matter which version is stored."""
        key, version = create_entry(store)
        store.replace(key, b"changed by somebody else", 60, version)
        assert store.delete(key) is True
        assert store.load(key) is None

    def test_what_is_created_again_is_another_entry(self, store: Store) -> None:
        """After delete and create, replace with the old version is a Conflict, even if the data is the same."""
        key, first = create_entry(store, b"same")
        store.delete(key)
        second = store.create(key, b"same", 60)
        assert second is not None
        assert second != first
        assert store.replace(key, b"new", 60, first) == Conflict(Entry(b"same", second))

    def test_versions_never_repeat(self, store: Store) -> None:
        """A store key never has the same version twice, even after many writes, deletions and creations."""
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
        """load returns the same bytes that create or replace wrote, and Conflict contains the same bytes."""
        key, version = create_entry(store, data)
        entry = store.load(key)
        assert entry is not None
        assert isinstance(entry.data, bytes)  # or a subclass whose repr() hides the data: see Entry
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
        """A store key can consist of any bytes. Each store key has an entry of its own."""
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
        """A ttl that is no int of at least 1 causes a ValueError and no change, with a live entry and without one."""
        live, version = create_entry(store, b"data")
        unused = new_key()
        for ttl in _BAD_TTLS:
            for key in (live, unused):
                with pytest.raises(ValueError, match="ttl"):
                    _WITH_TTL[verb](store, key, version, ttl)
        assert store.load(live) == Entry(b"data", version)
        assert store.load(unused) is None

    def test_long_lives(self, store: Store) -> None:
        """A store accepts a long ttl: over 30 days, which memcached takes for a date, and past the year 2038."""
        for ttl in (31 * DAY, 400 * DAY, 20 * 365 * DAY):
            key, version = create_entry(store, b"data", ttl)
            assert store.load(key) == Entry(b"data", version)
            assert store.touch(key, ttl) is True
            saved = store.replace(key, b"new", ttl, version)
            assert isinstance(saved, Saved)
            assert store.load(key) == Entry(b"new", saved.version)

    def test_expired_is_gone_for_every_verb(self, store: Store) -> None:
        """After its ttl an entry counts as deleted. The ttl of the last write or touch is valid, even a shorter one."""
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
        """str() and repr() of a store show no store key and no data."""
        key = b"key-that-nobody-may-see"
        store.delete(key)
        assert store.create(key, b"data-that-nobody-may-see", 60) is not None
        shown = str(store) + repr(store)
        for secret in (key, b"data-that-nobody-may-see"):
            assert secret.decode() not in shown
            assert secret.hex() not in shown
        store.delete(key)
