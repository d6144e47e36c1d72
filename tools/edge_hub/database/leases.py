"""Leases: of several processes over one database, one at a time holds a task.

Theory of operation. A lease is a row with its holder and when it ends, by the database's own clock, so that
the machines' clocks need not agree. The holder renews it well before it ends; a holder that was killed is
followed by another after at most the lease's length. Whoever can't renew must stop what the lease is for.

If the clock is set back, the lease of a holder that was killed would last until the old time comes again. So
a lease that ends much later than a holder asks for is over too. A holder that is alive stops once it can't
renew.
"""

from __future__ import annotations

import secrets
import time

from sqlalchemy import Connection

from edge_hub.database import sql
from edge_hub.database.engine import Database

LENGTH_S = 3.0
RENEW_S = 1.0

_TAKE = (
    "INSERT INTO leases (name, holder, expires) VALUES (?, ?, {now} + ?) ON CONFLICT (name) DO UPDATE "
    "SET holder = excluded.holder, expires = excluded.expires "
    "WHERE leases.holder = excluded.holder OR leases.expires < {now} OR leases.expires > {now} + ?"
)
_SQLITE = _TAKE.format(now="(julianday('now') - 2440587.5) * 86400.0")
_POSTGRESQL = _TAKE.format(now="extract(epoch FROM clock_timestamp())")


class Lease:
    """One task as one part of this process holds it.

    Parameters
    ----------
    database : Database
        Where leases are kept.
    name : str
        The task.
    seconds : float
        How long the lease lasts unless it is renewed.
    """

    def __init__(self, database: Database, name: str, seconds: float = LENGTH_S) -> None:
        self.holder = secrets.token_hex(8)
        self._database = database
        self._name = name
        self._seconds = seconds
        self._until = 0.0

    @property
    def held(self) -> bool:
        """Whether the lease was taken and has not ended, by this machine's clock."""
        return time.monotonic() < self._until

    def acquire(self) -> bool:
        """Take or renew the lease; return whether it is held now.

        Raises
        ------
        PlatformError
            The database is not there; `held` stays true until the lease ends.
        """
        values = (self._name, self.holder, self._seconds, 2 * max(self._seconds, LENGTH_S))
        before = time.monotonic()
        with self._database.write() as connection:
            done = sql.run(connection, _SQLITE if self._database.sqlite else _POSTGRESQL, values)
        self._until = before + self._seconds if done.rowcount else 0.0
        return bool(done.rowcount)

    def confirm(self, connection: Connection) -> bool:
        """Whether the lease is ours, as of a transaction: until that ends, nobody else can take it."""
        query = "UPDATE leases SET holder = holder WHERE name = ? AND holder = ?"
        return bool(sql.run(connection, query, (self._name, self.holder)).rowcount)

    def give_back(self) -> None:
        """Let another process have the lease at once.

        Raises
        ------
        PlatformError
            The database is not there.
        """
        self._until = 0.0
        with self._database.write() as connection:
            query = "DELETE FROM leases WHERE name = ? AND holder = ?"
            sql.run(connection, query, (self._name, self.holder))


def holder(database: Database, name: str) -> str:
    """Return who held a lease last, "" for nobody."""
    with database.read() as connection:
        return str(sql.one(connection, "SELECT holder FROM leases WHERE name = ?", (name,)) or "")
