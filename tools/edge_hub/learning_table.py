"""What a round of learning did, as tables for people. ``--json`` prints the same values."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from edge_hub.tables import drawn


def shown(report: dict[str, Any]) -> str:
    """Return the report of `edge_hub.learning_round.run` as text."""
    devices = Table(title=f"{len(report['devices'])} devices, {report['counts']:,.0f} counts added")
    for heading in ("device", "epochs", "updates", "counts", "counted"):
        devices.add_column(heading, justify="left" if heading == "device" else "right")
    for row in report["devices"]:
        devices.add_row(
            row["device"],
            str(row["epochs"]),
            f"{row['updates']:,}",
            f"{row['counts']:,.0f}",
            f"{100 * row['share']:.0f} %",
        )
    tensors = Table(title="what changed, KL in nats")
    for heading in ("tensor", "counts", "mean", "most", "columns that changed most"):
        tensors.add_column(heading, justify="right" if heading in ("counts", "mean", "most") else "left")
    for row in report["tensors"]:
        tensors.add_row(
            row["name"],
            f"{row['counts']:,.0f}",
            f"{row['kl_mean']:.4f}",
            f"{row['kl_most']:.4f}",
            ", ".join(f"{_place(one['column'])} {one['kl']:.3f}" for one in row["largest"]),
        )
    lines = [drawn(devices).rstrip("\n"), drawn(tensors).rstrip("\n")]
    lines += [f"left out: {line}" for line in report["refused"]]
    held_out = report["held_out"]
    if held_out is not None:
        gain = held_out["after"] - held_out["before"]
        lines.append(
            f"{held_out['readings']:,} held-out readings: {held_out['before']:.3f} nats per reading before, "
            f"{held_out['after']:.3f} after ({gain:+.3f})"
        )
    lines.append(f"{report['output']}: next, edge-convert convert {report['output']}")
    return "\n".join(lines)


def _place(column: list[int]) -> str:
    return f"[{', '.join(map(str, column))}]"
