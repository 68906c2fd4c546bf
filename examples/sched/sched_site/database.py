"""The database of users and appointments, and the upgrade of its tables."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from flask import Flask, current_app
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, event, func, make_url, select
from sqlalchemy.orm import DeclarativeBase

#: The SQLite file in the instance folder that is used without DATABASE_URL.
DEFAULT_FILE = "sched.sqlite3"
#: The folder of the migrations, one file for each change of the tables.
MIGRATIONS = Path(__file__).parent / "migrations"
#: The number of the advisory lock in PostgreSQL, which all processes of the site share: "sched" in ASCII.
UPGRADE_LOCK = int.from_bytes(b"sched", "big")

ENGINE_OPTIONS = {
    # After a restart of the server the connections in the pool are closed. Without the ping the next page would fail.
    "pool_pre_ping": True,
    # The parameters of a query contain password hashes, and errors are logged.
    "hide_parameters": True,
}


class Base(DeclarativeBase):
    """The base class of all models."""


db = SQLAlchemy(model_class=Base)
migrate = Migrate(directory=MIGRATIONS)


def init_app(app: Flask) -> None:
    """Set up the database of SQLALCHEMY_DATABASE_URI, or a SQLite file in the instance folder."""
    if not app.config.get("SQLALCHEMY_DATABASE_URI"):
        path = Path(app.instance_path, DEFAULT_FILE)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Create the file with mode 600. SQLite would let other users of the machine read the password hashes.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{path}"
    app.config.setdefault("SQLALCHEMY_ENGINE_OPTIONS", ENGINE_OPTIONS)
    db.init_app(app)
    migrate.init_app(app, db)
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            event.listen(db.engine, "checkout", _enforce_foreign_keys)


def upgrade() -> None:
    """Upgrade the tables to the version of the code. Several processes may call this at the same time.

    Raises alembic's CommandError if the database has a later version than the code.
    """
    command.upgrade(current_app.extensions["migrate"].migrate.get_config(), "head")


@contextmanager
def upgrade_connection() -> Iterator[Connection]:
    """Yield a connection with a transaction in which no other process can upgrade.

    A second process waits for the commit of the first one, and then finds nothing to do. PostgreSQL and SQLite change
    tables inside of transactions, so an upgrade is done completely or not at all. Other databases have no such lock:
    run ``flask --app sched_site db upgrade`` in one process there before the others start.
    """
    with db.engine.begin() as connection:
        match connection.dialect.name:
            case "sqlite":
                # A migration may replace a table. With foreign keys that would delete the rows that refer to the table.
                connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            case "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(UPGRADE_LOCK)))
        yield connection


def _enforce_foreign_keys(connection: sqlite3.Connection, *_: object) -> None:
    """Turn on foreign keys in SQLite. Other databases always enforce them.

    Otherwise the appointments of a deleted account would stay, and the next account with the same id would get them.
    """
    connection.execute("PRAGMA foreign_keys = ON")


def label(app: Flask) -> str:
    """Return the place of the database as text, without a password."""
    url = make_url(app.config["SQLALCHEMY_DATABASE_URI"])
    if url.get_backend_name() == "sqlite":
        return f"SQLite ({Path(url.database).name if url.database else 'memory'})"
    return url.render_as_string(hide_password=True)
