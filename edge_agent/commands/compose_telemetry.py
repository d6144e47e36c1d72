"""Adds telemetry to a daemon: counters, the board's health, and the samples of chosen agents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.adapters import board_sensors
from edge_agent.protocol.telemetry import Telemetry
from edge_agent.runtime.reporting.health_figures import BoardHealth

if TYPE_CHECKING:
    from edge_agent.adapters.restarts import RestartLog
    from edge_agent.commands.compose import Composed
    from edge_agent.commands.compose_daemon import DaemonBuilder
    from edge_agent.runtime.population.inputs import Source
    from edge_agent.runtime.reporting.agent_samples import AgentSamples
    from edge_agent.services.telemetry_outbox import TelemetryOutbox


def publish_telemetry(
    builder: DaemonBuilder, composed: Composed, outbox: TelemetryOutbox, restarts: RestartLog
) -> None:
    """Let the daemon report through ``outbox``."""
    device, profile = composed.config.device, composed.settings.profile
    folder = Path(device.state_dir)
    board = BoardHealth(
        lambda: board_sensors.disk_free(folder),
        board_sensors.clock_synchronised,
        restarts.starts,
        restarts.reason,
    )
    samples = _samples(builder, composed)
    buffer = None if samples is None else samples.buffer
    telemetry = Telemetry(device.telemetry_s, profile.telemetry_bytes_s, samples=buffer)
    builder.publish_telemetry(telemetry, outbox.outbox, outbox.damaged, board, samples)


def _samples(builder: DaemonBuilder, composed: Composed) -> AgentSamples | None:
    if composed.samples is None or builder.subscriptions is None:
        return None
    from edge_agent.runtime.reporting.agent_samples import AgentSamples
    from edge_agent.runtime.reporting.sample_plan import OWNER

    populations = builder.populations
    arrays = populations.arena.allocate(OWNER, composed.samples.columns)
    return AgentSamples(composed.samples, arrays, populations, builder.subscriptions, _read_files)


def _read_files(paths: Sequence[str], interval_s: float) -> Source:
    from edge_agent.adapters.input_sources import FileSource

    return FileSource([Path(path) for path in paths], interval_s)
