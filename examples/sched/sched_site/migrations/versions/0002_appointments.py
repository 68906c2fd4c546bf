"""Create the table of appointments, and add a time zone to users."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the time zone, and create the table of appointments. Its times are UTC."""
    op.add_column("users", sa.Column("time_zone", sa.String(64), nullable=False, server_default="UTC"))
    op.create_table(
        "appointments",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("title", sa.String(120), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.Column("starts", sa.DateTime(), nullable=False),
        sa.Column("ends", sa.DateTime(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint("starts < ends", name="appointments_start_before_end"),
    )
    # For the query of every page: the appointments of one user that end after a given time.
    op.create_index("appointments_by_user", "appointments", ["user_id", "ends"])


def downgrade() -> None:
    """Drop the table of appointments and the time zone."""
    op.drop_index("appointments_by_user", table_name="appointments")
    op.drop_table("appointments")
    with op.batch_alter_table("users") as users:
        users.drop_column("time_zone")
