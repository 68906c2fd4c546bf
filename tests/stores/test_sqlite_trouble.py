"""What can be wrong with a file, a folder or a disk, and what SQLiteStore makes of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_cloakroom.errors import StoreError
from flask_cloakroom.stores import Conflict, Entry, Gone, Place, Saved, open_store
from flask_cloakroom.stores import sqlite as sqlite_module
from flask_cloakroom.stores.sqlite import SQLiteStore
from flask_cloakroom.testing.parallel import ended_well, in_child


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the file shall be: in a folder that is not there yet."""
    return tmp_path / "instance" / "s.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    """Return a store that has not been used yet."""
    store = SQLiteStore(path, timeout=0.4)
    yield store
    store.close()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- the file ---------------------------------------------------------------------------------------------


def test_nothing_is_made_before_the_first_use(store: SQLiteStore, path: Path) -> None:
    """To name a file does not make it, nor its folder."""
    assert not path.parent.exists()
    store.load(b"k")
    assert path.exists()


def test_only_the_owner_may_read_it(store: SQLiteStore, path: Path) -> None:
    """The file, the two beside it and a folder that was made for it, whatever the umask allows."""
    before = os.umask(0)
    try:
        store.create(b"k", b"data", 60)
    finally:
        os.umask(before)
    files = {each.name: mode(each) for each in path.parent.iterdir()}
    assert files == {"s.db": 0o600, "s.db-wal": 0o600, "s.db-shm": 0o600}
    assert mode(path.parent) == 0o700


def test_a_link_to_nowhere_yet_is_made_for_the_owner_too(tmp_path: Path) -> None:
    """The file behind a symbolic link is made with the same mode."""
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    store = SQLiteStore(tmp_path / "link.db")
    store.create(b"k", b"data", 60)
    assert mode(tmp_path / "real.db") == 0o600
    store.close()


def test_nothing_is_in_the_way_of_readers(store: SQLiteStore, path: Path) -> None:
    """A writer that holds the lock keeps nobody from reading."""
    store.create(b"k", b"data", 60)
    with writing(path):
        entry = store.load(b"k")
    assert entry is not None
    assert entry.data == b"data"


def test_it_leaves_no_transaction_open(store: SQLiteStore, path: Path) -> None:
    """Reads between writes see the newest, over each connection, and the WAL can be emptied at any time."""
    store.create(b"k", b"0", 60)
    other = SQLiteStore(path)
    connections = [store._open() for _ in range(3)]
    for db in connections:
        store._give_back(db)
    for number in range(1, 20):
        entry = other.load(b"k")
        assert entry is not None
        assert isinstance(other.replace(b"k", b"%d" % number, 60, entry.version), Saved)
        # The oldest connection next, so that each is asked.
        store._idle.rotate()
        entry = store.load(b"k")
        assert entry is not None
        assert entry.data == b"%d" % number
        list(store.walk())
        walk = store.walk()
        next(walk)
        assert not any(db.in_transaction for db in store._idle)
        with contextlib.closing(sqlite3.connect(path)) as db:
            busy, *_ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            assert busy == 0, "somebody holds a transaction open"
    other.close()


# -- what is no database ----------------------------------------------------------------------------------

GARBAGE = {
    "text": b"not a database, but a file with a secret in it\n" * 100,
    "zeros": b"\0" * 8192,
    "a truncated header": b"SQLite format 3\0\x10",
    "a header and nothing": b"SQLite format 3\0" + b"\xff" * 5000,
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_file_that_is_no_database(store: SQLiteStore, path: Path, content: bytes) -> None:
    """Each verb is a StoreError that names the file and nothing that is in it; the file stays as it is."""
    path.parent.mkdir()
    path.write_bytes(content)
    for verb in (
        lambda: store.load(b"the key"),
        lambda: store.create(b"the key", b"the data", 60),
        lambda: store.replace(b"the key", b"the data", 60, b"12345678"),
        lambda: store.touch(b"the key", 60),
        lambda: store.delete(b"the key"),
        lambda: store.purge(10),
        lambda: list(store.walk()),
    ):
        with pytest.raises(StoreError, match=r"s\.db") as caught:
            verb()
        for secret in ("secret", "the key", "the data"):
            assert secret not in str(caught.value)
    assert path.read_bytes() == content
    assert not store._open_ones


def test_a_folder_of_the_same_name(tmp_path: Path) -> None:
    """What is no file is a StoreError."""
    store = SQLiteStore(tmp_path)
    with pytest.raises(StoreError, match=tmp_path.name):
        store.load(b"k")


def test_damage_in_the_middle(store: SQLiteStore, path: Path) -> None:
    """Pages that were overwritten are a StoreError or a missing entry, never another entry's data."""
    for number in range(300):
        store.create(b"%d" % number, b"data of %d " % number * 50, 60)
    store.close()
    content = bytearray(path.read_bytes())
    for page in range(4, len(content) // 4096, 3):
        content[page * 4096 : page * 4096 + 512] = os.urandom(512)
    path.write_bytes(content)
    errors = []
    for number in range(300):
        try:
            entry = store.load(b"%d" % number)
        except StoreError as error:
            errors.append(str(error))
        else:
            assert entry is None or entry.data.startswith(b"data of %d " % number)
    assert errors
    assert not any("data of" in error for error in errors)


@pytest.mark.parametrize("size", [0, 4096, 50_000])
def test_a_file_that_is_cut_short_while_it_is_open(store: SQLiteStore, path: Path, size: int) -> None:
    """As by a careless restore: a StoreError or nothing, never another entry's data, and the process lives on."""
    for number in range(300):
        store.create(b"%d" % number, b"data of %d " % number * 50, 60)
    store.close()
    store.load(b"1")

    def work() -> None:
        for number in range(300):
            store.load(b"%d" % number)
        os.truncate(path, size)
        for number in range(300):
            with contextlib.suppress(StoreError):
                entry = store.load(b"%d" % number)
                assert entry is None or entry.data.startswith(b"data of %d " % number)

    assert ended_well(in_child(work))


def test_a_row_that_somebody_else_wrote(store: SQLiteStore, path: Path) -> None:
    """Text where bytes should be, of an encoding that it has not, is a StoreError."""
    store.create(b"k", b"data", 60)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE cloakroom_entries SET data = CAST(x'ff00c3' AS TEXT)")
    with pytest.raises(StoreError, match=r"s\.db"):
        store.load(b"k")
    with pytest.raises(StoreError, match=r"s\.db"):
        list(store.walk())
    assert store.delete(b"k") is True


# -- what must not be written -----------------------------------------------------------------------------


def as_nobody(folder: Path, code: str) -> str:
    """Run Python code as a user who owns nothing, with ``path`` in ``folder``; return what it printed."""
    prelude = f"""
import sys
sys.path[:0] = {[entry for entry in sys.path if entry]!r}
from flask_cloakroom.stores.sqlite import SQLiteStore
from flask_cloakroom.errors import StoreError
if {os.geteuid() == 0}:
    import os
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
store = SQLiteStore({str(folder / "s.db")!r}, timeout=0.3)
"""
    done = subprocess.run([sys.executable, "-c", prelude + code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """Return a folder that other users can reach, as pytest's cannot be reached."""
    folder = Path(tempfile.mkdtemp(prefix="cloakroom-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


TRY = """
for verb in (lambda: store.load(b"k"), lambda: store.create(b"k2", b"data", 60), lambda: store.delete(b"k")):
    try:
        print(verb())
    except StoreError as error:
        print("StoreError", error)
"""


def test_a_folder_that_must_not_be_written(public_folder: Path) -> None:
    """Each verb is a StoreError that names the file."""
    public_folder.chmod(0o555)
    lines = as_nobody(public_folder, TRY).splitlines()
    assert len(lines) == 3
    assert all(line.startswith("StoreError") and "s.db" in line for line in lines)


def test_a_file_that_must_not_be_written(public_folder: Path) -> None:
    """Nothing is changed, and what can't be done is a StoreError that names the file."""
    store = SQLiteStore(public_folder / "s.db")
    store.create(b"k", b"data", 60)
    store.close()
    (public_folder / "s.db").chmod(0o444)
    public_folder.chmod(0o555)
    lines = as_nobody(public_folder, TRY).splitlines()
    assert len(lines) == 3
    assert all(line.startswith("StoreError") and "s.db" in line for line in lines[1:])
    public_folder.chmod(0o755)
    entry = store.load(b"k")
    assert entry is not None
    store.close()


# -- no room ----------------------------------------------------------------------------------------------


def fill(store: SQLiteStore) -> tuple[dict[bytes, bytes], StoreError]:
    """Create entries until there is no room; return those that were acknowledged, and the error."""
    stored: dict[bytes, bytes] = {}
    for number in range(10_000):
        key, data = b"%d" % number, b"%d " % number * 500
        try:
            assert store.create(key, data, 60) is not None
        except StoreError as error:
            return stored, error
        stored[key] = data
    raise AssertionError("it never got full")


def check_full(store: SQLiteStore, stored: dict[bytes, bytes], error: StoreError) -> None:
    assert store.path.name in str(error)
    assert len(stored) > 5
    for key, data in stored.items():
        entry = store.load(key)
        assert entry is not None
        assert entry.data == data
    key = next(iter(stored))
    entry = store.load(key)
    assert entry is not None
    with pytest.raises(StoreError):
        store.replace(key, b"x" * 500_000, 60, entry.version)
    assert store.load(key) == entry, "what was stored before stays"


def test_a_file_that_must_not_grow(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own limit stands in for a full disk: StoreError; all from before is there; what is freed is used."""
    connect = store._connect

    def connect_with_limit() -> sqlite3.Connection:
        db = connect()
        db.execute("PRAGMA max_page_count = 60")
        return db

    monkeypatch.setattr(store, "_connect", connect_with_limit)
    stored, error = fill(store)
    check_full(store, stored, error)
    for key in list(stored)[:10]:
        assert store.delete(key) is True
    assert store.create(b"new", b"data", 60) is not None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full(small_disk: Path) -> None:
    """A real one: StoreError, everything stored before is readable, and with room again it goes on."""
    store = SQLiteStore(small_disk / "s.db")
    store.create(b"first", b"data", 60)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 100_000)
    stored, error = fill(store)
    check_full(store, stored, error)
    ballast.unlink()
    assert store.create(b"new", b"data", 60) is not None
    store.close()
    with contextlib.closing(sqlite3.connect(store.path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# -- others that write ------------------------------------------------------------------------------------


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Hold the file's write lock, as another process's long transaction would."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


def test_a_writer_that_does_not_end(store: SQLiteStore, path: Path) -> None:
    """Who waits for it longer than the timeout gets a StoreError within that time; then all is as before."""
    version = store.create(b"k", b"data", 60)
    assert version is not None
    with writing(path):
        for verb in (
            lambda: store.create(b"k2", b"data", 60),
            lambda: store.replace(b"k", b"new", 60, version),
            lambda: store.touch(b"k", 60),
            lambda: store.delete(b"k"),
        ):
            began = time.monotonic()
            with pytest.raises(StoreError, match="locked"):
                verb()
            assert 0.35 < time.monotonic() - began < 0.4 + 0.5
        assert store.load(b"k") == Entry(b"data", version)
    assert store.create(b"k2", b"data", 60) is not None
    assert isinstance(store.replace(b"k", b"new", 60, version), Saved)


def test_a_writer_that_ends_in_time(store: SQLiteStore, path: Path) -> None:
    """Who waits for it goes on as soon as it has ended."""
    store.create(b"k", b"data", 60)
    began = time.monotonic()
    with writing(path):
        waited: list[float] = []

        def write() -> None:
            assert store.create(b"k2", b"data", 60) is not None
            waited.append(time.monotonic() - began)

        thread = threading.Thread(target=write)
        thread.start()
        time.sleep(0.1)
    thread.join()
    assert waited[0] < 0.35


def test_the_first_use_of_a_file_that_somebody_holds(store: SQLiteStore, path: Path) -> None:
    """Also then a StoreError comes within about the timeout, and no connection is left over."""
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE TABLE others (x)")
        db.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        with pytest.raises(StoreError, match="locked"):
            store.load(b"k")
        assert time.monotonic() - began < 0.4 + 0.5
    assert not store._open_ones
    assert store.load(b"k") is None


def test_purging_holds_writers_up_for_a_moment(store: SQLiteStore) -> None:
    """20,000 expired rows go in batches; a writer beside it waits less than a quarter of a second each time."""
    for number in range(50):
        store.create(b"live %d" % number, b"data", 600)
    past = int(time.time() * 1000) - 1000
    with contextlib.closing(sqlite3.connect(store.path)) as db, db:
        db.executemany(
            "INSERT INTO cloakroom_entries (id, key, version, expires, data) VALUES (?, ?, x'00', ?, zeroblob(400))",
            ((number, b"%d" % number, past) for number in range(20_000)),
        )
    purged: list[int] = []

    def purge() -> None:
        while count := store.purge(1000):
            purged.append(count)

    thread = threading.Thread(target=purge)
    thread.start()
    waits = []
    while thread.is_alive():
        began = time.monotonic()
        store.create(os.urandom(16), b"data", 600)
        waits.append(time.monotonic() - began)
    thread.join()
    assert sum(purged) == 20_000
    assert max(purged) == 1000
    assert max(waits) < 0.25
    assert all(store.load(b"live %d" % number) is not None for number in range(50))


# -- two keys of one number -------------------------------------------------------------------------------


def test_keys_whose_hashes_collide(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is refused like a live key, and nothing that is asked of it reaches the first one's row."""
    monkeypatch.setattr(sqlite_module, "_row_id", lambda key: 4711)
    version = store.create(b"first", b"of the first", 60)
    assert version is not None
    assert store.create(b"second", b"of the second", 60) is None
    assert store.load(b"second") is None
    assert store.replace(b"second", b"of the second", 60, version) == Gone()
    assert store.replace(b"second", b"of the second", 600, version) == Gone()
    assert store.touch(b"second", 60) is False
    assert store.delete(b"second") is False
    assert store.load(b"first") == Entry(b"of the first", version)


def test_keys_whose_hashes_collide_when_one_has_expired(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the row is the second one's, and the first is gone."""
    monkeypatch.setattr(sqlite_module, "_row_id", lambda key: 4711)
    first = store.create(b"first", b"of the first", 60)
    assert first is not None
    with contextlib.closing(sqlite3.connect(store.path)) as db, db:
        db.execute("UPDATE cloakroom_entries SET expires = 1")
    second = store.create(b"second", b"of the second", 60)
    assert second is not None
    assert store.load(b"first") is None
    assert store.replace(b"first", b"of the first", 60, first) == Gone()
    assert store.load(b"second") == Entry(b"of the second", second)


# -- clocks and interruptions -----------------------------------------------------------------------------


def test_a_clock_that_is_set_back_in_the_middle_of_a_replace(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that had expired before the clock was set back and is live after it is replaced, or is Gone: at once."""
    now = time.time()
    version = store.create(b"k", b"data", 60)
    assert version is not None
    times = iter([now + 3600])
    monkeypatch.setattr(time, "time", lambda: next(times, now))
    began = time.monotonic()
    result = store.replace(b"k", b"new", 30, version)
    assert time.monotonic() - began < 0.2
    assert isinstance(result, Saved | Gone)


@pytest.mark.parametrize("ttl", [30, 3600])
def test_an_expiry_that_hardly_moves(store: SQLiteStore, ttl: int) -> None:
    """A write that would move the expiry by less than a second may leave it, but never by more."""
    version = store.create(b"k", b"data", ttl)
    assert version is not None
    for wanted in (ttl, ttl + 100, ttl + 1, max(1, ttl - 100)):
        before = time.time() * 1000
        saved = store.replace(b"k", b"data", wanted, version)
        assert isinstance(saved, Saved)
        version = saved.version
        with contextlib.closing(sqlite3.connect(store.path)) as db:
            (expires,) = db.execute("SELECT expires FROM cloakroom_entries").fetchone()
        assert abs(expires - before - wanted * 1000) <= 1000 + 200


class Interrupted(BaseException):
    """As KeyboardInterrupt, or gevent's Timeout."""


def test_an_interruption_leaves_no_connection_behind(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is interrupted in the middle of a statement gives its connection up; the store goes on."""
    store.create(b"k", b"data", 60)

    def interrupt(*_: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_module, "_fetch_one", interrupt)
        with pytest.raises(Interrupted):
            store.load(b"k")
    assert len(store._open_ones) == len(store._idle) == 0
    assert store.load(b"k") is not None
    assert len(store._open_ones) == len(store._idle) == 1


def test_an_interruption_of_a_wait_leaves_no_connection_behind(
    store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same while it waits for another writer."""
    store.create(b"k", b"data", 60)

    def interrupt(*_: object) -> None:
        raise Interrupted

    with writing(path), monkeypatch.context() as patch:
        patch.setattr(time, "sleep", interrupt)
        with pytest.raises(Interrupted):
            store.create(b"k2", b"data", 60)
    assert len(store._open_ones) == len(store._idle) == 0
    assert isinstance(store.load(b"k"), Entry)


# -- opening by URL ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite://", "instance/sessions.sqlite3"),
        ("sqlite:///", "instance/sessions.sqlite3"),
        ("sqlite:///mine.db", "instance/mine.db"),
        ("sqlite:///sub/mine.db", "instance/sub/mine.db"),
        ("sqlite:///with%20space%3F.db", "instance/with space?.db"),
        ("sqlite:///mine.db?synchronous=full", "instance/mine.db"),
        ("sqlite:///{tmp}/elsewhere.db", "elsewhere.db"),
        ("sqlite:///{tmp}/elsewhere.db?synchronous=normal", "elsewhere.db"),
    ],
)
def test_urls_of_files(tmp_path: Path, url: str, expected: str) -> None:
    """Three slashes are relative to the instance folder, four are an absolute path; % escapes are undone."""
    store = open_store(url.format(tmp=tmp_path), Place(tmp_path / "instance", "", 1.0))
    store.create(b"k", b"data", 60)
    store.close()
    assert (tmp_path / expected).is_file()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://mine.db", "slashes"),
        ("sqlite://mine.db/x", "slashes"),
        ("sqlite:///mine.db?synchronous=off", "synchronous"),
        ("sqlite:///mine.db?syncronous=full", "syncronous"),
        ("sqlite:///mine.db?timeout=3", "timeout"),
        ("sqlite:///mine.db?nonsense", "nonsense"),
        ("sqlite:mine.db", "begins with"),
        ("mine.db", "begins with"),
        ("", "begins with"),
        ("postgresql://localhost/x", "begins with"),
    ],
)
def test_urls_of_nothing(tmp_path: Path, url: str, says: str) -> None:
    """A ValueError that says what is wrong, before anything is opened."""
    with pytest.raises(ValueError, match=says):
        open_store(url, Place(tmp_path, "", 1.0))
    assert list(tmp_path.iterdir()) == []


def test_synchronous_reaches_the_database(tmp_path: Path) -> None:
    """Each option does what it is named after."""
    for word, number in (("normal", 1), ("full", 2)):
        store = SQLiteStore(tmp_path / f"{word}.db", synchronous=word)
        store.load(b"k")
        assert store._idle[0].execute("PRAGMA synchronous").fetchone() == (number,)
        store.close()


def test_conflict_tells_of_the_entry(store: SQLiteStore) -> None:
    """Both ways of replacing, for short and for long lives, answer alike."""
    for ttl in (30, 600):
        key = b"%d" % ttl
        version = store.create(key, b"data", ttl)
        assert version is not None
        assert store.replace(key, b"new", ttl, b"no such") == Conflict(Entry(b"data", version))
        assert isinstance(store.replace(key, b"new", ttl, version), Saved)
        assert isinstance(store.replace(key, b"late", ttl, version), Conflict)
