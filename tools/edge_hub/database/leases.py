"""Leases: of several processes over one database, one at a time holds a task.

Theory of operation. A lease is a row with its holder and when it ends, by the database's own clock, so that
the machines' clocks need not agree. The holder renews it well before it ends; a holder that was killed is
followed by another after at most the lease's length. Whoever can't renew must stop what the lease is for.
"""

from __future__ import annotations

from edge_hub.database import sql
from edge_hub.database.engine import Database

LENGTH_S = 3.0
RENEW_S = 1.0

_TAKE = (
    "INSERT INTO leases (name, holder, expires) VALUES (?, ?, {now} + ?) ON CONFLICT (name) DO UPDATE "
    "SET holder = excluded.holder, expires = excluded.expires "
    "WHERE leases.holder = excluded.holder OR leases.expires < {now}"
)
_SQLITE = _TAKE.format(now="(julianday('now') - 2440587.5) * 86400.0")
_POSTGRESQL = _TAKE.format(now="extract(epoch FROM clock_timestamp())")


def take(database: Database, name: str, holder: str, seconds: float = LENGTH_S) -> bool:
    """Take or renew a lease; return whether ``holder`` has it now.

    Raises
    ------
    PlatformError
        The database is not there: the holder must take the lease for lost when its length is over.
    """
    with database.write() as connection:
        done = sql.run(connection, _SQLITE if database.sqlite else _POSTGRESQL, (name, holder, seconds))
        return bool(done.rowcount)


def give_back(database: Database, name: str, holder: str) -> None:
    """Let another have it at once."""
    with database.write() as connection:
        sql.run(connection, "DELETE FROM leases WHERE name = ? AND holder = ?", (name, holder))


def holder(database: Database, name: str) -> str:
    """Return who held a lease last, "" for nobody."""
    with database.read() as connection:
        return str(sql.one(connection, "SELECT holder FROM leases WHERE name = ?", (name,)) or "")
