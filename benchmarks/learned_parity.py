"""Agents that learn beside live pymdp agents that learn, on the same readings and actions.

What is measured. ``tests/parity/learners.py`` lets agents of pymdp 1.0.4 learn A and B in windows, online and
offline, and agents of 0.0.7.1 learn D; it leaves what they saw, did, believed and ended with. *rule*: the
float64 rule on the live agent's own beliefs, its counts beside pymdp's. *learned columns*: a population with
integer counts that infers with its own 8-bit models, made again at the end of each window; the KL divergence
of the worst column from pymdp's. *clear actions*: where pymdp's best policy is ahead by more than 0.05.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure, at_most
from edge_agent.engine.arrays import ModelArrays
from edge_agent.engine.counts import rule
from edge_agent.engine.counts.concentrations import Concentrations, shapes
from edge_agent.engine.counts.learner import Learner
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.population import Population
from edge_agent.errors import PlatformError
from edge_convert.readers import pymdp_npz

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "parity"
MODELS = ROOT / "tests" / "golden" / "models"
MAX_KL, MAX_COUNT, CLEAR = 1e-3, 1e-6, 0.05
EPISODE = 10
Trace = dict[str, NDArray[Any]]


def traces(kind: str) -> Iterator[tuple[str, Trace]]:
    """Let pymdp's agents learn; yield each one's name and trace as soon as it is there."""
    python = ROOT / "build" / f"parity-{kind}" / "bin" / "python"
    if not python.exists():
        raise PlatformError(f"{python}: missing; `make parity` installs pymdp there")
    folder = BUILD / f"{kind}-learners"
    command = [str(python), "learners.py", kind, str(folder)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    with subprocess.Popen(
        command, cwd=ROOT / "tests" / "parity", env=environment, stdout=subprocess.PIPE, text=True
    ) as agents:
        assert agents.stdout is not None
        for line in agents.stdout:
            with np.load(folder / f"{line.strip()}.npz") as stored:
                yield line.strip(), dict(stored)
    if agents.returncode:
        raise PlatformError(f"{' '.join(command)}: status {agents.returncode}")


def pymdp_speed(names: list[str]) -> dict[str, float]:
    """Return the microseconds that an agent of pymdp's needs for a step that learns, by model."""
    python = ROOT / "build" / "parity-jax" / "bin" / "python"
    if not python.exists():
        raise PlatformError(f"{python}: missing; `make parity` installs pymdp there")
    command = [str(python), "learners.py", "speed", str(BUILD), *names]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    out = subprocess.run(
        command, cwd=ROOT / "tests" / "parity", env=environment, capture_output=True, text=True, check=True
    )
    return {name: float(value) for name, value in (line.split() for line in out.stdout.splitlines())}


def figures() -> Iterator[Figure]:
    """Yield the figures of agents that learn A and B, and of those that learn D."""
    for name, trace in traces("jax"):
        yield from tensor_figures(name, trace)
    for name, trace in traces("legacy"):
        yield from start_figures(name, trace)


def tensor_figures(name: str, trace: Trace) -> Iterator[Figure]:
    """Yield what an agent that learns A, B or both differs by."""
    source = pymdp_npz.read(MODELS / f"{name.partition(',')[0]}.npz").arrays
    learns = {"A": bool(trace["learn"][0]), "B": bool(trace["learn"][1])}
    prior: dict[str, list[Any]] = {
        kind: [trace[f"p{kind}_{i}"] if learns[kind] else None for i in range(count)]
        for kind, count in (("A", len(source.A)), ("B", len(source.B)))
    }
    model = _model(source, prior, trace)
    concentrations = Concentrations.of(
        model, prior["A"], prior["B"], lr_pA=float(trace["lr"][0]), lr_pB=float(trace["lr"][1])
    )
    yield at_most(name, "counts by the rule", _rule_error(model, concentrations, trace), "counts", MAX_COUNT)
    ended, different, clear = _follow(model, concentrations, trace, name.startswith("s3"))
    worst = max(
        _divergence(trace[f"end_p{kind}_{i}"], one)
        for kind in "AB"
        for i, one in enumerate(ended.tensors(kind))
        if isinstance(one, np.ndarray)
    )
    yield at_most(name, "KL of learned columns", worst, "nats", MAX_KL)
    yield Figure(name, "clear actions", clear, "")
    yield at_most(name, "clear actions different", different, "", 0)


def _model(source: ModelArrays, prior: dict[str, list[Any]], trace: Trace) -> Model:
    A = [
        rule.expected(p) if p is not None else np.asarray(a)
        for p, a in zip(prior["A"], source.A, strict=True)
    ]
    B = [
        rule.expected(p) if p is not None else np.asarray(b)
        for p, b in zip(prior["B"], source.B, strict=True)
    ]
    gain = bool(trace["gain"])
    return Model.from_arrays(
        A,
        B,
        list(source.C),
        list(source.D),
        A_deps=source.A_deps,
        B_deps=source.B_deps,
        policies=source.policies,
        gamma=source.gamma,
        options=AgentOptions(use_param_info_gain=gain),
        pA=[trace[f"pA_{i}"] for i in range(len(A))] if gain else None,
        pB=[trace[f"pB_{i}"] for i in range(len(B))] if gain else None,
    )


