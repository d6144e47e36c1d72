"""Logarithms that are the same on every machine, beside `decimal`'s."""

import math
from decimal import Context, Decimal

from hypothesis import example, given
from hypothesis import strategies as st

from edge_agent.engine.logarithm import rounded_ln

LARGEST = 1.7976931348623157e308


@given(st.floats(2.3e-308, LARGEST))
@example(1.0)
@example(math.nextafter(1.0, 2.0))
@example(math.nextafter(1.0, 0.0))
@example(math.sqrt(0.5))
@example(math.nextafter(math.sqrt(0.5), 0.0))
@example(2.0)
@example(LARGEST)
def test_a_logarithm_is_rounded_once(x: float) -> None:
    assert rounded_ln(x) == float(Decimal(x).ln(Context(prec=60)))
