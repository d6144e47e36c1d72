"""The fleet as a table for people.

A terminal that is too narrow for all columns loses whole ones, the least telling first: a table of cut words
says nothing. ``--json`` always has everything.
"""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from edge_hub.fleet import Fleet

HEADINGS = (
    "device",
    "state",
    "profile",
    "populations",
    "agents",
    "tick",
    "decisions",
    "contrad.",
    "missed",
    "RSS MB",
    "gaps",
    "desired",
    "seen",
    "rollout",
)
NUMBERS = ("agents", "tick", "decisions", "contrad.", "missed", "RSS MB", "gaps", "desired", "seen")
DROPPED_FIRST = (
    "profile",
    "desired",
    "contrad.",
    "tick",
    "gaps",
    "populations",
    "missed",
    "RSS MB",
    "rollout",
)
_FRAME = 3  # a column's border and padding


def fleet_table(fleet: Fleet, now: float, width: int) -> Table:
    """Return one row a device, sorted by name, in at most ``width`` characters where that can be."""
    online = sum(d.online for d in fleet.devices.values())
    title = f"{online} of {len(fleet.devices)} devices online"
    caption = f"{fleet.bad} malformed messages ignored, the last: {fleet.last_bad}" if fleet.bad else None
    rows = [_cells(fleet.devices[name].row(), now) for name in sorted(fleet.devices)]
    kept = _that_fit(rows, width)
    table = Table(title=title, caption=caption)
    for heading in kept:
        table.add_column(heading, justify="right" if heading in NUMBERS else "left")
    for row in rows:
        table.add_row(*(Text(row[heading], _colour(row[heading])) for heading in kept))
    return table


def _cells(row: dict[str, Any], now: float) -> dict[str, str]:
    return {
        "device": row["device"],
        "state": "online" if row["online"] else "offline",
        "profile": str(row["profile"]),
        "populations": " ".join(row["populations"]),
        "agents": f"{row['agents']:,}",
        "tick": f"{row['tick']:,}",
        "decisions": f"{row['decisions']:,}",
        "contrad.": f"{row['contradictions']:,}",
        "missed": f"{row['missed']:,}",
        "RSS MB": f"{row['rss'] / 2**20:.1f}",
        "gaps": str(row["gaps"]),
        "desired": str(row["desired_version"]),
        "seen": f"{now - row['seen']:.0f} s",
        "rollout": rollout_text(row),
    }


def _that_fit(rows: list[dict[str, str]], width: int) -> list[str]:
    """Return the headings that stay: whole columns go until the rest fits."""
    widest = {heading: max(len(row[heading]) for row in [*rows, {heading: heading}]) for heading in HEADINGS}
    kept = list(HEADINGS)
    for heading in DROPPED_FIRST:
        if sum(widest[name] + _FRAME for name in kept) + 1 <= width:
            break
        kept.remove(heading)
    return kept


def _colour(cell: str) -> str:
    return {"online": "green", "offline": "red"}.get(cell, "")


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
