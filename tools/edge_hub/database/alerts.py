"""Alerts as the service keeps them: rules, alerts, the devices that are not well, notices on their way out.

Theory of operation. The evaluator writes a change of an alert and the notices of it in one transaction, in
which it holds the lease. So a notice exists if and only if the change does, and two evaluators can't make the
same change. Whoever acknowledges an alert writes columns that the evaluator only reads.

A notice to a target is ``waiting``, then ``sending`` while it is given to the target, then ``sent`` or
``failed``. One that is ``sending`` by a sender that is gone may have arrived or not: it is sent again under
the same number and marked as ``repeated``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, delete, func, insert, select, update

from edge_hub.database import sql
from edge_hub.database.engine import Database
from edge_hub.database.schema import alert_members, alert_rules, alerts, deliveries, devices
from edge_hub.domain import alert_rules as domain_rules
from edge_hub.domain.alert_rules import Rule
from edge_hub.domain.alert_states import CLEARED, COUNTED, OPEN, AlertState, DeviceState

WAITING, SENDING, SENT, FAILED = "waiting", "sending", "sent", "failed"
MAX_MEMBERS = 1000
_SEEDED = "alert_rules_seeded"


class OpenAlert(NamedTuple):
    """An open alert and its row's id."""

    id: str
    rule: str
    group: str
    alert: AlertState


class Notice(NamedTuple):
    """A notice that is sent to a target now."""

    id: int
    target: str
    title: str
    body: str
    severity: str
    created: float
    attempts: int
    repeated: bool


def rules(database: Database) -> list[Rule]:
    """Return all rules by name."""
    with database.read() as connection:
        found = connection.execute(select(alert_rules.c.body).order_by(alert_rules.c.name)).scalars()
        return [domain_rules.parse(json.loads(body)) for body in found]


def rule(connection: Connection, name: str) -> dict[str, Any] | None:
    """Return a rule as JSON has it, None if there is none."""
    body = connection.scalar(select(alert_rules.c.body).where(alert_rules.c.name == name))
    return None if body is None else dict(json.loads(body))


def put_rule(connection: Connection, new: Rule, now: float) -> dict[str, Any] | None:
    """Make or change a rule; return it as it was."""
    before = rule(connection, new.name)
    values = {"body": json.dumps(new.plain()), "updated": now}
    if before is None:
        connection.execute(insert(alert_rules).values(name=new.name, **values))
    else:
        connection.execute(update(alert_rules).where(alert_rules.c.name == new.name).values(**values))
    return before


def remove_rule(connection: Connection, name: str) -> None:
    """Delete a rule; the evaluator ends its alerts."""
    connection.execute(delete(alert_rules).where(alert_rules.c.name == name))


def add_defaults(connection: Connection, now: float) -> None:
    """Add the rules of a new hub, once: who deletes them does not get them back."""
    added = sql.run(
        connection,
        "INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING",
        (_SEEDED, "yes"),
    )
    if added.rowcount:
        for new in domain_rules.DEFAULTS:
            if rule(connection, new.name) is None:
                put_rule(connection, new, now)


def open_alerts(connection: Connection) -> list[OpenAlert]:
    """Return the alerts that are open."""
    return [
        OpenAlert(
            row.id,
            row.rule,
            row.group_name,
            AlertState(
                row.opened,
                row.status,
                row.devices,
                row.most,
                row.told,
                row.told_at,
                row.notices,
                row.cleared,
                bool(row.acknowledged),
            ),
        )
        for row in connection.execute(select(alerts).where(alerts.c.status == OPEN))
    ]


def save(connection: Connection, id_: str, alert: AlertState, now: float, **more: Any) -> None:
    """Write an alert; a new one needs ``rule``, ``group_name``, ``severity``, ``condition``, ``names``."""
    values: dict[str, Any] = {
        "status": alert.status,
        "opened": alert.opened,
        "cleared": alert.cleared,
        "changed": now,
        "devices": alert.devices,
        "most": alert.most,
        "told": alert.told,
        "told_at": alert.told_at,
        "notices": alert.notices,
        **more,
    }
    if not connection.execute(update(alerts).where(alerts.c.id == id_).values(**values)).rowcount:
        connection.execute(insert(alerts).values(id=id_, acknowledged=0.0, acknowledged_by="", **values))


