"""What was learned, as pages and merges read it: who contributed under which bundle, and rounds in the audit.

A round is a merge of contributions into a new file. Who made it reported it (`edge_hub.learning_round`); the
hub keeps the report in the audit.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select

from edge_hub.database import sql
from edge_hub.database.engine import Database
from edge_hub.database.schema import audit, bundles

ROUND = "learning.round"
ROUNDS = 100
_FROM = (
    "FROM (SELECT c.device_id, c.population, c.bundle, c.epoch, c.received, c.updates, "
    "CASE WHEN (SELECT count(*) FROM increments i WHERE i.contribution_id = c.id) = c.pieces "
    "THEN 1 ELSE 0 END AS complete FROM contributions c) e JOIN devices d ON d.id = e.device_id"
)


def populations(database: Database) -> list[dict[str, Any]]:
    """Return the populations that sent what they learned, with their bundles, the last heard first."""
    query = (
        "SELECT d.fleet, e.population, e.bundle, count(DISTINCT e.device_id), count(*), sum(e.complete), "
        f"sum(e.updates), max(e.received) {_FROM} GROUP BY d.fleet, e.population, e.bundle "
        "ORDER BY max(e.received) DESC, d.fleet, e.population, e.bundle"
    )
    with database.read() as connection:
        rows = sql.run(connection, query).all()
        known = {
            row.digest: row
            for row in connection.execute(
                select(bundles.c.digest, bundles.c.name, bundles.c.version, bundles.c.manifest).where(
                    bundles.c.digest.in_({row[2] for row in rows})
                )
            )
        }
    return [
        {
            "fleet": fleet,
            "population": population,
            "bundle": bundle,
            "name": known[bundle].name if bundle in known else "",
            "version": known[bundle].version if bundle in known else "",
            "source_sha256": _source(known[bundle].manifest) if bundle in known else "",
            "devices": devices,
            "epochs": epochs,
            "complete": int(complete),
            "updates": int(updates),
            "received": received,
        }
        for fleet, population, bundle, devices, epochs, complete, updates, received in rows
    ]


def devices(database: Database, fleet: str, population: str, bundle: str) -> list[dict[str, Any]]:
    """Return what each device contributed, by name."""
    query = (
        f"SELECT d.name, count(*), sum(e.complete), sum(e.updates), min(e.received), max(e.received) {_FROM} "
        "WHERE d.fleet = ? AND e.population = ? AND e.bundle = ? GROUP BY d.name ORDER BY d.name"
    )
    with database.read() as connection:
        return [
            {
                "device": device,
                "epochs": epochs,
                "complete": int(complete),
                "updates": int(updates),
                "first": first,
                "last": last,
            }
            for device, epochs, complete, updates, first, last in sql.run(
                connection, query, (fleet, population, bundle)
            )
        ]


def subject(fleet: str, population: str, bundle: str) -> str:
    """Return what the audit calls a population that learned under a bundle."""
    return f"{fleet}/{population}/{bundle}"


def rounds(database: Database, fleet: str, population: str, bundle: str) -> list[dict[str, Any]]:
    """Return the last ``ROUNDS`` rounds that were reported, the newest first."""
    wanted = subject(fleet, population, bundle)
    query = select(audit.c.seq, audit.c.t, audit.c.who, audit.c.after)
    query = query.where(audit.c.action == ROUND, audit.c.object == wanted)
    with database.read() as connection:
        rows = connection.execute(query.order_by(audit.c.seq.desc()).limit(ROUNDS)).all()
    return [{"number": seq, "t": t, "who": who, **json.loads(after)} for seq, t, who, after in rows]


def _source(manifest: str) -> str:
    return str(json.loads(manifest).get("source_sha256", ""))
