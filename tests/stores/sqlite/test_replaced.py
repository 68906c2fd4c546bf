"""SQLite's file is deleted or replaced while workers use it: all of them go on with the new file."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flask_cloakroom.errors import StoreError
from flask_cloakroom.stores import Claim, Conflict, Entry, Gone, Saved
from flask_cloakroom.stores.sqlite import store as sqlite_module
from flask_cloakroom.stores.sqlite.store import SQLiteStore
from flask_cloakroom.testing.parallel import child_succeeded, run_in_child, run_in_threads
from support.stores import workers

spawning = multiprocessing.get_context("spawn")

BOTH = (b"in both", b"data")
OLD = (b"key of the old file alone", b"data")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the file is: in a folder of its own, behind two symbolic links, as deployments have it."""
    release = tmp_path / "releases" / "1" / "instance"
    release.mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/1")
    (release / "link.db").symlink_to("real.db")
    return tmp_path / "current" / "instance" / "link.db"


@pytest.fixture
def backup(tmp_path: Path, path: Path) -> Path:
    """Return a backup of the store's file, made when it had one entry."""
    store = SQLiteStore(path)
    assert store.create(*BOTH, 600) is not None
    target = tmp_path / "backup.db"
    with contextlib.closing(sqlite3.connect(path)) as db, contextlib.closing(sqlite3.connect(target)) as copy:
        db.backup(copy)
    store.close()
    return target


@pytest.fixture
def store(path: Path, backup: Path) -> Iterator[SQLiteStore]:
    """Return a store with an entry that the backup has as well, and one that it has not. Both are in the WAL."""
    store = SQLiteStore(path, timeout=1.0)
    assert store.create(*OLD, 600) is not None
    # Something written to the WAL and not to the file, for a new file to be mixed up with.
    for number in range(20):
        store.create(b"filling %d" % number, os.urandom(3000), 600)
    yield store
    store.close()


def beside(path: Path, suffix: str) -> Path:
    real = path.resolve()
    return real.with_name(real.name + suffix)


def delete_the_file(path: Path, backup: Path) -> None:
    path.resolve().unlink()


def delete_all_three(path: Path, backup: Path) -> None:
    real, wal, shm = path.resolve(), beside(path, "-wal"), beside(path, "-shm")
    for each in (real, wal, shm):
        each.unlink(missing_ok=True)


def delete_the_folder(path: Path, backup: Path) -> None:
    shutil.rmtree(path.parent.resolve())


def delete_the_link(path: Path, backup: Path) -> None:
    path.unlink()


def another_release(path: Path, backup: Path) -> None:
    current = path.parent.parent
    (current.parent / "releases" / "2").mkdir()
    (current.parent / "new").symlink_to("releases/2")
    (current.parent / "new").rename(current)


def move_a_backup_there(path: Path, backup: Path) -> None:
    backup.rename(path.resolve())


def move_a_backup_over_the_link(path: Path, backup: Path) -> None:
    backup.rename(path)


def move_a_backup_there_and_tidy_up(path: Path, backup: Path) -> None:
    wal, shm = beside(path, "-wal"), beside(path, "-shm")
    backup.rename(path.resolve())
    wal.unlink(missing_ok=True)
    shm.unlink(missing_ok=True)


def delete_and_copy_a_backup_there(path: Path, backup: Path) -> None:
    real = path.resolve()
    real.unlink()
    shutil.copy(backup, real)


def another_link(path: Path, backup: Path) -> None:
    (path.parent / "new").symlink_to(backup)
    (path.parent / "new").rename(path)


EMPTY = [delete_the_file, delete_all_three, delete_the_folder, delete_the_link, another_release]
RESTORED = [
    move_a_backup_there,
    move_a_backup_over_the_link,
    move_a_backup_there_and_tidy_up,
    delete_and_copy_a_backup_there,
    another_link,
]
Way = Callable[[Path, Path], None]


