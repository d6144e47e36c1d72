"""What a notice of an alert says. The last line numbers it, so that a receiver can tell a repetition."""

from __future__ import annotations

from collections.abc import Sequence

from edge_hub.domain.alert_rules import SILENCE, Rule
from edge_hub.domain.alert_states import CLEARED, GROWN, AlertState

NAMED = 10
"""Devices that a notice names."""


def notice(
    rule: Rule, group: str, alert: AlertState, kind: str, found: Sequence[tuple[str, float]], id_: str
) -> dict[str, str]:
    """Return ``title`` and ``body``; ``found`` is (device, measure) of the devices that count."""
    number = alert.most if kind == CLEARED else alert.devices
    devices = f"{number} device{'' if number == 1 else 's'}"
    what = {CLEARED: "cleared", GROWN: "grown"}.get(kind, rule.severity)
    lines = [f"{rule.text()}, {group}"] if rule.field else [f"the rule is deleted or off, {group}"]
    unit = " s" if rule.field == SILENCE else ""
    lines += [f"{name}: {value:.6g}{unit}" for name, value in found[:NAMED]]
    if len(found) > NAMED:
        lines.append(f"and {len(found) - NAMED} more")
    lines.append(f"alert {id_}, notice {alert.notices}")
    return {"title": f"{what}: {rule.name}, {group}, {devices}", "body": "\n".join(lines)}
