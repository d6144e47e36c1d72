"""Figures of a benchmark, printed as one JSON object per line or as a table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

LESS, MORE = "less", "more"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value.

    ``baseline`` names what ``ratio`` compares it with; ``target`` is a limit in the value's unit, ``holds``
    says whether it is kept; ``better`` is the direction in which the ratio (or, without one, the value)
    improves, `LESS` or `MORE`. Over several runs ``low`` and ``high`` are the extremes of the ratio, or of
    the value where there is none. All of these may be None.
    """

    case: str
    figure: str
    value: float
    unit: str
    baseline: str | None = None
    ratio: float | None = None
    target: float | None = None
    holds: bool | None = None
    better: str | None = None
    runs: int = 1
    low: float | None = None
    high: float | None = None

    @property
    def compared(self) -> float:
        """What is compared between runs and releases: the ratio, or the value where there is none."""
        return self.value if self.ratio is None else self.ratio

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What tells it from the other figures of its benchmark."""
        return self.case, self.figure, self.baseline


def at_most(case: str, figure: str, value: float, unit: str, target: float) -> Figure:
    """Return a figure that must not exceed ``target``."""
    return Figure(case, figure, round(value, 4), unit, None, None, target, value <= target, LESS)


def at_least(case: str, figure: str, value: float, unit: str, target: float) -> Figure:
    """Return a figure that must reach ``target``."""
    return Figure(case, figure, round(value, 4), unit, None, None, target, value >= target, MORE)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return the parser that every benchmark begins with."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    return parser


def show(figures: Iterable[Figure], as_json: bool) -> None:
    """Print each figure as soon as it is there."""
    for figure in figures:
        if as_json:
            print(json.dumps(asdict(figure)), flush=True)
            continue
        target = (
            ""
            if figure.target is None
            else f"  target {figure.target:g}: {'holds' if figure.holds else 'NOT MET'}"
        )
        ratio = "" if figure.ratio is None else f"  {figure.ratio:g} x {figure.baseline}"
        spread = "" if figure.low is None else f"  [{figure.low:g} .. {figure.high:g}]"
        print(
            f"{figure.case:<22} {figure.figure:<24} {figure.value:g} {figure.unit}{ratio}{spread}{target}",
            flush=True,
        )
