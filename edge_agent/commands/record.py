"""``edge-agent record``: readings and actions into a file, from a broker or from a flight recording."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.commands.broker_settings import client_id, mqtt_settings
from edge_agent.commands.check import add_settings_options
from edge_agent.commands.output import add_output_options, print_json, set_up_logging
from edge_agent.errors import EXIT_DONE, EXIT_FAILED, ConfigError
from edge_agent.wire.readings import MAX_EVENTS

if TYPE_CHECKING:
    from edge_agent.config.records import Config, PopulationConfig
    from edge_agent.runtime.population.binding import Binding
    from edge_agent.runtime.recording.reading_log import ReadingLog
    from edge_agent.wire.readings import Readings

SAVE_S = 600.0
GOODBYE_S = 1.0
SHOWN = 4
"""Topics that are named when recording begins."""
CURRENT = Path()


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
        const=CURRENT,
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
    if arguments.recorder is None:
        return _live(arguments, config, population)
    found = _recorded(arguments, config, population)
    _write(arguments, found)
    return _report(arguments, found, {})


def _population(config: Config, name: str | None, where: Path) -> PopulationConfig:
    names = [population.name for population in config.population]
    if name is None and len(names) != 1:
        found = ", ".join(names) or "none"
        raise ConfigError(f"{where}: population: found {found}, expected one; choose with --population")
    if name is not None and name not in names:
        raise ConfigError(f"--population: found {name!r}, expected one of {', '.join(names) or 'none'}")
    return next(p for p in config.population if name is None or p.name == name)


def _binding(population: PopulationConfig) -> tuple[Binding, bool]:
    """Return modalities and controls, and whether they are a model's: the bundle may be missing."""
    from edge_agent.runtime.population import models
    from edge_agent.runtime.recording.reading_log import names_only

    path = Path(population.bundle)
    if not path.exists():
        said = "there is no such bundle; readings are recorded without bins"
        print(f"edge-agent: {path}: {said}", file=sys.stderr)
        return names_only(population, str(path)), False
    model, _ = models.load_model(path)
    return models.bind(model, str(path)), True


def _live(arguments: argparse.Namespace, config: Config, population: PopulationConfig) -> int:
    from edge_agent.adapters.mqtt import PahoClient
    from edge_agent.adapters.system_clock import SystemClock
    from edge_agent.config.agent_names import AgentNames
    from edge_agent.runtime.recording.reading_log import ReadingLog
    from edge_agent.services.live_recording import LiveRecording
    from edge_agent.wire.topics import DeviceTopics

    if config.broker is None:
        raise ConfigError(f"{arguments.config}: broker: missing, expected one to record from")
    binding, binned = _binding(population)
    device = config.device
    log = ReadingLog(
        population,
        binding,
        AgentNames.of(population),
        binned=binned,
        tick_seconds=binding.tick_s,
        bulk_in=DeviceTopics(device.fleet, device.name).bulk_in(population.name) if population.bulk else "",
        time_pointer=arguments.time,
        limit=arguments.readings or MAX_EVENTS,
    )
    if not log.filters():
        raise ConfigError(f"{arguments.config}: population {population.name}: found no topic to record")
    for number, entry in enumerate(population.observe):
        if entry.source != "mqtt":
            said = f"observe[{number}]: source {entry.source} is not recorded, only mqtt is"
            print(f"edge-agent: population {population.name}: {said}", file=sys.stderr)
        elif entry.probabilities:
            said = f"observe[{number}]: probabilities are not recorded, only readings are"
            print(f"edge-agent: population {population.name}: {said}", file=sys.stderr)
    # A second client with the daemon's name would make the broker end the daemon's connection.
    settings = mqtt_settings(config.broker, f"record-{client_id(config)}-{os.getpid()}", arguments.config)
    woken = threading.Event()
    client = PahoClient(replace(settings, keep_session=False), woken.set)
    clock = SystemClock()
    live = LiveRecording(client, log, clock, lambda: _save(arguments, log), SAVE_S)
    _until_stopped(live, log, woken, clock.monotonic, arguments.seconds)
    client.close(GOODBYE_S)
    readings = log.readings()
    if not len(readings.time) and not len(readings.action):
        ignored = ", ".join(f"{count} {reason}" for reason, count in log.counters.faults.items())
        said = f"nothing was recorded{f' (ignored: {ignored})' if ignored else ''}; the file is not written"
        print(f"edge-agent: {arguments.output}: {said}", file=sys.stderr)
        return EXIT_FAILED
    _write(arguments, readings)
    return _report(arguments, readings, log.counters.faults)


def _until_stopped(
    live: Any, log: ReadingLog, woken: threading.Event, now: Callable[[], float], seconds: float | None
) -> None:
    stopped: list[int] = []

    def stop(number: int, _frame: object) -> None:
        stopped.append(number)
        woken.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    end = None if seconds is None else now() + seconds
    told = False
    while not stopped and (end is None or now() < end):
        wait = live.turn()
        if live.connected and not told:
            told = True
            print(f"edge-agent: recording {', '.join(log.filters()[:SHOWN])}", file=sys.stderr, flush=True)
        if log.full:
            break
        woken.wait(wait if end is None else min(wait, max(0.0, end - now())))
        woken.clear()
    live.turn()
    if log.full:
        print(f"edge-agent: {log.counters.readings} readings; recording ended", file=sys.stderr)


def _recorded(arguments: argparse.Namespace, config: Config, population: PopulationConfig) -> Readings:
    from edge_agent.config.agent_names import AgentNames
    from edge_agent.runtime.population import models
    from edge_agent.runtime.recording.recorded_readings import readings_of
    from edge_agent.runtime.recording.recorder import frames

    path = Path(config.recorder.path) if arguments.recorder == CURRENT else arguments.recorder
    if path == CURRENT:
        expected = "a recording, or --recorder FILE"
        raise ConfigError(f"{arguments.config}: recorder.path: found none, expected {expected}")
    data = b""
    for segment in (path.with_name(path.name + ".old"), path):
        try:
            data += segment.read_bytes()
        except FileNotFoundError as error:
            if segment == path:
                raise ConfigError(f"{path}: {error.strerror}") from error
        except OSError as error:
            raise ConfigError(f"{segment}: {error.strerror}") from error

    def find(bundle: str, digest: str) -> tuple[Binding, float]:
        for candidate in (Path(bundle), Path(population.bundle)):
            if candidate.exists():
                model, found = models.load_model(candidate)
                if found == digest:
                    binding = models.bind(model, str(candidate))
                    return binding, binding.tick_s or 1.0 / (population.rate_hz or 1.0)
        raise ConfigError(f"{path}: no bundle with digest {digest[:16]} at {bundle} or {population.bundle}")

    entries = list(frames(data))
    if not entries:
        raise ConfigError(f"{path}: not a flight recording, or nothing in it is whole")
    return readings_of(entries, population.name, find, AgentNames.of(population))


def _save(arguments: argparse.Namespace, log: ReadingLog) -> None:
    from edge_agent.wire import readings

    if log.counters.readings or log.counters.actions:
        readings.write(arguments.output, log.readings())


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
    ignored = ", ".join(f"{count} {reason}" for reason, count in faults.items())
    text = f"{arguments.output}: {figures['readings']} readings ({figures['binned']} in bins), "
    text += f"{figures['actions']} actions of {figures['agents']} agents"
    print(text + (f"; ignored: {ignored}" if ignored else ""))
    return EXIT_DONE


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
