"""What a list of rollouts shows of each, beside the state with all its devices."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column and fill it."""
    op.add_column("rollouts", sa.Column("summary", sa.Text, nullable=False, server_default=""))
    rollouts = sa.table("rollouts", sa.column("id"), sa.column("state"), sa.column("summary"))
    connection = op.get_bind()
    for id_ in connection.scalars(sa.select(rollouts.c.id)).all():
        state = connection.scalar(sa.select(rollouts.c.state).where(rollouts.c.id == id_))
        connection.execute(
            sa.update(rollouts)
            .where(rollouts.c.id == id_)
            .values(summary=json.dumps(summary(json.loads(str(state)))))
        )


def summary(state: dict[str, Any]) -> dict[str, Any]:
    """Return what a list shows."""
    states = Counter(member["state"] for member in state["members"].values())
    return {
        "reason": state["reason"],
        "wave": state["wave"] + 1,
        "waves": len(state["waves"]),
        "devices": sum(states.values()),
        "counts": dict(sorted(states.items())),
    }
