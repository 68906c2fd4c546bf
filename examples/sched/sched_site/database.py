"""The database: what must outlive every session, which today is the accounts."""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import inspect, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase

#: The file in the instance folder that holds everything when no DATABASE_URL is set.
DEFAULT_FILE = "sched.sqlite3"


class Base(DeclarativeBase):
    """What every model inherits."""


db = SQLAlchemy(model_class=Base)


def init_app(app: Flask) -> None:
    """Set up the database that SQLALCHEMY_DATABASE_URI names, else the file in the instance folder."""
    if not app.config.get("SQLALCHEMY_DATABASE_URI"):
        path = Path(app.instance_path, DEFAULT_FILE)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Made before SQLite makes it, so that nobody else on the machine can read the hashes in it.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{path}"
    db.init_app(app)


def create_tables() -> None:
    """Make the tables that are missing; any number of processes may do so at once.

    Tables that are there stay as they are: changing them is what migrations are for, which the site has not yet.
    """
    for table in db.metadata.sorted_tables:
        try:
            table.create(db.engine, checkfirst=True)
        except DBAPIError:
            # It looks first and makes then. If another process came between the two, all is well.
            if not inspect(db.engine).has_table(table.name):
                raise


def label(app: Flask) -> str:
    """Say where it is, without a password."""
    url = make_url(app.config["SQLALCHEMY_DATABASE_URI"])
    if url.get_backend_name() == "sqlite":
        return f"SQLite ({Path(url.database).name if url.database else 'memory'})"
    return url.render_as_string(hide_password=True)
