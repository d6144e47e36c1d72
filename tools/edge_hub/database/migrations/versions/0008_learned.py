"""What populations counted while they learned: contributions, and their pieces."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "contributions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("device_id", sa.Integer, nullable=False),
        sa.Column("population", sa.Text, nullable=False),
        sa.Column("bundle", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("received", sa.Double, nullable=False),
        sa.Column("updates", sa.BigInteger, nullable=False),
        sa.Column("shift", sa.Integer, nullable=False),
        sa.Column("pieces", sa.Integer, nullable=False),
        sa.Column("tensors", sa.Text, nullable=False),
    )
    op.create_index(
        "contributions_key", "contributions", ["device_id", "population", "bundle", "epoch"], unique=True
    )
    op.create_index("contributions_bundle", "contributions", ["bundle"])
    op.create_table(
        "increments",
        sa.Column("contribution_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("piece", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(  # numbers of an outbox that are no telemetry
        "learned_numbers",
        sa.Column("outbox_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("received", sa.Double, nullable=False),
    )
    op.create_index("learned_numbers_received", "learned_numbers", ["received"])
