"""pymdp's NumPy agent (its ``legacy`` package) on golden models; run by the peers' own Python.

``legacy_step.py GOLDEN NAME...`` prints one JSON object a model: the median seconds of infer_states,
infer_policies and sample_action of one agent that follows the reference trace.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray
from pymdp.legacy.agent import Agent

SECONDS = 2.0


def series(data: NpzFile, letter: str) -> NDArray[np.object_]:
    """Return the arrays of one letter, in order."""
    names = [f"{letter}_{i}" for i in range(len(data.files)) if f"{letter}_{i}" in data.files]
    out = np.empty(len(names), dtype=object)
    for i, name in enumerate(names):
        out[i] = np.asarray(data[name], float)
    return out


def step_time(golden: Path, name: str) -> float:
    """Return the median time of one agent's step in seconds."""
    with np.load(golden / "models" / f"{name}.npz") as data:
        A, B, C, D = (series(data, letter) for letter in "ABCD")
        A_deps, B_deps = (json.loads(str(data[key])) for key in ("A_deps", "B_deps"))
        policies, gamma = list(data["policies"]), float(data["gamma"])
    agent = Agent(
        A=A,
        B=B,
        C=C,
        D=D,
        policies=policies,
        policy_len=len(policies[0]),
        gamma=gamma,
        A_factor_list=A_deps,
        B_factor_list=B_deps,
        control_fac_idx=[f for f, b in enumerate(B) if b.shape[-1] > 1],
    )
    with np.load(golden / "traces" / f"{name}.npz") as data:
        observations = data["obs"].tolist()
    times = []
    end = time.perf_counter() + SECONDS
    for seen in observations:
        start = time.perf_counter()
        agent.infer_states(seen)
        agent.infer_policies()
        agent.sample_action()
        times.append(time.perf_counter() - start)
        if start > end and len(times) > 5:
            break
    return float(np.median(times))


if __name__ == "__main__":
    for name in sys.argv[2:]:
        print(json.dumps({"model": name, "legacy": step_time(Path(sys.argv[1]), name)}), flush=True)
