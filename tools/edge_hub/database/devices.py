"""The registry: every device that was ever heard, found by filter, page by page.

Theory of operation. Births and reports come from retained messages, so each connect brings all of them
again: the registrar (`edge_hub.ingest.registrar`) passes on those that changed. Pages are by key: the last
row of a page names where the next one begins, so that page 400 costs what page 1 does and nothing is shown
twice while devices come and go.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, exists, func, not_, or_, select
from sqlalchemy import update as update_

from edge_hub.database import sql
from edge_hub.database.engine import Database
from edge_hub.database.schema import counters, devices, labels, latest, populations
from edge_hub.database.telemetry import HEALTH_ROW
from edge_hub.domain.filters import Term, like

MAX_PAGE = 1000
SORTS = ("name", "heard", "rss")
_JOINED = devices.outerjoin(latest, latest.c.device_id == devices.c.id)
SUMMED = ("tick", "decisions", "contradictions", "missed")


class Birth(NamedTuple):
    """What a birth message says of a device; ``populations`` is name → (bundle, agents)."""

    fleet: str
    name: str
    online: bool
    version: str
    profile: str
    boot: str
    born: float
    body: str
    populations: Mapping[str, tuple[str, int]]


class Page(NamedTuple):
    """Rows, and where the next page begins; "" after the last one."""

    rows: list[dict[str, Any]]
    after: str


def note_births(
    connection: Connection, numbers: Mapping[tuple[str, str], int], births: Sequence[Birth]
) -> None:
    """Write down births of devices whose numbers are known."""
    now = time.time()
    sql.many(
        connection,
        "UPDATE devices SET online = ?, version = ?, profile = ?, boot = ?, agents = ?, born = ?, "
        "birth = ?, forgotten = ?, changed = ? WHERE id = ?",
        [
            (
                b.online,
                b.version,
                b.profile,
                b.boot,
                sum(size for _, size in b.populations.values()),
                b.born,
                b.body,
                False,
                now,
                numbers[b.fleet, b.name],
            )
            for b in births
        ],
    )
    replace_populations(
        connection, {numbers[b.fleet, b.name]: b.populations for b in births if b.populations}
    )


def fleets(database: Database) -> list[str]:
    """Return the names of all fleets."""
    with database.read() as connection:
        return [
            str(row[0]) for row in sql.run(connection, "SELECT DISTINCT fleet FROM devices ORDER BY fleet")
        ]


def note_reported(connection: Connection, found: Mapping[int, str]) -> None:
    """Write down what devices report: device's number → JSON."""
    now = time.time()
    sql.many(
        connection,
        "UPDATE devices SET reported = ?, changed = ? WHERE id = ?",
        [(body, now, number) for number, body in sorted(found.items())],
    )


def replace_populations(connection: Connection, found: Mapping[int, Mapping[str, tuple[str, int]]]) -> None:
    """Write down what devices run: device's number → population → (bundle, agents)."""
    sql.many(connection, "DELETE FROM populations WHERE device_id = ?", [(number,) for number in found])
    sql.many(
        connection,
        "INSERT INTO populations (device_id, name, bundle, size) VALUES (?, ?, ?, ?)",
        [(number, name, *what) for number, pops in found.items() for name, what in pops.items()],
    )


def page(
    database: Database,
    terms: Sequence[Term],
    now: float,
    *,
    limit: int = 50,
    after: str = "",
    sort: str = "name",
    descending: bool = False,
) -> Page:
    """Return a page of devices.

    ``after`` is what the page before returned; a text that is not is taken for the beginning.
    """
    column: ColumnElement[Any] = {
        "name": devices.c.name,
        "heard": func.coalesce(latest.c.heard, 0.0),
        "rss": func.coalesce(latest.c.rss, 0),
    }[sort]
    query = _rows(column.label("sorted")).where(*(_condition(term, now) for term in terms))
    key = _key(after, sort)
    if key is not None:
        value, number = key
        further = column < value if descending else column > value
        later = devices.c.id < number if descending else devices.c.id > number
        query = query.where(or_(further, and_(column == value, later)))
    order = (column.desc(), devices.c.id.desc()) if descending else (column, devices.c.id)
    with database.read() as connection:
        found = connection.execute(query.order_by(*order).limit(limit + 1)).all()
        rows = [_shown(row) for row in found[:limit]]
        _add_counters(connection, rows)
    last = found[limit - 1] if len(found) > limit else None
    return Page(rows, json.dumps([last.sorted, last.id]) if last is not None else "")


