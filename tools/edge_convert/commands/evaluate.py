"""``edge-convert evaluate BUNDLE SOURCE``: compare a bundle with its float source on your data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edge_agent.engine import Model
from edge_agent.errors import BundleError, ModelError
from edge_agent.neural.network import NeuralModel
from edge_agent.wire import bundle
from edge_agent.wire.bundle_kinds import ONNX
from edge_convert.bundle import agent_bundle
from edge_convert.console import Subparsers, add_output_options, show
from edge_convert.measure import agent_fidelity, network_fidelity
from edge_convert.readers import detect, samples
from edge_convert.readers.network import open_network
from edge_convert.readers.network import run as run_network


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    command = subparsers.add_parser("evaluate", help="compare a bundle with its float source")
    command.add_argument("bundle", type=Path, help="the .eab file")
    command.add_argument("source", type=Path, help="the source model of the bundle")
    command.add_argument(
        "--evaluate", type=Path, help="npz: obs (and act) for agents, x for networks (required)"
    )
    command.add_argument("--seed", type=int, default=0, help="seed of simulated rollouts (0)")
    add_output_options(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the figures; there is no gate here."""
    loaded = bundle.read(arguments.bundle)
    kind = detect.kind_of(arguments.source)
    if loaded.manifest["source_sha256"] != detect.digest(arguments.source):
        raise BundleError(
            f"{arguments.bundle}: was not made of {arguments.source} (its SHA-256 is another one)"
        )
    if kind in ("pymdp", "gmn"):
        figures = _agent(arguments, loaded, kind)
    elif kind in ("onnx", "tflite"):
        figures = _network(arguments, loaded, kind)
    else:
        raise ModelError(f"{arguments.source}: is a bundle, expected the model it was made of")
    show(
        {"bundle": str(arguments.bundle), "source": str(arguments.source), "evaluation": figures},
        arguments.json,
    )
    return 0


def _agent(arguments: argparse.Namespace, loaded: bundle.Bundle, kind: detect.Kind) -> dict[str, Any]:
    model = Model.from_bundle(loaded)
    source = agent_bundle.read(arguments.source, kind)
    path: Path | None = arguments.evaluate
    recording = None if path is None else samples.trace(path, model.num_obs, model.num_controls)
    name = "" if path is None else path.name
    return agent_fidelity.measure(source, model, recording, name, arguments.seed).figures()


def _network(arguments: argparse.Namespace, loaded: bundle.Bundle, kind: detect.Kind) -> dict[str, Any]:
    model = NeuralModel.from_bundle(loaded)
    target = "onnxruntime" if loaded.kind == ONNX.name else "litert"
    network = open_network(arguments.source, kind, target)
    if arguments.evaluate is None:
        raise ModelError(f"{arguments.bundle}: a network needs --evaluate, an .npz with x [n, *shape]")
    x = samples.inputs(arguments.evaluate, network.input[1])
    found = run_network(loaded.kind, bytes(model.payload), x)
    top = model.action_output if model.action != "value" else None
    return network_fidelity.compare(network.reference(x), found, top).figures() | {
        "data": arguments.evaluate.name
    }
