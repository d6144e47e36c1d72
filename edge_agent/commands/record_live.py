"""Records from a broker for ``edge-agent record``, until it is stopped."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.commands.broker_settings import client_id, mqtt_settings
from edge_agent.errors import ConfigError
from edge_agent.wire.readings import MAX_EVENTS

if TYPE_CHECKING:
    from edge_agent.config.records import Config, PopulationConfig
    from edge_agent.engine.binding import Binding
    from edge_agent.runtime.recording.reading_log import ReadingLog
    from edge_agent.services.live_recording import LiveRecording

SAVE_S = 600.0
GOODBYE_S = 1.0
SHOWN = 4
"""Topics that are named when recording begins."""


def record(arguments: argparse.Namespace, config: Config, population: PopulationConfig) -> ReadingLog:
    """Record until SIGINT, SIGTERM, or what the options say; return what was recorded.

    Raises
    ------
    ConfigError, PlatformError
        There is no broker or no topic, or the broker cannot be reached.
    """
    from edge_agent.adapters.mqtt import PahoClient
    from edge_agent.adapters.system_clock import SystemClock
    from edge_agent.config.agent_names import AgentNames
    from edge_agent.runtime.recording.reading_log import ReadingLog
    from edge_agent.services import live_recording
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
    live = live_recording.LiveRecording(client, log, clock, lambda: _save(arguments, log), SAVE_S)
    _until_stopped(live, log, woken, clock.monotonic, arguments.seconds)
    client.close(GOODBYE_S)
    return log


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


def _until_stopped(
    live: LiveRecording,
    log: ReadingLog,
    woken: threading.Event,
    now: Callable[[], float],
    seconds: float | None,
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
        wait = live.run_once()
        if live.connected and not told:
            told = True
            print(f"edge-agent: recording {', '.join(log.filters()[:SHOWN])}", file=sys.stderr, flush=True)
        if log.full:
            break
        woken.wait(wait if end is None else min(wait, max(0.0, end - now())))
        woken.clear()
    live.run_once()
    if log.full:
        print(f"edge-agent: {log.counters.readings} readings; recording ended", file=sys.stderr)


def _save(arguments: argparse.Namespace, log: ReadingLog) -> None:
    from edge_agent.wire import readings

    if log.counters.readings or log.counters.actions:
        readings.write(arguments.output, log.readings())
