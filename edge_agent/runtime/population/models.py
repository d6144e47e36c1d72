"""Loads bundles of both kinds: agents on the engine, or a network on its runtime.

Theory of operation. The bundle's kind decides. Everything about networks is imported when the first one
comes: a daemon of agents has neither their code nor a neural runtime in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.engine.binding import Binding
from edge_agent.engine.model import Model
from edge_agent.engine.population import Population
from edge_agent.engine.stored_model import StoredModel
from edge_agent.memory.arena import Allocate, Column
from edge_agent.memory.budget import Line
from edge_agent.runtime.population.population_port import PopulationPort
from edge_agent.wire import bundle as bundles
from edge_agent.wire.bundle import Bundle
from edge_agent.wire.bundle_kinds import NETWORKS

if TYPE_CHECKING:
    from edge_agent.neural.network import NeuralModel

    AnyModel = StoredModel | NeuralModel


def load_model(path: Path) -> tuple[AnyModel, str]:
    """Return the model of a bundle, verified and its golden vectors run, and the bundle's digest."""
    bundle = bundles.read(path)
    return of_bundle(bundle), bundle.digest


def of_bundle(bundle: Bundle) -> AnyModel:
    """Return the model of a verified bundle, after its golden vectors came out."""
    if bundle.kind in NETWORKS:
        from edge_agent.neural.network import NeuralModel

        return NeuralModel.from_bundle(bundle)
    return Model.from_bundle(bundle)


def bind(model: AnyModel, where: str) -> Binding:
    """Return the modalities and controls of a model out of the bundle at ``where``."""
    if isinstance(model, StoredModel):
        return Binding(model.meta, model.num_obs, model.num_controls, where)
    from edge_agent.runtime.population import network_port

    return network_port.binding(model, where)


def columns(model: AnyModel, size: int, threads: int, redecides: bool = False) -> tuple[Column, ...]:
    """Return what `populate` takes from the arena."""
    if isinstance(model, StoredModel):
        return Population.columns(model, size, threads, redecides)
    from edge_agent.runtime.population import network_port

    return network_port.columns(model, size, threads)


def populate(
    model: AnyModel,
    size: int,
    seed: int,
    threads: int = 1,
    allocate: Allocate | None = None,
    redecides: bool = False,
) -> PopulationPort:
    """Return ``size`` agents on a model, in the arena's columns or in their own.

    Only with ``redecides`` they can decide within ticks, and only agents can.
    """
    if isinstance(model, StoredModel):
        return Population(model, size, seed=seed, threads=threads, allocate=allocate, redecides=redecides)
    from edge_agent.runtime.population.network_port import NetworkPort

    return NetworkPort(model, size, seed, threads, allocate)


def runtime_lines(populations: Iterable[tuple[str, AnyModel, int]]) -> list[Line]:
    """Return what neural runtimes take beside the arena; ``populations`` are (name, model, size)."""
    lines: dict[str, Line] = {}
    for name, model, size in populations:
        if isinstance(model, StoredModel):
            continue
        from edge_agent.runtime.population import network_port

        kind = model.kind
        lines[kind] = Line("process", f"{kind} runtime", network_port.LIBRARY_BYTES[kind])
        lines[f"{kind} {name}"] = Line(name, "runtime's tensors", network_port.session_bytes(model, size))
    return list(lines.values())
