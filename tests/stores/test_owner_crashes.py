"""The owner index is right after thousands of random operations with crashes between any two steps."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import pytest

from flask_cloakroom.core.entries import envelope
from flask_cloakroom.core.entries.envelope import EntryKind
from flask_cloakroom.core.entries.ownership import NewLogin, Ownership
from flask_cloakroom.core.entries.record import Committed, Record
from flask_cloakroom.core.entries.tickets import Tickets
from flask_cloakroom.core.sessions import session_registry
from flask_cloakroom.core.sessions.owner_index import sessions_index_key
from flask_cloakroom.core.sessions.remember_families import remember_index_key
from flask_cloakroom.core.sessions.repository import Repository
from flask_cloakroom.core.sessions.session_registry import SessionLimit
from flask_cloakroom.errors import SessionLimitError, StoreError
from flask_cloakroom.stores import Store, StoreOptions, open_store
from flask_cloakroom.testing.interleaving import InterleavingOwners
from flask_cloakroom.testing.stage import pack_dict
from support.stores.backends import Backend, Surroundings, named, prefix

pytestmark = pytest.mark.promise(9)

KINDS = named("memory", "sqlite", "redis-url", "redis-client-decoding", "redis-cluster", "valkey-client")
TICKETS = Tickets("test")
USERS: Final = ("alice", "bob", "carol")
LIMIT: Final = 8
#: So many sessions, as some request has read them, are acted on; most of them are out of date by then.
REMEMBERED: Final = 30
#: One in so many operations is cut short, at one of its first calls of the store.
CUT_ONE_IN: Final = 4
CALLS: Final = 8
#: Seconds for which a login is remembered.
MONTH: Final = 30 * 86_400


class CrashError(Exception):
    """The process ended here."""


class Mortal(InterleavingOwners):
    """A store whose process dies at a chosen call, or which fails there and goes on: before or after it was done."""

    _left = 0

    def fail_at(self, number: int, error: type[Exception], *, done: bool) -> None:
        """Raise ``error`` at the ``number``-th call from now; 0: at none."""
        self._left, self._error, self._done = number, error, done

    def _call(self, verb: Any, key: bytes, work: Callable[[], Any]) -> Any:
        self._left -= 1
        if self._left != 0:
            return work()
        if self._done:
            work()
        raise self._error("at a call that the test chose")


class Model:
    """Some users, what is done to their sessions at random, and what must hold whatever that is."""

    def __init__(self, store: Any, seed: int) -> None:
        self.random = random.Random(seed)
        self.store = store
        self.mortal = Mortal(store)
        self.ahead, self.has_a_clock = 0.0, True
        limit = SessionLimit(LIMIT, self.random.choice(("oldest", "refuse"))) if seed % 2 else None
        self.repository = Repository(self.mortal, TICKETS, limit=limit, clock=lambda: time.time() + self.ahead)
        self.records: list[Record] = []
        #: Tokens that remember a login, of the last ones.
        self.tokens: deque[str] = deque(maxlen=100)
        #: Handles of sessions that were ended, and the end was reported.
        self.ended: set[str] = set()
        #: Those among them whose tokens ended too; a logout by the session alone leaves that to who has the token.
        self.revoked: set[str] = set()
        #: Every ticket that a browser got, of the last ones.
        self.tickets: deque[str] = deque(maxlen=200)
        self.history: deque[str] = deque(maxlen=20)

    def step(self) -> None:
        """Do something; perhaps be cut short."""
        user, record = self.random.choice(USERS), self._any_record()
        action = self.random.choices(self.ACTIONS, weights=[weight for _, weight in self.WEIGHTS])[0]
        cut = ""
        if self.random.randrange(CUT_ONE_IN) == 0:
            error, done = self.random.choice((CrashError, StoreError)), self.random.random() < 0.5
            number = self.random.randint(1, CALLS)
            self.mortal.fail_at(number, error, done=done)
            cut = f", {error.__name__} {'after' if done else 'before'} call {number}"
        self.history.append(f"{action.__name__}({user}){cut}")
        try:
            action(self, user, record)
        except (CrashError, StoreError, SessionLimitError) as error:
            self.history[-1] += f": {type(error).__name__}"
        finally:
            self.mortal.fail_at(0, CrashError, done=False)
        self.tickets.extend(record.ticket for record in self.records[-2:])
        del self.records[:-REMEMBERED]

    def _any_record(self) -> Record:
        if not self.records:
            self.records.append(self.repository.create(pack_dict({"n": 0})))
        return self.random.choice(self.records)

    def _goes_on(self, committed: Committed | None) -> None:
        if committed is not None:
            self.records.append(committed.record)

    # -- what can happen --------------------------------------------------------------------------------------

    def login(self, user: str, record: Record) -> None:
        self.records.append(self.repository.create(pack_dict({"_user_id": user})))

    def visit(self, user: str, record: Record) -> None:
        self.records.append(self.repository.create(pack_dict({"n": 0})))

    def login_here(self, user: str, record: Record) -> None:
        self._goes_on(self.repository.rotate(record, pack_dict({"_user_id": user})))

    def forget_user(self, user: str, record: Record) -> None:
        self._goes_on(self.repository.rotate(record, {"_user_id": None}))

    def rotate(self, user: str, record: Record) -> None:
        self._goes_on(self.repository.rotate(record, pack_dict({"n": 1})))

    def renew(self, user: str, record: Record) -> None:
        self._goes_on(self.repository.rotate(record, {}, renewal=True))

    def commit(self, user: str, record: Record) -> None:
        seen = self.random.random() < 0.5
        self._goes_on(self.repository.commit(record, pack_dict({"n": self.random.random()}), seen=seen))

    def logout(self, user: str, record: Record) -> None:
        handle = _handle(record.header)
        if self.repository.destroy(record):
            self.ended |= {handle} - {""}

    def end(self, user: str, record: Record) -> None:
        owner = Ownership.parse(record.header.owner)
        if owner is not None and self.repository.owners.end(owner.name, owner.handle):
            self._is_over({owner.handle})

    def end_all(self, user: str, record: Record) -> None:
        name = TICKETS.owner_name(user)
        both = [*self.living().values(), *self.living(remembered=True).values()]
        self.repository.owners.end_all(name)
        self._is_over({owner.handle for owner in both if owner.name == name})

    def _is_over(self, handles: set[str]) -> None:
        """Note logins that ended with all that remembers them. What remembers them from here on is another login's."""
        self.ended |= handles
        self.revoked |= handles

    def look(self, user: str, record: Record) -> None:
        self.repository.owners.sessions(TICKETS.owner_name(user))

    def remember(self, user: str, record: Record) -> None:
        owner = Ownership.parse(record.header.owner)
        if owner is not None and owner.name == TICKETS.owner_name(user) and owner.handle not in self.ended:
            self.tokens.append(self.repository.families.issue(user, "", MONTH, NewLogin(handle=owner.handle)))

    def use_token(self, user: str, record: Record) -> None:
        token = self.random.choice(self.tokens) if self.tokens else ""
        found = self.repository.families.find(token) if token else None
        if found is not None:
            used = self.repository.families.use(found[0], token, "")
            self.tokens.extend([] if used is None else [used.token])

    def extend_token(self, user: str, record: Record) -> None:
        found = self.repository.families.find(self.random.choice(self.tokens)) if self.tokens else None
        if found is not None:
            self.repository.families.extend(found[0])

    def expire_in_the_store(self, user: str, record: Record) -> None:
        self.store.delete(record.key)

    def time_passes(self, user: str, record: Record) -> None:
        if self.has_a_clock:
            self.ahead += self.random.choice((1, 15, 60, self.repository.lifetimes.idle / 3))
            # No request lasts for that long: those that come now read anew. (One that is under way when its session
            # runs out finds nothing in the store, whose clock this test cannot move.)
            found = [self.repository.load(record.ticket) for record in self.records]
            self.records = [record for record in found if isinstance(record, Record)]

    WEIGHTS: Final[tuple[tuple[Any, int], ...]] = (
        *((login, 24), (visit, 3), (login_here, 10), (forget_user, 3), (rotate, 10), (renew, 12), (commit, 12)),
        *((remember, 12), (use_token, 8), (extend_token, 3)),
        *((logout, 8), (end, 6), (end_all, 1), (look, 4), (expire_in_the_store, 5), (time_passes, 2)),
    )
    ACTIONS: Final = tuple(action for action, _ in WEIGHTS)

    # -- what must hold ---------------------------------------------------------------------------------------

    def living(self, *, remembered: bool = False) -> dict[bytes, Ownership]:
        """Return the live sessions of users, or what remembers their logins, by a walk over the store."""
        found = {}
        kind = EntryKind.REMEMBER_FAMILY if remembered else EntryKind.SESSION
        now = self.repository.now_ms() // 1000
        for key, entry in self.store.walk():
            header = envelope.open_header(entry.data, key)[0]
            owner = Ownership.parse(header.owner)
            is_over = now >= header.deadline if remembered else self.repository.lifetimes.is_over(header, now)
            if owner is not None and header.kind is kind and not is_over:
                found[key] = owner
        return found

    def noted(self, name: str, *, remembered: bool = False) -> set[bytes]:
        index_key = remember_index_key if remembered else sessions_index_key
        return {claim.key for claim in self.store.owned(index_key(name))}

    def check(self) -> int:
        """None that lives is missing in the index, no limit is passed, nothing opens what ended; return how many live.

        A rotation that was cut short may leave the session that it made of an ended one: live, and with a ticket that
        nobody has got. So what counts here are tickets.
        """
        living, tokens = self.living(), self.living(remembered=True)
        for name in map(TICKETS.owner_name, USERS):
            mine = {key: owner.handle for key, owner in living.items() if owner.name == name}
            assert set(mine) <= self.noted(name)
            assert {key for key, owner in tokens.items() if owner.name == name} <= self.noted(name, remembered=True)
        opened = [found for found in map(self.repository.load, self.tickets) if isinstance(found, Record)]
        owned = {owner for found in opened if (owner := Ownership.parse(found.header.owner))}
        assert not self.ended & {owner.handle for owner in owned}
        if self.repository.owners.limit is not None:
            assert max(Counter(owner.name for owner in owned).values(), default=0) <= LIMIT
        for family in map(self.repository.families.find, self.tokens):
            assert family is None or family[0].owner.handle not in self.revoked
        return len(living)

    def check_pruned(self) -> None:
        """Whoever reads finds exactly what lives, and leaves nothing else in the index."""
        for name in map(TICKETS.owner_name, USERS):
            handles = {found.owner.handle for found in self.repository.owners.sessions(name)}
            mine = {key: owner.handle for key, owner in self.living().items() if owner.name == name}
            assert handles == set(mine.values())
            assert self.noted(name) == set(mine)
            self.repository.families.of(name)
            tokens = {key for key, owner in self.living(remembered=True).items() if owner.name == name}
            assert self.noted(name, remembered=True) == tokens


