"""Random models: agents of any valid model, and where the kernel decides otherwise than the float64
reference.

Two questions. *Valid*: models of 1 to 8 factors and 1 to 16 modalities, with concentrations from 1e-3 to 1e3,
exact zeros, denormals and 1e-300 in their columns, and any options: no belief, value or probability may be
NaN, whatever is observed. *Alike*: models as people write them; an agent follows what the float64 reference
decides, from observations of a process that is the model itself, and decisions that are clear (a gap of 0.05
in probability) are counted where they differ. Several factors with fixed-point iteration in 8 bits have no
limit here: where that is not enough the converter takes more bits, which ``benchmarks.parity`` measures.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import run
from benchmarks.figures import Figure, at_most
from edge_agent.engine import reference
from edge_agent.engine.arrays import ModelArrays, model_arrays
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.population import Population
from edge_agent.engine.precision import Precision
from edge_agent.errors import ModelError

Float = NDArray[np.float64]

CLEAR = 0.05
VALID_MODELS = 10_000
USUAL_MODELS = 500
ODD = (0.0, 5e-324, 1e-310, 1e-300, 1e-40, 1e-38, 3e-16, 1e-12)
"""What columns of valid models may hold."""


@dataclass(frozen=True)
class Ranges:
    """What random models are drawn from; concentrations are powers of ten, ``odd`` a chance an entry."""

    factors: tuple[int, int] = (1, 8)
    modalities: tuple[int, int] = (1, 16)
    states: tuple[int, int] = (2, 6)
    outcomes: tuple[int, int] = (2, 8)
    concentration: tuple[float, float] = (-3.0, 3.0)
    odd: float = 0.0


ANY = Ranges(states=(1, 5), outcomes=(1, 7), odd=0.2)
USUAL = Ranges(concentration=(-1.0, 0.5))


class _Draw:
    """Draws the parts of a model."""

    def __init__(self, generator: np.random.Generator, ranges: Ranges) -> None:
        self.generator, self.ranges = generator, ranges

    def size(self, bounds: tuple[int, int]) -> int:
        """Return a random size within ``bounds``, both included."""
        return int(self.generator.integers(bounds[0], bounds[1] + 1))

    def columns(self, rows: int, *shape: int) -> Float:
        """Return distributions over the first axis."""
        concentration = 10.0 ** self.generator.uniform(*self.ranges.concentration)
        values = self.generator.dirichlet(np.full(rows, concentration), size=shape)
        if self.generator.random() < self.ranges.odd:
            odd = self.generator.random(values.shape) < 0.5
            odd[..., int(self.generator.integers(rows))] = False
            values = np.where(odd, self.generator.choice(ODD, size=values.shape), values)
        total = values.sum(axis=-1, keepdims=True)
        return np.moveaxis(np.where(total > 1e-3, values / np.maximum(total, 1e-3), 1.0 / rows), -1, 0)

    def options(self, own: bool) -> dict[str, Any]:
        """Return options of any kind; ``own``: every factor's transitions depend on itself alone."""
        choice = self.generator.choice
        chosen = AgentOptions(
            str(choice(["full", "marginal"])),
            str(choice(["deterministic", "stochastic"])),
            alpha=float(choice([0.0, 1.0, 16.0, 1000.0])),
            gamma=float(choice([0.0, 1.0, 16.0, 1e4])),
            use_utility=bool(choice([False, True])),
            use_states_info_gain=bool(choice([False, True])),
            use_param_info_gain=bool(choice([False, True])),
            use_inductive=own and bool(choice([False, True])),
            inductive_depth=int(choice([1, 3])),
            num_iter=int(choice([1, 4, 16])),
            inference_algo=str(choice(["fpi", "fpi", "exact"])),
            on_contradiction=str(choice(["keep", "reset"])),
        )
        return {"options": chosen}


def random_model(seed: int, ranges: Ranges, options: AgentOptions | None = None) -> ModelArrays:
    """Return model ``seed`` of ``ranges``; any options without ``options``."""
    generator = np.random.default_rng(seed)
    draw = _Draw(generator, ranges)
    factors = draw.size(ranges.factors)
    states = [draw.size(ranges.states) for _ in range(factors)]
    controls = [2 + f % 2 if f < 2 else 1 for f in range(factors)]
    A_deps = [
        sorted(generator.choice(factors, min(factors, draw.size((1, 3))), replace=False).tolist())
        for _ in range(draw.size(ranges.modalities))
    ]
    own = bool(generator.random() < 0.7)
    B_deps = [
        [f] if own or factors == 1 else sorted({f, int(generator.integers(factors))}) for f in range(factors)
    ]
    A = [draw.columns(draw.size(ranges.outcomes), *(states[d] for d in deps)) for deps in A_deps]
    B = [draw.columns(states[f], *(states[d] for d in B_deps[f]), controls[f]) for f in range(factors)]
    more: dict[str, Any] = draw.options(own) if options is None else {"options": options}
    if more["options"].use_param_info_gain:
        more["pA"] = [a * 10.0 ** generator.uniform(-3, 3) for a in A]
        more["pB"] = [b * 10.0 ** generator.uniform(-3, 3) for b in B]
    if more["options"].use_inductive:
        more["H"] = [generator.integers(0, 2, size=n) for n in states]
    return model_arrays(
        A,
        B,
        [generator.normal(size=len(a)) for a in A],
        [draw.columns(n) for n in states],
        A_deps=A_deps,
        B_deps=B_deps,
        policy_len=1 + int(generator.random() < 0.3),
        **more,
    )


