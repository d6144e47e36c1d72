"""Decisions of random models beside the float64 reference, in a process that is the model itself."""

import pytest

from benchmarks.random_models import Differences, differences, usual
from edge_agent.engine.precision import Precision


def total(models: range, factors: tuple[int, int], algorithm: str, bits: int) -> Differences:
    out = Differences()
    for seed in models:
        arrays = usual(seed, factors, algorithm)
        out.add(differences(arrays, Precision.uniform(arrays, bits), seed, ticks=8))
    return out


@pytest.mark.parametrize(
    ("factors", "algorithm", "bits"), [((1, 1), "fpi", 8), ((2, 6), "exact", 8), ((2, 6), "fpi", 16)]
)
def test_no_clear_decision_differs(factors: tuple[int, int], algorithm: str, bits: int) -> None:
    """Eight bits do where inference has one answer; where it iterates, sixteen choose its fixed point."""
    found = total(range(20), factors, algorithm, bits)
    assert found.clear >= 40
    assert found.different == 0
    assert found.contradictions <= found.steps * 0.01
