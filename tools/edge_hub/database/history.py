"""A device's measurements over time: from the messages themselves, or from the roll-ups.

Theory of operation. A message holds the counters that changed since the one before; what it does not hold
stays. So a series is made by going through the messages in the order of their time and carrying each counter
on. Samples of an agent are not carried on: what is not there was not measured. `points` equal parts of the
time are shown, each by one figure of what happened in it.

Hours are read where a part is an hour or longer, minutes where it is a minute or longer or the messages have
been deleted, else the messages. What is newer than the last roll-up is read from the messages.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection

from edge_hub.database import measurements, rollups, sql
from edge_hub.database.engine import Database
from edge_hub.domain import summaries
from edge_hub.domain.series import of_agent
from edge_hub.domain.summaries import Statistic, Summary

MAX_ROWS = 200_000
"""Messages or roll-ups that one series is made of, the newest."""

MAX_SAMPLED = 1000
"""Agents that are named."""

Resolution = Literal["raw", "minute", "hour"]
Row = tuple[float, dict[str, Summary]]
"""A time (Unix seconds; the start of a minute or hour), and what each series did."""
_TABLES: dict[str, str] = {"minute": rollups.MINUTES, "hour": rollups.HOURS}

_PAGE = (
    "SELECT start, body FROM {table} WHERE device_id = ? AND start >= ? AND start < ? AND start > ? "
    "ORDER BY start LIMIT ?"
)
_NEWEST = (
    "SELECT start, body FROM {table} WHERE device_id = ? AND start >= ? AND start <= ? "
    "ORDER BY start DESC LIMIT ?"
)
_BOUNDS = "SELECT min(start), max(start) FROM {table} WHERE device_id = ? AND start >= ? AND start <= ?"


class _Bounds(NamedTuple):
    """First and last time within a range, None where there is nothing."""

    raw: tuple[float, float] | None
    minute: tuple[float, float] | None
    hour: tuple[float, float] | None


def series(
    database: Database,
    device: int,
    since: float,
    until: float,
    points: int,
    statistic: Statistic = "last",
    resolution: Resolution | None = None,
    agent: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Return ``t``, ``resolution``, the device's own series, and which agents have series.

    Parameters
    ----------
    database : Database
        Of what.
    device : int
        The device's number.
    since, until : float
        Unix seconds.
    points : int
        At most so many values per series.
    statistic : str
        The figure of each part of the time: ``last``, ``min``, ``max`` or ``mean``.
    resolution : str, optional
        ``raw``, ``minute`` or ``hour``; without it, what suits the range.
    agent : (str, str), optional
        Population and agent: instead of the device's own, the series KIND/NAME of this agent.

    Returns
    -------
    dict
        ``values`` has None where nothing is known yet; with ``agent``, where nothing was measured. ``agents``
        has the populations and names of agents with series, at most `MAX_SAMPLED`.
    """
    with database.read() as connection:
        bounds = _bounds(connection, device, since, until)
        chosen = resolution or _suitable(bounds, points)
        wanted = _Wanted(agent)
        rows = _rows(connection, device, since, until, chosen, wanted)
    found = [{"population": population, "agent": name} for population, name in sorted(wanted.agents)]
    return {"resolution": chosen, "agents": found} | _thinned(rows, points, statistic, agent is None)


def page(
    connection: Connection,
    device: int,
    since: float,
    until: float,
    resolution: Resolution,
    after: tuple[float, int, int] | None,
    limit: int,
) -> list[tuple[tuple[float, int, int], list[tuple[float, dict[str, float]]]]]:
    """Return what was reported from ``since`` until before ``until``, in the order of time, page by page.

    A row is its key, by which the next page begins (``after``), and the times at which something was said of
    series: in a message the values and, at times of their own, samples of agents; in a roll-up the last ones.
    """
    key = after or (since, -1, -1)
    if resolution == "raw":
        query = (
            "SELECT t, outbox_id, seq, body FROM telemetry WHERE device_id = ? AND t >= ? AND t < ? "
            "AND (t, outbox_id, seq) > (?, ?, ?) ORDER BY t, outbox_id, seq LIMIT ?"
        )
        found = sql.run(connection, query, (device, key[0], until, *key, limit))
        return [((t, outbox, seq), _moments(t, bytes(body))) for t, outbox, seq, body in found]
    query = _PAGE.format(table=_TABLES[resolution])
    begin = after[0] if after else -1e13  # before everything
    found = sql.run(connection, query, (device, since, until, begin, limit))
    return [
        (
            (float(start), 0, 0),
            [(float(start), {name: s[4] for name, s in measurements.unpacked(bytes(body)).items()})],
        )
        for start, body in found
    ]


def _moments(t: float, body: bytes) -> list[tuple[float, dict[str, float]]]:
    sampled: dict[float, dict[str, float]] = {}
    for sample in measurements.samples(body):
        sampled.setdefault(sample.t, {})[sample.name] = sample.value
    values = measurements.values(body)
    return [*sampled.items(), *([(t, values)] if values else [])]


