"""Reads a flight recording for ``edge-agent record --recorder``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import ConfigError

if TYPE_CHECKING:
    import argparse

    from edge_agent.config.records import Config, PopulationConfig
    from edge_agent.engine.binding import Binding
    from edge_agent.wire.readings import Readings

CURRENT = Path()
"""``--recorder`` without a file: that of the configuration."""


def seconds_per_tick(population: PopulationConfig, binding: Binding) -> float:
    """Return the seconds per tick of a recording; where an arrival was a tick, those of the model."""
    from edge_agent.runtime.population.group import ticks_per_second

    if population.tick == "arrival" and binding.tick_s is not None:
        return binding.tick_s
    return 1.0 / ticks_per_second(population, binding)


def read(arguments: argparse.Namespace, config: Config, population: PopulationConfig) -> Readings:
    """Return what a flight recording holds of ``population``.

    Raises
    ------
    ConfigError
        There is no recording, it is not one, or not of this population and its bundle.
    """
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
                    return binding, seconds_per_tick(population, binding)
        raise ConfigError(f"{path}: no bundle with digest {digest[:16]} at {bundle} or {population.bundle}")

    entries = list(frames(data))
    if not entries:
        raise ConfigError(f"{path}: not a flight recording, or nothing in it is whole")
    return readings_of(entries, population.name, find, AgentNames.of(population))
