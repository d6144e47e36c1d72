"""What SPM12 computed in MATLAB: the files of pymdp's cross-validation that a filter can meet.

``tests/golden/spm/spm.npz`` holds dot_a to dot_e and vbx_test_1a of ``test/matlab_crossval/output`` in
https://github.com/infer-actively/pymdp (MIT licence), indices counted from 0. The agent of vbx_test_1a infers
over a window of three observations: its actions are compared here, its beliefs in ``test_spm_messages``.
"""

from pathlib import Path

import numpy as np
import pytest

from edge_agent.engine import reference, sparse
from edge_agent.engine.arrays import ModelArrays, model_arrays
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.population import Population

with np.load(Path(__file__).parents[2] / "golden" / "spm" / "spm.npz") as _file:
    SPM = dict(_file)


@pytest.fixture
def agent() -> ModelArrays:
    """The agent of vbx_test_1a: one factor, one modality, three controls, one step ahead."""
    preferences = reference.log(reference.softmax(SPM["vbx_C"]))
    options = AgentOptions("marginal", gamma=16.0)
    return model_arrays([SPM["vbx_A"]], [SPM["vbx_B"]], [preferences], options=options)


@pytest.mark.parametrize("name", "abcde")
def test_expected_outcomes_are_spm_dots(name: str) -> None:
    A = SPM[f"dot_{name}_A"]
    beliefs = [SPM[f"dot_{name}_s_{i}"] for i in range(A.ndim - 1)]
    np.testing.assert_allclose(sparse.applied(A, beliefs), SPM[f"dot_{name}_expected"], rtol=1e-12)


@pytest.mark.parametrize("name", "abcde")
def test_all_states_but_the_first_are_summed_as_by_spm_dot(name: str) -> None:
    A = SPM[f"dot_{name}_A"]
    for outcome, expected in zip(A, SPM[f"dot_{name}_first"], strict=True):
        beliefs = [SPM[f"dot_{name}_s_{i}"] for i in range(A.ndim - 1)]
        np.testing.assert_allclose(reference.contract(outcome, beliefs, keep=0), expected, rtol=1e-12)


def test_the_reference_acts_as_spm_does(agent: ModelArrays) -> None:
    prior = list(agent.D)
    for outcome, act in zip(SPM["vbx_obs"], SPM["vbx_act"], strict=False):  # SPM does not act after the last
        decision = reference.step(agent, prior, [int(outcome)])
        assert decision.act.tolist() == [act]
        prior = reference.predict(agent, decision.qs, [int(act)])


def test_the_kernel_acts_as_spm_does(agent: ModelArrays) -> None:
    population = Population(Model.quantized(agent), 1)
    for outcome, act in zip(SPM["vbx_obs"], SPM["vbx_act"], strict=False):
        assert population.step([[outcome]]).tolist() == [[act]]
