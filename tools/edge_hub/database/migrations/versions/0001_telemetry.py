"""Devices, telemetry, rejected messages; takes over what ``edge-hub ingest FILE`` wrote before."""

from __future__ import annotations

import json
import time
from typing import Any

import msgpack
import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

BATCH = 1000
_BEFORE = ("telemetry", "skipped", "rejected")


def upgrade() -> None:
    """Make the tables."""
    connection = op.get_bind()
    legacy = _set_aside(connection)
    _registry()
    _telemetry(connection.dialect.name == "postgresql")
    op.create_table(
        "rejected",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("received", sa.Double, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
    )
    op.create_table(
        "settings",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    if legacy:
        _take_over(connection)


def _registry() -> None:
    op.create_table(
        "devices",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("fleet", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("online", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("version", sa.Text, nullable=False, server_default=""),
        sa.Column("profile", sa.Text, nullable=False, server_default=""),
        sa.Column("boot", sa.Text, nullable=False, server_default=""),
        sa.Column("agents", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("born", sa.Double, nullable=False, server_default="0"),
        sa.Column("known_since", sa.Double, nullable=False),
        sa.Column("changed", sa.Double, nullable=False, server_default="0"),
        sa.Column("labels", sa.Text, nullable=False, server_default="{}"),
        sa.Column("birth", sa.Text, nullable=False, server_default="{}"),
        sa.Column("reported", sa.Text, nullable=False, server_default="{}"),
        sa.Column("forgotten", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.UniqueConstraint("fleet", "name"),
    )
    op.create_index("devices_changed", "devices", ["changed"])
    op.create_table(
        "populations",
        sa.Column("device_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("bundle", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
    )
    op.create_index("populations_bundle", "populations", ["bundle"])
    op.create_index("populations_name", "populations", ["name"])
    op.create_table(
        "labels",
        sa.Column("device_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_index("labels_key", "labels", ["key", "value"])
    op.create_table(
        "latest",
        sa.Column("device_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("heard", sa.Double, nullable=False),
        sa.Column("t", sa.Double, nullable=False),
        sa.Column("rss", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "counters",
        sa.Column("device_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("population", sa.Text, primary_key=True),
        sa.Column("counters", sa.Text, nullable=False),
    )


def _telemetry(postgresql: bool) -> None:
    op.create_table(
        "outboxes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("device_id", sa.Integer, nullable=False),
        sa.Column("outbox", sa.Text, nullable=False),
        sa.UniqueConstraint("device_id", "outbox"),
    )
    op.create_table(
        "telemetry",
        sa.Column("outbox_id", sa.Integer, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("stamp", sa.BigInteger, nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("device_id", sa.Integer, nullable=False),
        sa.Column("t", sa.Double, nullable=False),
        sa.Column("received", sa.Double, nullable=False),
        sa.Column("historical", sa.Boolean, nullable=False),
        sa.Column("rss", sa.BigInteger),
        sa.Column("body", sa.LargeBinary, nullable=False),
        postgresql_partition_by="RANGE (day)",
    )
    key = ["outbox_id", "seq", "stamp", *(["day"] if postgresql else [])]
    op.create_index("telemetry_key", "telemetry", key, unique=True)
    op.create_index("telemetry_device", "telemetry", ["device_id", "t"])
    if postgresql:  # day 0: messages whose clock was far off
        op.execute("CREATE TABLE telemetry_day_0 PARTITION OF telemetry FOR VALUES FROM (0) TO (1)")
    op.create_table(
        "skipped",
        sa.Column("outbox_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("first", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, primary_key=True, autoincrement=False),
    )


def _set_aside(connection: sa.Connection) -> bool:
    """Rename the tables of a file from before; return whether there were any."""
    found = sa.inspect(connection).get_table_names()
    if "telemetry" not in found:
        return False
    for name in _BEFORE:
        if name in found:
            op.rename_table(name, f"{name}_before")
    return True


def _take_over(connection: sa.Connection) -> None:
    now = time.time()
    run = connection.exec_driver_sql
    run(
        "INSERT INTO devices (fleet, name, known_since) "
        "SELECT DISTINCT fleet, device, ? FROM telemetry_before",
        (now,),
    )
    run(
        "INSERT INTO outboxes (device_id, outbox) SELECT DISTINCT d.id, "
        "CASE WHEN b.outbox LIKE '@%' THEN '' ELSE b.outbox END "
        "FROM telemetry_before b JOIN devices d ON d.fleet = b.fleet AND d.name = b.device"
    )
    run(
        "INSERT OR IGNORE INTO skipped SELECT o.id, b.first, b.last FROM skipped_before b "
        "JOIN devices d ON d.fleet = b.fleet AND d.name = b.device "
        "JOIN outboxes o ON o.device_id = d.id AND o.outbox = b.outbox"
    )
    rows = run(
        "SELECT o.id, b.seq, b.outbox LIKE '@%', d.id, b.t, b.historical, b.body FROM telemetry_before b "
        "JOIN devices d ON d.fleet = b.fleet AND d.name = b.device "
        "JOIN outboxes o ON o.device_id = d.id "
        "AND o.outbox = CASE WHEN b.outbox LIKE '@%' THEN '' ELSE b.outbox END"
    )
    while batch := rows.fetchmany(BATCH):
        connection.connection.driver_connection.executemany(  # type: ignore[union-attr]
            "INSERT OR IGNORE INTO telemetry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [_row(now, *row) for row in batch],
        )
    if "rejected_before" in sa.inspect(connection).get_table_names():
        run(
            "INSERT INTO rejected (received, topic, reason, size, payload) "
            "SELECT t, topic, reason, size, payload FROM rejected_before ORDER BY id"
        )
    for name in sa.inspect(connection).get_table_names():
        if name.endswith("_before"):
            op.drop_table(name)


def _row(
    now: float, outbox: int, seq: int, unnumbered: int, device: int, t: float, historical: int, text: str
) -> tuple[Any, ...]:
    body = json.loads(text)
    packed = msgpack.packb({"v": 1, "seq": seq, "t": t, "body": body})
    stamp = int(t * 1000) if unnumbered else 0
    day = int(t // 86_400) if 0 < t < now + 86_400 else 0
    return outbox, seq, stamp, day, device, t, now, bool(historical), body.get("rss"), packed
