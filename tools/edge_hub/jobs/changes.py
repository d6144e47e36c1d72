"""What changed in the database, told to viewers.

Theory of operation. While anybody watches, the database is asked every `POLL_S` for what is newer than what
was told. So each web worker tells its own viewers, whichever process made a change, and nothing but the
database connects the processes: at 20,000 devices a poll costs about 5 ms (``python -m benchmarks.hub``).
Processes' clocks may differ a little, so each poll looks `OVERLAP_S` back and tells what it has not told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Select, select

from edge_hub.database import rollouts as rollout_rows
from edge_hub.database.engine import Database
from edge_hub.database.schema import bundles, devices, latest, replies, rollouts

POLL_S = 0.5
OVERLAP_S = 2.0
ROWS_PER_EVENT = 500

Event = tuple[str, Any]
"""The kind of an event and what it says."""


class _Feed:
    """Rows of one query that were not told yet; ``key`` finds a row again, ``time`` is when it changed."""

    def __init__(self, query: Select[Any], time: Any, key: tuple[str, ...]) -> None:
        self._query = query
        self._column = time
        self._key = key
        self._newest = -1.0
        self._told: dict[tuple[Any, ...], float] = {}

    def fresh(self, database: Database) -> list[dict[str, Any]]:
        """Return the rows that changed since the last call; the first call only looks where things are."""
        since = self._newest - OVERLAP_S
        first = self._newest < 0
        query = self._query.add_columns(self._column.label("changed_at"))
        with database.read() as connection:
            if first:
                last = connection.scalar(select(self._column).order_by(self._column.desc()).limit(1))
                self._newest = float(last or 0.0)
                since = self._newest - OVERLAP_S
            rows = connection.execute(query.where(self._column > since)).mappings().all()
        found = []
        told: dict[tuple[Any, ...], float] = {}
        for row in rows:
            key, at = tuple(row[name] for name in self._key), row["changed_at"]
            told[key] = at
            if not first and self._told.get(key) != at:
                found.append({name: value for name, value in row.items() if name != "changed_at"})
        self._told = told
        self._newest = max([self._newest, *told.values()])
        return found


class Changes:
    """The feeds of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.start()

    def start(self) -> None:
        """Begin at what is there now: nobody watched until now."""
        registry = (devices.c.id, devices.c.fleet, devices.c.name, devices.c.online, devices.c.forgotten)
        self._latest = _Feed(
            select(latest.c.device_id.label("id"), latest.c.heard, latest.c["t"], latest.c.rss),
            latest.c.heard,
            ("id",),
        )
        self._registry = _Feed(
            select(*registry, devices.c.version, devices.c.profile, devices.c.agents),
            devices.c.changed,
            ("id",),
        )
        self._rollouts = _Feed(select(rollouts.c.id, rollouts.c.status), rollouts.c.updated, ("id",))
        self._replies = _Feed(
            select(replies.c.command_id, replies.c.device, replies.c.state, replies.c.reason),
            replies.c.answered,
            ("command_id", "device"),
        )
        self._bundles = _Feed(select(bundles.c.digest, bundles.c.name), bundles.c.uploaded, ("digest",))

    def poll(self) -> list[Event]:
        """Return what is new.

        Raises
        ------
        PlatformError
            The database is not there.
        """
        database = self._database
        events: list[Event] = []
        events += [("devices", part) for part in _parts(self._latest.fresh(database))]
        events += [("registry", part) for part in _parts(self._registry.fresh(database))]
        for row in self._rollouts.fresh(database):
            events.append(("rollout", rollout_rows.shown(database, row["id"]) or row))
        events += [("replies", part) for part in _parts(self._replies.fresh(database))]
        events += [("bundle", row) for row in self._bundles.fresh(database)]
        return events


def _parts(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(rows), ROWS_PER_EVENT):
        yield rows[start : start + ROWS_PER_EVENT]
