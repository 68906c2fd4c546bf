"""The owner index and the stored sessions agree, also under parallel operations."""

from __future__ import annotations

import contextlib
import multiprocessing
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flask_cloakroom.core.entries import envelope
from flask_cloakroom.core.entries.envelope import EntryKind
from flask_cloakroom.core.entries.ownership import Ownership
from flask_cloakroom.core.entries.record import Record
from flask_cloakroom.core.entries.tickets import Tickets
from flask_cloakroom.core.sessions import session_registry
from flask_cloakroom.core.sessions.owner_index import sessions_index_key
from flask_cloakroom.core.sessions.repository import Repository
from flask_cloakroom.core.sessions.session_registry import SessionLimit
from flask_cloakroom.errors import SessionLimitError
from flask_cloakroom.stores import Store, StoreOptions, open_store
from flask_cloakroom.stores.sqlite.store import SQLiteStore
from flask_cloakroom.testing.parallel import run_in_threads
from flask_cloakroom.testing.stage import pack_dict
from support.clock import CalmClock
from support.stores.backends import Backend, Surroundings, named, prefix

KINDS = named("memory", "sqlite", "redis-url", "redis-client-decoding", "redis-cluster", "valkey-client")
TICKETS = Tickets("test")
LIMIT = 5


@pytest.fixture(params=KINDS, ids=lambda backend: backend.name)
def store(request: pytest.FixtureRequest, surroundings: Surroundings) -> Iterator[Any]:
    """Return a store of each kind."""
    backend: Backend = request.param
    with backend.open(surroundings) as store:
        yield store


def login(repository: Repository, user: str) -> Record:
    return repository.create(pack_dict({"_user_id": user}))


def live(store: Any) -> dict[bytes, str]:
    """Return the keys of all live sessions of somebody, by what the store holds, with their owners' names."""
    found = {}
    for key, entry in store.walk():
        header = envelope.open_header(entry.data, key)[0]
        owner = Ownership.parse(header.owner)
        if owner is not None and header.kind is not EntryKind.TOMBSTONE:
            found[key] = owner.name
    return found


def noted(store: Any, name: str) -> set[bytes]:
    return {claim.key for claim in store.owned(sessions_index_key(name))}


