"""Tests of the owner index. They are skipped if the store has no owner index."""

from __future__ import annotations

from typing import Final

import pytest

from ..stores.base import Claim, Owners, Store
from .base import ContractBase, new_key
from .parallel import THREADS, child_succeeded, run_in_child, run_in_threads
from .verbs import KEYS, create_entry

#: The seconds by which ``Claim.left`` may be less than the expected value, because the machine may be busy.
SLACK: Final = 10


class OwnersContract(ContractBase):
    """The tests of ``claim``, ``release`` and ``owned``."""

    @pytest.fixture
    def owners(self, store: Store) -> Owners:
        """Return the store if it has an owner index. Otherwise skip the test."""
        if not isinstance(store, Owners):
            pytest.skip("this store has no owner index")
        return store

    def test_claimed_keys_are_owned_until_they_are_released(self, owners: Owners) -> None:
        """Each owner has its own claims, and each claim has its remaining seconds. A second release returns False."""
        alice, bob = new_key(), new_key()
        assert owners.owned(alice) == []
        assert owners.claim(alice, b"one", 60) is True
        assert owners.claim(alice, b"two", 3600) is True
        assert owners.claim(bob, b"one", 60) is True
        one, two = owners.owned(alice)
        assert (one.key, two.key) == (b"one", b"two")
        assert 60 - SLACK < one.left <= 60
        assert 3600 - SLACK < two.left <= 3600
        assert owners.release(alice, b"one") is True
        assert owners.release(alice, b"one") is False
        assert keys(owners.owned(alice)) == [b"two"]
        assert keys(owners.owned(bob)) == [b"one"]

    def test_owners_and_claims_are_bytes_of_any_content(self, owners: Owners) -> None:
        """Owners and store keys can consist of any bytes: also no bytes, and the same first bytes as another one."""
        salt = new_key()
        for owner in KEYS:
            for key in KEYS:
                assert owners.claim(salt + owner, key, 60) is True
        for owner in KEYS:
            assert sorted(keys(owners.owned(salt + owner))) == sorted(KEYS)
            assert all(owners.release(salt + owner, key) for key in KEYS)
            assert owners.owned(salt + owner) == []

    def test_claims_are_in_the_order_in_which_they_expire(self, owners: Owners) -> None:
        """owned returns the claims in the order of their expiry. Claims with the same ttl are in order of creation."""
        owner = new_key()
        made = [b"%d" % number for number in range(20)]
        for key in reversed(made):
            assert owners.claim(owner, key, 60) is True
        assert keys(owners.owned(owner)) == made[::-1]
        owners.claim(owner, b"short", 30)
        owners.claim(owner, made[-1], 90)
        assert keys(owners.owned(owner)) == [b"short", *made[-2::-1], made[-1]]

    def test_to_claim_again_lengthens_and_never_shortens(self, owners: Owners) -> None:
        """A second claim of the same store key makes the lifetime longer if its ttl is longer, and never shorter."""
        owner = new_key()
        for ttl, left in ((60, 60), (600, 600), (60, 600)):
            assert owners.claim(owner, b"key", ttl) is True
            (claim,) = owners.owned(owner)
            assert left - SLACK < claim.left <= left

    def test_a_claim_expires(self, owners: Owners) -> None:
        """owned does not return an expired claim, and a limit does not count it. The owner's other claims stay."""
        owner = new_key()
        owners.claim(owner, b"short", 1)
        owners.claim(owner, b"long", 60)
        self.let_expire(1)
        assert keys(owners.owned(owner)) == [b"long"]
        assert owners.release(owner, b"short") is False
        assert owners.claim(owner, b"other", 60, 2) is True
        assert owners.claim(owner, b"short", 60, 2) is False
        assert owners.claim(owner, b"short", 60, 3) is True

    def test_a_limit_counts_others(self, owners: Owners) -> None:
        """claim returns False and changes nothing if the owner has ``limit`` claims of other store keys already."""
        owner = new_key()
        assert owners.claim(owner, b"one", 60, 2) is True
        assert owners.claim(owner, b"two", 60, 2) is True
        assert owners.claim(owner, b"three", 60, 2) is False
        assert owners.claim(owner, b"two", 60, 2) is True
        assert owners.claim(owner, b"two", 3600, 1) is False
        assert keys(owners.owned(owner)) == [b"one", b"two"]
        assert owners.owned(owner)[1].left <= 60
        assert owners.claim(owner, b"three", 60) is True
        owners.release(owner, b"one")
        owners.release(owner, b"two")
        assert owners.claim(owner, b"four", 60, 2) is True

    def test_a_ttl_is_whole_seconds(self, owners: Owners) -> None:
        """A ttl that is no int of at least 1 causes a ValueError, as for entries."""
        for ttl in (0, -1, 1.5, True):
            with pytest.raises(ValueError, match="ttl"):
                owners.claim(new_key(), b"key", ttl)  # type: ignore[arg-type]

    def test_entries_and_claims_know_nothing_of_each_other(self, store: Store, owners: Owners) -> None:
        """A claim creates no entry, and a deletion of an entry ends no claim. An owner and a store key may be equal."""
        key, version = create_entry(store, b"data", 60)
        assert owners.claim(key, key, 60) is True
        entry = store.load(key)
        assert entry is not None
        assert entry.version == version
        absent = new_key()
        assert owners.claim(key, absent, 60) is True
        assert store.load(absent) is None
        store.delete(key)
        assert keys(owners.owned(key)) == [key, absent]
        assert owners.release(key, key) is True
        assert store.load(key) is None

    def test_of_parallel_claims_as_many_succeed_as_the_limit_says(self, owners: Owners) -> None:
        """If many threads claim at the same time, exactly ``limit`` claims succeed, and owned returns these claims."""
        for limit in (1, 5):
            owner = new_key()
            claimed = run_in_threads(
                THREADS,
                lambda number, o=owner, m=limit: owners.claim(o, b"%d" % number, 60, m),  # type: ignore[misc]
            )
            winners = [b"%d" % number for number, done in enumerate(claimed) if done]
            assert len(winners) == limit
            assert sorted(keys(owners.owned(owner))) == winners

    def test_parallel_claims_and_releases_lose_nothing(self, owners: Owners) -> None:
        """After parallel calls, owned returns exactly the claims that the threads made and did not release."""
        owner = new_key()

        def work(number: int) -> None:
            for turn in range(10):
                key = b"%d.%d" % (number, turn)
                assert owners.claim(owner, key, 60) is True
                assert key in keys(owners.owned(owner))
                if turn % 2:
                    assert owners.release(owner, key) is True

        run_in_threads(THREADS, work)
        expected = sorted(b"%d.%d" % (number, turn) for number in range(THREADS) for turn in range(0, 10, 2))
        assert sorted(keys(owners.owned(owner))) == expected

    def test_a_forked_child_claims_too(self, owners: Owners) -> None:
        """The owner index works in a forked child of the process that opened the store."""
        owner = new_key()
        assert owners.claim(owner, b"parent", 60) is True

        def work() -> None:
            assert keys(owners.owned(owner)) == [b"parent"]
            assert owners.claim(owner, b"child", 60, 1) is False
            assert owners.claim(owner, b"parent", 60, 1) is True

        assert child_succeeded(run_in_child(work))


def keys(claims: list[Claim]) -> list[bytes]:
    """Return the store keys of claims, in the same order."""
    return [claim.key for claim in claims]