def one(database: Database, fleet: str, name: str) -> dict[str, Any] | None:
    """Return all that is known of a device, None if there is none."""
    query = _rows(devices.c.birth, devices.c.reported).where(devices.c.fleet == fleet, devices.c.name == name)
    with database.read() as connection:
        row = connection.execute(query).first()
        if row is None:
            return None
        found = _shown(row)
        _add_counters(connection, [found])
        running = connection.execute(select(populations).where(populations.c.device_id == row.id)).all()
        told = connection.execute(select(counters).where(counters.c.device_id == row.id)).all()
    by_name = {entry.population: json.loads(entry.counters) for entry in told}
    found["populations"] = [
        {"name": p.name, "bundle": p.bundle, "size": p.size, "counters": by_name.get(p.name, {})}
        for p in running
    ]
    found["health"] = by_name.get(HEALTH_ROW, {})
    return found | {"birth": json.loads(row.birth), "reported": json.loads(row.reported)}


def numbers_of(database: Database, terms: Sequence[Term], now: float) -> list[tuple[str, str]]:
    """Return (fleet, name) of every device that fits, sorted."""
    query = (
        select(devices.c.fleet, devices.c.name)
        .select_from(_JOINED)
        .where(not_(devices.c.forgotten), *(_condition(term, now) for term in terms))
        .order_by(devices.c.fleet, devices.c.name)
    )
    with database.read() as connection:
        return [(row.fleet, row.name) for row in connection.execute(query)]


def ids_of(connection: Connection, terms: Sequence[Term], now: float) -> list[tuple[int, str, str]]:
    """Return (id, fleet, name) of every device that fits."""
    query = (
        select(devices.c.id, devices.c.fleet, devices.c.name)
        .select_from(_JOINED)
        .where(not_(devices.c.forgotten), *(_condition(term, now) for term in terms))
    )
    return [(id_, fleet, name) for id_, fleet, name in connection.execute(query)]


def labels_by_key(connection: Connection, key: str) -> dict[int, str]:
    """Return the value of one label by device's number."""
    query = select(labels.c.device_id, labels.c.value).where(labels.c.key == key)
    return {row.device_id: row.value for row in connection.execute(query)}


def count(database: Database, terms: Sequence[Term], now: float) -> dict[str, int]:
    """Return how many devices fit, how many of them are online, and their agents."""
    query = (
        select(
            func.count().label("devices"),
            func.coalesce(func.sum(func.cast(devices.c.online, devices.c.id.type)), 0).label("online"),
            func.coalesce(func.sum(devices.c.agents), 0).label("agents"),
        )
        .select_from(_JOINED)
        .where(not_(devices.c.forgotten), *(_condition(term, now) for term in terms))
    )
    with database.read() as connection:
        row = connection.execute(query).one()
    return {"devices": row.devices, "online": int(row.online), "agents": int(row.agents)}


def summary(database: Database) -> list[dict[str, Any]]:
    """Return for each fleet how many devices are known and online, and their agents."""
    query = (
        select(
            devices.c.fleet,
            func.count().label("devices"),
            func.sum(func.cast(devices.c.online, devices.c.id.type)).label("online"),
            func.sum(devices.c.agents).label("agents"),
        )
        .where(not_(devices.c.forgotten))
        .group_by(devices.c.fleet)
        .order_by(devices.c.fleet)
    )
    with database.read() as connection:
        return [
            {"fleet": r.fleet, "devices": r.devices, "online": int(r.online), "agents": int(r.agents)}
            for r in connection.execute(query)
        ]


def running(database: Database) -> list[dict[str, Any]]:
    """Return which populations run which bundles: how many devices, how many agents."""
    query = (
        select(
            devices.c.fleet,
            populations.c.name,
            populations.c.bundle,
            func.count().label("devices"),
            func.sum(populations.c.size).label("agents"),
        )
        .join(devices, devices.c.id == populations.c.device_id)
        .where(not_(devices.c.forgotten))
        .group_by(devices.c.fleet, populations.c.name, populations.c.bundle)
        .order_by(devices.c.fleet, populations.c.name, populations.c.bundle)
    )
    with database.read() as connection:
        return [
            {
                "fleet": r.fleet,
                "population": r.name,
                "bundle": r.bundle,
                "devices": r.devices,
                "agents": int(r.agents),
            }
            for r in connection.execute(query)
        ]


