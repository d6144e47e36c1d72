"""Fidelity of the 8-bit engine to pymdp in 64 bits: teacher-forced on pymdp's traces of the five golden
models.

Worst Kullback-Leibler divergence of a posterior in nats; mean total variation of the policies' posterior; and
the share of equal actions, over all steps and over steps without a near tie of the best two actions.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.cases import run
from benchmarks.figures import Figure, at_least
from benchmarks.golden_models import GOLDEN, MODELS, arrays_of
from edge_agent.engine import trace
from edge_agent.engine.model import Model

NEARLY_A_TIE = 0.05
MAX_KL, MAX_TV, MIN_AGREEMENT = 1e-3, 0.01, 0.99
RESTARTED = {"s3_tmaze_T2": 10}  # the trace starts again from D every ten steps


def traces() -> Iterator[Figure]:
    """Compare every step of every trace."""
    agree, clear = [], []
    for name in MODELS:
        with np.load(GOLDEN / "traces" / f"{name}.npz") as data:
            theirs = dict(data)
        steps = len(theirs["obs"])
        restarts = range(0, steps, RESTARTED[name]) if name in RESTARTED else range(0)
        arrays = arrays_of(name)
        marginal = replace(arrays.options, sampling_mode="marginal")  # as the traces' agents chose
        model = Model.quantized(replace(arrays, options=marginal))
        ours = trace.run(model, theirs["obs"], theirs["act"], restarts=restarts)
        worst = 0.0
        for f in range(len(model.B)):
            p, q = theirs[f"ref_qs_{f}"], ours[f"qs_{f}"].astype(np.float64)
            worst = max(worst, float((p * np.log(np.maximum(p, 1e-300) / q)).sum(axis=1).max()))
        distance = float((np.abs(ours["q_pi"] - theirs["ref_qpi"]).sum(axis=1) / 2).mean())
        yield _small(name, "worst KL of a posterior", worst, "nats", MAX_KL)
        yield _small(name, "mean total variation of q(pi)", distance, "1", MAX_TV)
        agree.append((ours["act"] == theirs["ref_act"]).all(axis=1))
        clear.append(theirs["tie_gap"] > NEARLY_A_TIE)
    same, decided = np.concatenate(agree), np.concatenate(clear)
    yield at_least(f"{len(same)} steps", "equal actions", float(same.mean()), "1", MIN_AGREEMENT)
    case = f"{int(decided.sum())} steps without a near tie"
    yield at_least(case, "equal actions", float(same[decided].mean()), "1", 1.0)


def _small(case: str, figure: str, value: float, unit: str, target: float) -> Figure:
    return Figure(case, figure, float(f"{value:.3g}"), unit, None, None, target, value <= target)


CASES = {"traces": traces}

if __name__ == "__main__":
    sys.exit(run("benchmarks.fidelity", __doc__, CASES))
