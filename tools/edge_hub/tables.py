"""The fleet as a table for people."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from edge_hub.fleet import Fleet


def fleet_table(fleet: Fleet, now: float) -> Table:
    """Return one row a device, sorted by name."""
    online = sum(d.online for d in fleet.devices.values())
    title = f"{online} of {len(fleet.devices)} devices online"
    caption = f"{fleet.bad} malformed messages ignored, the last: {fleet.last_bad}" if fleet.bad else None
    table = Table(title=title, caption=caption)
    for heading in ("device", "state", "profile", "populations"):
        table.add_column(heading)
    for heading in ("agents", "tick", "decisions", "contrad.", "missed", "RSS MB", "gaps", "desired", "seen"):
        table.add_column(heading, justify="right")
    table.add_column("rollout")
    for name in sorted(fleet.devices):
        row = fleet.devices[name].row()
        table.add_row(
            row["device"],
            "[green]online[/]" if row["online"] else "[red]offline[/]",
            str(row["profile"]),
            " ".join(row["populations"]),
            f"{row['agents']:,}",
            f"{row['tick']:,}",
            f"{row['decisions']:,}",
            f"{row['contradictions']:,}",
            f"{row['missed']:,}",
            f"{row['rss'] / 2**20:.1f}",
            str(row["gaps"]),
            str(row["desired_version"]),
            f"{now - row['seen']:.0f} s",
            rollout_text(row),
        )
    return table


def rollout_text(row: dict[str, Any]) -> str:
    """Return the state of a device's rollouts, or why its last document was refused, in a few words."""
    parts = [
        f"{population}: {state.get('stage', '?')} {state.get('reason', '')}".strip()
        for population, state in sorted(row["rollouts"].items())
        if isinstance(state, dict)
    ]
    if row["refused"]:
        parts.append(f"refused {row['refused'].get('version')}: {row['refused'].get('reason')}")
    return "; ".join(parts)