def _handle(header: Any) -> str:
    owner = Ownership.parse(header.owner)
    return "" if owner is None else owner.handle


def run_model(store: Any, operations: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do so many random operations. Fails with the seed, and with what was done last."""
    model = Model(store, seed)
    most = 0
    try:
        for number in range(operations):
            model.step()
            if number % 50 == 0:
                most = max(most, model.check())
        model.check()
        # A claim without a session is spared for as long as a login may take, and here nobody is about to log in.
        monkeypatch.setattr(session_registry, "PENDING_SECONDS", -1)
        model.check_pruned()
    except Exception as error:
        last = "\n".join(model.history)
        error.add_note(f"the seed was {seed}, after {number} operations; the last were\n{last}")
        raise
    assert most >= LIMIT  # or there was nothing to lose


@pytest.fixture(params=KINDS, ids=lambda backend: backend.name)
def store(request: pytest.FixtureRequest, surroundings: Surroundings) -> Iterator[Any]:
    """Return a store of each kind."""
    backend: Backend = request.param
    with backend.open(surroundings) as store:
        yield store


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_operations(store: Any, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Log in, rotate, renew, write, revoke, expire, log out, and crash: the index never holds too little.

    And whoever reads it prunes it of all that is dead. Odd seeds have a limit, which is never passed.
    """
    run_model(store, 2000 if str(store).startswith("memory") else 300, seed, monkeypatch)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("limited", [False, True])
def test_ten_thousand_random_operations(store: Any, monkeypatch: pytest.MonkeyPatch, limited: bool) -> None:
    """The same, with another seed at each run, which a failure shows."""
    seed = int.from_bytes(os.urandom(4)) * 2 + limited
    run_model(store, 10_000, seed, monkeypatch)


# -- processes that are really killed ---------------------------------------------------------------------------


def _open(url: str, options: StoreOptions) -> Store:
    return open_store(url, options)


def _work_for_ever(open_it: Callable[[], Store], seed: int, ready: Any) -> None:
    model = Model(open_it(), seed)
    model.has_a_clock = False  # processes of one application agree on the time
    while len(model.living()) < LIMIT:  # until there is something to lose, however slow the machine is
        model.step()
    ready.set()
    while True:
        model.step()


@pytest.mark.parametrize("kills", [4, pytest.param(60, marks=[pytest.mark.soak, pytest.mark.timeout(600)])])
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_killed_processes(kind: str, kills: int, surroundings: Surroundings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes at a time work on the sessions and are killed by the system at any moment: the same holds."""
    url = "sqlite:///s.db" if kind == "sqlite" else surroundings.server("shared_server").url
    open_it = partial(_open, url, StoreOptions(surroundings.folder, prefix(), 20.0))
    context = multiprocessing.get_context("spawn")
    store: Any = open_it()
    for number in range(0, kills, 2):
        ready = [context.Event(), context.Event()]
        # Even seeds: no limit, which would hide a session that is missing by ending it.
        arguments = [(open_it, (number + which) * 2, ready[which]) for which in range(2)]
        processes = [context.Process(target=_work_for_ever, args=each) for each in arguments]
        for process in processes:
            process.start()
        assert all(event.wait(60) for event in ready)
        time.sleep(random.uniform(0.05, 0.3))
        for process in processes:
            assert process.pid is not None
            assert process.is_alive()
            os.kill(process.pid, signal.SIGKILL)
            process.join(30)
        Model(store, 0).check()
    monkeypatch.setattr(session_registry, "PENDING_SECONDS", -1)
    Model(store, 0).check_pruned()
    store.close()