def names(found: Sequence[str]) -> str:
    """Return names of devices as an alert keeps them."""
    return json.dumps(found)


def acknowledge(connection: Connection, id_: str, who: str, now: float) -> None:
    """Note who knows of an alert."""
    connection.execute(
        update(alerts).where(alerts.c.id == id_).values(acknowledged=now, acknowledged_by=who, changed=now)
    )


def members(connection: Connection) -> list[tuple[tuple[str, int], str, DeviceState]]:
    """Return the devices that are not well: (rule, device's number), group, state."""
    return [
        ((row.rule, row.device_id), row.group_name, DeviceState(row.state, row.since, row.fired, row.value))
        for row in connection.execute(select(alert_members))
    ]


def save_members(
    connection: Connection,
    changed: Sequence[tuple[str, int, str, DeviceState]],
    gone: Sequence[tuple[str, int]],
) -> None:
    """Write (rule, device, group, state) of devices that are not well, and delete those that are."""
    sql.many(connection, "DELETE FROM alert_members WHERE rule = ? AND device_id = ?", list(gone))
    sql.many(
        connection,
        "INSERT INTO alert_members (rule, device_id, group_name, state, since, fired, value) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (rule, device_id) DO UPDATE SET "
        "group_name = excluded.group_name, state = excluded.state, since = excluded.since, "
        "fired = excluded.fired, value = excluded.value",
        [
            (rule_, device, group, member.state, member.since, member.fired, member.value)
            for rule_, device, group, member in changed
        ],
    )


def add_notices(
    connection: Connection, rows: Iterable[dict[str, Any]], targets: Sequence[str], now: float
) -> None:
    """Add notices (``alert_id``, ``notice``, ``kind``, ``title``, ``body``) to each target."""
    for row in rows:
        for target in targets:
            connection.execute(
                insert(deliveries).values(
                    **row,
                    target=target,
                    created=now,
                    state=WAITING,
                    attempts=0,
                    next_try=0.0,
                    holder="",
                    repeated=False,
                    finished=0.0,
                )
            )


def is_due(connection: Connection, now: float) -> bool:
    """Whether a notice may wait for its sender."""
    query = "SELECT id FROM deliveries WHERE state = ? AND next_try <= ? LIMIT 1"
    return sql.one(connection, query, (WAITING, now)) is not None


def take_notice(connection: Connection, holder: str, targets: Sequence[str], now: float) -> Notice | None:
    """Take the oldest notice that is due, for one sender; a later one of an alert waits for the earlier."""
    earlier = deliveries.alias("earlier")
    before = (
        select(earlier.c.id)
        .where(
            earlier.c.alert_id == deliveries.c.alert_id,
            earlier.c.target == deliveries.c.target,
            earlier.c.notice < deliveries.c.notice,
            earlier.c.state.in_((WAITING, SENDING)),
        )
        .exists()
    )
    query = (
        select(deliveries)
        .where(
            deliveries.c.state == WAITING,
            deliveries.c.next_try <= now,
            deliveries.c.target.in_(targets),
            ~before,
        )
        .order_by(deliveries.c.id)
        .limit(1)
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    taken = (
        update(deliveries)
        .where(deliveries.c.id == row.id)
        .values(state=SENDING, holder=holder, attempts=row.attempts + 1)
    )
    connection.execute(taken)
    severity = row.kind
    if row.kind != CLEARED:
        severity = connection.scalar(select(alerts.c.severity).where(alerts.c.id == row.alert_id)) or ""
    return Notice(
        row.id,
        row.target,
        row.title,
        row.body,
        severity,
        row.created,
        row.attempts + 1,
        bool(row.repeated),
    )


def finish_notice(
    connection: Connection, id_: int, holder: str, state: str, now: float, again: float
) -> None:
    """Note what became of a notice that this sender took; ``again`` is when a waiting one is tried again."""
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == id_, deliveries.c.holder == holder, deliveries.c.state == SENDING)
        .values(state=state, finished=0.0 if state == WAITING else now, next_try=again)
    )


