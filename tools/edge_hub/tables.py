"""The fleet as a table.

On a narrow terminal the least important columns are omitted, because truncated words are not readable.
``--json`` always prints all of them.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edge_hub.fleet import Device, Fleet
from edge_hub.rejected import printable

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
MAX_CELL = 64
"""Characters of a cell: one device must not take the width of all others."""
_FRAME = 3  # a column's border and padding


def fleet_table(fleet: Fleet, now: float, width: int) -> Table:
    """Return one row a device, sorted by name, in at most ``width`` characters where that can be."""
    online = sum(d.online for d in fleet.devices.values())
    title = f"{online} of {len(fleet.devices)} devices online"
    rejected = fleet.rejected
    caption = f"{rejected.count} messages rejected, the last: {rejected.last}" if rejected.count else None
    rows = [_cells(fleet.devices[name], now) for name in sorted(fleet.devices)]
    kept = _that_fit(rows, width)
    table = Table(title=title, caption=None if caption is None else Text(caption))
    for heading in kept:
        table.add_column(heading, justify="right" if heading in NUMBERS else "left")
    for row in rows:
        table.add_row(*(Text(row[heading], _colour(row[heading])) for heading in kept))
    return table


def drawn(table: Table) -> str:
    """Return a table as standard output shows it, with colours if it is a terminal."""
    console = Console()
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def _cells(device: Device, now: float) -> dict[str, str]:
    row = device.row()
    known = bool(device.populations)  # counters come with telemetry alone
    cells = {
        "device": row["device"],
        "state": "online" if row["online"] else "offline",
        "profile": str(row["profile"]),
        "populations": " ".join(row["populations"]),
        "agents": f"{row['agents']:,}",
        "tick": f"{row['tick']:,}" if known else "-",
        "decisions": f"{row['decisions']:,}" if known else "-",
        "contrad.": f"{row['contradictions']:,}" if known else "-",
        "missed": f"{row['missed']:,}" if known else "-",
        "RSS MB": "-" if row["rss"] is None else f"{row['rss'] / 2**20:.1f}",
        "gaps": str(row["gaps"]),
        "desired": str(row["desired_version"]),
        "seen": f"{now - row['seen']:.0f} s",
        "rollout": rollout_text(row),
    }
    return {heading: printable(text, MAX_CELL) for heading, text in cells.items()}


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
    """Return the state of a device's rollouts, why its last document was refused, and what state it lost."""
    parts = [f"state lost: {line}" for line in row["lost_state"]]
    parts += [
        f"{population}: {state.get('stage', '?')} {state.get('reason', '')}".strip()
        for population, state in sorted(row["rollouts"].items())
    ]
    if row["refused"]:
        parts.append(f"refused {row['refused'].get('version')}: {row['refused'].get('reason')}")
    return "; ".join(parts)
