"""Tests in which an entry is written, deleted, locked or expires at the worst moment of another operation."""

from __future__ import annotations

import pytest

from ..core.entries.record import Absence
from ..core.entries.tombstone import TOMBSTONE_SECONDS
from ..errors import LockLostError, LockTimeoutError
from ..stores.base import Conflict, Entry, Gone, Saved, Store
from .base import ContractBase, new_key
from .interleaving import InterleavingStore
from .stage import Stage, pack_dict
from .verbs import create_entry


class RaceContract(ContractBase):
    """The tests of two requests that use one entry or one session at the same time."""

    @pytest.fixture
    def stage(self, store: Store) -> Stage:
        """Return a :class:`Stage`: a session repository whose requests can be interleaved."""
        return Stage(store)

    # -- the store itself ---------------------------------------------------------------------------------

    def test_deleted_between_load_and_replace(self, store: Store) -> None:
        """If the entry is deleted before a replace, the replace returns Gone, and the entry stays deleted."""
        key, version = create_entry(store)
        between = InterleavingStore(store)
        with between.before("replace", lambda: store.delete(key)):
            assert between.replace(key, b"late", 60, version) == Gone()
        assert store.load(key) is None

    def test_deleted_and_created_between_load_and_replace(self, store: Store) -> None:
        """If the entry is deleted and created again before a replace, the replace returns Conflict with the new entry.

        The new entry does not change, although its data is the same as before.
        """
        key, version = create_entry(store, b"same")
        between = InterleavingStore(store)

        def another() -> None:
            store.delete(key)
            store.create(key, b"same", 60)

        with between.before("replace", another):
            result = between.replace(key, b"late", 60, version)
        assert isinstance(result, Conflict)
        assert store.load(key) == result.entry
        assert result.entry.data == b"same"

    def test_touched_between_load_and_replace(self, store: Store) -> None:
        """If the entry is touched before a replace, the replace succeeds."""
        key, version = create_entry(store)
        between = InterleavingStore(store)
        with between.before("replace", lambda: store.touch(key, 120)):
            assert isinstance(between.replace(key, b"new", 60, version), Saved)

    def test_deleted_before_a_touch(self, store: Store) -> None:
        """If the entry is deleted before a touch, the touch returns False and creates nothing."""
        key, _ = create_entry(store)
        between = InterleavingStore(store)
        with between.before("touch", lambda: store.delete(key)):
            assert between.touch(key, 60) is False
        assert store.load(key) is None

    def test_created_before_a_create(self, store: Store) -> None:
        """If another request creates the entry first, create returns None, and the first entry stays."""
        key = new_key()
        between = InterleavingStore(store)
        with between.before("create", lambda: store.create(key, b"first", 60)):
            assert between.create(key, b"second", 60) is None
        entry = store.load(key)
        assert entry is not None
        assert entry.data == b"first"

    def test_replaced_before_a_delete(self, store: Store) -> None:
        """If the entry is replaced before a delete, the delete deletes the new version."""
        key, version = create_entry(store)
        between = InterleavingStore(store)
        with between.before("delete", lambda: store.replace(key, b"new", 60, version)):
            assert between.delete(key) is True
        assert store.load(key) is None

    # -- commit -------------------------------------------------------------------------------------------

    def test_two_commits_are_both_kept(self, stage: Stage) -> None:
        """If two parallel requests set one session key each, both keys are stored."""
        session = stage.begin(a=0)
        mine, theirs = stage.read(session), stage.read(session)
        with stage.store.before("replace", lambda: stage.commit(theirs, theirs=1)):
            committed = stage.commit(mine, mine=1)
        assert committed is not None
        assert committed.merged
        assert stage.values_seen(session) == {"a": 0, "mine": 1, "theirs": 1}

    def test_two_commits_to_one_list_are_both_kept(self, stage: Stage) -> None:
        """If two parallel requests append to the same list, deep inside a value, both items are stored."""
        session = stage.begin(cart={"items": ["x"]})
        mine, theirs = stage.read(session), stage.read(session)
        with stage.store.before("replace", lambda: stage.commit(theirs, cart={"items": ["x", "theirs"]})):
            assert stage.commit(mine, cart={"items": ["x", "mine"]}) is not None
        assert stage.values_seen(session) == {"cart": {"items": ["x", "theirs", "mine"]}}

    def test_a_commit_that_loses_every_race_but_the_last(self, stage: Stage) -> None:
        """If other requests commit before each of the first three attempts of a commit, all four items are stored."""
        session = stage.begin(items=[])
        mine = stage.read(session)

        def other(name: str) -> None:
            theirs = stage.read(session)
            before = stage.values_seen(session)
            assert isinstance(before, dict)
            assert stage.commit(theirs, items=[*before["items"], name]) is not None

        with (
            stage.store.before("replace", lambda: other("a"), at=1),
            stage.store.before("replace", lambda: other("b"), at=2),
            stage.store.before("replace", lambda: other("c"), at=3),
        ):
            assert stage.commit(mine, items=["mine"]) is not None
        assert stage.values_seen(session) == {"items": ["a", "b", "c", "mine"]}

    def test_two_commits_to_one_scalar_are_told_of(self, stage: Stage) -> None:
        """If two changes cannot be merged, the later commit wins and reports all three values."""
        session = stage.begin(colour="red")
        mine, theirs = stage.read(session), stage.read(session)
        with stage.store.before("replace", lambda: stage.commit(theirs, colour="green")):
            committed = stage.commit(mine, colour="blue")
        assert committed is not None
        assert [(conflict.path, conflict.base, conflict.theirs, conflict.mine) for conflict in committed.conflicts] == [
            (("colour",), "red", "green", "blue")
        ]
        assert stage.values_seen(session) == {"colour": "blue"}

    # -- the end of a session -----------------------------------------------------------------------------

    def test_destroyed_before_a_commit(self, stage: Stage) -> None:
        """If the session is destroyed before a commit, the commit writes nothing. The ticket has no session then."""
        session = stage.begin(a=0)
        mine, theirs = stage.read(session), stage.read(session)
        with stage.store.before("replace", lambda: stage.repository.destroy(theirs)):
            assert stage.commit(mine, a=1) is None
        assert stage.values_seen(session) is Absence.SUPERSEDED
        assert stage.live_keys() == set()

    def test_destroyed_before_the_second_try_of_a_commit(self, stage: Stage) -> None:
        """If the session is destroyed before the second attempt of a commit, the commit writes nothing."""
        session = stage.begin(a=0)
        mine, theirs = stage.read(session), stage.read(session)
        with (
            stage.store.before("replace", lambda: stage.commit(theirs, b=1), at=1),
            stage.store.before("replace", lambda: stage.repository.destroy(stage.read(session)), at=2),
        ):
            assert stage.commit(mine, a=1) is None
        assert stage.live_keys() == set()

    def test_committed_before_a_destroy(self, stage: Stage) -> None:
        """If another request commits before a destroy, the destroy ends the session, although the version changed."""
        session = stage.begin(a=0)
        mine, theirs = stage.read(session), stage.read(session)
        with stage.store.before("replace", lambda: stage.commit(theirs, a=1)):
            assert stage.repository.destroy(mine) is True
        assert stage.values_seen(session) is Absence.SUPERSEDED
        assert stage.live_keys() == set()

    def test_two_destroy_it(self, stage: Stage) -> None:
        """If two parallel requests destroy a session, one gets True, and the other gets False."""
        session = stage.begin(a=0)
        mine, theirs = stage.read(session), stage.read(session)
        with stage.store.before("replace", lambda: stage.repository.destroy(theirs)):
            assert stage.repository.destroy(mine) is False
        assert stage.live_keys() == set()

    def test_revoked_before_a_commit(self, stage: Stage) -> None:
        """If the entry is deleted without a tombstone before a commit, the commit does not create it again."""
        session = stage.begin(a=0)
        mine = stage.read(session)
        with stage.store.before("replace", lambda: stage.store.delete(session.key)):
            assert stage.commit(mine, a=1) is None
        assert stage.values_seen(session) is Absence.UNKNOWN

    def test_expired_between_load_and_write(self, store: Store) -> None:
        """After the entry has expired in the store, a commit, a rotation, a lock and a destroy write nothing."""
        stage = Stage(store, idle=1)
        repository = stage.repository
        sessions = [stage.begin(a=0) for _ in range(4)]
        committing, rotating, locking, destroying = [stage.read(session) for session in sessions]
        with stage.store.before("replace", lambda: self.let_expire(1)):
            assert stage.commit(committing, a=1) is None
        assert stage.rotate(rotating, renewal=False, a=1) is None
        assert repository.lock(locking, {}, timeout=0, lease=10) is None
        assert repository.destroy(destroying) is False
        assert [stage.values_seen(session) for session in sessions] == [Absence.UNKNOWN] * 4
        assert stage.live_keys() == set()

    # -- creation -----------------------------------------------------------------------------------------

    def test_two_sessions_of_one_ticket(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """If a ticket is issued twice, the second session gets another ticket, and the first stays as it is."""
        issue = stage.tickets.issue
        same = issue()
        monkeypatch.setattr(stage.tickets, "issue", iter([same, same, issue()]).__next__)
        made = []
        with stage.store.before("create", lambda: made.append(stage.begin(whose="theirs"))):
            mine = stage.begin(whose="mine")
        assert made[0].ticket == same
        assert stage.values_seen(made[0]) == {"whose": "theirs"}
        assert mine.ticket != same
        assert stage.values_seen(mine) == {"whose": "mine"}

    def test_a_mark_outlasts_its_ticket(self, store: Store, stage: Stage) -> None:
        """After a destroy, no entry can be created under the same store key while an older request may still run."""
        session = stage.begin(a=0)
        stage.repository.destroy(stage.read(session))
        assert store.create(session.key, b"data", TOMBSTONE_SECONDS) is None

    # -- the lock -----------------------------------------------------------------------------------------

    def test_two_lock_it(self, stage: Stage) -> None:
        """If another request has the lock, a request gets LockTimeoutError after its timeout and writes nothing."""
        session = stage.begin(a=0)
        mine, theirs = stage.read(session), stage.read(session)
        lock = stage.repository.lock
        with (
            stage.store.before("replace", lambda: lock(theirs, {}, timeout=0, lease=10)),
            pytest.raises(LockTimeoutError),
        ):
            lock(mine, pack_dict({"a": 1}), timeout=0, lease=10)
        assert stage.values_seen(session) == {"a": 0}

    def test_the_next_holder_sees_what_the_last_one_wrote(self, stage: Stage) -> None:
        """A waiting request gets the lock after its release, and reads the values that the last holder saved."""
        session = stage.begin(balance=10)
        mine, theirs = stage.read(session), stage.read(session)
        held = stage.repository.lock(theirs, {}, timeout=0, lease=10)
        assert held is not None

        def give_back() -> None:
            assert stage.repository.commit(held.record, pack_dict({"balance": 7}), release=True) is not None

        # The first attempt to lock fails. Before the second attempt, the other request releases the lock.
        with stage.store.before("load", give_back):
            locked = stage.repository.lock(mine, {}, timeout=5, lease=10)
        assert locked is not None
        assert locked.record.values == pack_dict({"balance": 7})

    def test_a_holder_that_overslept_writes_nothing(self, stage: Stage) -> None:
        """If a holder's lease has ended and another request has the lock, the holder's commit raises LockLostError.

        The commit changes nothing.
        """
        session = stage.begin(balance=10)
        held = stage.repository.lock(stage.read(session), {}, timeout=0, lease=10)
        assert held is not None

        def next_holder() -> None:
            stage.now += 11
            locked = stage.repository.lock(stage.read(session), {}, timeout=0, lease=10)
            assert locked is not None
            assert stage.repository.commit(locked.record, pack_dict({"balance": 3})) is not None

        with stage.store.before("replace", next_holder), pytest.raises(LockLostError):
            stage.repository.commit(held.record, pack_dict({"balance": 9}), release=True)
        assert stage.values_seen(session) == {"balance": 3}

    def test_a_holder_that_overslept_and_missed_the_next_one(self, stage: Stage) -> None:
        """If a holder's lease has ended and the next holder has released the lock, the commit raises LockLostError."""
        session = stage.begin(balance=10)
        held = stage.repository.lock(stage.read(session), {}, timeout=0, lease=10)
        assert held is not None
        stage.now += 11
        locked = stage.repository.lock(stage.read(session), {}, timeout=0, lease=10)
        assert locked is not None
        assert stage.repository.commit(locked.record, pack_dict({"balance": 3}), release=True) is not None
        with pytest.raises(LockLostError):
            stage.repository.commit(held.record, pack_dict({"balance": 9}), release=True)
        assert stage.values_seen(session) == {"balance": 3}

    def test_a_holder_that_overslept_alone(self, stage: Stage) -> None:
        """If a holder's lease has ended, but no other request got the lock since then, the holder's commit succeeds."""
        session = stage.begin(balance=10)
        held = stage.repository.lock(stage.read(session), {}, timeout=0, lease=10)
        assert held is not None
        stage.now += 11
        assert stage.repository.commit(held.record, pack_dict({"balance": 9}), release=True) is not None
        assert stage.values_seen(session) == {"balance": 9}

    def test_destroyed_while_it_is_locked(self, stage: Stage) -> None:
        """A locked session can be destroyed by another request. The holder's commit then writes nothing."""
        session = stage.begin(a=0)
        held = stage.repository.lock(stage.read(session), {}, timeout=0, lease=10)
        assert held is not None
        with stage.store.before("replace", lambda: stage.repository.destroy(stage.read(session))):
            assert stage.repository.commit(held.record, pack_dict({"a": 1}), release=True) is None
        assert stage.live_keys() == set()

    def test_committed_while_it_is_locked(self, store: Store, stage: Stage) -> None:
        """The commits of requests without the lock are merged with the holder's commit as usual."""
        session = stage.begin(a=0)
        held = stage.repository.lock(stage.read(session), {}, timeout=0, lease=10)
        assert held is not None
        assert stage.commit(stage.read(session), b=1) is not None
        assert stage.repository.commit(held.record, pack_dict({"a": 1}), release=True) is not None
        assert stage.values_seen(session) == {"a": 1, "b": 1}
        entry = store.load(session.key)
        assert isinstance(entry, Entry)
