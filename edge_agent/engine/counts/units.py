"""Beliefs as whole units, and where the counts of a model's tensors lie.

Theory of operation. A belief is rounded once, from its codes, to integers that sum to exactly 2^k: with c_s
the running sum times 2^k, w_s = floor(c_s + 1/2) - floor(c_{s-1} + 1/2). Rounding products instead loses the
mass of flat beliefs. States that together have less than half a unit are left out before: their codes are
below ``least_code``. A product of n such beliefs is exact in units of 2^-(sum of their k). k is 12, 14 for
more than 512 states, less where a product has more than three beliefs, so that `CAPACITY` allows 2^26 updates
at least.

The counts of a model are one vector: A [O, *states], B [U, S, *states] (the kernel's rows), D [S], one after
the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.stored_model import StoredModel

KINDS = ("A", "B", "D")
UNIT_BITS, FINE_BITS, MANY_STATES = 12, 14, 512
MOST_BITS = 36
CAPACITY_BITS = 62
PARENTS = 16


class Counted(NamedTuple):
    """A tensor that is counted: its cells begin at ``first``; one count is 2^``bits`` units.

    ``shape`` is the kernel's: A [O, *states], B [U, S, *states], D [S].
    """

    kind: str
    number: int
    first: int
    shape: tuple[int, ...]
    bits: int

    @property
    def name(self) -> str:
        """Its name as in an .npz file: ``A_0``."""
        return f"{self.kind}_{self.number}"

    @property
    def cells(self) -> int:
        """Its cells."""
        return math.prod(self.shape)


class Layout(NamedTuple):
    """What is counted of a model, and the bits a factor's beliefs are rounded to."""

    tensors: tuple[Counted, ...]
    bits: tuple[int, ...]

    @property
    def cells(self) -> int:
        """Cells of all tensors."""
        return sum(tensor.cells for tensor in self.tensors)

    @property
    def capacity(self) -> int:
        """Updates after which a cell could overflow, if all of them fell into it."""
        return 1 << (CAPACITY_BITS - max((tensor.bits for tensor in self.tensors), default=0))


def layout(model: StoredModel, learns: Sequence[tuple[str, int]]) -> Layout:
    """Return where the counts of ``learns``, (kind, modality or factor) each, lie."""
    states, products = model.num_states, {}
    for kind, number in learns:
        products[kind, number] = factors(model, kind, number)
    bits = [FINE_BITS if n > MANY_STATES else UNIT_BITS for n in states]
    for product in products.values():
        for f in product:
            bits[f] = min(bits[f], MOST_BITS // len(product))
    tensors, first = list[Counted](), 0
    for (kind, number), product in products.items():
        rows = {"A": model.num_obs, "B": model.num_controls, "D": (1,) * len(states)}[kind][number]
        shape = (*(() if kind == "D" else (rows,)), *(states[f] for f in product))
        tensors.append(Counted(kind, number, first, shape, sum(bits[f] for f in product)))
        first += tensors[-1].cells
    return Layout(tuple(tensors), tuple(bits))


def factors(model: StoredModel, kind: str, number: int) -> tuple[int, ...]:
    """Return the factors whose beliefs a tensor's products take; one can stand twice, after and before."""
    if kind == "A":
        return model.A_deps[number]
    return (number, *model.B_deps[number]) if kind == "B" else (number,)


def kernel_tables(model: StoredModel, plan: Layout) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what the kernel takes of factors and tensors (counts.h)."""
    first = np.cumsum((0, *model.code_rows))
    table = np.array(
        [
            (
                first[f],
                n,
                int(bits == 16),
                plan.bits[f],
                model.num_controls[f],
                least_code(n, bits, plan.bits[f]),
            )
            for f, (n, bits) in enumerate(zip(model.num_states, model.belief_bits, strict=True))
        ],
        np.int64,
    )
    tensors = np.zeros((len(plan.tensors), 4 + PARENTS), np.int64)
    for row, tensor in zip(tensors, plan.tensors, strict=True):
        product = factors(model, tensor.kind, tensor.number)
        parents = product if tensor.kind == "A" else product[1:]
        row[:4] = KINDS.index(tensor.kind), tensor.number, tensor.first, len(parents)
        row[4 : 4 + len(parents)] = parents
    return table, tensors


def least_code(states: int, belief_bits: int, bits: int) -> int:
    """Return the least code of a belief about ``states`` that is counted in units of 2^-``bits``.

    The largest code stands for a probability of at most 1, so that all codes below it stand for less than
    half a unit. It is at least 256 for codes of 16 bits, of which the kernel looks at the high byte first.
    """
    part = 2.0 ** -(bits + 1) / states
    if belief_bits == 8:
        return max(math.ceil(255 * math.sqrt(math.sqrt(part))), 1)
    return max(math.ceil(65_535 * math.sqrt(math.sqrt(part))), 256)


def whole_units(
    codes: NDArray[np.uint8] | NDArray[np.uint16], bits: int, least: int = 1
) -> NDArray[np.int64]:
    """Return the units int64 [N, S] of beliefs given by their codes [N, S]; rows sum to 2^``bits``.

    Codes below ``least`` (``least_code``) count as 0.

    The same operations in float32 as the kernel's, in the order of the states.
    """
    values = np.where(codes < least, 0, codes).astype(np.float32)
    values *= values
    values *= values
    running = np.cumsum(values, axis=1, dtype=np.float32)
    scale = np.float32(2.0**bits) / running[:, -1:]
    given = (running * scale + np.float32(0.5)).astype(np.int64)
    return np.diff(given, axis=1, prepend=0)
