"""The float64 reference gives what pymdp 1.0.4 gave."""

import numpy as np

from edge_agent.engine import reference


def test_reference_matches_pymdp(case) -> None:
    model, trace = case.arrays, case.trace
    prior = list(model.D)
    for t, observation in enumerate(trace["obs"]):
        if t in case.restarts:
            prior = list(model.D)
        qs, _ = reference.infer(model, prior, observation)
        for f, q in enumerate(qs):
            np.testing.assert_allclose(q, trace[f"ref_qs_{f}"][t], atol=1e-9, rtol=0)
        if t % 5 == 0:  # planning in plain Python takes its time
            G = reference.expected_free_energy(model, qs)
            np.testing.assert_allclose(G, trace["ref_G"][t], atol=1e-6, rtol=0)
            q_pi = reference.policy_posterior(model, G)
            np.testing.assert_allclose(q_pi, trace["ref_qpi"][t], atol=1e-6, rtol=0)
        prior = reference.predict(model, qs, trace["act"][t])
