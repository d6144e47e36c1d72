"""What a series did in a stretch of time: how many values it had, least, most, sum, and the last one.

Theory of operation. A summary is made of single values, and two summaries of stretches that follow each other
make one of both. So an hour is made of its minutes, and a part of a chart of whatever it covers.
"""

from __future__ import annotations

from typing import Literal

Summary = tuple[int, float, float, float, float]
"""Count, least, most, sum, last."""
Statistic = Literal["last", "min", "max", "mean"]


def of_value(value: float) -> Summary:
    """Return the summary of one value."""
    return 1, value, value, float(value), value


def joined(earlier: Summary, later: Summary) -> Summary:
    """Return the summary of two stretches, the earlier one first."""
    return (
        earlier[0] + later[0],
        min(earlier[1], later[1]),
        max(earlier[2], later[2]),
        earlier[3] + later[3],
        later[4],
    )


def add(known: dict[str, Summary], later: dict[str, Summary]) -> None:
    """Add a later stretch of each series to ``known``."""
    for name, summary in later.items():
        before = known.get(name)
        known[name] = summary if before is None else joined(before, summary)


def statistic(summary: Summary, wanted: Statistic) -> float:
    """Return one figure of a summary."""
    if wanted == "mean":
        return summary[3] / summary[0]
    return summary[{"min": 1, "max": 2, "last": 4}[wanted]]
