"""The database: what must outlive every session, and how its tables come to be as the code wants them."""

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

#: The file in the instance folder that holds everything when no DATABASE_URL is set.
DEFAULT_FILE = "sched.sqlite3"
#: The migrations: one file for each change of the tables.
MIGRATIONS = Path(__file__).parent / "migrations"
#: PostgreSQL's advisory locks are numbers that those who use them agree upon. This one is "sched" in ASCII.
UPGRADE_LOCK = int.from_bytes(b"sched", "big")

ENGINE_OPTIONS = {
    # A server that was started anew has closed what is in the pool. A page shall not fail to find that out.
    "pool_pre_ping": True,
    # Hashes of passwords are among them, and errors are logged.
    "hide_parameters": True,
}


class Base(DeclarativeBase):
    """What every model inherits."""


db = SQLAlchemy(model_class=Base)
migrate = Migrate(directory=MIGRATIONS)


def init_app(app: Flask) -> None:
    """Set up the database that SQLALCHEMY_DATABASE_URI names, else the file in the instance folder."""
    if not app.config.get("SQLALCHEMY_DATABASE_URI"):
        path = Path(app.instance_path, DEFAULT_FILE)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Made before SQLite makes it, so that nobody else on the machine can read the hashes in it.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{path}"
    app.config.setdefault("SQLALCHEMY_ENGINE_OPTIONS", ENGINE_OPTIONS)
    db.init_app(app)
    migrate.init_app(app, db)
    with app.app_context():
        if db.engine.dialect.name == "sqlite":
            event.listen(db.engine, "checkout", _mind_references)


def upgrade() -> None:
    """Bring the tables to what the code wants; any number of processes may do so at once.

    Raises alembic's CommandError if the database is of a later version than the code.
    """
    command.upgrade(current_app.extensions["migrate"].migrate.get_config(), "head")


@contextmanager
def alone() -> Iterator[Connection]:
    """Yield a connection for an upgrade, in a transaction beside which no other process upgrades.

    Who comes second waits until the first has committed, and finds nothing left to do. PostgreSQL and SQLite change
    tables in transactions, so an upgrade is done as a whole or not at all. On other databases nobody waits: let one
    process run ``flask --app sched_site db upgrade`` there before the others start.
    """
    with db.engine.begin() as connection:
        match connection.dialect.name:
            case "sqlite":
                # A migration may make a table anew, and what refers to the old one shall not go with it.
                connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            case "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(UPGRADE_LOCK)))
        yield connection


def _mind_references(connection: sqlite3.Connection, *_: object) -> None:
    """Let SQLite do what the tables say of references, as other databases do without being asked.

    Else the appointments of a deleted account would stay, and the next account, which gets its id, would have them.
    """
    connection.execute("PRAGMA foreign_keys = ON")


def label(app: Flask) -> str:
    """Say where it is, without a password."""
    url = make_url(app.config["SQLALCHEMY_DATABASE_URI"])
    if url.get_backend_name() == "sqlite":
        return f"SQLite ({Path(url.database).name if url.database else 'memory'})"
    return url.render_as_string(hide_password=True)
