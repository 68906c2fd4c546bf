"""Tests of users' sessions: every live session is in the owner index, and an ended session stays ended.

Most tests run two operations in every possible order of their store calls.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any, Final, Literal

import pytest

from ..core.entries import envelope
from ..core.entries.envelope import EntryKind
from ..core.entries.family import NextToken, TokenStatus
from ..core.entries.ownership import NewLogin, Ownership, new_handle
from ..core.entries.record import Committed, Record
from ..core.entries.tickets import Tickets
from ..core.sessions import session_registry
from ..core.sessions.owner_index import sessions_index_key
from ..core.sessions.remember_families import remember_index_key
from ..core.sessions.repository import Repository
from ..core.sessions.session_registry import OwnedSession, SessionLimit
from ..core.values.own_keys import USER_KEY
from ..errors import SessionLimitError
from ..stores.base import Owners, Store
from .base import ContractBase
from .interleaving import InterleavingOwners, Verb
from .schedules import Turns, in_every_order
from .stage import pack_dict

#: The smallest expected number of orders of two operations. With fewer orders, the operations were not interleaved.
MIN_ORDERS: Final = 3
#: The lifetime of the tests' remember tokens in seconds.
LIFETIME: Final = 3600

Operation = Callable[[Any], Any]


class KilledError(Exception):
    """Stands for the end of a process that is killed at a call of the store."""


class Users:
    """Two users, Alice and Bob, and operations on their sessions. Each order gets new users."""

    def __init__(self, store: Any, limit: SessionLimit | None = None) -> None:
        self.store = store
        self.tickets = Tickets("flask_cloakroom.testing")
        self._limit = limit
        # The clock always returns this time, so that the operations make the same calls in every order.
        self._now = time.time()
        self.alice, self.bob = (f"{name} {secrets.token_hex(8)}" for name in ("alice", "bob"))
        self.names = [self.tickets.owner_name(user) for user in (self.alice, self.bob)]

    def repository(self, store: Any) -> Repository:
        """Return a new session repository on ``store``, as a process of its own would have it."""
        return Repository(store, self.tickets, limit=self._limit, clock=lambda: self._now)

    def begin(self, user: str | None = None) -> Record:
        """Create a session of ``user``, or of a visitor without a login, and return its record."""
        return self.repository(self.store).create(pack_dict({} if user is None else {USER_KEY: user}))

    def login(self) -> Operation:
        """Return an operation in which Alice logs in to a new session."""
        return lambda store: self.repository(store).create(pack_dict({USER_KEY: self.alice}))

    def login_remembered(self) -> Operation:
        """Return an operation in which Alice logs in and gets a remember token. Its result is the token."""

        def login(store: Any) -> str:
            repository, new_login = self.repository(store), NewLogin(handle=new_handle())
            token = repository.families.issue(self.alice, "", LIFETIME, new_login)
            repository.create(pack_dict({USER_KEY: self.alice}), login=new_login)
            return token

        return login

    def use(self, token: str) -> Operation:
        """Return an operation in which a browser without a session logs in with the remember token ``token``."""

        def use(store: Any) -> Any:
            repository = self.repository(store)
            found = repository.families.find(token)
            return found and repository.families.use(found[0], token, "")

        return use

    def extend(self, token: str) -> Operation:
        """Return an operation that extends the lifetime of the token family of ``token``."""

        def extend(store: Any) -> Any:
            repository = self.repository(store)
            found = repository.families.find(token)
            return found and repository.families.extend(found[0])

        return extend

    def rotate(self, record: Record, *, renewal: bool = False, user: str | None = None) -> Operation:
        """Return an operation in which a session gets a new ticket, and the user ``user`` if ``user`` is given."""
        changes = pack_dict({} if user is None else {USER_KEY: user})
        return lambda store: self.repository(store).rotate(record, changes, renewal=renewal)

    def commit(self, record: Record) -> Operation:
        """Return an operation in which a request commits a change. The commit counts as activity."""
        return lambda store: self.repository(store).commit(record, pack_dict({"n": 1}), seen=True)

    def logout(self, record: Record) -> Operation:
        """Return an operation in which a request destroys its own session."""
        return lambda store: self.repository(store).destroy(record)

    def end(self, record: Record | OwnedSession) -> Operation:
        """Return an operation that ends one of Alice's sessions by its handle."""
        owner = Ownership.parse(record.header.owner)
        assert owner is not None
        return lambda store: self.repository(store).owners.end(owner.name, owner.handle)

    def end_all(self) -> Operation:
        """Return an operation that ends all of Alice's sessions."""
        return lambda store: self.repository(store).owners.end_all(self.names[0])

    def read(self) -> Operation:
        """Return an operation that lists Alice's sessions."""
        return lambda store: self.repository(store).owners.sessions(self.names[0])

    def read_remembered(self) -> Operation:
        """Return an operation that lists Alice's token families."""
        return lambda store: self.repository(store).families.of(self.names[0])

    def live_entries(self, keys: set[bytes], *, remembered: bool = False) -> dict[bytes, Ownership]:
        """Return the owners of the live sessions under the store keys ``keys``, by store key.

        With ``remembered``, return the owners of the live token families instead.
        """
        found = {}
        kind = EntryKind.REMEMBER_FAMILY if remembered else EntryKind.SESSION
        for key in keys:
            entry = self.store.load(key)
            header = None if entry is None else envelope.open_header(entry.data, key)[0]
            is_other = header is None or header.kind is not kind
            owner = None if header is None or is_other else Ownership.parse(header.owner)
            if owner is not None:
                found[key] = owner
        return found

    def check_index(self, keys: set[bytes]) -> dict[bytes, Ownership]:
        """Check that every live session and token family under ``keys`` is in the owner index, and each session listed.

        Return the owners of the live sessions, by store key.
        """
        living = self.live_entries(keys)
        for name in self.names:
            noted = {claim.key for claim in self.store.owned(sessions_index_key(name))}
            mine = {key: owner.handle for key, owner in living.items() if owner.name == name}
            assert set(mine) <= noted, "a live session is missing in the index"
            listed = self.repository(self.store).owners.sessions(name)
            assert {found.owner.handle for found in listed} == set(mine.values())
            remembered = {claim.key for claim in self.store.owned(remember_index_key(name))}
            tokens = self.live_entries(keys, remembered=True)
            assert {key for key, owner in tokens.items() if owner.name == name} <= remembered
        return living


