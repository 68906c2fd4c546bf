"""Run by Alembic to upgrade a database, at every start and by ``flask --app sched_site db upgrade``."""

from __future__ import annotations

from alembic import context
from alembic.util import CommandError
from sched_site.database import db, upgrade_connection

if context.is_offline_mode():
    raise CommandError(
        "--sql is not supported, because the first migration checks for existing tables. Upgrade without --sql."
    )

with upgrade_connection() as connection:
    # In batches, because SQLite can make most changes of a table only by replacing the table.
    context.configure(connection=connection, target_metadata=db.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
