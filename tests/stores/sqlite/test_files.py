"""A file, a folder or a disk that is unusable, and what SQLiteStore does then."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flask_cloakroom.errors import StoreError
from flask_cloakroom.stores.sqlite.file import Connection
from flask_cloakroom.stores.sqlite.store import SQLiteStore
from flask_cloakroom.testing.parallel import child_succeeded, run_in_child


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
    assert not store._open_count


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

    assert child_succeeded(run_in_child(work))


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
from flask_cloakroom.stores.sqlite.store import SQLiteStore
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

    def connect_with_limit() -> Connection:
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