class OwnershipContract(ContractBase):
    """The tests of two parallel operations on users' sessions, and of an operation that is killed at a store call."""

    @pytest.fixture
    def indexed(self, store: Store) -> Store:
        """Return the store if it has an owner index. Otherwise skip the test."""
        if not isinstance(store, Owners):
            pytest.skip("this store has no owner index")
        return store

    def test_login_beside_revocation_of_all(self, indexed: Store) -> None:
        """A revocation of all sessions ends earlier sessions, and a parallel login that had made its claim already."""

        def run(turns: Turns) -> None:
            users = Users(indexed)
            before = users.begin(users.alice)
            turns.run(users.login(), users.end_all())
            living = users.check_index({before.key, *turns.created})
            assert before.key not in living
            if turns.calls.index((0, "claim")) < turns.calls.index((1, "owned")):
                assert not living

        assert in_every_order(indexed, run) >= MIN_ORDERS

    def test_slow_login_beside_reading(self, indexed: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """If a login takes so long that a list of sessions deletes its claim, the login makes the claim again."""
        monkeypatch.setattr(session_registry, "PENDING_SECONDS", -1)

        def run(turns: Turns) -> None:
            users = Users(indexed)
            turns.run(users.login(), users.read())
            users.check_index(turns.created)

        assert in_every_order(indexed, run) >= MIN_ORDERS

    @pytest.mark.parametrize("policy", ["oldest", "refuse"])
    def test_two_logins_with_a_limit_of_one(self, indexed: Store, policy: Literal["oldest", "refuse"]) -> None:
        """After two parallel logins with a limit of one session, one session is live.

        With the policy "refuse", one of the logins raises SessionLimitError.
        """

        def run(turns: Turns) -> None:
            users = Users(indexed, SessionLimit(1, policy))
            results = turns.run(users.login(), users.login())
            assert len(users.check_index(turns.created)) == 1
            refused = sum(isinstance(result, SessionLimitError) for result in results)
            made = sum(isinstance(result, Record) for result in results)
            assert (made, refused) == ((1, 1) if policy == "refuse" else (2, 0))

        assert in_every_order(indexed, run) >= MIN_ORDERS

    def test_login_with_a_limit_beside_rotation(self, indexed: Store) -> None:
        """If a third session begins with a limit of two while another one is rotated, the third session is live.

        At most two sessions are live. During the rotation the owner index has two claims for the rotated session, so
        the limit may end one session too many.
        """

        def run(turns: Turns) -> None:
            users = Users(indexed, SessionLimit(2))
            before = [users.begin(users.alice) for _ in range(2)]
            made, _ = turns.run(users.login(), users.rotate(before[1]))
            living = users.check_index({*(record.key for record in before), *turns.created})
            assert len(living) <= 2
            assert made.key in living

        assert in_every_order(indexed, run) >= MIN_ORDERS

    def test_two_logins_in_one_session(self, indexed: Store) -> None:
        """If a visitor logs in twice at the same time, one login succeeds, and one session is live."""

        def run(turns: Turns) -> None:
            users = Users(indexed)
            visit = users.begin()
            both = [users.rotate(visit, user=user) for user in (users.alice, users.bob)]
            results = turns.run(*both)
            living = users.check_index({visit.key, *turns.created})
            (winner,) = [result for result in results if isinstance(result, Committed)]
            assert list(living) == [winner.record.key]

        assert in_every_order(indexed, run) >= MIN_ORDERS

    @pytest.mark.parametrize("renewal", [False, True], ids=["privilege", "renewal"])
    @pytest.mark.parametrize("everything", [False, True], ids=["one", "all"])
    def test_rotation_beside_revocation(self, indexed: Store, everything: bool, renewal: bool) -> None:
        """If a session is rotated while it is revoked, it ends under the old and the new ticket."""

        def run(turns: Turns) -> None:
            users = Users(indexed)
            session = users.begin(users.alice)
            revoke = users.end_all() if everything else users.end(session)
            turns.run(users.rotate(session, renewal=renewal), revoke)
            assert users.check_index({session.key, *turns.created}) == {}

        assert in_every_order(indexed, run) >= MIN_ORDERS

    @pytest.mark.parametrize("everything", [False, True], ids=["one", "all"])
    def test_commit_beside_revocation(self, indexed: Store, everything: bool) -> None:
        """If a request commits while its session is revoked, the commit does not create the session again."""

        def run(turns: Turns) -> None:
            users = Users(indexed)
            session = users.begin(users.alice)
            turns.run(users.commit(session), users.end_all() if everything else users.end(session))
            assert users.check_index({session.key, *turns.created}) == {}

        assert in_every_order(indexed, run) >= MIN_ORDERS

    @pytest.mark.parametrize("renewal", [False, True], ids=["privilege", "renewal"])
    def test_logout_beside_rotation(self, indexed: Store, renewal: bool) -> None:
        """If a session is destroyed during a rotation, it ends under the old and the new ticket."""

        def run(turns: Turns) -> None:
            users = Users(indexed)
            session = users.begin(users.alice)
            turns.run(users.logout(session), users.rotate(session, renewal=renewal))
            assert users.check_index({session.key, *turns.created}) == {}

        assert in_every_order(indexed, run) >= MIN_ORDERS

    def test_change_of_user_beside_revocation(self, indexed: Store) -> None:
        """If a session gets another user during a revocation, it ends, or the index has it under the new user."""

        def run(turns: Turns) -> None:
            users = Users(indexed)
            session = users.begin(users.alice)
            turns.run(users.rotate(session, user=users.bob), users.end_all())
            living = users.check_index({session.key, *turns.created})
            assert {owner.name for owner in living.values()} <= {users.names[1]}

        assert in_every_order(indexed, run) >= MIN_ORDERS

    def test_remembered_login_beside_revocation_of_all(self, indexed: Store) -> None:
        """If a revocation ends the session of a parallel login, it also ends the login's token family."""

        def run(turns: Turns) -> None:
            users = Users(indexed)
            token, _ = turns.run(users.login_remembered(), users.end_all())
            living = users.check_index(turns.created)
            if not living:
                assert users.repository(indexed).families.find(token) is None

        assert in_every_order(indexed, run) >= MIN_ORDERS

    def test_remembering_beside_reading(self, indexed: Store) -> None:
        """If token families are listed while a token family is made, its claim is in the owner index afterwards."""

        def run(turns: Turns) -> None:
            users = Users(indexed)
            token, _ = turns.run(users.login_remembered(), users.read_remembered())
            users.check_index(turns.created)
            assert users.repository(indexed).families.find(token) is not None

        assert in_every_order(indexed, run) >= MIN_ORDERS

    @pytest.mark.parametrize("way", ["use", "extend"])
    @pytest.mark.parametrize("everything", [False, True], ids=["one", "all"])
    def test_token_beside_revocation(self, indexed: Store, everything: bool, way: str) -> None:
        """If a token is used or extended while its login is revoked, the token and its successor are revoked."""

        def run(turns: Turns) -> None:
            users = Users(indexed)
            login = users.login_remembered()
            token = login(indexed)
            (session,) = users.repository(indexed).owners.sessions(users.names[0])
            revoke = users.end_all() if everything else users.end(session)
            made, _ = turns.run(users.use(token) if way == "use" else users.extend(token), revoke)
            find = users.repository(indexed).families.find
            assert find(token) is None
            assert not isinstance(made, NextToken) or find(made.token) is None
            assert users.check_index({session.key, *turns.created}) == {}

        assert in_every_order(indexed, run) >= MIN_ORDERS

    def test_two_uses_of_a_token(self, indexed: Store) -> None:
        """Two parallel uses of a remember token return the same next token and the same ticket.

        Exactly one of the two uses is the first use.
        """

        def run(turns: Turns) -> None:
            users = Users(indexed)
            token = users.login_remembered()(indexed)
            one, other = turns.run(users.use(token), users.use(token))
            assert (one.token, one.ticket) == (other.token, other.ticket)
            assert sorted((one.first, other.first)) == [False, True]
            found = users.repository(indexed).families.find(one.token)
            assert found is not None
            assert found[1] is TokenStatus.CURRENT

        assert in_every_order(indexed, run) >= MIN_ORDERS

    @pytest.mark.parametrize("moment", ["before", "after"])
    @pytest.mark.parametrize("what", ["login", "rotation", "renewal", "change of user", "logout", "end", "end all"])
    def test_killed_at_each_call(self, indexed: Store, what: str, moment: str) -> None:
        """If a process is killed before or after any store call of an operation, all live sessions are in the index."""
        died = 0
        for at in range(1, 100):
            users = Users(indexed, SessionLimit(2))
            session = users.begin(users.alice)
            operation = {
                "login": users.login(),
                "rotation": users.rotate(session),
                "renewal": users.rotate(session, renewal=True),
                "change of user": users.rotate(session, user=users.bob),
                "logout": users.logout(session),
                "end": users.end(session),
                "end all": users.end_all(),
            }[what]
            killed = _KilledStore(indexed, at, moment == "before")
            try:
                operation(killed)
            except KilledError:
                died += 1
            else:
                break
            finally:
                users.check_index({session.key, *killed.created})
        assert died == len(killed.calls) > 0


class _KilledStore(InterleavingOwners):
    """The store of a process that is killed before or after its ``at``-th call."""

    def __init__(self, store: Store, at: int, before: bool) -> None:
        super().__init__(store)
        self._at = at
        self._before = before
        self.created: set[bytes] = set()

    def _call(self, verb: Verb, key: bytes, work: Callable[[], Any]) -> Any:
        last = len(self.calls) + 1 == self._at
        if last and self._before:
            raise KilledError
        if verb == "create":
            self.created.add(key)
        result = super()._call(verb, key, work)
        if last:
            raise KilledError
        return result
