"""The tables, as queries see them; ``migrations/versions`` makes them.

Theory of operation. A device is a row of ``devices``; other tables name it by its number. What changes with
every message (``latest``, ``counters``) is apart from what is searched (``devices``), so that taking a
message in touches no index. Times are Unix seconds, sizes bytes. JSON is kept as text, messages as the bytes
that arrived. ``telemetry.stamp`` is 0 where an outbox numbers messages; without one the time of the message
in milliseconds tells messages of the same number apart. ``telemetry.day`` is the day of the message
(`edge_hub.domain.days`), by which PostgreSQL partitions and SQLite deletes. ``minutes`` and ``hours`` are
roll-ups (`edge_hub.database.rollups`), by weeks likewise.
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

HEAD = "0010"
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
    Column("changed", Double, nullable=False),
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
rollup_queue = Table(
    "rollup_queue",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("minutes", LargeBinary, nullable=False),
)
hour_queue = Table(
    "hour_queue",
    metadata,
    Column("device_id", Integer, primary_key=True),
    Column("hour", Integer, primary_key=True),
)
minutes = Table(
    "minutes",
    metadata,
    Column("device_id", Integer, primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("week", Integer, primary_key=True),
    Column("messages", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
hours = Table(
    "hours",
    metadata,
    Column("device_id", Integer, primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("week", Integer, primary_key=True),
    Column("messages", Integer, nullable=False),
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
users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("password", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("subject", Text, nullable=False),
)
sessions = Table(
    "sessions",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("user_id", Integer, nullable=False),
    Column("csrf", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double, nullable=False),
)
tokens = Table(
    "tokens",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("user_id", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double, nullable=False),
)
login_failures = Table(
    "login_failures",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", Text, nullable=False),
    Column("t", Double, nullable=False),
)
audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("t", Double, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("object", Text, nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False),
)
idempotency = Table(
    "idempotency",
    metadata,
    Column("who", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("request", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
bundles = Table(
    "bundles",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("signer", Text, nullable=False),
    Column("uploaded", Double, nullable=False),
    Column("uploaded_by", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
)
groups = Table(
    "groups",
    metadata,
    Column("name", Text, primary_key=True),
    Column("filter", Text, nullable=False),
    Column("note", Text, nullable=False),
)
rollouts = Table(
    "rollouts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("fleet", Text, nullable=False),
    Column("population", Text, nullable=False),
    Column("bundle", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("approved_by", Text, nullable=False),
    Column("updated", Double, nullable=False),
    Column("ended", Boolean, nullable=False),
    Column("group_name", Text, nullable=False),
    Column("filter", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("summary", Text, nullable=False, server_default=""),
    Column("request", Text, nullable=False),
)
commands = Table(
    "commands",
    metadata,
    Column("id", Text, primary_key=True),
    Column("fleet", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires", Double, nullable=False),
)
replies = Table(
    "replies",
    metadata,
    Column("command_id", Text, primary_key=True),
    Column("device", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("answered", Double),
)
traces = Table(
    "traces",
    metadata,
    Column("subject", Text, primary_key=True),
    Column("traceparent", Text, nullable=False),
)
releases = Table(
    "releases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("fleet", Text, nullable=False),
    Column("population", Text, nullable=False),
    Column("bundle", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("doc", Text, nullable=False),
    Column("signatures", Text, nullable=False),
    Column("uploaded", Double, nullable=False),
    Column("uploaded_by", Text, nullable=False),
)
contributions = Table(
    "contributions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("device_id", Integer, nullable=False),
    Column("population", Text, nullable=False),
    Column("bundle", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("received", Double, nullable=False),
    Column("updates", BigInteger, nullable=False),
    Column("shift", Integer, nullable=False),
    Column("pieces", Integer, nullable=False),
    Column("tensors", Text, nullable=False),
)
increments = Table(
    "increments",
    metadata,
    Column("contribution_id", Integer, primary_key=True),
    Column("piece", Integer, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
learned_numbers = Table(
    "learned_numbers",
    metadata,
    Column("outbox_id", Integer, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("received", Double, nullable=False),
)
alert_rules = Table(
    "alert_rules",
    metadata,
    Column("name", Text, primary_key=True),
    Column("body", Text, nullable=False),
    Column("updated", Double, nullable=False),
)
alerts = Table(
    "alerts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("rule", Text, nullable=False),
    Column("group_name", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("condition", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("opened", Double, nullable=False),
    Column("cleared", Double, nullable=False),
    Column("changed", Double, nullable=False),
    Column("devices", Integer, nullable=False),
    Column("most", Integer, nullable=False),
    Column("told", Integer, nullable=False),
    Column("told_at", Double, nullable=False),
    Column("notices", Integer, nullable=False),
    Column("names", Text, nullable=False),
    Column("acknowledged", Double, nullable=False),
    Column("acknowledged_by", Text, nullable=False),
)
alert_members = Table(
    "alert_members",
    metadata,
    Column("rule", Text, primary_key=True),
    Column("device_id", Integer, primary_key=True),
    Column("group_name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("since", Double, nullable=False),
    Column("fired", Double, nullable=False),
    Column("value", Double, nullable=False),
)
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("alert_id", Text, nullable=False),
    Column("notice", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_try", Double, nullable=False),
    Column("holder", Text, nullable=False),
    Column("repeated", Boolean, nullable=False),
    Column("finished", Double, nullable=False),
)
enrolments = Table(
    "enrolments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("fleet", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires", Double, nullable=False),
    Column("used", Double, nullable=False),
    Column("used_by", Text, nullable=False),
    Column("public_key", Text, nullable=False),
)
