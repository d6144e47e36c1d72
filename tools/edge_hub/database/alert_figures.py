"""What alert rules measure: how devices are now, and what a figure did within a window.

Theory of operation. What is now comes from ``latest`` and ``counters``. A device sends counters that changed,
and all of them once in a while, so a figure within a window comes from the roll-ups: the last of each minute
or hour, and the one before the window to begin with.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, select

from edge_hub.database import gaps, measurements, sql
from edge_hub.database.rollups import HOUR_S, HOURS, MINUTES
from edge_hub.database.schema import counters, devices, latest
from edge_hub.database.telemetry import HEALTH_ROW
from edge_hub.domain import alert_rules, days, summaries
from edge_hub.domain.alert_rules import GAPS, SILENCE, Point, Rule
from edge_hub.domain.series import HEALTH, of_agent

BASELINE_S = 1200.0
"""How far before a window its first value is looked for; devices send all counters more often."""
LONG_S = 6 * 3600.0
"""A window that is as long is read from hours."""

Values = dict[int, float]
"""Device's number → measure."""


def now_values(connection: Connection, fields: Collection[str], now: float) -> dict[str, Values]:
    """Return what fields are on each device now; those of the same population are read together."""
    found: dict[str, Values] = {field: {} for field in fields}
    if SILENCE in found:
        query = select(devices.c.id, latest.c.heard, devices.c.known_since).outerjoin(
            latest, latest.c.device_id == devices.c.id
        )
        rows = connection.execute(query)
        found[SILENCE] = {id_: max(0.0, now - (heard or known_since)) for id_, heard, known_since in rows}
    if "rss" in found:
        rows = connection.execute(select(latest.c.device_id, latest.c.rss).where(latest.c.rss > 0))
        found["rss"] = {row.device_id: float(row.rss) for row in rows}
    together: dict[str, list[tuple[str, Values]]] = defaultdict(list)
    for field in fields:
        population, slash, name = field.rpartition("/")
        if slash:
            together[population].append((name, found[field]))
    for population, wanted in together.items():
        _add_counters(connection, population, wanted)
    return found


def _add_counters(connection: Connection, population: str, wanted: Sequence[tuple[str, Values]]) -> None:
    """Add the counters of a population, or of all of them for ``*``, to the values of their names."""
    query = select(counters.c.device_id, counters.c.counters)
    if population == "*":
        query = query.where(counters.c.population != HEALTH_ROW)
    else:
        row_name = HEALTH_ROW if population == HEALTH else population
        query = query.where(counters.c.population == row_name)
    for device, text in connection.execute(query):
        body = json.loads(text)
        for name, values in wanted:
            value = body.get(name)
            if isinstance(value, (int, float)):
                values[device] = values.get(device, 0.0) + value


def window_values(connection: Connection, rule: Rule, now: float) -> Values:
    """Return the measure of a rule that looks back, for each device on which it is known."""
    if rule.field == GAPS:
        return _missing(connection, now - rule.window_s, now)
    table = HOURS if rule.window_s >= LONG_S else MINUTES
    since = now - rule.window_s
    baseline = HOUR_S if table == HOURS else BASELINE_S
    rows = sql.run(
        connection,
        f"SELECT device_id, start, body FROM {table} WHERE start >= ? AND start <= ? AND week >= ? "  # noqa: S608 - two tables  # nosec B608
        "ORDER BY device_id, start",
        (int(since - baseline), int(now), int((since - baseline) // days.WEEK_S)),
    )
    kept, fits = summaries.statistic, partial(_fits, rule.field)
    statistic: summaries.Statistic = "mean" if rule.measure == "trend" else "last"
    series: dict[tuple[int, str], list[Point]] = defaultdict(list)
    for device, start, body in rows:
        for name, summary in measurements.unpacked(bytes(body), fits).items():
            series[device, name].append((float(start), kept(summary, statistic)))
    found: Values = {}
    for (device, _), points in series.items():
        value = alert_rules.measured(rule, _within(points, since, rule.measure))
        if value is not None:
            found[device] = found.get(device, 0.0) + value
    return found


def _within(points: list[Point], since: float, measure: str) -> list[Point]:
    """Return the points of a window; an increase begins with the last one before it."""
    first = next((n for n, (t, _) in enumerate(points) if t >= since), len(points))
    return points[max(0, first - 1) :] if measure == "increase" else points[first:]


def _fits(field: str, series: str) -> bool:
    if not field.startswith("*/"):
        return series == field
    own = of_agent(series) is None and not series.startswith(f"{HEALTH}/")
    return own and series.endswith(field[1:])


def _missing(connection: Connection, since: float, now: float) -> Values:
    """Return how many numbers of outboxes are missing among those of a window, by the device's clock."""
    rows = sql.run(
        connection,
        "SELECT o.id, o.device_id, min(t.seq) AS first, max(t.seq) AS last, count(*) AS stored "
        "FROM outboxes o JOIN telemetry t ON t.outbox_id = o.id AND t.device_id = o.device_id "
        "WHERE o.outbox <> '' AND t.t >= ? AND t.t <= ? AND t.day >= ? GROUP BY o.id, o.device_id",
        (since, now, int(since // days.DAY_S)),
    ).all()
    found: Values = {}
    for row in rows:
        values: Mapping[str, Any] = row._mapping
        missing = 0
        if values["last"] - values["first"] + 1 > values["stored"]:
            missing = gaps.missing(connection, values["id"], values["first"], values["last"])
        found[values["device_id"]] = found.get(values["device_id"], 0.0) + missing
    return found
