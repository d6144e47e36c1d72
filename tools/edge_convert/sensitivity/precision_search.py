"""Eight bits everywhere, sixteen where the gate is missed: the search for a bundle that is near enough.

Theory of operation. The first try has 8 bits everywhere. If it misses a limit, the tensors and the beliefs
are ranked by what each alone in 8 bits does to the posterior (``agent_sensitivity``), and go to 16 bits one
after another, the worst first, until every limit holds, and without --max-kl until no posterior is further
than 0.001 nats. Where that cannot be had, the nearest that keeps the limits is taken. What is lossless in 8
bits is left alone. All candidates are measured along the history of the first one; the last is measured anew,
in rollouts of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Literal, NamedTuple

from edge_agent.engine import Model
from edge_agent.engine.arrays import ModelArrays
from edge_agent.engine.precision import Precision
from edge_convert.measure.agent_fidelity import AgentFidelity, Measurement
from edge_convert.readers.agent_source import AgentSource
from edge_convert.sensitivity import agent_sensitivity
from edge_convert.sensitivity.agent_sensitivity import BELIEFS, TensorSensitivity

Bits = Literal["8", "16", "auto"]
BITS: tuple[Bits, ...] = ("auto", "8", "16")
NARROW, WIDE = 8, 16
Judge = Callable[[AgentFidelity], tuple[list[str], list[str]]]
"""Returns the limits that are broken, and the aims that are missed, in words."""


class Candidate(NamedTuple):
    """A model, its fidelity, the limits that it breaks and the aims that it misses, and what is in 16
    bits.
    """

    model: Model
    fidelity: AgentFidelity
    broken: list[str]
    missed: list[str]
    wide: tuple[str, ...]

    def row(self) -> dict[str, Any]:
        """Return the line of this try in the report."""
        figures = (self.fidelity.agent or self.fidelity.reference).figures()
        names = ("clear_agreement", "max_regret", "max_posterior_kl")
        return {
            "16 bits": ", ".join(self.wide) or "none",
            "model_bytes": self.model.nbytes,
            **{name: figures[name] for name in names},
            "verdict": "misses" if self.broken else "holds" if self.missed else "near",
        }


class Search(NamedTuple):
    """The candidate that was chosen, all that were tried, and the ranking they were tried in."""

    chosen: Candidate
    tried: list[Candidate]
    ranking: list[TensorSensitivity]


def search(
    source: AgentSource,
    name: str,
    measurement: Measurement,
    judge: Judge,
    bits: Bits,
) -> Search:
    """Return the first candidate that is near enough, else the nearest that keeps the limits, else the
    last.
    """
    arrays = source.arrays
    wide = everything(arrays) if bits == "16" else ()
    model = source.model(name, precision(arrays, wide))
    fidelity = measurement.measure(model)
    tried = [Candidate(model, fidelity, *judge(fidelity), wide)]
    if not tried[0].missed or bits != "auto":
        return Search(tried[0], tried, [])
    ranking = agent_sensitivity.rank(arrays, model, fidelity.history)
    for row in ranking:
        if row.max_kl == 0.0 and row.mean_policy_tv == 0.0:
            continue
        wide = (*wide, row.tensor)
        model = source.model(name, precision(arrays, wide))
        near = measurement.along(model, fidelity)
        tried.append(Candidate(model, near, *judge(near), wide))
        if not tried[-1].missed:
            break
    kept = [candidate for candidate in tried if not candidate.broken]
    best = tried[-1] if not tried[-1].missed or not kept else min(kept, key=_distance)
    if best is not tried[0] and not best.broken:
        final = measurement.measure(best.model)
        best = Candidate(best.model, final, *judge(final), best.wide)
    return Search(best, tried, ranking)


def _distance(candidate: Candidate) -> float:
    fidelity = candidate.fidelity
    return max(float(one.kl.max()) for one in (fidelity.agent, fidelity.reference) if one is not None)


def everything(model: ModelArrays) -> tuple[str, ...]:
    """Return the names of all that can be in 16 bits."""
    factors = range(len(model.B))
    tensors = (*(f"A_{m}" for m in range(len(model.A))), *(f"B_{f}" for f in factors))
    return (*tensors, *(f"{BELIEFS}_{f}" for f in factors))


def precision(model: ModelArrays, wide: Collection[str]) -> Precision:
    """Return 16 bits for the names in ``wide``, 8 for the others."""

    def bits(letter: str, count: int) -> tuple[int, ...]:
        return tuple(WIDE if f"{letter}_{i}" in wide else NARROW for i in range(count))

    return Precision(bits("A", len(model.A)), bits("B", len(model.B)), bits(BELIEFS, len(model.B)))


def wide_of(model: Model) -> tuple[str, ...]:
    """Return the names of what a model has in 16 bits."""
    tensors = [(f"A_{m}", a.bits) for m, a in enumerate(model.A)]
    tensors += [(f"B_{f}", b.bits) for f, b in enumerate(model.B)]
    tensors += [(f"{BELIEFS}_{f}", n) for f, n in enumerate(model.belief_bits)]
    return tuple(name for name, n in tensors if n == WIDE)
