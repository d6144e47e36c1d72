"""What SPM12 inferred over windows in MATLAB, from the messages of ``inference_window``.

``tests/golden/spm/spm.npz`` holds mmp_a to mmp_d and the beliefs of vbx_test_1a of
``test/matlab_crossval/output`` in https://github.com/infer-actively/pymdp (MIT licence), indices counted from
0. SPM takes a few short steps down the free energy, one slot after another, and ends before it converges; its
joint likelihood is averaged before the logarithm is taken. pymdp 1.x's agents, which the engine carries,
update all slots at once. So the steps are SPM's here, as pymdp's own tests have them, and the messages the
engine's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edge_agent.engine import inference_window, reference
from edge_agent.engine.arrays import ModelArrays, model_arrays
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.reference import Beliefs, Float

with np.load(Path(__file__).parents[2] / "golden" / "spm" / "spm.npz") as _file:
    SPM = dict(_file)
STEP = 0.25


def descend(
    model: ModelArrays,
    prior: Beliefs,
    likelihoods: Sequence[Float],
    actions: Sequence[Sequence[int]],
    slots: int,
    iterations: int,
) -> list[Beliefs]:
    """SPM's iterations over ``slots``; joint likelihoods [S_0, S_1 ...] are of the first of them, up to the
    present, whose message from the future is left out."""
    beliefs = [[np.full(n, 1.0 / n) for n in model.num_states] for _ in range(slots)]
    for _ in range(iterations):
        for t in range(slots):
            for f in range(len(model.B)):
                seen, held = np.zeros(model.num_states[f]), reference.log(beliefs[t][f])
                if t < len(likelihoods):
                    seen = reference.log(reference.contract(likelihoods[t], beliefs[t], keep=f))
                error = seen - held
                if t:
                    error += inference_window.from_past(model, f, beliefs[t - 1], actions[t - 1])
                else:
                    error += reference.log(prior[f])
                if t < len(likelihoods) - 1:
                    after = inference_window.from_future(model, f, beliefs[t], beliefs[t + 1], actions[t])
                    error += seen - held + after
                beliefs[t][f] = reference.softmax(held + STEP * (error - error.mean()))
    return beliefs


def likelihood(model: ModelArrays, outcomes: Sequence[int]) -> Float:
    joint = np.ones(model.num_states)
    for a, outcome in zip(model.A, outcomes, strict=True):
        joint = joint * np.asarray(a)[outcome]
    return joint


def of_file(name: str) -> ModelArrays:
    A, B = (
        [SPM[f"{name}_{letter}_{i}"] for i in range(9) if f"{name}_{letter}_{i}" in SPM] for letter in "AB"
    )
    return model_arrays(A, B, options=AgentOptions(inference_algo="mmp"))


@pytest.mark.parametrize("name", ["mmp_a", "mmp_b", "mmp_c", "mmp_d"])
def test_marginal_messages_are_spms(name: str) -> None:
    model, seen, done = of_file(name), SPM[f"{name}_obs"], SPM[f"{name}_act"]
    present = len(seen) - 1
    first = max(0, present - int(SPM[f"{name}_horizon"]))
    prior = list(model.D)
    if first:
        prior = reference.predict(model, prior, done[first - 1].tolist())
    likelihoods = [likelihood(model, outcomes) for outcomes in seen[first:]]
    ahead = 0 if name == "mmp_d" else 1  # its tick is the last one
    found = descend(model, prior, likelihoods, done[first:].tolist(), len(likelihoods) + ahead, 5)[-1]
    for f, belief in enumerate(found):
        np.testing.assert_allclose(belief, SPM[f"{name}_qs_{f}"], atol=1e-9)


def test_a_moving_window_is_spms() -> None:
    model = model_arrays([SPM["vbx_A"]], [SPM["vbx_B"]], options=AgentOptions(inference_algo="mmp"))
    horizon, prior = int(SPM["vbx_horizon"]), list(model.D)
    for t in range(len(SPM["vbx_obs"])):
        first = max(0, t + 1 - horizon)
        likelihoods = [likelihood(model, [outcome]) for outcome in SPM["vbx_obs"][first : t + 1]]
        done = [[act] for act in SPM["vbx_act"][first:t].tolist()]
        found = descend(model, prior, likelihoods, done, len(likelihoods), 10)
        for slot, (belief,) in enumerate(found, first):
            np.testing.assert_allclose(belief, SPM["vbx_beliefs"][t, slot], atol=1e-9)
        if len(found) == horizon:  # SPM's next window begins with the belief itself, not with what follows it
            prior = found[0]