def not_a_number(arrays: ModelArrays, seed: int, ticks: int = 8, agents: int = 5) -> int:
    """Return how many numbers were not finite when agents of a model observed anything at all."""
    model = Model.quantized(arrays)
    population = Population(model, agents, seed=seed)
    generator = np.random.default_rng(seed)
    found = 0
    for _ in range(ticks):
        observed = np.stack([generator.integers(-1, n, agents) for n in arrays.num_obs], axis=-1)
        population.step(observed)
        values = [population.beliefs(f) for f in range(len(arrays.B))]
        values += [*population.evaluate(), population.free_energy]
        found += sum(int((~np.isfinite(v)).sum()) for v in values)
        found += sum(int((np.abs(v.sum(axis=1) - 1) > 1e-4).sum()) for v in values[: len(arrays.B)])
    return found


@dataclass
class Differences:
    """What was counted of one model or of many; ``worst`` is the largest KL of a belief, nats."""

    clear: int = 0
    different: int = 0
    worst: float = 0.0
    contradictions: int = 0
    steps: int = 0

    def add(self, other: Differences) -> None:
        """Count those of ``other`` too."""
        self.clear += other.clear
        self.different += other.different
        self.worst = max(self.worst, other.worst)
        self.contradictions += other.contradictions
        self.steps += other.steps


def differences(arrays: ModelArrays, precision: Precision | None, seed: int, ticks: int = 12) -> Differences:
    """Let a population and the reference see the same, do what the reference decides, and compare
    decisions.
    """
    population = Population(Model.quantized(arrays, precision=precision), 1)
    generator = np.random.default_rng(seed)
    prior, out = list(arrays.D), Differences()
    place = [int(generator.choice(len(d), p=d)) for d in arrays.D]
    for _ in range(ticks):
        columns = [
            a[(slice(None), *[place[d] for d in deps])]
            for a, deps in zip(arrays.A, arrays.A_deps, strict=True)
        ]
        observation = [int(generator.choice(len(c), p=c / c.sum())) for c in columns]
        expected = reference.step(arrays, prior, observation)
        found = population.step([observation])[0]
        out.steps += 1
        for f, q in enumerate(expected.qs):
            mine = np.maximum(population.beliefs(f)[0].astype(np.float64), reference.EPSILON)
            out.worst = max(out.worst, float(q @ (reference.log(q) - np.log(mine))))
        if gap(arrays, expected.q_pi) > CLEAR:
            out.clear += 1
            out.different += int((found != expected.act).any())
        population.act([expected.act])
        prior = reference.predict(arrays, expected.qs, expected.act.tolist())
        place = [
            int(
                generator.choice(
                    len(b), p=(column := b[(slice(None), *[place[d] for d in deps], u)]) / column.sum()
                )
            )
            for b, deps, u in zip(arrays.B, arrays.B_deps, expected.act, strict=True)
        ]
    out.contradictions = population.contradictions
    return out


def gap(arrays: ModelArrays, q_pi: Float) -> float:
    """Return by how much the action that is chosen is more probable than the next, the least of all
    factors.
    """
    first, gaps = arrays.policies[:, 0], [1.0]
    if arrays.options.sampling_mode == "full":
        best = q_pi.argmax()
        others = (first != first[best]).any(axis=1)
        return float(q_pi[best] - q_pi[others].max()) if others.any() else 1.0
    for f, count in enumerate(arrays.num_controls):
        two = np.sort(np.bincount(first[:, f], q_pi, count))[-2:]
        gaps += [float(two[1] - two[0])] if count > 1 else []
    return min(gaps)


def usual(seed: int, factors: tuple[int, int], algorithm: str) -> ModelArrays:
    """Return a model as people write them, with the options of pymdp's agents by default."""
    mode = ("full", "marginal")[seed % 2]
    options = AgentOptions(mode, gamma=4.0, inference_algo=algorithm)
    return random_model(seed, replace(USUAL, factors=factors), options)


def _valid() -> Iterator[Figure]:
    """Any valid model, with any options."""
    odd = made = seed = 0
    while made < VALID_MODELS:
        with suppress(ModelError):  # exact inference of too many factors is refused
            odd += not_a_number(random_model(seed, ANY), seed, ticks=3) > 0
            made += 1
        seed += 1
    yield Figure("valid", "models", made, "models")
    yield at_most("valid", "models with NaN", odd, "models", 0)


def _alike(
    name: str, factors: tuple[int, int], algorithm: str, bits: int, allowed: float | None
) -> Iterator[Figure]:
    """Yield differences from the reference; at most a share ``allowed`` of clear decisions may differ."""
    total = Differences()
    for seed in range(USUAL_MODELS):
        arrays = usual(seed, factors, algorithm)
        total.add(differences(arrays, Precision.uniform(arrays, bits), seed))
    yield Figure(name, "models", USUAL_MODELS, "models")
    yield Figure(name, "clear decisions", total.clear, "decisions")
    figure = f"clear decisions that differ, {bits} bits"
    if allowed is None:
        yield Figure(name, figure, total.different, "decisions")
    else:
        yield at_most(name, figure, total.different, "decisions", allowed * total.clear)
    yield Figure(name, "contradictions", total.contradictions / total.steps, "per step")


CASES: dict[str, Callable[..., Iterator[Figure]]] = {
    "valid": _valid,
    "one": partial(_alike, "one factor", (1, 1), "fpi", 8, 0.0),
    "several8": partial(_alike, "several factors", (2, 8), "fpi", 8, None),
    "several16": partial(_alike, "several factors", (2, 8), "fpi", 16, 1 / 2000),
    "exact": partial(_alike, "exact", (2, 8), "exact", 8, 0.0),
}

if __name__ == "__main__":
    sys.exit(run("benchmarks.random_models", __doc__, CASES))
