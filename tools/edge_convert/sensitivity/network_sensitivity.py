"""Which operators bear 8 bits: each alone in int8, the rest in float; then all, less the worst.

Operators without a parameter of their own that merely move data (reshapes, transposes) show up with a high
ratio and fall back last. Falling back changes the figures of the others little, so the ranking is made once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_convert import console
from edge_convert.measure.network_fidelity import NetworkFidelity, compare
from edge_convert.quantize.calibrate import Range
from edge_convert.readers.network import Network, run

SAMPLES = 256
WEIGHTED = frozenset(
    {"Gemm", "MatMul", "Conv", "FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"}
)  # what int8 is for: operators with weights


class Sensitivity(NamedTuple):
    """An operator, and the worst output's ratio when it alone is int8."""

    operator: str
    kind: str
    sqnr_db: float


class MixedPrecision(NamedTuple):
    """An int8 model, the operators that stayed float, and its figures."""

    model: bytes
    floats: list[str]
    fidelity: NetworkFidelity


def rank(network: Network, ranges: Mapping[str, Range], x: NDArray[np.float32]) -> list[Sensitivity]:
    """Return all operators, the most sensitive first, by at most ``SAMPLES`` of inputs [n, *shape]."""
    x = x[:SAMPLES]
    reference = network.reference(x)
    rows = []
    for name, kind in console.progress(network.operators, len(network.operators), "sensitivity"):
        found = run(network.kind, network.quantize(ranges, [name]), x)
        rows.append(Sensitivity(name, kind, min(compare(reference, found, None).sqnr_db)))
    return sorted(rows, key=lambda row: (row.sqnr_db, row.operator))


def fall_back(
    network: Network,
    ranges: Mapping[str, Range],
    ranking: Sequence[Sensitivity],
    x: NDArray[np.float32],
    action_output: int | None,
    good_enough: Callable[[NetworkFidelity], bool],
) -> MixedPrecision:
    """Return the model with the fewest float operators that is good enough.

    When none with an int8 operator that has weights is, that with all operators in int8 is returned: the gate
    refuses it.
    """
    reference = network.reference(x)
    first: MixedPrecision | None = None
    for mixed in _candidates(network, ranges, ranking, x, reference, action_output):
        if good_enough(mixed.fidelity):
            return mixed
        first = first or mixed
    assert first is not None, "a network without operators was ranked"  # noqa: S101
    return first


def _candidates(
    network: Network,
    ranges: Mapping[str, Range],
    ranking: Sequence[Sensitivity],
    x: NDArray[np.float32],
    reference: Sequence[NDArray[np.float32]],
    action_output: int | None,
) -> Iterable[MixedPrecision]:
    for count in range(len(ranking)):
        left = ranking[count:]
        if not any(row.kind in WEIGHTED for row in left):
            return
        model = network.quantize(ranges, [row.operator for row in left])
        fidelity = compare(reference, run(network.kind, model, x), action_output)
        yield MixedPrecision(model, [row.operator for row in ranking[:count]], fidelity)
