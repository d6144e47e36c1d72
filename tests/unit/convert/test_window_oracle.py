"""The converter's windows of many agents are the reference's, agent by agent."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.engine.inference_window import InferenceWindow
from edge_convert.measure.oracle import Oracle
from tests.unit.engine.test_inference_window import CASES, agent, observed


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("algorithm", ["mmp", "vmp"])
@pytest.mark.parametrize("horizon", [1, 3])
def test_windows_of_many_agents_are_the_references(case: str, algorithm: str, horizon: int) -> None:
    arrays, size = agent(case, algorithm, horizon), 3
    oracle, windows = Oracle(arrays, size), [InferenceWindow(arrays) for _ in range(size)]
    generator = np.random.default_rng(2)
    for t, outcomes in enumerate(observed(arrays, size)):
        if t == 7:
            oracle.restart()
            for window in windows:
                window.restart()
        found = oracle.infer(outcomes)
        for n, window in enumerate(windows):
            for f, q in enumerate(window.infer(outcomes[n].tolist())[0]):
                np.testing.assert_allclose(found[f][n], q, atol=1e-9)
        done = np.stack([generator.integers(0, n, size) for n in arrays.num_controls], axis=-1)
        done[1 if t == 3 else size :] = -1
        oracle.act(done)
        for window, action in zip(windows, done.tolist(), strict=True):
            window.act(None if action[0] < 0 else action)