def release_notices(connection: Connection, holder: str) -> int:
    """Let notices that another sender left unfinished be sent again, marked; return how many."""
    done = connection.execute(
        update(deliveries)
        .where(deliveries.c.state == SENDING, deliveries.c.holder != holder)
        .values(state=WAITING, repeated=True, next_try=0.0)
    )
    return int(done.rowcount)


def page(database: Database, status: str, limit: int, before: float) -> list[dict[str, Any]]:
    """Return alerts, the newest first; ``status`` "" is all of them."""
    query = select(alerts).where(alerts.c.opened < before)
    if status:
        query = query.where(alerts.c.status == status)
    with database.read() as connection:
        rows = connection.execute(query.order_by(alerts.c.opened.desc(), alerts.c.id).limit(limit)).mappings()
        return [_shown(dict(row)) for row in rows]


def one(database: Database, id_: str) -> dict[str, Any] | None:
    """Return an alert with its devices (at most `MAX_MEMBERS`) and its notices, None if there is none."""
    with database.read() as connection:
        row = connection.execute(select(alerts).where(alerts.c.id == id_)).mappings().first()
        if row is None:
            return None
        sent = connection.execute(
            select(deliveries).where(deliveries.c.alert_id == id_).order_by(deliveries.c.id)
        ).mappings()
        keys = ("notice", "kind", "target", "created", "state", "attempts", "repeated", "finished")
        notices = [{key: entry[key] for key in keys} for entry in sent]
        found = connection.execute(
            select(devices.c.fleet, devices.c.name, alert_members)
            .join(devices, devices.c.id == alert_members.c.device_id)
            .where(
                alert_members.c.rule == row["rule"],
                alert_members.c.group_name == row["group_name"],
                alert_members.c.state.in_(COUNTED),
            )
            .order_by(devices.c.fleet, devices.c.name)
            .limit(MAX_MEMBERS)
        )
        members_ = [
            {"fleet": m.fleet, "device": m.name, "state": m.state, "since": m.fired, "value": m.value}
            for m in found
        ]
    ended = row["status"] == CLEARED
    return _shown(dict(row)) | {"members": [] if ended else members_, "deliveries": notices}


def figures(database: Database) -> dict[str, Any]:
    """Return open alerts by (rule, severity), and notices by state, for Prometheus."""
    with database.read() as connection:
        open_ = connection.execute(
            select(alerts.c.rule, alerts.c.severity, func.count(), func.sum(alerts.c.devices))
            .where(alerts.c.status == OPEN)
            .group_by(alerts.c.rule, alerts.c.severity)
        ).all()
        states = connection.execute(
            select(deliveries.c.state, func.count()).group_by(deliveries.c.state)
        ).all()
    return {
        "open": [(rule_, severity, number, int(total)) for rule_, severity, number, total in open_],
        "deliveries": dict.fromkeys((WAITING, SENDING, SENT, FAILED), 0) | {row[0]: row[1] for row in states},
    }


def expire(database: Database, before: float) -> None:
    """Delete alerts that were cleared before Unix time ``before``, and their notices."""
    with database.write() as connection:
        old = select(alerts.c.id).where(and_(alerts.c.status == CLEARED, alerts.c.cleared < before))
        connection.execute(delete(deliveries).where(deliveries.c.alert_id.in_(old)))
        connection.execute(delete(alerts).where(and_(alerts.c.status == CLEARED, alerts.c.cleared < before)))


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    for key in ("told", "told_at"):
        row.pop(key)
    return row | {"names": json.loads(row["names"])}
