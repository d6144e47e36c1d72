"""From a discrete agent to a bundle: quantize, measure against the live agent and the reference, decide,
write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.engine import Model, Population, golden
from edge_agent.errors import ModelError
from edge_agent.version import __version__
from edge_agent.wire import bundle
from edge_agent.wire.bundle_kinds import GOLDEN, POMDP
from edge_convert.bundle.job import Job
from edge_convert.measure import forks, gate
from edge_convert.measure.agent_fidelity import AgentFidelity, Measurement, TraceHistory
from edge_convert.measure.forks import Forks
from edge_convert.measure.gate import Limit
from edge_convert.readers import gmn_model, pymdp_npz, samples
from edge_convert.readers.agent_source import AgentSource
from edge_convert.readers.detect import Kind
from edge_convert.sensitivity import agent_sensitivity, precision_search
from edge_convert.sensitivity.precision_search import Candidate, Search

_READERS = {"pymdp": pymdp_npz.read, "gmn": gmn_model.read}


@dataclass(frozen=True)
class AgentConversion:
    """Everything that is known once the agent's bundle is good: for the bundle, the table and the report."""

    order: Job
    source: AgentSource
    model: Model
    fidelity: AgentFidelity
    search: Search
    forks: Forks | None

    def tries(self) -> list[dict[str, Any]]:
        """Return what was tried, bytes and figures each."""
        return [candidate.row() for candidate in self.search.tried]


def convert(order: Job, kind: Kind) -> AgentConversion:
    """Return an agent's model that keeps the gate's promises.

    Raises
    ------
    ModelError, ObservationError
        The source or the data is off.
    GateRefusalError
        No choice of bits is near enough to the source.
    """
    if order.target not in (None, "engine"):
        raise ModelError(
            f"{order.source}: a discrete agent, --target {order.target} takes networks; expected engine"
        )
    source = read(order.source, kind)
    if order.inference not in (None, source.arrays.options.inference_algo):
        source = source.inferring(str(order.inference))
    recording = None
    if order.evaluate is not None:
        recording = samples.trace(order.evaluate, source.arrays.num_obs, source.arrays.num_controls)
    name = order.evaluate.name if order.evaluate is not None else ""
    measurement = Measurement(source, recording, name, order.seed)
    limits = gate.agent_limits(order.min_agreement, order.max_kl, order.max_regret)
    aims = gate.agent_aims(limits, order.max_kl)

    def judge(fidelity: AgentFidelity) -> tuple[list[str], list[str]]:
        return broken(source, limits, fidelity), broken(source, aims, fidelity)

    search = precision_search.search(source, order.name, measurement, judge, order.bits)
    chosen = search.chosen
    found = _forks(source, chosen)
    if chosen.broken:
        causes = _causes(source, search)
        raise gate.refuse(str(order.source), chosen.broken, causes, _advice(order, source, found))
    return AgentConversion(order, source, chosen.model, chosen.fidelity, search, found)


def broken(source: AgentSource, limits: Sequence[Limit], fidelity: AgentFidelity) -> list[str]:
    """Return a sentence for each limit that is missed, against the user's agent first.

    An agent that the user gave another inference than the live one's is held against the reference alone.
    """
    sentences = []
    if fidelity.agent is not None and not source.altered:
        sentences = gate.broken(fidelity.agent.figures(), limits, "against your agent")
    return sentences + gate.broken(fidelity.reference.figures(), limits, "against the float64 reference")


def _forks(source: AgentSource, chosen: Candidate) -> Forks | None:
    histories = [chosen.fidelity.history]
    if source.trace is not None:
        histories.append(TraceHistory.of_trace(source.trace))
    return forks.look(source.arrays, histories)


