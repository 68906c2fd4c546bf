"""Tests in which another operation runs in the middle of a rotation or a renewal."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from ..core.entries.record import Absence, Committed, Record
from ..core.entries.tombstone import TICKET_OVERLAP
from ..errors import StoreError
from ..stores.base import Store
from .base import ContractBase
from .stage import Stage


class RotationContract(ContractBase):
    """The tests of rotations and renewals. Of parallel requests, the first one that replaces the old entry wins.

    Only this request moves or ends the session.
    """

    @pytest.fixture
    def stage(self, store: Store) -> Stage:
        """Return a :class:`Stage`: a session repository whose requests can be interleaved."""
        return Stage(store)

    def test_moved_at_a_change_of_privilege(self, stage: Stage) -> None:
        """After a rotation the session's values are under the new ticket. The old ticket is invalid immediately."""
        session = stage.begin(a=0)
        moved = stage.rotate(stage.read(session), renewal=False, user="ann")
        assert moved is not None
        assert moved.record.ticket != session.ticket
        assert stage.values_seen(moved.record) == {"a": 0, "user": "ann"}
        assert stage.values_seen(session) is Absence.SUPERSEDED
        assert stage.live_keys() == {moved.record.key}

    def test_moved_at_a_renewal(self, stage: Stage) -> None:
        """After a renewal the old ticket leads to the new ticket for some seconds. After that it is invalid."""
        session = stage.begin(a=0)
        moved = stage.rotate(stage.read(session), renewal=True)
        assert moved is not None
        found = stage.read(session)
        assert (found.ticket, found.values) == (moved.record.ticket, moved.record.values)
        stage.now += TICKET_OVERLAP + 1
        assert stage.values_seen(session) is Absence.SUPERSEDED
        assert stage.values_seen(moved.record) == {"a": 0}

    # -- rotation and commit ------------------------------------------------------------------------------

    @pytest.mark.parametrize("renewal", [False, True], ids=["privilege", "renewal"])
    def test_committed_between_load_and_rotation(self, stage: Stage, renewal: bool) -> None:
        """If another request commits before a rotation creates the new entry, the new entry contains its change."""
        session = stage.begin(a=0)
        mine, theirs = stage.read(session), stage.read(session)
        with stage.store.before("create", lambda: stage.commit(theirs, b=1)):
            moved = stage.rotate(mine, renewal=renewal, c=1)
        assert moved is not None
        assert stage.values_seen(moved.record) == {"a": 0, "b": 1, "c": 1}
        assert stage.live_keys() == {moved.record.key}

    @pytest.mark.parametrize("renewal", [False, True], ids=["privilege", "renewal"])
    def test_committed_in_the_middle_of_a_rotation(self, stage: Stage, renewal: bool) -> None:
        """If another request commits between the new entry and the tombstone, the new entry gets its change."""
        session = stage.begin(a=0, items=["x"])
        mine, theirs = stage.read(session), stage.read(session)
        with stage.store.after("create", lambda: stage.commit(theirs, b=1, items=["x", "theirs"])):
            moved = stage.rotate(mine, renewal=renewal, items=["x", "mine"])
        assert moved is not None
        assert stage.values_seen(moved.record) == {"a": 0, "b": 1, "items": ["x", "theirs", "mine"]}
        assert stage.live_keys() == {moved.record.key}

    def test_moved_before_a_commit(self, stage: Stage) -> None:
        """A request that read the session before a rotation writes nothing, with the old ticket or with the new one."""
        session = stage.begin(a=0)
        mine, theirs = stage.read(session), stage.read(session)
        moved: list[Committed | None] = []
        with stage.store.before("replace", lambda: moved.append(stage.rotate(theirs, renewal=False, user="ann"))):
            assert stage.commit(mine, a=1) is None
        assert moved[0] is not None
        assert stage.values_seen(moved[0].record) == {"a": 0, "user": "ann"}
        assert stage.values_seen(session) is Absence.SUPERSEDED

    def test_renewed_before_a_commit(self, stage: Stage) -> None:
        """A commit after a renewal changes the successor, and returns the new ticket."""
        session = stage.begin(a=0)
        mine, theirs = stage.read(session), stage.read(session)
        moved: list[Committed | None] = []
        with stage.store.before("replace", lambda: moved.append(stage.rotate(theirs, renewal=True, b=1))):
            committed = stage.commit(mine, a=1)
        assert moved[0] is not None
        assert committed is not None
        assert committed.record.ticket == moved[0].record.ticket
        assert stage.values_seen(session) == {"a": 1, "b": 1}
        assert stage.live_keys() == {committed.record.key}

    def test_renewed_again_before_each_try_of_a_commit(self, stage: Stage) -> None:
        """If the session is renewed again before each attempt of a commit, the commit changes the last successor."""
        session = stage.begin(a=0)
        mine = stage.read(session)

        def renew() -> None:
            assert stage.rotate(stage.read(session), renewal=True) is not None

        with (
            stage.store.before("replace", renew, at=1),
            stage.store.before("replace", renew, at=2),
            stage.store.before("replace", renew, at=3),
        ):
            committed = stage.commit(mine, a=1)
        assert committed is not None
        assert stage.values_seen(committed.record) == {"a": 1}
        assert stage.live_keys() == {committed.record.key}

    # -- rotation and rotation ----------------------------------------------------------------------------

    @pytest.mark.parametrize("renewal", [False, True], ids=["privilege", "renewal"])
    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_moved_at_a_change_of_privilege_during_a_rotation(self, stage: Stage, moment: str, renewal: bool) -> None:
        """If a session is rotated during a rotation, the later rotation returns None and leaves no entry behind.

        The session of the first rotation stays.
        """
        session = stage.begin(a=0)
        mine, theirs = stage.read(session), stage.read(session)
        moved: list[Committed | None] = []
        step_in = stage.store.before if moment == "before" else stage.store.after
        with step_in("create", lambda: moved.append(stage.rotate(theirs, renewal=False, user="ann"))):
            assert stage.rotate(mine, renewal=renewal, user="bob") is None
        assert moved[0] is not None
        assert stage.values_seen(moved[0].record) == {"a": 0, "user": "ann"}
        assert stage.live_keys() == {moved[0].record.key}

    def test_renewed_during_a_change_of_privilege(self, stage: Stage) -> None:
        """If a renewal comes during a rotation, the rotation moves the successor. Both older tickets are invalid."""
        session = stage.begin(a=0)
        mine, theirs = stage.read(session), stage.read(session)
        renewed: list[Committed | None] = []
        with stage.store.after("create", lambda: renewed.append(stage.rotate(theirs, renewal=True, b=1))):
            moved = stage.rotate(mine, renewal=False, user="ann")
        assert renewed[0] is not None
        assert moved is not None
        assert stage.values_seen(moved.record) == {"a": 0, "b": 1, "user": "ann"}
        assert stage.values_seen(session) is Absence.SUPERSEDED
        assert stage.values_seen(renewed[0].record) is Absence.SUPERSEDED
        assert stage.live_keys() == {moved.record.key}

    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_two_renew_it(self, stage: Stage, moment: str) -> None:
        """Two parallel renewals return the same new ticket, and the session has the changes of both requests.

        With two new tickets, a browser could get the ticket of a session that has ended.
        """
        session = stage.begin(a=0)
        mine, theirs = stage.read(session), stage.read(session)
        first: list[Committed | None] = []
        step_in = stage.store.before if moment == "before" else stage.store.after
        with step_in("create", lambda: first.append(stage.rotate(theirs, renewal=True, b=1))):
            second = stage.rotate(mine, renewal=True, c=1)
        assert first[0] is not None
        assert second is not None
        assert stage.values_seen(session) == {"a": 0, "b": 1, "c": 1}
        assert stage.live_keys() == {second.record.key}
        assert second.record.ticket == first[0].record.ticket

    def test_a_page_with_many_requests_renews_it(self, stage: Stage) -> None:
        """If many parallel requests renew a session, the old ticket leads to one session with all changes."""
        session = stage.begin(items=[])
        requests = [stage.read(session) for _ in range(8)]
        for number, request in enumerate(requests):
            assert stage.rotate(request, renewal=True, items=[number]) is not None
        shown = stage.values_seen(session)
        assert shown == {"items": list(range(8))}
        assert len(stage.live_keys()) == 1

    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_the_store_fails_in_the_middle_of_a_renewal(self, stage: Stage, moment: str) -> None:
        """If the last write of a renewal or its answer is lost, the old ticket leads to a session with all values.

        A lost answer is no error, because the write is found in the store.
        """
        session = stage.begin(a=0)
        mine = stage.read(session)

        def fail() -> None:
            raise StoreError("no answer in time")

        step_in = stage.store.before if moment == "before" else stage.store.after
        expected = pytest.raises(StoreError) if moment == "before" else nullcontext()
        with expected, step_in("replace", fail):
            assert stage.rotate(mine, renewal=True, b=1) is not None
        assert stage.values_seen(session) == ({"a": 0} if moment == "before" else {"a": 0, "b": 1})
        again = stage.rotate(stage.read(session), renewal=True, c=1)
        assert again is not None
        assert stage.values_seen(session) == stage.values_seen(again.record)

    # -- rotation and the end -----------------------------------------------------------------------------

    @pytest.mark.parametrize("renewal", [False, True], ids=["privilege", "renewal"])
    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_destroyed_during_a_rotation(self, stage: Stage, moment: str, renewal: bool) -> None:
        """If the session is destroyed during a rotation, the rotation returns None and leaves no live session."""
        session = stage.begin(a=0)
        mine, theirs = stage.read(session), stage.read(session)
        step_in = stage.store.before if moment == "before" else stage.store.after
        with step_in("create", lambda: stage.repository.destroy(theirs)):
            assert stage.rotate(mine, renewal=renewal, b=1) is None
        assert stage.values_seen(session) is Absence.SUPERSEDED
        assert stage.live_keys() == set()

    @pytest.mark.parametrize("renewal", [False, True], ids=["privilege", "renewal"])
    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_revoked_during_a_rotation(self, stage: Stage, moment: str, renewal: bool) -> None:
        """If the entry is deleted without a tombstone, a rotation returns None and leaves no live session."""
        session = stage.begin(a=0)
        mine = stage.read(session)
        step_in = stage.store.before if moment == "before" else stage.store.after
        with step_in("create", lambda: stage.store.delete(session.key)):
            assert stage.rotate(mine, renewal=renewal, b=1) is None
        assert stage.values_seen(session) is Absence.UNKNOWN
        assert stage.live_keys() == set()

    def test_renewed_before_a_destroy(self, stage: Stage) -> None:
        """A destroy after a renewal ends the successor, so a renewal cannot undo a logout."""
        session = stage.begin(a=0)
        mine, theirs = stage.read(session), stage.read(session)
        moved: list[Committed | None] = []
        with stage.store.before("replace", lambda: moved.append(stage.rotate(theirs, renewal=True))):
            assert stage.repository.destroy(mine) is True
        assert moved[0] is not None
        assert stage.values_seen(moved[0].record) is Absence.SUPERSEDED
        assert not isinstance(stage.repository.load(session.ticket), Record)
        assert stage.live_keys() == set()

    def test_renewed_again_before_each_try_of_a_destroy(self, stage: Stage) -> None:
        """If the session is renewed again before each attempt of a destroy, the destroy ends the last successor."""
        session = stage.begin(a=0)
        mine = stage.read(session)

        def renew() -> None:
            assert stage.rotate(stage.read(session), renewal=True) is not None

        with (
            stage.store.before("replace", renew, at=1),
            stage.store.before("replace", renew, at=2),
            stage.store.before("replace", renew, at=3),
        ):
            assert stage.repository.destroy(mine) is True
        assert stage.live_keys() == set()

    def test_moved_again_and_again_before_a_destroy(self, stage: Stage) -> None:
        """A destroy ends a session that was rotated and renewed several times after the request had read it."""
        session = stage.begin(a=0)
        mine = stage.read(session)
        moved = stage.read(session)
        for renewal in (True, False, True, True, False):
            committed = stage.rotate(moved, renewal=renewal)
            assert committed is not None
            moved = committed.record
        assert stage.repository.destroy(mine) is True
        assert stage.values_seen(moved) is Absence.SUPERSEDED
        assert stage.live_keys() == set()

    def test_moved_before_a_destroy(self, stage: Stage) -> None:
        """A destroy by a request that read the session before a rotation ends the session under its new ticket."""
        session = stage.begin(a=0)
        mine, theirs = stage.read(session), stage.read(session)
        moved: list[Committed | None] = []
        with stage.store.before("replace", lambda: moved.append(stage.rotate(theirs, renewal=False))):
            assert stage.repository.destroy(mine) is True
        assert moved[0] is not None
        assert stage.live_keys() == set()
        assert stage.values_seen(moved[0].record) is Absence.SUPERSEDED
        assert stage.values_seen(session) is Absence.SUPERSEDED
