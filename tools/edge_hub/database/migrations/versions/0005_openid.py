"""Users whom an OpenID provider identifies."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column."""
    op.add_column("users", sa.Column("subject", sa.Text, nullable=False, server_default=""))
    named = sa.text("subject <> ''")
    op.create_index(
        "users_subject", "users", ["subject"], unique=True, sqlite_where=named, postgresql_where=named
    )
