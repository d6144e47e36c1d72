"""Roll-ups per minute and hour; what is stored already is noted to be rolled up."""

from __future__ import annotations

import itertools

import msgpack
import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

NOTED = 1000
"""Minutes per note, as of one batch of ingest."""


def upgrade() -> None:
    """Make the tables."""
    connection = op.get_bind()
    postgresql = connection.dialect.name == "postgresql"
    op.create_table(
        "rollup_queue",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("minutes", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,  # a number that was worked off never comes again
    )
    op.create_table(
        "hour_queue",
        sa.Column("device_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hour", sa.Integer, primary_key=True, autoincrement=False),
    )
    op.create_index("hour_queue_hour", "hour_queue", ["hour"])
    for name in ("minutes", "hours"):
        op.create_table(
            name,
            sa.Column("device_id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("week", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("messages", sa.Integer, nullable=False),
            sa.Column("body", sa.LargeBinary, nullable=False),
            postgresql_partition_by="RANGE (week)",
        )
        if not postgresql:  # PostgreSQL drops weeks whole
            op.create_index(f"{name}_start", name, ["start"])
    _note_stored(connection)


def _note_stored(connection: sa.Connection) -> None:
    rows = connection.exec_driver_sql(
        "SELECT DISTINCT device_id, CAST(floor(t / 60) AS BIGINT) FROM telemetry WHERE day > 0"
        if connection.dialect.name == "postgresql"
        else "SELECT DISTINCT device_id, CAST(t / 60 AS INTEGER) FROM telemetry WHERE day > 0"
    )
    table = sa.table("rollup_queue", sa.column("minutes", sa.LargeBinary))
    while part := rows.fetchmany(NOTED):
        flat = itertools.chain.from_iterable((int(device), int(minute)) for device, minute in part)
        connection.execute(sa.insert(table), {"minutes": msgpack.packb(list(flat))})
