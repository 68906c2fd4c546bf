"""The public kit for authors of stores: a sound store passes, and each fault is found by name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

#: In a project of its own, with nothing of ours but the installed package: a sound store, and one for each fault.
PROJECT = '''
import pytest
from flask_cloakroom.stores.base import Conflict, Entry, Gone, Saved
from flask_cloakroom.stores.memory import MemoryStore
from flask_cloakroom.testing import StoreContract


class OnAClock(StoreContract):
    kind = MemoryStore
    now = 1_000_000.0

    @pytest.fixture
    def store(self):
        store = self.kind(clock=lambda: self.now)
        yield store
        store.close()

    def elapse(self, seconds):
        self.now += seconds


class TestSound(OnAClock):
    pass


class Overwriting(MemoryStore):
    def create(self, key, data, ttl):
        self.delete(key)
        return super().create(key, data, ttl)


class TestOverwriting(OnAClock):
    kind = Overwriting


class LastWriteWins(MemoryStore):
    def replace(self, key, data, ttl, expected):
        entry = self.load(key)
        return super().replace(key, data, ttl, entry.version if entry else expected)


class TestLastWriteWins(OnAClock):
    kind = LastWriteWins


class BringingBack(MemoryStore):
    def replace(self, key, data, ttl, expected):
        result = super().replace(key, data, ttl, expected)
        return Saved(self.create(key, data, ttl)) if result == Gone() else result


class TestBringingBack(OnAClock):
    kind = BringingBack


class BringingBackByTouch(MemoryStore):
    def __init__(self, clock):
        super().__init__(clock)
        self.last = {}

    def delete(self, key):
        entry = self.load(key)
        if entry:
            self.last[key] = entry.data
        return super().delete(key)

    def touch(self, key, ttl):
        return super().touch(key, ttl) or (key in self.last and bool(self.create(key, self.last[key], ttl)))


class TestBringingBackByTouch(OnAClock):
    kind = BringingBackByTouch


class CountingVersions(MemoryStore):
    """Versions are counted for each key, and begin anew with each entry."""

    def _put(self, key, data, ttl):
        version = super()._put(key, data, ttl)
        entry, expires = self._entries[key]
        self.counts = getattr(self, "counts", {})
        self.counts[key] = self.counts.get(key, 0) + 1
        version = b"%d" % self.counts[key]
        self._entries[key] = (Entry(entry.data, version), expires)
        return version

    def delete(self, key):
        getattr(self, "counts", {}).pop(key, None)
        return super().delete(key)


class TestCountingVersions(OnAClock):
    kind = CountingVersions


class StrippingKeys(MemoryStore):
    def load(self, key):
        return super().load(key.rstrip())

    def create(self, key, data, ttl):
        return super().create(key.rstrip(), data, ttl)


class TestStrippingKeys(OnAClock):
    kind = StrippingKeys


class ForgettingExpiry(MemoryStore):
    def load(self, key):
        found = self._entries.get(key)
        return found and found[0]


class TestForgettingExpiry(OnAClock):
    kind = ForgettingExpiry


class TouchingVersions(MemoryStore):
    def touch(self, key, ttl):
        entry = self.load(key)
        return entry is not None and isinstance(self.replace(key, entry.data, ttl, entry.version), Saved)


class TestTouchingVersions(OnAClock):
    kind = TouchingVersions


class Unlocked(MemoryStore):
    """Looks, lets another thread have its turn, and writes."""

    def create(self, key, data, ttl):
        import time
        free = self.load(key) is None
        time.sleep(0.001)
        if free:
            self.delete(key)
        return super().create(key, data, ttl) if free else None


class TestUnlocked(OnAClock):
    kind = Unlocked


class PurgingAll(MemoryStore):
    def purge(self, limit):
        return super().purge(1000)


class TestPurgingAll(OnAClock):
    kind = PurgingAll


class CountingExpiredClaims(MemoryStore):
    def _live_claims(self, owner):
        return self._owned.setdefault(owner, {})


class TestCountingExpiredClaims(OnAClock):
    kind = CountingExpiredClaims


class ShorteningClaims(MemoryStore):
    def claim(self, owner, key, ttl, limit=None):
        if limit is None:
            self.release(owner, key)
        return super().claim(owner, key, ttl, limit)


class TestShorteningClaims(OnAClock):
    kind = ShorteningClaims


class CountingBeforeClaiming(MemoryStore):
    def claim(self, owner, key, ttl, limit=None):
        import time
        if limit is not None and len({claim.key for claim in self.owned(owner)} - {key}) >= limit:
            return False
        time.sleep(0.001)
        return super().claim(owner, key, ttl)


class TestCountingBeforeClaiming(OnAClock):
    kind = CountingBeforeClaiming


class TestWithoutAStore(StoreContract):
    pass
'''

#: What must find each fault; other tests may find it as well.
FINDS = {
    "Overwriting": ["test_create_never_overwrites", "test_created_before_a_create"],
    "LastWriteWins": ["test_replace_over_another_version_writes_nothing", "test_two_commits_are_both_kept"],
    "BringingBack": ["test_replace_never_creates", "test_revoked_before_a_commit"],
    "BringingBackByTouch": ["test_delete_is_final_and_can_be_repeated", "test_deleted_before_a_touch"],
    "CountingVersions": ["test_versions_never_repeat", "test_what_is_created_again_is_another_entry"],
    "StrippingKeys": ["test_keys_are_bytes_of_any_content"],
    "ForgettingExpiry": ["test_expired_is_gone_for_every_verb"],
    "TouchingVersions": ["test_touch_changes_neither_data_nor_version", "test_touched_between_load_and_replace"],
    "Unlocked": ["test_of_parallel_creates_one_wins"],
    "PurgingAll": ["test_purge_takes_what_expired_in_bounded_batches"],
    "CountingExpiredClaims": ["test_a_claim_expires"],
    "ShorteningClaims": ["test_to_claim_again_lengthens_and_never_shortens"],
    "CountingBeforeClaiming": ["test_of_parallel_claims_as_many_succeed_as_the_limit_says"],
    "WithoutAStore": ["test_create_stores"],
}


def run(folder: Path, *what: str) -> str:
    (folder / "test_my_store.py").write_text(PROJECT)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "--rootdir", str(folder), *what]
    env = {"PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=100).stdout


def test_a_sound_store_passes(tmp_path: Path) -> None:
    """Every test of the kit runs and passes, in a project that has no settings for it."""
    output = run(tmp_path, "test_my_store.py::TestSound", "--tb=short")
    assert re.search(r"^\d\d+ passed in", output, re.MULTILINE), output[-2000:]


def test_every_fault_is_found(tmp_path: Path) -> None:
    """Each by the test whose sentence it breaks."""
    wanted = [f"test_my_store.py::Test{fault}::{test}" for fault, tests in FINDS.items() for test in tests]
    output = run(tmp_path, *wanted, "--tb=no")
    found = re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    assert sorted(found) == sorted(wanted)


def test_a_failure_shows_its_values(tmp_path: Path) -> None:
    """pytest rewrites the kit's asserts, though it is an installed package: the values are there to see."""
    output = run(tmp_path, "test_my_store.py::TestOverwriting::test_create_never_overwrites", "--tb=short")
    assert "is None" in output
    assert "create(" in output
    missing = run(tmp_path, "test_my_store.py::TestWithoutAStore::test_create_stores", "--tb=short")
    assert "a pytest fixture named store" in missing
