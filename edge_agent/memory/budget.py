"""The memory plan: the bytes of the whole process by owner and place.

Theory of operation. The budget covers the whole process: the interpreter and the libraries, as measured when
the plan is made; mapped models; buffers such as the inbox; and the arena, region by region with offsets. The
plan either fits or reports how many bytes are missing; nothing is allocated before it fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edge_agent.errors import BudgetError
from edge_agent.memory.arena import Column, total

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of a plan. ``offset`` is where in the arena it lies, None outside the arena."""

    owner: str
    what: str
    nbytes: int
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything the process will hold, against ``budget`` bytes."""

    lines: tuple[Line, ...]
    budget: int

    @property
    def total(self) -> int:
        """Bytes of all lines."""
        return sum(line.nbytes for line in self.lines)

    @property
    def arena(self) -> int:
        """Bytes of the arena."""
        return sum(line.nbytes for line in self.lines if line.offset is not None)

    @property
    def missing(self) -> int:
        """Bytes by which the plan exceeds the budget, or 0."""
        return max(0, self.total - self.budget)

    def check(self, where: str) -> None:
        """Raise BudgetError, naming ``where`` the budget comes from, if the plan does not fit."""
        if self.missing:
            raise BudgetError(
                f"{where}: the plan takes {self.total} bytes, the budget is {self.budget}: "
                f"{self.missing} bytes are missing",
                self.missing,
            )


def plan(
    budget: int, fixed: Iterable[Line], regions: Sequence[tuple[str, Sequence[Column]]], spare: int
) -> Plan:
    """Return the plan of ``fixed`` lines, the arena's ``regions`` (owner, columns), and spare room."""
    lines = list(fixed)
    offset = 0
    for owner, columns in regions:
        for column in columns:
            shape = "x".join(map(str, column.shape))
            lines.append(Line(owner, f"{column.name} {shape} {_dtype(column)}", column.nbytes, offset))
            offset += column.nbytes
    if spare:
        lines.append(Line("arena", "spare for changes at run time", spare, offset))
    return Plan(tuple(lines), budget)


def region_bytes(regions: Iterable[tuple[str, Sequence[Column]]]) -> int:
    """Return the bytes that ``regions`` take in an arena."""
    return sum(total(columns) for _, columns in regions)


def _dtype(column: Column) -> str:
    return str(np.dtype(column.dtype))