def _rule_error(model: Model, concentrations: Concentrations, trace: Trace) -> float:
    """Return the largest difference of the rule's concentrations from pymdp's, on pymdp's beliefs."""
    every, steps = int(trace["every"]), len(trace["observations"])
    beliefs = [trace[f"belief_{f}"] for f in range(len(model.B))]
    want = shapes(model)
    rates = {"A": concentrations.lr_pA, "B": concentrations.lr_pB}
    sums = {kind: [np.zeros(shape) for shape in want[kind]] for kind in "AB"}
    for end in range(every, steps + 1, every):
        first = max(end - every - 1, 0)
        now = slice(end - every, end)
        if trace["executed"][end - every, 0] < 0:  # an episode began: no pair reaches over it
            first = end - every
        (A, _), (_, B) = (
            rule.gained(
                (want["A"], want["B"]),
                model.A_deps,
                model.B_deps,
                trace["observations"][ticks],
                trace["executed"][ticks],
                [b[ticks] for b in beliefs],
            )
            for ticks in (now, slice(first, end))
        )
        for kind, gained in (("A", A), ("B", B)):
            for total, one in zip(sums[kind], gained, strict=True):
                total += one
    return max(
        float(np.abs(trace[f"p{kind}_{i}"] + rates[kind] * sums[kind][i] - trace[f"end_p{kind}_{i}"]).max())
        for kind, i in concentrations.learned
    )


def _follow(
    model: Model, concentrations: Concentrations, trace: Trace, episodes: bool
) -> tuple[Concentrations, int, int]:
    """Let a population learn along the trace; return its concentrations, and clear actions that differ."""
    every = int(trace["every"])
    population = Population(model, 1, changing=True)
    learner = Learner(population, concentrations, every=every)
    policies = model.policies[:, 0]
    different = clear = 0
    executed = trace["executed"]
    for t, outcome in enumerate(trace["observations"]):
        if episodes and t % EPISODE == 0:
            population.reset()
        elif t:
            population.act(executed[t : t + 1])
        chosen = population.step(outcome[np.newaxis])[0]
        ahead = np.sort(trace["q_pi"][t])[::-1]
        if len(ahead) > 1 and ahead[0] - ahead[1] > CLEAR:
            clear += 1
            different += int((chosen != policies[int(trace["q_pi"][t].argmax())]).any())
    return concentrations.after(learner.increments()), different, clear


def start_figures(name: str, trace: Trace) -> Iterator[Figure]:
    """Yield what an agent that learns D from the first tick of each episode differs by.

    With several factors pymdp 0.x infers one after another, and comes to other beliefs: there the rule is
    compared.
    """
    source = pymdp_npz.read(MODELS / f"{name}.npz").arrays
    prior = [trace[f"pD_{f}"] for f in range(len(source.B))]
    model = Model.from_arrays(
        list(source.A),
        list(source.B),
        list(source.C),
        [p / p.sum() for p in prior],
        A_deps=source.A_deps,
        B_deps=source.B_deps,
        policies=source.policies,
        gamma=source.gamma,
    )
    concentrations = Concentrations.of(model, pD=prior, lr_pD=float(trace["lr"]), masked=True)
    found = [
        p + concentrations.lr_pD * trace[f"belief_{f}"].sum(axis=0) * (p > 0) for f, p in enumerate(prior)
    ]
    error = max(float(np.abs(trace[f"end_pD_{f}"] - p).max()) for f, p in enumerate(found))
    yield at_most(f"{name}, learn_D", "counts by the rule", error, "counts", MAX_COUNT)
    if len(prior) > 1:
        return
    population = Population(model, 1, changing=True)
    learner = Learner(population, concentrations, every=1)
    for outcome in trace["observations"]:
        population.reset()
        population.infer(outcome[np.newaxis])
    after = concentrations.after(learner.increments())
    worst = max(_divergence(trace[f"end_pD_{f}"], p) for f, p in enumerate(after.D) if p is not None)
    yield at_most(f"{name}, learn_D", "KL of learned columns", worst, "nats", MAX_KL)


def _divergence(wanted: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    """Return the largest KL divergence of a column."""
    p, q = wanted / wanted.sum(axis=0), found / found.sum(axis=0)
    terms = np.where(p > 0, p * (np.log(np.maximum(p, 1e-300)) - np.log(np.maximum(q, 1e-300))), 0.0)
    return float(terms.sum(axis=0).max())
