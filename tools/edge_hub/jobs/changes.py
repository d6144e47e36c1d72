"""What changed in the database, told to viewers.

Theory of operation. While there are viewers, the database is queried every `POLL_S` for rows that are newer
than those already sent. So each web worker informs its own viewers, whichever process made a change, and only
the database connects the processes. Clocks of processes may differ by up to `OVERLAP_S`, so each poll looks
that far back from now and omits what was sent. With 20,000 devices that each report once per 10 s, a poll
takes 10 to 12 ms of processor time on SQLite (``python -m benchmarks.hub --case changes``, on x86).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Select, select

from edge_hub.database import rollouts as rollout_rows
from edge_hub.database.engine import Database
from edge_hub.database.schema import alerts, bundles, devices, latest, replies, rollouts

POLL_S = 0.5
OVERLAP_S = 2.0
ROWS_PER_EVENT = 500

Event = tuple[str, Any]
"""The kind of an event and what it says."""


class _Feed:
    """Rows of one query that were not returned yet.

    ``key`` is how many of the first columns identify a row, ``column`` is when it changed (Unix time).
    """

    def __init__(self, query: Select[Any], column: Any, key: int, clock: Callable[[], float]) -> None:
        self._query = query.add_columns(column.label("changed_at"))
        self._column = column
        self._key = key
        self._clock = clock
        self._newest = -1.0
        self._newest_at = 0.0
        self._seen: dict[tuple[Any, ...], float] = {}

    def fresh(self, database: Database) -> list[dict[str, Any]]:
        """Return the rows that changed since the last call; the first call returns none."""
        now, first = self._clock(), self._newest < 0
        with database.read() as connection:
            if first:
                last = connection.scalar(select(self._column).order_by(self._column.desc()).limit(1))
                self._newest, self._newest_at = float(last or 0.0), now
            # What changed long ago need not be read again because nothing has changed since.
            since = self._newest - max(0.0, OVERLAP_S - (now - self._newest_at))
            rows = connection.execute(self._query.where(self._column > since)).all()
        found = []
        seen: dict[tuple[Any, ...], float] = {}
        for row in rows:
            key, at = row[: self._key], row[-1]
            seen[key] = at
            if not first and self._seen.get(key) != at:
                found.append(dict(zip(row._fields[:-1], row, strict=False)))
        newest = max(seen.values(), default=0.0)
        if newest > self._newest:
            self._newest, self._newest_at = newest, now
        self._seen = seen
        return found


class Changes:
    """The feeds of one process; ``clock`` is monotonic, in seconds."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self.start()

    def start(self) -> None:
        """Begin at what is there now: nobody watched until now."""
        registry = (devices.c.id, devices.c.fleet, devices.c.name, devices.c.online, devices.c.forgotten)
        self._latest = _Feed(
            select(latest.c.device_id.label("id"), latest.c.heard, latest.c["t"], latest.c.rss),
            latest.c.heard,
            1,
            self._clock,
        )
        self._registry = _Feed(
            select(*registry, devices.c.version, devices.c.profile, devices.c.agents),
            devices.c.changed,
            1,
            self._clock,
        )
        self._rollouts = _Feed(select(rollouts.c.id, rollouts.c.status), rollouts.c.updated, 1, self._clock)
        self._replies = _Feed(
            select(replies.c.command_id, replies.c.device, replies.c.state, replies.c.reason),
            replies.c.answered,
            2,
            self._clock,
        )
        self._alerts = _Feed(
            select(alerts.c.id, alerts.c.rule, alerts.c.status, alerts.c.devices),
            alerts.c.changed,
            1,
            self._clock,
        )
        self._bundles = _Feed(select(bundles.c.digest, bundles.c.name), bundles.c.uploaded, 1, self._clock)

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
        events += [("alert", row) for row in self._alerts.fresh(database)]
        events += [("bundle", row) for row in self._bundles.fresh(database)]
        return events


def _parts(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(rows), ROWS_PER_EVENT):
        yield rows[start : start + ROWS_PER_EVENT]
