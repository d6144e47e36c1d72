"""From a discrete agent to a bundle: quantize, measure against the float64 source, decide, write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.engine import Model, Population, golden
from edge_agent.errors import ModelError
from edge_agent.version import __version__
from edge_agent.wire import bundle
from edge_convert.bundle.job import Job
from edge_convert.measure import agent_fidelity, gate
from edge_convert.measure.agent_fidelity import AgentFidelity
from edge_convert.quantize import agent_sensitivity
from edge_convert.readers import gmn_model, pymdp_npz, samples
from edge_convert.readers.agent_source import AgentSource
from edge_convert.readers.detect import Kind

GOLDEN = "golden.npz"
_READERS = {"pymdp": pymdp_npz.read, "gmn": gmn_model.read}


@dataclass(frozen=True)
class AgentConversion:
    """Everything that is known once the 8-bit agent is good: for the bundle, the table and the report."""

    order: Job
    source: AgentSource
    model: Model
    fidelity: AgentFidelity


def convert(order: Job, kind: Kind) -> AgentConversion:
    """Return an 8-bit agent that keeps the gate's promises.

    Raises
    ------
    ModelError, ObservationError
        The source or the data is off.
    GateRefusalError
        The 8-bit agent is not near enough to its source.
    """
    if order.target not in (None, "engine"):
        raise ModelError(
            f"{order.source}: a discrete agent, --target {order.target} takes networks; expected engine"
        )
    source = read(order.source, kind)
    model = source.model(order.name)
    recording = None
    if order.evaluate is not None:
        recording = samples.trace(order.evaluate, model.num_obs, model.num_controls)
    name = order.evaluate.name if order.evaluate is not None else ""
    fidelity = agent_fidelity.measure(source.arrays, model, recording, name, order.seed)
    limits = gate.agent_limits(order.min_agreement, order.max_kl)
    sentences = gate.broken(fidelity.figures(), limits)
    if sentences:
        raise gate.refuse(str(order.source), sentences, _causes(source, model, fidelity))
    return AgentConversion(order, source, model, fidelity)


def _causes(source: AgentSource, model: Model, fidelity: AgentFidelity) -> list[str]:
    """Return what to look at, the worst first: the tensor that loses most, then the steps where it shows."""
    tensor = agent_sensitivity.rank(source.arrays, model, fidelity.history)[0]
    said = f"{tensor.tensor} alone in 8 bits gives a posterior KL of {tensor.max_kl:.3g}"
    return [said, *fidelity.worst_steps()]


def read(path: Path, kind: Kind) -> AgentSource:
    """Return the agent in a file of a kind that holds agents."""
    return _READERS[kind](path)


def write(conversion: AgentConversion) -> str:
    """Write the bundle and return its digest."""
    order, model = conversion.order, conversion.model
    manifest = order.fields("pomdp") | {
        "io": conversion.source.meta,
        "memory": memory(conversion),
        "evaluation": conversion.fidelity.figures(),
        "requires": {"runtime": "engine", "version": __version__},
    }
    entries = model.entries() | {GOLDEN: golden.make(model)}
    return bundle.write(order.output, manifest, entries, order.key)


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
