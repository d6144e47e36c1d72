"""Gives the registers of a planning program their rows of scratch memory, as compilers do: first fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WORDS = 8


class Ref(NamedTuple):
    """A row of a register."""

    register: int
    offset: int = 0


Op = tuple[int | Ref, ...]


def with_rows(
    ops: Sequence[Op], sizes: Sequence[int], fixed: dict[int, int], end: int
) -> tuple[NDArray[np.int32], int]:
    """Return operations with rows in place of registers, int32 [n, 8], and the number of rows.

    Parameters
    ----------
    sizes : sequence of int
        Rows of each register.
    fixed : dict of int to int
        The first row of registers that keep their rows; all of them lie before ``end``. The others live
        from their first use to their last.
    """
    last: dict[int, int] = {}
    for i, op in enumerate(ops):
        for word in op:
            if isinstance(word, Ref):
                last[word.register] = i
    rows, space = dict(fixed), _Space(end)
    ends: dict[int, list[int]] = {}
    for register, i in last.items():
        ends.setdefault(i, []).append(register)
    out = np.zeros((len(ops), WORDS), dtype=np.int32)
    for i, op in enumerate(ops):
        for j, word in enumerate(op):
            if isinstance(word, Ref):
                if word.register not in rows:
                    rows[word.register] = space.take(sizes[word.register])
                out[i, j] = rows[word.register] + word.offset
            else:
                out[i, j] = word
        for register in ends.get(i, []):
            if register not in fixed:
                space.give(rows[register], sizes[register])
    return out, space.end


class _Space:
    """First-fit rows above ``end``; ``end`` is the highest row ever used."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.gaps: list[tuple[int, int]] = []

    def take(self, size: int) -> int:
        for i, (start, length) in enumerate(self.gaps):
            if length >= size:
                self.gaps[i : i + 1] = [(start + size, length - size)] if length > size else []
                return start
        start = self.end
        if self.gaps and sum(self.gaps[-1]) == self.end:  # grow the last gap rather than leave it
            start = self.gaps.pop()[0]
        self.end = start + size
        return start

    def give(self, start: int, size: int) -> None:
        merged: list[tuple[int, int]] = []
        for s, n in sorted([*self.gaps, (start, size)]):
            if merged and sum(merged[-1]) == s:
                merged[-1] = (merged[-1][0], merged[-1][1] + n)
            else:
                merged.append((s, n))
        self.gaps = merged
