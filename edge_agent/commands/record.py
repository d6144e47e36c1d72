"""``edge-agent record``: readings and actions into a file, from a broker or from a flight recording."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.commands import record_flight, record_live
from edge_agent.commands.check import add_settings_options
from edge_agent.commands.output import add_output_options, print_json, set_up_logging
from edge_agent.errors import EXIT_DONE, EXIT_FAILED, ConfigError
from edge_agent.wire.readings import MAX_EVENTS

if TYPE_CHECKING:
    from edge_agent.config.records import Config, PopulationConfig
    from edge_agent.wire.readings import Readings


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("record", help="record readings and actions for edge-convert fit")
    add_settings_options(parser)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="file of readings (.npz) to write"
    )
    parser.add_argument("--csv", action="store_true", help="write FILE.csv beside it, for a spreadsheet")
    parser.add_argument("--population", metavar="NAME", help="population (default: the only one)")
    parser.add_argument(
        "--for",
        dest="seconds",
        type=_seconds,
        metavar="SECONDS",
        help="end after so long (default: at SIGINT or SIGTERM)",
    )
    parser.add_argument("--readings", type=_count, metavar="N", help="end after N readings")
    parser.add_argument(
        "--time", metavar="POINTER", help="JSON pointer to the time in payloads (default: arrival)"
    )
    parser.add_argument(
        "--recorder",
        type=Path,
        nargs="?",
        const=record_flight.CURRENT,
        metavar="FILE",
        help="read a flight recording instead (default: recorder.path of the configuration)",
    )
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Record, and say what was recorded."""
    from edge_agent.adapters.config_files import Reading
    from edge_agent.config import records

    set_up_logging(arguments.verbose)
    output: Path = arguments.output
    if output.suffix != ".npz":
        raise ConfigError(f"-o {output}: found the suffix {output.suffix!r}, expected .npz")
    if not output.absolute().parent.is_dir():
        raise ConfigError(f"-o {output}: found no folder {output.absolute().parent}, expected it to exist")
    config = records.build(Reading(arguments.config, arguments.profile).result()["config"])
    population = _population(config, arguments.population, arguments.config)
    faults: dict[str, int] = {}
    if arguments.recorder is None:
        log = record_live.record(arguments, config, population)
        found, faults = log.readings(), log.counters.faults
    else:
        found = record_flight.read(arguments, config, population)
    if not len(found.time) and not len(found.action):
        ignored = f" (ignored: {_ignored(faults)})" if faults else ""
        said = f"nothing was recorded{ignored}; the file is not written"
        print(f"edge-agent: {output}: {said}", file=sys.stderr)
        return EXIT_FAILED
    _write(arguments, found)
    return _report(arguments, found, faults)


def _population(config: Config, name: str | None, where: Path) -> PopulationConfig:
    names = [population.name for population in config.population]
    if name is None and len(names) != 1:
        found = ", ".join(names) or "none"
        raise ConfigError(f"{where}: population: found {found}, expected one; choose with --population")
    if name is not None and name not in names:
        raise ConfigError(f"--population: found {name!r}, expected one of {', '.join(names) or 'none'}")
    return next(p for p in config.population if name is None or p.name == name)


def _write(arguments: argparse.Namespace, found: Readings) -> None:
    from edge_agent.wire import readings, readings_csv

    readings.write(arguments.output, found)
    if arguments.csv:
        readings_csv.write(arguments.output.with_suffix(".csv"), found)


def _report(arguments: argparse.Namespace, found: Readings, faults: dict[str, int]) -> int:
    figures = {
        "output": str(arguments.output),
        "agents": len(found.agents),
        "readings": len(found.time),
        "actions": len(found.action),
        "binned": int((found.bin >= 0).sum()),
        "ignored": faults,
    }
    if arguments.json:
        print_json(figures)
        return EXIT_DONE
    text = f"{arguments.output}: {figures['readings']} readings ({figures['binned']} in bins), "
    text += f"{figures['actions']} actions of {figures['agents']} agents"
    print(text + (f"; ignored: {_ignored(faults)}" if faults else ""))
    return EXIT_DONE


def _ignored(faults: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in faults.items())


def _count(text: str) -> int:
    value = int(text)
    if not 0 < value <= MAX_EVENTS:
        raise argparse.ArgumentTypeError(f"found {text}, expected 1 to {MAX_EVENTS}")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"found {text}, expected seconds above 0")
    return value
