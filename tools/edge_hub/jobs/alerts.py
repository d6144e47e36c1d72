"""The evaluator: measures what the rules name, moves the states, and writes alerts with their notices.

Theory of operation. Of all processes of a service one evaluates, the one with the lease ``alerts``. Every
`PERIOD_S` it measures and asks the state machines of `edge_hub.domain.alert_states`. What changed is one
transaction that holds the lease: states of devices, alerts and notices. So whenever it is killed, the next
evaluator goes on with exactly what was written, and what had not been written is found anew. Measures that
look back are taken less often; in between the last ones hold.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from edge_agent.errors import EdgeAgentError
from edge_hub.database import alert_figures, alerts, devices, leases
from edge_hub.database.alert_figures import Values
from edge_hub.database.alerts import OpenAlert
from edge_hub.database.engine import Database
from edge_hub.domain import alert_notices, alert_states, filters
from edge_hub.domain.alert_rules import GAPS, Rule
from edge_hub.domain.alert_states import OK, DeviceState

log = logging.getLogger("edge_hub")

LEASE = "alerts"
LEASE_S = 6.0
PERIOD_S = 2.0
LOOK_BACK_S = {"increase": 60.0, "trend": 300.0}
GAPS_S = 300.0
NAMES = 20
"""Names of devices that an alert keeps."""

_Key = tuple[str, str]
"""Rule and group."""


class LeaseLostError(Exception):
    """Another process evaluates now: nothing was written."""


@dataclass
class _Changes:
    """What one look changes."""

    members: list[tuple[str, int, str, DeviceState]] = field(default_factory=list)
    gone: list[tuple[str, int]] = field(default_factory=list)
    counting: dict[_Key, list[tuple[str, float]]] = field(default_factory=lambda: defaultdict(list))
    after: dict[tuple[str, int], tuple[str, DeviceState]] = field(default_factory=dict)


class Evaluator:
    """The states of all rules; `look` moves them.

    Parameters
    ----------
    database : Database
        Where devices, rules and alerts are.
    lease : Lease
        Must be held when something is written.
    targets : sequence of str
        Where notices go.
    """

    def __init__(self, database: Database, lease: leases.Lease, targets: Sequence[str] = ()) -> None:
        self._database = database
        self._lease = lease
        self._targets = list(targets)
        self._members: dict[tuple[str, int], tuple[str, DeviceState]] = {}
        self._known = False
        self._looked_back: dict[Rule, tuple[float, Values]] = {}
        self.looks = 0
        self.seconds = 0.0

    def forget(self) -> None:
        """Read the states anew at the next look: another process may have changed them."""
        self._known = False
        self._looked_back.clear()

    def look(self, now: float) -> None:
        """Measure once and write what changed.

        Raises
        ------
        LeaseLostError
            Another process evaluates.
        PlatformError
            The database is not there; nothing was written.
        """
        began = time.perf_counter()
        try:
            self._look(now)
        except BaseException:
            self.forget()
            raise
        self.looks += 1
        self.seconds = time.perf_counter() - began

    def _look(self, now: float) -> None:
        if not self._known:
            self._take_over(now)
        rules = {rule.name: rule for rule in alerts.rules(self._database) if rule.enabled}
        with self._database.read() as connection:
            known = {(entry.rule, entry.group): entry for entry in alerts.open_alerts(connection)}
            changes = self._observe(connection, list(rules.values()), now)
        saved: list[tuple[OpenAlert, Rule, str]] = []
        for key in sorted({*changes.counting, *known}):
            moved = self._advance(rules.get(key[0]), key, known.get(key), changes, now)
            if moved is not None:
                saved.append(moved)
        if saved or changes.members or changes.gone:
            self._write(saved, changes, now)
        self._members = changes.after

    def _take_over(self, now: float) -> None:
        with self._database.write() as connection:
            self._check(connection)
            alerts.add_defaults(connection, now)
            if left := alerts.release_notices(connection, self._lease.holder):
                log.warning(
                    "alerts: %d notices may have been sent already; they are sent again, marked", left
                )
            self._members = {key: (group, member) for key, group, member in alerts.members(connection)}
        self._known = True

    def _check(self, connection: Connection) -> None:
        if not self._lease.confirm(connection):
            raise LeaseLostError

    def _observe(self, connection: Connection, rules: Sequence[Rule], now: float) -> _Changes:
        """Move the states of all devices."""
        changes = _Changes()
        fitting: dict[str, list[tuple[int, str, str]]] = {}
        fields = {rule.field for rule in rules if rule.measure == "value"}
        values = alert_figures.now_values(connection, fields, now)
        self._looked_back = {rule: kept for rule, kept in self._looked_back.items() if rule in rules}
        for rule in rules:
            if rule.filter not in fitting:
                fitting[rule.filter] = devices.ids_of(connection, filters.parse(rule.filter), now)
            measured = self._measured(connection, rule, values, now)
            group_of = _grouping(connection, rule)
            for id_, fleet, name in fitting[rule.filter]:
                key, value = (rule.name, id_), measured.get(id_)
                known = self._members.get(key)
                if known is None and (value is None or not rule.broken(value)):
                    continue  # most devices, most of the time: `observe` would leave them ok
                group_before, before = known or ("", DeviceState())
                after = alert_states.observe(rule, before, value, now)
                if after.state == OK:
                    continue
                group = group_of(id_, fleet, name)
                changes.after[key] = group, after
                if after is not before or group != group_before:
                    changes.members.append((rule.name, id_, group, after))
                if after.counts:
                    shown = after.value if value is None else value
                    changes.counting[rule.name, group].append((f"{fleet}/{name}", shown))
        changes.gone = sorted(self._members.keys() - changes.after.keys())
        return changes

    def _measured(
        self, connection: Connection, rule: Rule, values: Mapping[str, Values], now: float
    ) -> Values:
        if rule.measure == "value":
            return values[rule.field]
        period = GAPS_S if rule.field == GAPS else LOOK_BACK_S[rule.measure]
        at, kept = self._looked_back.get(rule, (0.0, {}))
        if not 0.0 <= now - at < min(period, rule.window_s / 4):
            kept = alert_figures.window_values(connection, rule, now)
            self._looked_back[rule] = now, kept
        return kept

    def _advance(
        self, rule: Rule | None, key: _Key, known: OpenAlert | None, changes: _Changes, now: float
    ) -> tuple[OpenAlert, Rule, str] | None:
        """Move one alert; None if it stays as it is. An alert whose rule is gone ends."""
        ended = rule or Rule(key[0], "", 0.0)
        before = known.alert if known else None
        after, notice = alert_states.advance(ended, before, len(changes.counting.get(key, ())), now)
        if after is None or (after == before and not notice):
            return None
        id_ = known.id if known else secrets.token_hex(8)
        return OpenAlert(id_, *key, after), ended, notice

    def _write(self, saved: Sequence[tuple[OpenAlert, Rule, str]], changes: _Changes, now: float) -> None:
        with self._database.write() as connection:
            self._check(connection)
            alerts.save_members(connection, changes.members, changes.gone)
            for entry, rule, notice in saved:
                self._save(connection, entry, rule, notice, changes, now)
        for entry, _, notice in saved:
            if notice:
                devices_ = entry.alert.devices
                log.info("alert %s: %s, %s, %d devices", notice, entry.rule, entry.group, devices_)

    def _save(
        self,
        connection: Connection,
        entry: OpenAlert,
        rule: Rule,
        notice: str,
        changes: _Changes,
        now: float,
    ) -> None:
        alert = entry.alert
        found = sorted(changes.counting.get((entry.rule, entry.group), ()))
        more: dict[str, object] = {"rule": entry.rule, "group_name": entry.group}
        if rule.field:  # the rule is still there
            more |= {"severity": rule.severity, "condition": rule.text()}
        if alert.status == alert_states.OPEN:
            more["names"] = alerts.names([name for name, _ in found[:NAMES]])
        alerts.save(connection, entry.id, alert, now, **more)
        if notice:
            targets = [name for name in self._targets if not rule.notify or name in rule.notify]
            text = alert_notices.notice(rule, entry.group, alert, notice, found, entry.id)
            row = {"alert_id": entry.id, "notice": alert.notices, "kind": notice, **text}
            alerts.add_notices(connection, [row], targets, now)


def _grouping(connection: Connection, rule: Rule) -> Callable[[int, str, str], str]:
    """Return the function that names the group of (id, fleet, name)."""
    if rule.group == "fleet":
        return lambda _id, fleet, _name: fleet
    if rule.group == "device":
        return lambda _id, fleet, name: f"{fleet}/{name}"
    key = rule.group.removeprefix("label.")
    values = devices.labels_by_key(connection, key)
    return lambda id_, fleet, _name: f"{fleet}, {key}={values.get(id_, '')}"


class AlertRunner:
    """A thread that evaluates while this process has the lease.

    Parameters
    ----------
    database : Database
        Of what.
    targets : sequence of str
        Where notices go.
    period : float
        Seconds between looks.
    """

    def __init__(self, database: Database, targets: Sequence[str] = (), period: float = PERIOD_S) -> None:
        self.lease = leases.Lease(database, LEASE, LEASE_S)
        self.evaluator = Evaluator(database, self.lease, targets)
        self.failed: Callable[[], None] = lambda: None
        self._period = period
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edge-hub-alerts")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for it."""
        self._stopped.set()
        self._thread.join()

    def gauges(self) -> dict[str, float]:
        """Return the figures for Prometheus."""
        return {
            "alert_evaluator": float(self.lease.held),
            "alert_looks_total": self.evaluator.looks,
            "alert_look_seconds": self.evaluator.seconds,
        }

    def _run(self) -> None:
        try:
            while not self._stopped.wait(self._period):
                self._turn()
        except Exception:
            log.exception("alerts")
            self.failed()
        with contextlib.suppress(EdgeAgentError):
            self.lease.give_back()

    def _turn(self) -> None:
        try:
            held = self.lease.held
            if not self.lease.acquire():
                self.evaluator.forget()
                return
            if not held:
                self.evaluator.forget()
            self.evaluator.look(time.time())
        except LeaseLostError:
            log.warning("alerts: another process evaluates now")
        except EdgeAgentError as error:
            log.warning("alerts: %s; trying again", error)