class TestLimit:
    """A user has exactly as many sessions as the limit allows."""

    def test_two_hundred_simultaneous_logins(self, store: Any) -> None:
        """200 logins of one user in 16 threads with a limit of 5: 5 live sessions, and the index has exactly those."""
        repository = Repository(store, TICKETS, limit=SessionLimit(LIMIT))
        run_in_threads(16, lambda number: [login(repository, "alice") for _ in range(13 if number < 8 else 12)])
        name = TICKETS.owner_name("alice")
        assert len(live(store)) == LIMIT
        assert noted(store, name) == set(live(store)) == {found.key for found in repository.owners.sessions(name)}

    def test_two_hundred_simultaneous_logins_that_may_be_refused(self, store: Any) -> None:
        """With the policy "refuse" 5 logins succeed, and 195 get an error."""
        repository = Repository(store, TICKETS, limit=SessionLimit(LIMIT, "refuse"))

        def work(number: int) -> int:
            refused = 0
            for _ in range(13 if number < 8 else 12):
                try:
                    login(repository, "alice")
                except SessionLimitError:
                    refused += 1
            return refused

        assert sum(run_in_threads(16, work)) == 195
        assert len(live(store)) == LIMIT
        assert noted(store, TICKETS.owner_name("alice")) == set(live(store))

    def test_who_was_not_seen_for_longest_ends(self, store: Any) -> None:
        """With one login after the other the last five sessions stay. Other users' sessions stay too."""
        repository = Repository(store, TICKETS, limit=SessionLimit(LIMIT))
        bobs = login(repository, "bob")
        records = [login(repository, "alice") for _ in range(8)]
        found = [isinstance(repository.load(record.ticket), Record) for record in records]
        assert found == [False] * 3 + [True] * 5
        assert isinstance(repository.load(bobs.ticket), Record)

    @pytest.mark.parametrize("policy", ["oldest", "refuse"])
    def test_one_that_moves_is_not_one_more(self, store: Any, policy: Any) -> None:
        """A rotation, renewal or second login in one browser ends no other session, and is not refused."""
        repository = Repository(store, TICKETS, limit=SessionLimit(2, policy))
        first, second = login(repository, "alice"), login(repository, "alice")
        for renewal in (True, False, False):
            moved = repository.rotate(second, pack_dict({"n": 1}), renewal=renewal)
            assert moved is not None
            second = moved.record
        assert isinstance(repository.load(first.ticket), Record)
        assert len(noted(store, TICKETS.owner_name("alice"))) == 2

    def test_what_ended_without_a_release_keeps_nobody_out(self, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """A crash after the end of a session leaves its claim; a login that it would refuse prunes it."""
        monkeypatch.setattr(session_registry, "PENDING_SECONDS", -1)
        repository = Repository(store, TICKETS, limit=SessionLimit(1, "refuse"))
        store.delete(login(repository, "alice").key)
        record = login(repository, "alice")
        with pytest.raises(SessionLimitError):
            login(repository, "alice")
        assert noted(store, TICKETS.owner_name("alice")) == {record.key}


def _logins(open_it: Callable[[], Store], policy: Any, barrier: Any) -> None:
    repository = Repository(open_it(), TICKETS, limit=SessionLimit(LIMIT, policy))
    barrier.wait(60)
    for _ in range(25):
        try:
            login(repository, "alice")
        except SessionLimitError:
            continue


def _open(url: str, options: StoreOptions) -> Store:
    return open_store(url, options)


@pytest.mark.parametrize("policy", ["oldest", "refuse"])
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_simultaneous_logins_of_processes(kind: str, policy: str, surroundings: Surroundings) -> None:
    """Two hundred of one user, from eight processes: exactly 5 live sessions, and the index has those."""
    from functools import partial

    url = "sqlite:///s.db" if kind == "sqlite" else surroundings.server("shared_server").url
    open_it = partial(_open, url, StoreOptions(surroundings.folder, prefix(), 20.0))
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(8)
    processes = [context.Process(target=_logins, args=(open_it, policy, barrier)) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(90)
    assert [process.exitcode for process in processes] == [0] * 8
    store: Any = open_it()
    assert len(live(store)) == LIMIT
    assert noted(store, TICKETS.owner_name("alice")) == set(live(store))
    store.close()


@pytest.mark.promise(9)
class TestRevocation:
    """A revoked session stays revoked."""

    def test_a_login_under_way_is_prevented(self, store: Any) -> None:
        """A login that has made its claim, but no entry yet, makes no entry after all sessions were ended."""
        between = Between(store)
        repository = Repository(between, TICKETS)
        name = TICKETS.owner_name("alice")
        between.before["create"] = lambda: Repository(store, TICKETS).owners.end_all(name)
        record = login(repository, "alice")
        assert live(store) == {}
        assert not isinstance(repository.load(record.ticket), Record)

    @pytest.mark.parametrize("verb", ["claim", "create", "replace"])
    def test_one_that_is_just_moving_ends_where_it_goes(self, store: Any, verb: str) -> None:
        """A revocation before each step of a rotation: neither the old nor the new ticket opens a session."""
        for renewal in (True, False):
            for everything in (True, False):
                between = Between(store)
                repository = Repository(between, TICKETS)
                record = login(repository, "alice")
                owner = Ownership.parse(record.header.owner)
                assert owner is not None
                plain = Repository(store, TICKETS).owners

                def revoke(plain: Any = plain, owner: Any = owner, everything: bool = everything) -> None:
                    _ = plain.end_all(owner.name) if everything else plain.end(owner.name, owner.handle)

                between.before[verb] = revoke
                repository.rotate(record, {}, renewal=renewal)
                assert live(store) == {}

    @pytest.mark.parametrize("renewal", [False, True])
    def test_one_that_has_moved_since_the_index_was_read(self, store: Any, renewal: bool) -> None:
        """A session that moved after the index was read is listed and ended at its new key."""
        for what in ("list", "end"):
            between = Between(store)
            looking, name = Repository(between, TICKETS).owners, TICKETS.owner_name("alice")
            repository = Repository(store, TICKETS)
            record = login(repository, "alice")
            owner = Ownership.parse(record.header.owner)
            assert owner is not None

            def move(repository: Repository = repository, record: Record = record) -> None:
                assert repository.rotate(record, {}, renewal=renewal) is not None

            between.before["load"] = move
            if what == "end":
                assert looking.end(name, owner.handle) is True
                assert live(store) == {}
            else:
                assert {found.key for found in looking.sessions(name)} == set(live(store)) != set()
                assert repository.owners.end_all(name) == 1

    def test_a_request_in_flight_brings_nothing_back(self, store: Any) -> None:
        """A request read the session before its revocation; the commit finds the session gone."""
        repository = Repository(store, TICKETS)
        record = login(repository, "alice")
        assert repository.owners.end_all(TICKETS.owner_name("alice")) == 1
        assert repository.commit(record, pack_dict({"n": 1}), seen=True) is None
        assert repository.rotate(record, pack_dict({"n": 1})) is None
        assert live(store) == {}


class Between:
    """A store in front of another: steps in before a verb once."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.before: dict[str, Callable[[], Any]] = {}

    def _call(self, verb: str, *arguments: Any) -> Any:
        if (hook := self.before.pop(verb, None)) is not None:
            hook()
        return getattr(self._store, verb)(*arguments)

    def load(self, *arguments: Any) -> Any:
        return self._call("load", *arguments)

    def create(self, *arguments: Any) -> Any:
        return self._call("create", *arguments)

    def replace(self, *arguments: Any) -> Any:
        return self._call("replace", *arguments)

    def touch(self, *arguments: Any) -> Any:
        return self._call("touch", *arguments)

    def delete(self, *arguments: Any) -> Any:
        return self._call("delete", *arguments)

    def claim(self, *arguments: Any) -> Any:
        return self._call("claim", *arguments)

    def release(self, *arguments: Any) -> Any:
        return self._call("release", *arguments)

    def owned(self, *arguments: Any) -> Any:
        return self._call("owned", *arguments)

    def close(self) -> None:
        pass


@pytest.mark.parametrize("backend", named("sqlite", "redis-url"), ids=lambda backend: backend.name)
def test_how_long_it_takes(backend: Backend, surroundings: Surroundings) -> None:
    """Twenty sessions among twenty thousand are listed as fast as if there were no others; and a thousand sessions end
    in about the time that their logins took. The benchmark holds the milliseconds."""
    with backend.open(surroundings) as store:
        repository = Repository(store, TICKETS)
        name = TICKETS.owner_name("alice")
        header = envelope.Header(int(time.time()), int(time.time()), int(time.time()))
        for _ in range(20):
            login(repository, "alice")

        def seconds_to_list() -> float:
            """Return the shortest time of twenty lists, which is the one that other programs disturbed least."""
            took = []
            for _ in range(20):
                began = time.perf_counter()
                assert len(repository.owners.sessions(name)) == 20
                took.append(time.perf_counter() - began)
            return min(took)

        among_few = seconds_to_list()
        for number in range(20_000):
            other = header._replace(owner=f"{TICKETS.owner_name(str(number // 20))}.x{number}.")
            key = TICKETS.fingerprint(str(number))
            store.claim(sessions_index_key(other.owner[:32]), key, 3600)  # type: ignore[attr-defined]
            store.create(key, envelope.pack(other, b"\x80", key), 3600)
        among_many = seconds_to_list()
        with CalmClock() as clock:
            began = clock.time()
            for _ in range(980):
                login(repository, "alice")
            logged_in = clock.time()
            assert repository.owners.end_all(name) == 1000
            ended = clock.time()
        took_to_log_in, took_to_end = logged_in - began, ended - logged_in
        print(f"{backend.name}: list {among_many * 1000:.2f} ms, end 1000 in {took_to_end:.3f} s")
        # A walk over all twenty thousand would take a hundred times as long.
        assert among_many < 3 * among_few
        assert took_to_end < 5 * took_to_log_in


def test_a_file_from_before_gets_the_index(surroundings: Surroundings) -> None:
    """A SQLite file without the table has it when it is opened, and its entries are as they were."""
    path = surroundings.folder / "old.db"
    store = SQLiteStore(path)
    store.create(b"key", b"data", 60)
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript("DROP TABLE cloakroom_owners")
    store = SQLiteStore(path)
    assert store.claim(b"owner", b"key", 60) is True
    entry = store.load(b"key")
    assert entry is not None
    assert entry.data == b"data"
    store.close()
