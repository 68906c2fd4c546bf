"""What Alembic runs to bring a database up to date: ``flask --app sched_site db upgrade``, and every start."""

from __future__ import annotations

from alembic import context
from alembic.util import CommandError
from sched_site.database import alone, db

if context.is_offline_mode():
    raise CommandError("--sql cannot be had here: the first migration looks whether the database has tables already.")

with alone() as connection:
    # Batches, because SQLite changes most things of a table only by making it anew.
    context.configure(connection=connection, target_metadata=db.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
