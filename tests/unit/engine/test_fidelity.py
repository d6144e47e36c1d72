"""The 8-bit engine decides like pymdp in 64 bits: teacher-forced on pymdp's own traces."""

import numpy as np
import pytest

from edge_agent.engine import trace
from edge_agent.engine.model import Model
from tests.unit.engine.conftest import NAMES, golden


@pytest.fixture(scope="module")
def runs():
    out = {}
    for name in NAMES:
        case = golden(name)
        model = Model.quantized(case.arrays)
        out[name] = case, trace.run(model, case.trace["obs"], case.trace["act"], restarts=case.restarts)
    return out


@pytest.mark.parametrize("name", NAMES)
def test_posterior(runs, name: str) -> None:
    case, run = runs[name]
    for f in range(len(case.arrays.B)):
        p, q = case.trace[f"ref_qs_{f}"], run[f"qs_{f}"].astype(np.float64)
        kl = (p * np.log(np.maximum(p, 1e-300) / q)).sum(axis=1)
        assert kl.max() <= 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_policies(runs, name: str) -> None:
    case, run = runs[name]
    distance = np.abs(run["q_pi"] - case.trace["ref_qpi"]).sum(axis=1) / 2
    assert distance.mean() <= 0.01


def test_actions(runs) -> None:
    agree = np.concatenate([(run["act"] == case.trace["ref_act"]).all(axis=1) for case, run in runs.values()])
    clear = np.concatenate([case.trace["tie_gap"] > 0.05 for case, _ in runs.values()])
    assert agree.mean() >= 0.99
    assert agree[clear].all()
