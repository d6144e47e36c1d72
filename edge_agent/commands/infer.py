"""``edge-agent infer``: runs a bundle on recorded observations, without a daemon."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.commands.output import add_output_options, print_json
from edge_agent.errors import ConfigError, ObservationError, PlatformError
from edge_agent.wire import bundle as bundles

if TYPE_CHECKING:
    from numpy.typing import NDArray


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("infer", help="run a bundle on recorded observations")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the .eab file")
    parser.add_argument(
        "--trace",
        type=Path,
        required=True,
        metavar="T.npz",
        help="obs [T,M] or [T,N,M], soft_m [T,O] if known in part; x for networks",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.npz", help="output file")
    parser.add_argument("--agents", type=int, metavar="N", help="run N copies of a trace [T,M]")
    parser.add_argument(
        "--teacher-forced",
        action="store_true",
        help="execute the actions of the trace instead of the chosen ones",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of drawn actions; default 0")
    parser.add_argument("--threads", type=int, default=1, metavar="K", help="threads of a step")
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the beliefs, free energies and actions of every tick."""
    import numpy as np

    from edge_agent.wire import npz
    from edge_agent.wire.bundle_kinds import POMDP

    trace = npz.read(arguments.trace, ConfigError)
    bundle = bundles.read(arguments.bundle)
    try:
        out = (_run_agents if bundle.kind == POMDP.name else _run_network)(arguments, trace)
    except ObservationError as error:
        raise ObservationError(f"{arguments.trace}: {error}") from error
    try:
        with arguments.output.open("wb") as file:
            np.savez(file, **out)  # type: ignore[arg-type]
    except OSError as error:
        raise PlatformError(f"{arguments.output}: {error.strerror}") from error
    shapes = {name: list(array.shape) for name, array in out.items()}
    if arguments.json:
        print_json({"bundle": bundle.name, "output": str(arguments.output), "shapes": shapes})
    else:
        print(f"{bundle.name}: {len(out['act'])} ticks written to {arguments.output}")
    return 0


def _array(trace: dict[str, NDArray[Any]], name: str, path: Path) -> NDArray[Any]:
    if name not in trace:
        raise ConfigError(f"{path}: found {', '.join(trace) or 'nothing'}, expected an array {name}")
    return trace[name]


def _restarts(trace: dict[str, NDArray[Any]], path: Path) -> frozenset[int]:
    """Return the ticks before which every agent begins anew, as far as the recording says so."""
    if "restarts" not in trace:
        return frozenset()
    ticks = trace["restarts"]
    if ticks.ndim != 1 or ticks.dtype.kind not in "iu":
        raise ConfigError(f"{path}: restarts is {ticks.dtype} {ticks.shape}, expected integers (R,)")
    return frozenset(ticks.tolist())


def _run_agents(arguments: argparse.Namespace, trace: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    from edge_agent.engine import Model
    from edge_agent.engine import trace as engine_trace

    return engine_trace.run(
        Model.load(arguments.bundle),
        _array(trace, "obs", arguments.trace),
        _array(trace, "act", arguments.trace) if arguments.teacher_forced else None,
        agents=arguments.agents,
        seed=arguments.seed,
        threads=arguments.threads,
        restarts=_restarts(trace, arguments.trace),
        soft=_soft(trace),
    )


def _soft(trace: dict[str, NDArray[Any]]) -> dict[int, NDArray[Any]]:
    """Return distributions over outcomes, a modality, as far as the recording has them."""
    names = [name for name in trace if name.startswith("soft_") and name.removeprefix("soft_").isdecimal()]
    return {int(name.removeprefix("soft_")): trace[name] for name in names}


def _run_network(arguments: argparse.Namespace, trace: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    from edge_agent.neural.inference import infer
    from edge_agent.neural.network import NeuralModel

    return infer(
        NeuralModel.load(arguments.bundle),
        _array(trace, "x", arguments.trace),
        agents=arguments.agents,
        threads=arguments.threads,
        restarts=_restarts(trace, arguments.trace),
    )
