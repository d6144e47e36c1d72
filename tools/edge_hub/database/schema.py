"""The tables, as queries see them; ``migrations/versions`` makes them.

Theory of operation. A device is a row of ``devices``; other tables name it by its number. What changes with
every message (``latest``, ``counters``) is apart from what is searched (``devices``), so that taking a
message in touches no index. Times are Unix seconds, sizes bytes. JSON is kept as text, messages as the bytes
that arrived. ``telemetry.stamp`` is 0 where an outbox numbers messages; without one the time of the message
in milliseconds tells messages of the same number apart. ``telemetry.day`` is the day of the message
(`edge_hub.domain.days`), by which PostgreSQL partitions and SQLite deletes.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

HEAD = "0001"
"""The newest revision of ``migrations/versions``."""

metadata = MetaData()

devices = Table(
    "devices",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("fleet", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("online", Boolean, nullable=False),
    Column("version", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("boot", Text, nullable=False),
    Column("agents", BigInteger, nullable=False),
    Column("born", Double, nullable=False),
    Column("known_since", Double, nullable=False),
    Column("labels", Text, nullable=False),
    Column("birth", Text, nullable=False),
    Column("reported", Text, nullable=False),
    Column("forgotten", Boolean, nullable=False),
)
populations = Table(
    "populations",
    metadata,
    Column("device_id", Integer, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("bundle", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
)
labels = Table(
    "labels",
    metadata,
    Column("device_id", Integer, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
latest = Table(
    "latest",
    metadata,
    Column("device_id", Integer, primary_key=True),
    Column("heard", Double, nullable=False),
    Column("t", Double, nullable=False),
    Column("rss", BigInteger, nullable=False),
)
counters = Table(
    "counters",
    metadata,
    Column("device_id", Integer, primary_key=True),
    Column("population", Text, primary_key=True),
    Column("counters", Text, nullable=False),
)
outboxes = Table(
    "outboxes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("device_id", Integer, nullable=False),
    Column("outbox", Text, nullable=False),
)
telemetry = Table(
    "telemetry",
    metadata,
    Column("outbox_id", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("stamp", BigInteger, nullable=False),
    Column("day", Integer, nullable=False),
    Column("device_id", Integer, nullable=False),
    Column("t", Double, nullable=False),
    Column("received", Double, nullable=False),
    Column("historical", Boolean, nullable=False),
    Column("rss", BigInteger),
    Column("body", LargeBinary, nullable=False),
)
skipped = Table(
    "skipped",
    metadata,
    Column("outbox_id", Integer, primary_key=True),
    Column("first", BigInteger, primary_key=True),
    Column("last", BigInteger, primary_key=True),
)
rejected = Table(
    "rejected",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("received", Double, nullable=False),
    Column("topic", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)
leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("expires", Double, nullable=False),
)
settings = Table(
    "settings",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
