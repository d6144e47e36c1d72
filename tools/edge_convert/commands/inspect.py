"""``edge-convert inspect BUNDLE``: tensors, palettes, sparsity, memory for N agents, cost per step, io."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edge_agent.engine import Model, Population
from edge_agent.engine.storage import Tensor
from edge_agent.memory.arena import total
from edge_agent.neural.network import NeuralModel
from edge_agent.neural.network_population import NeuralPopulation
from edge_agent.wire import bundle
from edge_agent.wire.bundle_kinds import POMDP
from edge_convert.console import Subparsers, add_output_options, show


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    command = subparsers.add_parser("inspect", help="look into a bundle")
    command.add_argument("bundle", type=Path, help="the .eab file")
    command.add_argument(
        "--agents", type=int, default=1000, help="number of agents for the memory figure (1000)"
    )
    add_output_options(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what is in a bundle."""
    loaded = bundle.read(arguments.bundle)
    manifest = loaded.manifest
    heading = {key: manifest[key] for key in ("name", "version", "kind", "requires", "evaluation", "io")}
    details = (
        _agent(loaded, arguments.agents) if loaded.kind == POMDP.name else _network(loaded, arguments.agents)
    )
    entries = [{"entry": name, "bytes": len(data)} for name, data in loaded.entries.items()]
    show(heading | {"digest": loaded.digest} | details | {"entries": entries}, arguments.json)
    return 0


def _agent(loaded: bundle.Bundle, agents: int) -> dict[str, Any]:
    model = Model.from_bundle(loaded)
    named = [(f"A_{i}", a) for i, a in enumerate(model.A)] + [(f"B_{i}", b) for i, b in enumerate(model.B)]
    plan = model.plan(model.policy_len, True)
    return {
        "states": list(model.num_states),
        "outcomes": list(model.num_obs),
        "controls": list(model.num_controls),
        "policies": len(model.policies),
        "policy_len": model.policy_len,
        "model_bytes": model.nbytes,
        "population_bytes": {f"{agents} agents": total(Population.columns(model, agents))},
        "cost a step": {
            "multiply-adds to infer": sum(_entries(a) // a.rows for a in model.A)
            + sum(_entries(b) for b in model.B),
            "planning operations": len(plan.ops),
        },
        "tensors": [_tensor(name, tensor) for name, tensor in named],
    }


def _tensor(name: str, tensor: Tensor) -> dict[str, Any]:
    return {
        "tensor": name,
        "shape": f"{tensor.rows} x {tensor.width}",
        "layout": "sparse" if tensor.sparse else "dense",
        "stored": f"{_entries(tensor)} of {tensor.rows * tensor.width}",
        "background": tensor.background if tensor.sparse else None,
        "palette": len(tensor.palette),
        "smallest": float(tensor.palette.min()),
        "largest": float(tensor.palette.max()),
        "bytes": tensor.nbytes,
    }


def _entries(tensor: Tensor) -> int:
    return len(tensor.codes)


def _network(loaded: bundle.Bundle, agents: int) -> dict[str, Any]:
    model = NeuralModel.from_bundle(loaded)
    runtime = model.open(1)
    return {
        "runtime": runtime.library,
        "observation": list(model.observation_shape),
        "window": model.window,
        "model_bytes": model.nbytes,
        "population_bytes": {f"{agents} agents": total(NeuralPopulation.columns(model, agents))},
    }
