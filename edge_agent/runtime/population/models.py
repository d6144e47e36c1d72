"""Loads bundles of both kinds: agents on the engine, or a network on its runtime.

Theory of operation. The bundle's kind decides. Everything about networks is imported when the first one
comes: a daemon of agents has neither their code nor a neural runtime in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from numpy.typing import NDArray

from edge_agent.engine.binding import Binding
from edge_agent.engine.model import Model
from edge_agent.engine.population import Population
from edge_agent.engine.stored_model import StoredModel
from edge_agent.memory.arena import Allocate, Column, apart
from edge_agent.memory.budget import Line
from edge_agent.runtime.population.population_port import PopulationPort
from edge_agent.wire import bundle as bundles
from edge_agent.wire.bundle import Bundle
from edge_agent.wire.bundle_kinds import NETWORKS

if TYPE_CHECKING:
    from edge_agent.engine.counts.own_models import OwnModels
    from edge_agent.neural.network import NeuralModel
    from edge_agent.wire.increments import Increments

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


def columns(
    model: AnyModel,
    size: int,
    threads: int,
    redecides: bool = False,
    learn_every: int | None = None,
    own: bool = False,
    epochs: bool = False,
) -> tuple[Column, ...]:
    """Return what `populate` takes from the arena."""
    if isinstance(model, StoredModel):
        if learn_every and own:
            return _own_columns(model, size, redecides, learn_every)
        columns = Population.columns(model, size, threads, redecides, bool(learn_every))
        return columns if learn_every is None else (*columns, *_learning(model, size, learn_every, epochs))
    from edge_agent.runtime.population import network_port

    return network_port.columns(model, size, threads)


def populate(
    model: AnyModel,
    size: int,
    seed: int,
    threads: int = 1,
    allocate: Allocate | None = None,
    redecides: bool = False,
    learn_every: int | None = None,
    own: bool = False,
    epochs: bool = False,
) -> PopulationPort:
    """Return ``size`` agents on a model, in the arena's columns or in their own.

    Only with ``redecides`` they can decide within ticks, and only agents can. With ``learn_every`` they
    learn, and adopt it each so many ticks (0: never), all together, or each its ``own``; with ``epochs`` what
    they counted together can be taken out.
    """
    if isinstance(model, StoredModel):
        if learn_every and own:
            from edge_agent.engine.counts.concentrations import Concentrations
            from edge_agent.engine.counts.own_models import OwnModels

            carried = Concentrations.carried(model)
            return OwnModels(model, size, carried, learn_every, seed, allocate, redecides=redecides)
        arrays: Mapping[str, NDArray[Any]] = {}
        if learn_every is not None:
            arrays = (allocate or apart)(columns(model, size, threads, redecides, learn_every, epochs=epochs))
            allocate = partial(_of, arrays)
        population = Population(
            model,
            size,
            seed=seed,
            threads=threads,
            allocate=allocate,
            redecides=redecides,
            changing=bool(learn_every),
        )
        if learn_every is not None:
            from edge_agent.engine.counts.concentrations import Concentrations
            from edge_agent.engine.counts.learner import Learner

            given = Concentrations.carried(model)
            Learner(population, given, every=learn_every, allocate=partial(_of, arrays), epochs=epochs)
        return population
    from edge_agent.runtime.population.network_port import NetworkPort

    return NetworkPort(model, size, seed, threads, allocate)


def learned(port: PopulationPort) -> dict[str, int | float] | None:
    """Return what a population counted and adopted since it began to learn; None if it does not learn."""
    if not isinstance(port, Population):
        return None
    runner = port if has_own_models(port) else port.runner
    return None if runner is None else runner.figures()


def forget_learned(port: PopulationPort) -> int:
    """Let a population run the delivered model, with no counts; return the updates that were counted."""
    updates = int((learned(port) or {"updates": 0})["updates"])
    if has_own_models(port):
        for learner in port.learners:
            learner.reset()
    elif isinstance(port, Population) and port.runner is not None:
        from edge_agent.engine.counts.learner import Learner

        if isinstance(port.runner, Learner):
            port.runner.reset()
    return updates


def has_own_models(port: PopulationPort) -> TypeGuard[OwnModels]:
    """Return whether its agents learn each by itself."""
    if not isinstance(port, Population) or type(port) is Population:
        return False
    from edge_agent.engine.counts.own_models import OwnModels

    return isinstance(port, OwnModels)


def _own_columns(model: StoredModel, size: int, redecides: bool, every: int) -> tuple[Column, ...]:
    from edge_agent.engine.counts.concentrations import Concentrations
    from edge_agent.engine.counts.own_models import OwnModels

    return OwnModels.all_columns(model, size, Concentrations.carried(model), every, redecides)


def object_lines(name: str, size: int) -> list[Line]:
    """Return what agents that learn each by itself take beside the arena."""
    from edge_agent.engine.counts.own_models import OBJECT_BYTES

    return [Line(name, "models of their own", OBJECT_BYTES * size)]


def take_epoch(port: PopulationPort) -> Increments | None:
    """Return what a population counted since the last call; None if it does not learn."""
    if not isinstance(port, Population) or port.runner is None:
        return None
    from edge_agent.engine.counts.learner import Learner

    return port.runner.take_epoch() if isinstance(port.runner, Learner) else None


def _learning(model: StoredModel, size: int, every: int, epochs: bool) -> tuple[Column, ...]:
    from edge_agent.engine.counts.concentrations import (
        Concentrations,  # the daemon's memory: few models learn
    )
    from edge_agent.engine.counts.learner import Learner

    return Learner.columns(model, size, Concentrations.carried(model), every=every, epochs=epochs)


def _of(arrays: Mapping[str, NDArray[Any]], columns: tuple[Column, ...]) -> Mapping[str, NDArray[Any]]:
    return {column.name: arrays[column.name] for column in columns}


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