def check_whole(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


# -- what each verb makes of it ---------------------------------------------------------------------------


VERBS: dict[str, tuple[Callable[[SQLiteStore, bytes], Any], Any]] = {
    "load": (lambda store, version: store.load(OLD[0]), None),
    "replace": (lambda store, version: store.replace(OLD[0], b"late", 600, version), Gone()),
    "replace, short": (lambda store, version: store.replace(OLD[0], b"late", 30, version), Gone()),
    "touch": (lambda store, version: store.touch(OLD[0], 600), False),
    "delete": (lambda store, version: store.delete(OLD[0]), False),
    "owned": (lambda store, version: store.owned(b"owner"), []),
    "release": (lambda store, version: store.release(b"owner", OLD[0]), False),
    "claim": (lambda store, version: store.claim(b"owner", b"key", 600, limit=1), True),
    "purge": (lambda store, version: store.purge(10), 0),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("way", [delete_the_file, delete_all_three, move_a_backup_there, another_release])
def test_the_first_call_is_answered_by_the_new_file(
    store: SQLiteStore, path: Path, backup: Path, way: Way, verb: str
) -> None:
    """What the old file alone had is gone, whichever verb comes first; nothing of it is mixed into the new file."""
    entry = store.load(OLD[0])
    assert entry is not None
    store.claim(b"owner", OLD[0], 600)
    way(path, backup)
    call, expected = VERBS[verb]
    assert call(store, entry.version) == expected
    assert {key for key, _ in store.walk()} == ({BOTH[0]} if way in RESTORED else set())
    check_whole(path)


@pytest.mark.parametrize("way", EMPTY + RESTORED)
def test_what_is_created_first_is_in_the_new_file(store: SQLiteStore, path: Path, backup: Path, way: Way) -> None:
    """An acknowledged entry is there for a process that has just begun."""
    way(path, backup)
    assert store.create(b"new", b"data", 600) is not None
    child = spawning.Process(target=workers.expect, args=(str(path), [b"new"], [OLD[0]]))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert store.load(b"new") is not None


@pytest.mark.parametrize("way", [delete_the_file, move_a_backup_there])
def test_a_warning_for_each_replacement(
    store: SQLiteStore, path: Path, backup: Path, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    """One WARNING with the path, however many threads and calls notice; a second replacement has one of its own."""
    spare = backup.with_name("spare.db")
    shutil.copy(backup, spare)
    connections = [store._open() for _ in range(3)]
    for db in connections:
        store._return(db)
    assert warnings_of(caplog) == []
    for number, source in enumerate((backup, spare), 1):
        way(path, source)
        run_in_threads(4, lambda thread: [store.load(b"%d" % thread) for _ in range(20)])
        store.create(b"after %d" % number, b"data", 600)
        assert len(warnings_of(caplog)) == number
        assert all(str(path) in text for text in warnings_of(caplog))
    assert not any(key.decode() in caplog.text for key in (BOTH[0], OLD[0]))


def test_a_file_that_stays_is_no_warning(store: SQLiteStore, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nor one whose last connection was closed, or that was opened again after a fork."""
    store.close()
    store.load(b"k")
    assert child_succeeded(run_in_child(lambda: store.load(b"k")))
    store.load(b"k")
    os.utime(path)
    path.chmod(0o640)
    store.load(b"k")
    assert warnings_of(caplog) == []


def test_the_new_file_is_for_its_owner_only(store: SQLiteStore, path: Path, backup: Path) -> None:
    """As the first one was, whatever the umask allows; a folder that is made anew as well."""
    before = os.umask(0)
    try:
        delete_the_folder(path, backup)
        store.load(b"k")
    finally:
        os.umask(before)
    assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_nothing_of_the_old_file_stays_open(store: SQLiteStore, path: Path, backup: Path) -> None:
    """Also connections that nobody is about to use are closed: otherwise the disk's room is never free again."""
    connections = [store._open() for _ in range(5)]
    for db in connections:
        store._return(db)
    delete_all_three(path, backup)
    store.load(b"k")
    assert len(store._idle) == len(store._open_count) == 1
    if Path("/proc/self/fd").exists():
        opened = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
        assert not [name for name in opened if path.resolve().name in name and "deleted" in name]


@pytest.mark.parametrize("meanwhile", ["nothing", "a backup"])
def test_a_file_that_is_moved_away_is_complete(
    store: SQLiteStore, path: Path, backup: Path, tmp_path: Path, meanwhile: str
) -> None:
    """What was acknowledged before is in the file that was moved, and there again when the file is moved back."""
    kept = tmp_path / "kept.db"
    path.resolve().rename(kept)
    if meanwhile == "a backup":
        move_a_backup_there(path, backup)
    assert store.load(OLD[0]) is None
    kept.rename(path.resolve())
    assert store.load(OLD[0]) is not None
    check_whole(path)


def test_a_relative_path_stays_where_it_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A process that changes its folder goes on with the same file."""
    before = Path.cwd()
    (tmp_path / "elsewhere").mkdir()
    os.chdir(tmp_path)
    try:
        store = SQLiteStore("s.db")
        store.create(*BOTH, 600)
        os.chdir("elsewhere")
        assert store.load(BOTH[0]) is not None
        store.close()
        assert store.load(BOTH[0]) is not None
    finally:
        os.chdir(before)
    assert [each.name for each in (tmp_path / "elsewhere").iterdir()] == []
    assert warnings_of(caplog) == []
    store.close()


# -- several processes ------------------------------------------------------------------------------------


class Worker:
    """A process with a store of its own, that does what it is told."""

    def __init__(self, path: Path) -> None:
        self._calls, theirs = spawning.Pipe()
        self._process = spawning.Process(target=workers.obey, args=(str(path), theirs))
        self._process.start()

    def __call__(self, verb: str, *values: Any) -> Any:
        self._calls.send((verb, values))
        assert self._calls.poll(30), "no answer"
        answer = self._calls.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        self._calls.send(None)
        self._process.join(30)
        assert self._process.exitcode == 0


@pytest.fixture
def worker(path: Path) -> Iterator[Callable[[], Worker]]:
    """Return what starts a Worker; all are ended at the end."""
    started: list[Worker] = []

    def start() -> Worker:
        started.append(Worker(path))
        return started[-1]

    yield start
    for each in started:
        each.end()


@pytest.mark.parametrize("first", ["an old worker", "a new worker"])
@pytest.mark.parametrize("way", EMPTY + RESTORED)
def test_workers_agree_on_the_new_file(
    path: Path, backup: Path, worker: Callable[[], Worker], way: Way, first: str
) -> None:
    """Those that had the old file, whether or not they notice first, and those that begin afterwards: one truth."""
    old = [worker(), worker()]
    version = old[0]("create", *OLD, 600)
    for number in range(20):
        old[number % 2]("create", b"filling %d" % number, os.urandom(3000), 600)
    way(path, backup)
    new = worker()
    everybody = [*old, new] if first == "an old worker" else [new, *old]

    for number, each in enumerate(everybody):
        assert each("load", OLD[0]) is None
        assert each("load", BOTH[0]) is None if way in EMPTY else each("load", BOTH[0]).data == BOTH[1]
        assert each("create", b"of %d" % number, b"data", 600) is not None
    for each in everybody:
        assert all(each("load", b"of %d" % number) is not None for number in range(3))
        assert not isinstance(each("replace", OLD[0], b"late", 600, version), Saved)

    # Delete wins: a worker that has read the entry before cannot bring it back.
    entry = everybody[2]("load", b"of 0")
    assert everybody[0]("delete", b"of 0") is True
    assert everybody[2]("replace", b"of 0", b"late", 600, entry.version) == Gone()
    assert everybody[1]("load", b"of 0") is None
    for each in everybody:
        each("close")
    check_whole(path)
    assert everybody[0]("load", b"of 2") is not None


@pytest.mark.parametrize("way", EMPTY + RESTORED)
def test_a_worker_that_ends_without_having_noticed(
    path: Path, backup: Path, worker: Callable[[], Worker], way: Way
) -> None:
    """Takes nothing of the new file with it: neither the new WAL, nor what others have written since."""
    old, new = worker(), worker()
    old("create", *OLD, 600)
    way(path, backup)
    assert new("create", b"new", b"data", 600) is not None
    old("close")
    assert new("create", b"newer", b"data", 600) is not None
    assert all(worker()("load", key) is not None for key in (b"new", b"newer"))
    assert old("load", b"newer") is not None
    check_whole(path)


def test_a_wal_that_nobody_can_tell_to_be_strange_is_kept(path: Path, backup: Path) -> None:
    """A process was killed, the file stayed: what is in the WAL has been acknowledged, and is read."""
    child = run_in_child(lambda: (SQLiteStore(path).create(*OLD, 600), os._exit(0)))
    assert child_succeeded(child)
    assert beside(path, "-wal").stat().st_size > 0
    store = SQLiteStore(path)
    assert store.load(OLD[0]) is not None
    store.close()


def test_a_backup_that_brings_its_own_wal(store: SQLiteStore, path: Path, tmp_path: Path) -> None:
    """All that belongs to the new file is used: its WAL is not taken for the old file's."""
    other = tmp_path / "other.db"
    child = run_in_child(lambda: (SQLiteStore(other).create(b"in the other's WAL", b"data", 600), os._exit(0)))
    assert child_succeeded(child)
    wal = beside(path, "-wal")
    other.rename(path.resolve())
    beside(other, "-wal").rename(wal)
    assert store.load(b"in the other's WAL") is not None
    assert store.load(OLD[0]) is None
    check_whole(path)


@pytest.mark.parametrize("way", [delete_the_file, move_a_backup_there])
def test_a_fork_after_a_replacement(store: SQLiteStore, path: Path, backup: Path, way: Way) -> None:
    """Child and parent use the new file, whichever of them had the old one open."""
    way(path, backup)

    def in_the_child() -> None:
        assert store.load(OLD[0]) is None
        assert store.create(b"child's", b"data", 600) is not None

    assert child_succeeded(run_in_child(in_the_child))
    assert store.load(b"child's") is not None
    assert store.load(OLD[0]) is None
    assert store.create(b"parent's", b"data", 600) is not None
    assert child_succeeded(run_in_child(lambda: store.load(b"parent's").data))  # type: ignore[union-attr]


# -- in the middle of a call ------------------------------------------------------------------------------


@pytest.fixture(params=["before the statement", "after the statement"])
def in_the_middle(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what arranges for something to happen once, in the middle of the next call, at the statement."""

    def arrange(event: Callable[[], None]) -> None:
        events = [event]
        for name in ("_count", "_fetch_one", "_fetch_all"):
            run = getattr(sqlite_module, name)

            def disturbed(db: Any, statement: str, values: Any, run: Any = run) -> Any:
                if events and request.param == "before the statement":
                    events.pop()()
                result = run(db, statement, values)
                if events:
                    events.pop()()
                return result

            monkeypatch.setattr(sqlite_module, name, disturbed)

    return arrange


@pytest.mark.parametrize("way", EMPTY + RESTORED)
def test_what_is_acknowledged_is_in_the_file_that_is_there_then(
    store: SQLiteStore, path: Path, backup: Path, way: Way, in_the_middle: Callable[..., None]
) -> None:
    """A create during which the file is replaced: before its statement, or when it has committed to the old file."""
    in_the_middle(lambda: way(path, backup))
    version = store.create(b"new", b"data", 600)
    assert version is not None
    child = spawning.Process(target=workers.expect, args=(str(path), [b"new"], [OLD[0]]))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert store.load(b"new") == Entry(b"data", version)


@pytest.mark.parametrize("way", EMPTY + RESTORED)
def test_what_is_answered_holds_for_the_file_that_is_there_then(
    store: SQLiteStore, path: Path, backup: Path, way: Way, in_the_middle: Callable[..., None]
) -> None:
    """A replace of an entry that the new file has not is Gone, though the old file had it and was written."""
    entry = store.load(OLD[0])
    assert entry is not None
    in_the_middle(lambda: way(path, backup))
    assert store.replace(OLD[0], b"new", 600, entry.version) == Gone()


def test_a_delete_deletes_in_the_new_file(
    store: SQLiteStore, path: Path, backup: Path, in_the_middle: Callable[..., None]
) -> None:
    """A logout during a restore ends the session in the restored file too."""
    in_the_middle(lambda: move_a_backup_there(path, backup))
    assert store.delete(BOTH[0]) is True
    assert store.load(BOTH[0]) is None


def test_a_replace_compares_with_the_new_file(
    store: SQLiteStore, path: Path, backup: Path, in_the_middle: Callable[..., None]
) -> None:
    """A restored entry has an older version: Conflict, with what is there now."""
    before = store.load(BOTH[0])
    assert before is not None
    saved = store.replace(BOTH[0], b"newer than the backup", 600, before.version)
    assert isinstance(saved, Saved)
    in_the_middle(lambda: move_a_backup_there(path, backup))
    assert store.replace(BOTH[0], b"newest", 600, saved.version) == Conflict(before)


def test_a_read_shows_nothing_of_a_file_that_is_gone(
    store: SQLiteStore, path: Path, backup: Path, in_the_middle: Callable[..., None]
) -> None:
    """What was read from the old file while it was deleted is not returned: others may have begun on the new one."""
    in_the_middle(lambda: delete_the_file(path, backup))
    assert store.load(OLD[0]) is None


def test_owners_in_the_middle(store: SQLiteStore, path: Path, backup: Path, in_the_middle: Callable[..., None]) -> None:
    """A claim that was counted in the old file is made, and counted, in the new one."""
    assert store.claim(b"owner", b"first", 600, limit=1)
    in_the_middle(lambda: delete_all_three(path, backup))
    assert store.claim(b"owner", b"second", 600, limit=1)
    assert [claim.key for claim in store.owned(b"owner")] == [b"second"]
    assert isinstance(store.owned(b"owner")[0], Claim)


def test_replaced_while_a_writer_waits(store: SQLiteStore, path: Path, backup: Path) -> None:
    """A transaction that never ends holds the old file: the writer goes on in the new file as soon as it is there."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        threading.Timer(0.2, move_a_backup_there, (path, backup)).start()
        began = time.monotonic()
        assert store.create(b"new", b"data", 600) is not None
        assert 0.15 < time.monotonic() - began < 0.8
    assert store.load(b"new") is not None
    check_whole(path)


@pytest.mark.parametrize("way", EMPTY + RESTORED)
@pytest.mark.parametrize("step", ["prepare_file", "open_connection", "side_files"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_replaced_while_it_is_opened(
    store: SQLiteStore, path: Path, backup: Path, monkeypatch: pytest.MonkeyPatch, way: Way, step: str, when: str
) -> None:
    """Whatever the moment, no connection has one file open and takes it for another, and no two files are mixed."""
    events = [way]
    original = getattr(sqlite_module, step)

    def disturbed(*values: Any) -> Any:
        if events and when == "before":
            events.pop()(path, backup)
        result = original(*values)
        if events:
            events.pop()(path, backup)
        return result

    monkeypatch.setattr(sqlite_module, step, disturbed)
    store.close()
    assert store.load(OLD[0]) is None
    assert store.create(b"new", b"data", 600) is not None
    assert {key for key, _ in SQLiteStore(path).walk()} == {b"new"} | ({BOTH[0]} if way in RESTORED else set())
    check_whole(path)


def test_replaced_without_end(store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is new at each look is a StoreError within about the timeout, and nothing stays open."""
    count = sqlite_module._count

    def disturbed(db: Any, statement: str, values: Any) -> int:
        path.resolve().unlink()
        return count(db, statement, values)

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_module, "_count", disturbed)
        began = time.monotonic()
        with pytest.raises(StoreError, match="replaced"):
            store.create(b"new", b"data", 600)
        assert time.monotonic() - began < 2.0
    assert store.create(b"new", b"data", 600) is not None
    assert len(store._idle) == len(store._open_count) == 1


def test_a_process_that_hangs_while_it_opens(store: SQLiteStore, path: Path, backup: Path) -> None:
    """Others get a StoreError within about the timeout, and go on when it has ended."""
    from flask_cloakroom.stores.sqlite.file import opening_lock

    with opening_lock(str(path.resolve())):
        began = time.monotonic()
        assert store.load(OLD[0]) is not None, "who has the file open need not wait"
        delete_the_file(path, backup)
        with pytest.raises(StoreError, match="Another process"):
            store.load(OLD[0])
        assert time.monotonic() - began < 1.5
    assert store.load(OLD[0]) is None


def test_threads_that_write_while_it_is_replaced_again_and_again(
    store: SQLiteStore, path: Path, backup: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No call fails, no answer is another file's, and at the end all connections have the present file open."""
    done = threading.Event()
    rounds = 12

    def work(number: int) -> None:
        if number == 0:
            try:
                for turn in range(rounds):
                    time.sleep(0.03)
                    copy = backup.with_name(f"copy {turn}")
                    shutil.copy(backup, copy)
                    RESTORED[turn % 3](path, copy)
            finally:
                done.set()
            return
        turn = 0
        while not done.is_set():
            turn += 1
            key = b"%d.%d" % (number, turn)
            version = store.create(key, key * 50, 600)
            assert version is not None
            assert store.load(key) in (Entry(key * 50, version), None)
            assert isinstance(store.replace(key, b"", 600, version), Saved | Gone)
            entry = store.load(BOTH[0])
            assert entry is not None
            assert entry.data == BOTH[1]

    run_in_threads(5, work)
    store.load(b"k")
    assert len(store._idle) == len(store._open_count)
    found = path.stat()
    assert {db.identity for db in store._idle} == {(found.st_dev, found.st_ino)}
    assert 1 <= len(warnings_of(caplog)) <= rounds
    check_whole(path)


# -- what is put there ------------------------------------------------------------------------------------


def test_replaced_by_something_that_is_no_database(store: SQLiteStore, path: Path, backup: Path) -> None:
    """Each call is a StoreError that names the file; it stays as it is, and a good file after it is used."""
    garbage = b"a secret that is no database\n" * 200
    (path.parent / "garbage").write_bytes(garbage)
    (path.parent / "garbage").rename(path.resolve())
    for verb in (lambda: store.load(OLD[0]), lambda: store.create(b"new", b"data", 600), lambda: store.purge(1)):
        with pytest.raises(StoreError, match=r"link\.db") as caught:
            verb()
        assert "secret" not in str(caught.value)
    assert path.read_bytes() == garbage
    assert not store._open_count
    move_a_backup_there(path, backup)
    assert store.load(BOTH[0]) is not None


def test_replaced_by_a_database_of_something_else(store: SQLiteStore, path: Path, tmp_path: Path) -> None:
    """It gets our tables beside its own, as at a first use, and keeps what it had."""
    other = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(other)) as db, db:
        db.execute("CREATE TABLE others (x)")
        db.execute("INSERT INTO others VALUES (1)")
    other.rename(path.resolve())
    assert store.create(b"new", b"data", 600) is not None
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT x FROM others").fetchall() == [(1,)]


def test_replaced_by_a_table_of_other_columns(store: SQLiteStore, path: Path, tmp_path: Path) -> None:
    """A StoreError that names the file."""
    other = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(other)) as db:
        db.execute("CREATE TABLE cloakroom_entries (id INTEGER PRIMARY KEY, expires INTEGER)")
    other.rename(path.resolve())
    with pytest.raises(StoreError, match=r"link\.db"):
        store.load(b"k")
    assert not store._open_count


def test_replaced_by_a_folder_or_a_pipe(store: SQLiteStore, path: Path) -> None:
    """A StoreError that says so, at once: nobody waits for a writer of the pipe."""
    path.resolve().unlink()
    for make in (Path.mkdir, os.mkfifo):
        real = path.resolve()
        make(real)
        began = time.monotonic()
        with pytest.raises(StoreError, match="not a regular file"):
            store.load(b"k")
        assert time.monotonic() - began < 0.5
        real.rmdir() if real.is_dir() else real.unlink()
    assert store.load(b"k") is None


def test_a_folder_that_became_a_file(store: SQLiteStore, path: Path, backup: Path) -> None:
    """A StoreError that names the path, until it is a folder again."""
    delete_the_folder(path, backup)
    folder = path.parent.parent.resolve() / "instance"
    folder.write_text("in the way")
    for _ in range(2):
        with pytest.raises(StoreError, match="instance"):
            store.load(b"k")
    folder.unlink()
    assert store.load(b"k") is None


def test_a_backup_that_is_copied_over_it(store: SQLiteStore, path: Path, backup: Path) -> None:
    """The same file with another content, which SQLite cannot bear: StoreErrors perhaps, but nobody crashes."""
    content = backup.read_bytes()

    def work() -> None:
        store.load(b"k")
        with path.open("r+b") as file:
            file.write(content)
            file.truncate()
        for number in range(300):
            with contextlib.suppress(StoreError):
                store.create(b"%d" % number, os.urandom(3000), 600)
            with contextlib.suppress(StoreError):
                store.load(b"%d" % number)

    assert child_succeeded(run_in_child(work))
