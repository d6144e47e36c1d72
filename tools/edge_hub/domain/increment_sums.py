"""The increments of many devices as one: sums without an order, and what one of them alone can do to them.

Theory of operation. Each device's increments are the sum of its epochs (`domain.learning`). `total` adds the
devices; `robust` does so after two rules:

1. a device with more counts than the median device is scaled down to the median;
2. in each cell the least and the largest value are left out, and the rest is scaled by n / (n - 2).

Both are integer rules (halves are rounded down), so the same contributions give the same bytes in any order
and in any pieces. This bounds what one device can do, whatever it sends; several that agree are not bounded.
Fewer devices than ``least`` are refused: of one or two the sum would be what they sent.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edge_agent.errors import ModelError
from edge_agent.wire.increments import CAPACITY_BITS, Increments, masses_of

LEAST_DEVICES = 3


def total(increments: Iterable[Increments]) -> Increments:
    """Return the plain sum: what one machine would have counted.

    Raises
    ------
    ModelError
        There are none, they are not alike, or they are more than integers hold.
    """
    values = list(increments)
    first = _alike(values, 1)
    updates = sum(one.updates for one in values)
    if updates > _capacity(first):
        raise ModelError(f"increments: {updates} updates together, expected at most {_capacity(first)}")
    out = np.zeros(first.units.size, np.int64)
    for one in values:
        out += one.units
    return Increments(first.model, first.tensors, updates, out)


def robust(increments: Iterable[Increments], least: int = LEAST_DEVICES) -> Increments:
    """Return the sum of one ``Increments`` a device, as the module's head says.

    Raises
    ------
    ModelError
        They are fewer than ``least`` or than 3, not alike, or more than integers hold.
    """
    values = list(increments)
    first = _alike(values, max(least, LEAST_DEVICES))
    masses = np.array([one.mass for one in values])
    median = float(np.median(masses))
    if 3 * len(values) * median > _capacity(first):  # n / (n - 2) is 3 at most
        raise ModelError(f"increments: {median:g} counts of the median device are too many to add")
    low = np.full(first.units.size, np.iinfo(np.int64).max)
    high, out, scaled = np.zeros_like(low), np.zeros_like(low), np.zeros_like(low)
    parts = np.zeros(low.size)
    for one, mass in zip(values, masses, strict=True):
        units = one.units
        if mass > median:
            np.multiply(units, median / mass, out=parts)
            np.copyto(scaled, parts, casting="unsafe")  # rounds down
            units = scaled
        out += units
        np.minimum(low, units, out=low)
        np.maximum(high, units, out=high)
    out -= low
    out -= high
    kept = len(values) - 2
    whole, rest = np.divmod(out, kept)
    out = whole * len(values) + rest * len(values) // kept
    updates = max(
        (
            -(-mass // (1 << tensor.bits))
            for mass, tensor in zip(masses_of(first.tensors, out), first.tensors, strict=True)
        ),
        default=0,
    )
    return Increments(first.model, first.tensors, updates, out)


def _capacity(first: Increments) -> int:
    return 1 << (CAPACITY_BITS - max((tensor.bits for tensor in first.tensors), default=0))


def _alike(values: list[Increments], least: int) -> Increments:
    if len(values) < least:
        raise ModelError(f"increments: of {len(values)} devices, expected {least} at least")
    first = values[0]
    for one in values:
        if not one.like(first):
            raise ModelError(
                f"increments: of model {one.model[:12]}, expected {first.model[:12]} and its tensors"
            )
    return first
