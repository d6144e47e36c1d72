"""Traces: in which trace a command or a rollout was asked for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "traces",
        sa.Column("subject", sa.Text, primary_key=True),
        sa.Column("traceparent", sa.Text, nullable=False),
    )
