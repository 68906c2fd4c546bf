"""SQLite's file locked, full, read-only, unreadable, deleted, replaced: 503 within a bounded time, never 500."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from flask import Flask, session

from flask_cloakroom import Session
from flask_cloakroom.stores.sqlite.file import Connection
from flask_cloakroom.stores.sqlite.store import SQLiteStore
from support.sites.requests_on_app import send, ticket_of

pytestmark = pytest.mark.promise(10)

#: Seconds, as configured below, and what a slow CI machine may add to it.
TIMEOUT = 0.5
MARGIN = 1.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the file is."""
    return tmp_path / "folder" / "s.db"


@pytest.fixture
def app(path: Path) -> Iterator[Flask]:
    app = Flask("shop")
    app.config.update(SESSION_STORE=f"sqlite:///{path}", SESSION_STORE_TIMEOUT=TIMEOUT)
    Session(app)
    app.add_url_rule("/alone", "alone", lambda: "hello")
    app.add_url_rule("/read", "read", lambda: str(session.get("user")))
    app.add_url_rule("/fill", "fill", lambda: str(session.update(user="alice", pad="")))
    app.add_url_rule("/write", "write", lambda: str(session.update(pad="x" * 100_000)))
    yield app
    app.session_interface.store.close()  # type: ignore[attr-defined]


@contextlib.contextmanager
def locked(app: Flask, path: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield


@contextlib.contextmanager
def full(app: Flask, path: Path) -> Iterator[None]:
    """SQLite's own limit stands in for a full disk."""
    store: SQLiteStore = app.session_interface.store  # type: ignore[attr-defined]
    store.close()
    original = store._set_up

    def limited(db: Connection) -> None:
        original(db)
        db.execute("PRAGMA max_page_count = 1")

    store._set_up = limited  # type: ignore[method-assign]
    yield
    store._set_up = original  # type: ignore[method-assign]
    store.close()


@contextlib.contextmanager
def read_only(app: Flask, path: Path) -> Iterator[None]:
    """A read-only mount of the folder on itself."""
    app.session_interface.store.close()  # type: ignore[attr-defined]
    folder = str(path.parent)
    if subprocess.run(["mount", "--bind", folder, folder], capture_output=True).returncode:
        pytest.skip("a read-only file system can only be mounted by root")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        app.session_interface.store.close()  # type: ignore[attr-defined]
        subprocess.run(["umount", folder], check=True)


@contextlib.contextmanager
def garbage(app: Flask, path: Path) -> Iterator[None]:
    kept = path.with_name("kept")
    path.rename(kept)
    path.write_bytes(b"no database " * 1000)
    yield
    kept.rename(path)


@contextlib.contextmanager
def folder_is_a_file(app: Flask, path: Path) -> Iterator[None]:
    kept = path.parent.with_name("kept")
    path.parent.rename(kept)
    path.parent.write_text("in the way")
    yield
    path.parent.unlink()
    kept.rename(path.parent)


READABLE = [locked, full]
UNREADABLE = [garbage, folder_is_a_file]


@pytest.mark.parametrize("trouble", [*READABLE, *UNREADABLE, read_only])
def test_trouble_is_a_503_and_passes(
    app: Flask, path: Path, trouble: Callable[[Flask, Path], AbstractContextManager[None]]
) -> None:
    """Pages that need what cannot be done answer 503 with Retry-After in time; others go on, and nothing is lost."""
    ticket = ticket_of(send(app, "/fill", None))
    with trouble(app, path):
        began = time.monotonic()
        answer = send(app, "/write", ticket)
        assert time.monotonic() - began < TIMEOUT + MARGIN
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        assert "Set-Cookie" not in answer.headers
        if trouble in READABLE:
            assert send(app, "/read", ticket).text == "alice"
        elif trouble in UNREADABLE:
            assert send(app, "/read", ticket).status_code == 503
        assert send(app, "/alone", ticket).status_code == 200
    assert send(app, "/read", ticket).text == "alice"
    assert send(app, "/write", ticket).status_code == 200


def test_a_deleted_file_ends_the_sessions_and_new_ones_begin(
    app: Flask, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A visitor of before has an empty session, a new one is kept, and no page fails."""
    old = ticket_of(send(app, "/fill", None))
    path.unlink()
    assert send(app, "/read", old).text == "None"
    new = ticket_of(send(app, "/fill", old))
    assert new != old
    assert send(app, "/read", new).text == "alice"
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len([text for text in warnings if str(path) in text]) == 1
    assert not any(ticket in text for ticket in (old, new) for text in warnings)


def test_a_restored_file_has_its_sessions(app: Flask, path: Path, tmp_path: Path) -> None:
    """A visitor of the backup is back, one who came after it is not."""
    early = ticket_of(send(app, "/fill", None))
    app.session_interface.store.close()  # type: ignore[attr-defined]
    shutil.copy(path, tmp_path / "backup")
    late = ticket_of(send(app, "/fill", None))
    (tmp_path / "backup").rename(path)
    assert send(app, "/read", late).text == "None"
    assert send(app, "/read", early).text == "alice"