def _bounds(connection: Connection, device: int, since: float, until: float) -> _Bounds:
    values = (device, since, until)
    raw = sql.run(
        connection,
        "SELECT min(t), max(t) FROM telemetry WHERE device_id = ? AND t >= ? AND t <= ? AND day > 0",
        values,
    ).one()
    minute, hour = (
        sql.run(connection, _BOUNDS.format(table=table), values).one()
        for table in (rollups.MINUTES, rollups.HOURS)
    )
    return _Bounds(
        *((float(low), float(high)) if low is not None else None for low, high in (raw, minute, hour))
    )


def _suitable(bounds: _Bounds, points: int) -> Resolution:
    found = [bound for bound in bounds if bound is not None]
    if not found:
        return "raw"
    first, last = min(low for low, _ in found), max(high for _, high in found)
    part = (last - first) / points
    # Roll-ups reach further back than what they are made of; a period begins before its first message.
    minutes_begin = bounds.minute[0] if bounds.minute else last
    raw_begins = bounds.raw[0] if bounds.raw else last
    if bounds.hour and (
        part >= rollups.HOUR_S or bounds.hour[0] + rollups.HOUR_S <= min(minutes_begin, raw_begins)
    ):
        return "hour"
    if bounds.minute and (part >= rollups.MINUTE_S or minutes_begin + rollups.MINUTE_S <= raw_begins):
        return "minute"
    return "raw"


class _Wanted:
    """Decides which series are wanted, and notes which agents have some.

    Parameters
    ----------
    agent : (str, str), optional
        Population and name; None: the device's own series.
    """

    def __init__(self, agent: tuple[str, str] | None) -> None:
        self.agents: set[tuple[str, str]] = set()
        self.agent = agent
        self._known: dict[str, str] = {}

    def __call__(self, series: str) -> bool:
        return bool(self.shown(series))

    def shown(self, series: str) -> str:
        """Return the name under which a series is shown, "" if it is not wanted."""
        if (known := self._known.get(series)) is not None:
            return known
        found = of_agent(series)
        if found is None:
            shown = series if self.agent is None else ""
        else:
            if len(self.agents) < MAX_SAMPLED:
                self.agents.add(found[:2])
            shown = found.name if found[:2] == self.agent else ""
        self._known[series] = shown
        return shown

    def summaries(self, body: bytes) -> dict[str, Summary]:
        """Return what a roll-up says of the series that are wanted."""
        found = measurements.unpacked(body, self)
        return {self.shown(name): summary for name, summary in found.items()}

    def message(self, t: float, body: bytes) -> list[Row]:
        """Return what a message says of the series that are wanted."""
        rows: list[Row] = [
            (sample.t, {name: summaries.of_value(sample.value)})
            for sample in measurements.samples(body)
            if (name := self.shown(sample.name))
        ]
        if self.agent is None:
            values = measurements.values(body).items()
            rows.append((t, {name: summaries.of_value(value) for name, value in values}))
        return rows


def _rows(
    connection: Connection,
    device: int,
    since: float,
    until: float,
    resolution: Resolution,
    wanted: _Wanted,
) -> list[Row]:
    """Return what is there, in the order of time; behind the last roll-up the messages."""
    rows: list[Row] = []
    begin = since
    if resolution != "raw":
        query = _NEWEST.format(table=_TABLES[resolution])
        found = sql.run(connection, query, (device, since, until, MAX_ROWS)).all()[::-1]
        rows = [(float(start), wanted.summaries(bytes(body))) for start, body in found]
        if rows:
            begin = rows[-1][0] + rollups.LENGTHS[_TABLES[resolution]]
    query = (
        "SELECT t, body FROM telemetry WHERE device_id = ? AND t >= ? AND t <= ? "
        "ORDER BY t DESC, seq DESC LIMIT ?"
    )
    for t, body in sql.run(connection, query, (device, begin, until, MAX_ROWS)).all()[::-1]:
        rows += wanted.message(t, bytes(body))
    return rows if wanted.agent is None else sorted((row for row in rows if row[1]), key=itemgetter(0))


def _thinned(rows: list[Row], points: int, statistic: Statistic, carry: bool) -> dict[str, Any]:
    if not rows:
        return {"t": [], "values": {}}
    first, last = rows[0][0], rows[-1][0]
    width = max((last - first) / points, 1e-9)
    times: list[float] = []
    parts: list[dict[str, Summary]] = []
    place = -1
    for t, found in rows:
        part = min(int((t - first) / width), points - 1)
        if part == place:
            times[-1] = t
        else:
            times.append(t)
            parts.append({})
            place = part
        summaries.add(parts[-1], found)
    names = sorted({name for part_ in parts for name in part_})
    return {"t": times, "values": {name: _figures(parts, name, statistic, carry) for name in names}}


def _figures(
    parts: list[dict[str, Summary]], name: str, statistic: Statistic, carry: bool
) -> list[float | None]:
    """Return one series; where a part says nothing, None, or with ``carry`` the last value before it."""
    shown: list[float | None] = []
    last: float | None = None
    for part in parts:
        summary = part.get(name)
        if summary is None:
            shown.append(last)
        else:
            shown.append(summaries.statistic(summary, statistic))
            last = summary[4] if carry else None
    return shown
