"""``edge-convert convert SOURCE -o OUT.eab``: convert and measure a model, write a signed bundle."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from edge_agent.engine.options import INFERENCE_ALGORITHMS
from edge_agent.errors import ConfigError, ModelError
from edge_agent.neural.network import ACTIONS
from edge_agent.wire import signatures
from edge_agent.wire.bundle_kinds import POMDP
from edge_agent.wire.topics import check_name
from edge_convert.bundle import agent_bundle, network_bundle
from edge_convert.bundle.agent_bundle import AgentConversion
from edge_convert.bundle.job import TARGETS, Job
from edge_convert.bundle.network_bundle import NetworkConversion
from edge_convert.console import Subparsers, add_output_options, show
from edge_convert.measure.speed import agent_speed, network_speed
from edge_convert.quantize.calibrate import METHODS
from edge_convert.readers import detect
from edge_convert.report.conversion_report import agent_report, network_report
from edge_convert.sensitivity import agent_sensitivity
from edge_convert.sensitivity.precision_search import BITS


def add(subparsers: Subparsers) -> None:
    """Add the command."""
    command = subparsers.add_parser("convert", help="make a bundle of a model, if it is good enough")
    command.add_argument("source", type=Path, help="pymdp .npz, GMN, .onnx or .tflite; detected by content")
    command.add_argument("-o", "--output", type=Path, required=True, help="the bundle, NAME.eab")
    command.add_argument(
        "--calibration", type=Path, help="npz: x float32 [n, *shape] (required for networks)"
    )
    command.add_argument(
        "--evaluate", type=Path, help="npz: obs (and act) for agents, x (and label) for networks"
    )
    command.add_argument(
        "--min-agreement",
        type=float,
        help="share of equal actions: of an agent's clear decisions (0.9995), of a network's (0.97)",
    )
    command.add_argument(
        "--max-regret", type=float, help="largest loss of an agent's choice, nats of ln probability (0.1)"
    )
    command.add_argument(
        "--bits",
        choices=BITS,
        default=BITS[0],
        help="of an agent's tensors and beliefs; auto: 16 where 8 miss",
    )
    command.add_argument(
        "--inference",
        choices=INFERENCE_ALGORITHMS,
        help="of an agent's beliefs; default: what its source says",
    )
    command.add_argument("--max-kl", type=float, help="largest posterior KL of an agent, nats (0.01)")
    command.add_argument("--min-sqnr", type=float, help="smallest SQNR of a network's outputs, dB (28)")
    command.add_argument("--report", type=Path, help="write a self-contained HTML report")
    command.add_argument("--sign", type=Path, help="secret key to sign with (edge-convert keygen)")
    command.add_argument("--name", help="the model's name; default: the file's name")
    command.add_argument("--version", default="1", help="the model's version (1)")
    command.add_argument(
        "--target", choices=TARGETS, help="runtime; default: engine for agents, litert for networks"
    )
    command.add_argument("--calibrator", choices=METHODS, default=METHODS[0], help="method for int8 ranges")
    command.add_argument(
        "--action", choices=ACTIONS, help="meaning of a network's first output (argmax, or value)"
    )
    command.add_argument(
        "--window", type=int, default=1, help="number of observations per input of a network (1)"
    )
    command.add_argument(
        "--window-axis", type=int, default=0, help="axis of the input (without batch) for the window"
    )
    command.add_argument("--inputs", default="", help="names of a network's inputs: co2,temperature,...")
    command.add_argument("--actions", default="", help="values of a network's actions: off,low,high")
    command.add_argument("--seed", type=int, default=0, help="seed of simulated rollouts (0)")
    add_output_options(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Convert one model."""
    kind = detect.kind_of(arguments.source)
    order = _order(arguments)
    if kind == "bundle":
        raise ModelError(f"{order.source}: is a bundle already, expected a model of floats")
    signer = "-" if order.key is None else f"{order.key.name} ({order.key.public.fingerprint})"
    heading = {"bundle": str(order.output), "source": str(order.source), "signed by": signer}
    if kind in ("onnx", "tflite"):
        network = network_bundle.convert(order, kind)
        result = heading | {"digest": network_bundle.write(network)} | network_result(network)
        page = partial(network_report, network, result)
    else:
        agent = agent_bundle.convert(order, kind)
        result = heading | {"digest": agent_bundle.write(agent)} | agent_result(agent)
        page = partial(agent_report, agent, result)
    if order.report is not None:
        order.report.write_text(page(), encoding="utf-8")
        result["report"] = str(order.report)
    show(result, arguments.json)
    return 0


def agent_result(conversion: AgentConversion) -> dict[str, Any]:
    """Return what is said of a converted agent."""
    result: dict[str, Any] = {
        "kind": POMDP.name,
        "evaluation": agent_bundle.evaluation(conversion),
        "memory": agent_bundle.memory(conversion),
        "speed": agent_speed(conversion.source.arrays, conversion.model),
        "measured": conversion.fidelity.lines(),
    }
    if conversion.forks is not None:
        result["forks"] = conversion.forks.words()
    if len(conversion.search.tried) > 1 or conversion.order.verbose:
        result["precision"] = conversion.tries()
    if conversion.order.verbose:
        ranking = agent_sensitivity.rank(
            conversion.source.arrays, conversion.model, conversion.fidelity.history
        )
        result["sensitivity"] = [row._asdict() for row in ranking]
    return result


def network_result(conversion: NetworkConversion) -> dict[str, Any]:
    """Return what is said of a converted network; ``sensitivity`` is sorted, the worst operator first."""
    result: dict[str, Any] = {
        "kind": conversion.network.kind,
        "evaluation": conversion.figures(),
        "memory": conversion.memory(),
        "speed": network_speed(conversion.network, conversion.mixed.model),
        "sensitivity": [row._asdict() for row in conversion.ranking],
    }
    if conversion.order.verbose:
        ranges = sorted(conversion.ranges.items())
        result["ranges"] = [{"tensor": name, "low": low, "high": high} for name, (low, high) in ranges]
    return result


def _order(arguments: argparse.Namespace) -> Job:
    name = check_name(arguments.name or arguments.source.stem, "--name")
    for option in ("min_agreement", "max_kl", "max_regret", "min_sqnr"):
        value = getattr(arguments, option)
        if value is not None and not value >= 0:
            raise ConfigError(f"--{option.replace('_', '-')}: found {value}, expected a number ≥ 0")
    for option in ("output", "report"):
        path: Path | None = getattr(arguments, option)
        if path is not None and not path.parent.is_dir():
            raise ConfigError(f"--{option}: {path.parent} is no directory")
    return Job(
        source=arguments.source,
        output=arguments.output,
        name=name,
        version=arguments.version,
        calibration=arguments.calibration,
        evaluate=arguments.evaluate,
        min_agreement=arguments.min_agreement,
        max_kl=arguments.max_kl,
        max_regret=arguments.max_regret,
        bits=arguments.bits,
        inference=arguments.inference,
        min_sqnr=arguments.min_sqnr,
        report=arguments.report,
        key=None if arguments.sign is None else signatures.load_secret(arguments.sign),
        target=arguments.target,
        calibrator=arguments.calibrator,
        action=arguments.action,
        window=arguments.window,
        window_axis=arguments.window_axis,
        inputs=tuple(arguments.inputs.split(",")) if arguments.inputs else (),
        actions=tuple(arguments.actions.split(",")) if arguments.actions else (),
        seed=arguments.seed,
        verbose=arguments.verbose,
    )
