"""One duration is counted as many are."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.runtime.population.latency_histogram import Histogram


@given(st.lists(st.floats(0.0, 1000.0), min_size=1, max_size=40), st.floats(0.0, 1.0))
def test_a_duration_counts_alike_alone_and_among_many(seconds: list[float], q: float) -> None:
    many, single = Histogram(), Histogram()
    many.add(np.array(seconds))
    for duration in seconds:
        single.add_one(duration)
    assert (single.count, single.largest) == (many.count, many.largest)
    # At the border of two buckets the two logarithms may round differently.
    assert abs(single.quantile(q) - many.quantile(q)) <= 0.16 * many.quantile(q)