def _causes(source: AgentSource, search: Search) -> list[str]:
    """Return what to look at, the worst first: the export, the tensor that loses most, the steps where it
    shows.
    """
    fidelity = search.chosen.fidelity
    said = []
    if fidelity.export is not None and not source.altered:
        export = fidelity.export.figures()
        limits = gate.agent_limits(None, None, None)
        if gate.broken(export, limits):
            said.append(
                "not the bits: the float64 reference itself is not your agent "
                f"(KL {export['max_posterior_kl']:.3g}, regret {export['max_regret']:.3g})"
            )
    if search.chosen.wide:
        said.append(f"{len(search.chosen.wide)} of its tensors and beliefs are in 16 bits already")
    else:
        worst = agent_sensitivity.rank(source.arrays, search.chosen.model, fidelity.history)[0]
        said.append(f"{worst.tensor} alone in 8 bits gives a posterior KL of {worst.max_kl:.3g}")
    return [*said, *fidelity.worst_steps()]


def _advice(order: Job, source: AgentSource, found: Forks | None) -> list[str]:
    """Return what would help a model that was refused."""
    said = []
    if order.bits == "8":
        said.append("--bits auto stores what needs it in 16 bits")
    if found is not None:
        said.append(found.words())
    elif len(source.arrays.B) > 1 and source.arrays.options.inference_algo == "fpi":
        said.append("--inference exact, which does not iterate")
    return said


def read(path: Path, kind: Kind) -> AgentSource:
    """Return the agent in a file of a kind that holds agents."""
    return _READERS[kind](path)


def write(conversion: AgentConversion) -> str:
    """Write the bundle and return its digest."""
    order, model = conversion.order, conversion.model
    manifest = order.fields(POMDP.name) | {
        "io": io(conversion),
        "memory": memory(conversion),
        "evaluation": evaluation(conversion),
        "requires": {"runtime": "engine", "version": __version__},
    }
    entries = model.entries() | {GOLDEN: golden.make(model)}
    return bundle.write(order.output, manifest, entries, order.key)


def io(conversion: AgentConversion) -> dict[str, Any]:
    """Return the names of the model, with the counts of bins in the readings that it was evaluated on.

    A source that states counts keeps them: it knows what it was fitted to.
    """
    meta, source = conversion.source.meta, conversion.source
    named = meta.get("modalities") or [{} for _ in source.arrays.num_obs]
    if conversion.order.evaluate is None or any("seen" in entry for entry in named):
        return dict(meta)
    outcomes = conversion.fidelity.history.outcomes
    modalities = []
    for m, (entry, size) in enumerate(zip(named, source.arrays.num_obs, strict=True)):
        found = outcomes[..., m]
        counts = np.bincount(found[found >= 0], minlength=size)
        modalities.append({"name": str(m)} | dict(entry) | {"seen": [int(count) for count in counts]})
    return dict(meta) | {"modalities": modalities}


def evaluation(conversion: AgentConversion) -> dict[str, Any]:
    """Return the figures, what is in 16 bits, and where the bundle is not the live agent."""
    figures = conversion.fidelity.figures()
    wide = conversion.search.chosen.wide
    if wide:
        figures["wide"] = list(wide)
    if conversion.source.allowed:
        figures["allowed"] = list(conversion.source.allowed)
    if conversion.source.altered:
        figures["altered"] = list(conversion.source.altered)
    if conversion.forks is not None:
        figures["forks"] = conversion.forks.forked
    return figures


def memory(conversion: AgentConversion) -> dict[str, Any]:
    """Return bytes: of the model in 8 bits and in float64, and of the columns an agent adds."""
    return {
        "model_bytes": conversion.model.nbytes,
        "float_bytes": conversion.source.nbytes,
        "agent_bytes": agent_bytes(conversion.model),
    }


def agent_bytes(model: Model) -> int:
    """Return the bytes that one more agent takes in a large population."""
    many, more = (
        sum(column.nbytes for column in Population.columns(model, size)) for size in (64_000, 128_000)
    )
    return round((more - many) / 64_000)
