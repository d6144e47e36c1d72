"""Markdown of the report: figures, and tables that other commands have left as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.figures import LESS, MORE, Figure

COLUMNS = ("case", "figure", "value", "compared", "runs", "target")
_NUMERIC = {"value", "runs"}


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Return a table; columns are those of the rows, in the order in which they first appear."""
    heads = list(columns or dict.fromkeys(key for row in rows for key in row))
    lines = [f"| {' | '.join(heads)} |", f"|{'|'.join('---:' if h in _NUMERIC else '---' for h in heads)}|"]
    lines += [f"| {' | '.join(cell(row.get(head)) for head in heads)} |" for row in rows]
    return "\n".join(lines) + "\n"


def figures_table(figures: Iterable[Figure]) -> str:
    """Return the table of a benchmark's figures; a case is named once."""
    rows, last = [], None
    for figure in figures:
        rows.append(
            {
                "case": "" if figure.case == last else figure.case,
                "figure": figure.figure,
                "value": value_of(figure),
                "compared": beside(figure),
                "runs": spread(figure),
                "target": target(figure),
            }
        )
        last = figure.case
    return table(rows, COLUMNS)


def value_of(figure: Figure) -> str:
    """Return the value with its unit; a unit of 1 is a bare number."""
    return number(figure.value) + ("" if figure.unit in ("", "1") else f" {figure.unit}")


def beside(figure: Figure) -> str:
    """Return the ratio, what it is to, and which way is better."""
    if figure.ratio is None:
        return ""
    arrow = {LESS: " (less is better)", MORE: " (more is better)", None: ""}[figure.better]
    return f"{number(figure.ratio)} × {figure.baseline}{arrow}"


def spread(figure: Figure) -> str:
    """Return the extremes over the runs."""
    if figure.low is None or figure.high is None:
        return ""
    return f"{figure.runs}: {number(figure.low)} to {number(figure.high)}"


def target(figure: Figure) -> str:
    """Return the target and whether it is met."""
    if figure.target is None:
        return ""
    return f"{number(figure.target)}" + ("" if figure.holds else ", **not met**")


def number(value: float) -> str:
    """Return three or four digits as people read them."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2e}" if abs(value) < 1e-3 else f"{value:.3g}" if abs(value) < 100 else f"{value:.4g}"


def cell(value: Any) -> str:
    """Return what stands in a cell; a bar would end it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    return str(value).replace("|", "\\|").replace("\n", " ")