def labels_of(connection: Connection, number: int) -> dict[str, str]:
    """Return the labels of a device."""
    found: dict[str, str] = json.loads(
        connection.scalar(select(devices.c.labels).where(devices.c.id == number)) or "{}"
    )
    return found


def set_labels(connection: Connection, number: int, values: Mapping[str, str]) -> None:
    """Replace the labels of a device."""
    connection.execute(
        update_(devices)
        .where(devices.c.id == number)
        .values(labels=json.dumps(values, sort_keys=True), changed=time.time())
    )
    connection.execute(delete(labels).where(labels.c.device_id == number))
    sql.many(
        connection,
        "INSERT INTO labels (device_id, key, value) VALUES (?, ?, ?)",
        [(number, key, value) for key, value in sorted(values.items())],
    )


def forget(connection: Connection, number: int) -> None:
    """Take a device off the list until it is heard again; its telemetry stays until it expires."""
    connection.execute(
        update_(devices)
        .where(devices.c.id == number)
        .values(forgotten=True, online=False, changed=time.time())
    )
    connection.execute(delete(populations).where(populations.c.device_id == number))


def number(connection: Connection, fleet: str, name: str) -> int | None:
    """Return a device's number, None if it is not known."""
    query = select(devices.c.id).where(
        devices.c.fleet == fleet, devices.c.name == name, not_(devices.c.forgotten)
    )
    found = connection.scalar(query)
    return None if found is None else int(found)


def _rows(*more: Any) -> Select[Any]:
    columns = (
        devices.c.id,
        devices.c.fleet,
        devices.c.name,
        devices.c.online,
        devices.c.version,
        devices.c.profile,
        devices.c.agents,
        devices.c.labels,
        devices.c.known_since,
        latest.c.heard,
        latest.c.t,
        latest.c.rss,
    )
    return select(*columns, *more).select_from(_JOINED).where(not_(devices.c.forgotten))


def _shown(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "fleet": row.fleet,
        "name": row.name,
        "online": bool(row.online),
        "version": row.version,
        "profile": row.profile,
        "agents": row.agents,
        "labels": json.loads(row.labels),
        "known_since": row.known_since,
        "heard": row.heard,
        "t": row._mapping["t"],
        "rss": row.rss,
    }


def _add_counters(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Add the sums over a device's populations, and which those are."""
    by_number = {row["id"]: row for row in rows}
    for row in rows:
        row.update(dict.fromkeys(SUMMED, 0), populations=[])
    found = connection.execute(select(counters).where(counters.c.device_id.in_(by_number)))
    for entry in found:
        values, row = json.loads(entry.counters), by_number[entry.device_id]
        row["tick"] = max(row["tick"], int(values.get("tick", 0)))
        for key in SUMMED[1:]:
            row[key] += int(values.get(key, 0))
    query = select(populations.c.device_id, populations.c.name).where(populations.c.device_id.in_(by_number))
    for entry in connection.execute(query.order_by(populations.c.name)):
        by_number[entry.device_id]["populations"].append(entry.name)


def _condition(term: Term, now: float) -> ColumnElement[bool]:
    """Return a term as a condition; its value is bound, never a part of the query."""
    found: ColumnElement[bool]
    match term.key:
        case "online":
            found = devices.c.online.is_(True)
        case "silent":
            found = func.coalesce(latest.c.heard, 0.0) < now - int(term.value)
        case "text":
            found = func.lower(devices.c.name).like(f"%{like(term.value.lower())}%", escape="\\")
        case "name" | "fleet" | "profile" | "version":
            found = _fits(devices.c[term.key], term.value)
        case "population" | "bundle":
            column = populations.c.name if term.key == "population" else populations.c.bundle
            found = exists().where(populations.c.device_id == devices.c.id, _fits(column, term.value))
        case _:
            found = exists().where(
                labels.c.device_id == devices.c.id,
                labels.c.key == term.key.removeprefix("label."),
                _fits(labels.c.value, term.value),
            )
    return not_(found) if term.turned else found


def _fits(column: ColumnElement[str], pattern: str) -> ColumnElement[bool]:
    if "*" not in pattern:
        return column == pattern
    return column.like(like(pattern), escape="\\")


def _key(after: str, sort: str) -> tuple[Any, int] | None:
    try:
        match json.loads(after) if after else None:
            case [str(value), int(number)] if sort == "name":
                return value, number
            case [int(value) | float(value), int(number)] if sort != "name":
                return value, number
    except (ValueError, RecursionError):
        pass
    return None
