"""Alerts: rules, the alerts that they made, the devices that count, and notices on their way out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "alert_rules",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("updated", sa.Double, nullable=False),
    )
    op.create_table(
        "alerts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("group_name", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("condition", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("opened", sa.Double, nullable=False),
        sa.Column("cleared", sa.Double, nullable=False),
        sa.Column("changed", sa.Double, nullable=False),
        sa.Column("devices", sa.Integer, nullable=False),
        sa.Column("most", sa.Integer, nullable=False),
        sa.Column("told", sa.Integer, nullable=False),
        sa.Column("told_at", sa.Double, nullable=False),
        sa.Column("notices", sa.Integer, nullable=False),
        sa.Column("names", sa.Text, nullable=False),
        sa.Column("acknowledged", sa.Double, nullable=False),
        sa.Column("acknowledged_by", sa.Text, nullable=False),
    )
    op.create_index("alerts_changed", "alerts", ["changed"])
    op.create_index("alerts_opened", "alerts", ["opened"])
    is_open = sa.text("status = 'open'")
    op.create_index(
        "alerts_open",
        "alerts",
        ["rule", "group_name"],
        unique=True,  # one open alert per rule and group, whatever happens
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_table(
        "alert_members",
        sa.Column("rule", sa.Text, primary_key=True),
        sa.Column("device_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("group_name", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("fired", sa.Double, nullable=False),
        sa.Column("value", sa.Double, nullable=False),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("alert_id", sa.Text, nullable=False),
        sa.Column("notice", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_try", sa.Double, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("repeated", sa.Boolean, nullable=False),
        sa.Column("finished", sa.Double, nullable=False),
        sa.UniqueConstraint("alert_id", "notice", "target"),
        sqlite_autoincrement=True,
    )
    op.create_index("deliveries_state", "deliveries", ["state", "next_try"])
