"""Adapters that ``run`` connects to the runtime's ports: sources, sinks and board sensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.adapters import board_sensors

if TYPE_CHECKING:
    from edge_agent.adapters.action_sinks import ProgramRunner
    from edge_agent.config.records import ActConfig, Config, ObserveConfig
    from edge_agent.runtime.governor.governor import BoardReadings
    from edge_agent.runtime.population.actuators import Sink
    from edge_agent.runtime.population.group import Group
    from edge_agent.runtime.population.inputs import Source

SENSORS = "edge_agent.sensors"
ACTUATORS = "edge_agent.actuators"


def board_readings() -> Callable[[], BoardReadings]:
    """Return what tells how the board is now, and this process on it since it was last asked."""
    from edge_agent.runtime.governor.governor import BoardReadings

    share = board_sensors.OwnShare()

    def look() -> BoardReadings:
        return BoardReadings(
            temperature_c=board_sensors.temperature_c(),
            throttled=board_sensors.throttled(),
            own=share(),
            waiting=board_sensors.processor_pressure(),
            pressure=board_sensors.memory_pressure(),
            battery=board_sensors.battery(),
        )

    return look


def connect_sources(group: Group) -> None:
    """Give a population the sources that its configuration names beside MQTT."""
    for number, entry in enumerate(group.config.observe):
        if entry.source == "mqtt":
            continue
        key = f"population {group.config.name}: observe[{number}].modality"
        column = group.binding.modality(entry.modality, key)
        group.inputs.feed(entry, column, _source(entry, column, group))


def _source(entry: ObserveConfig, column: int, group: Group) -> Source:
    from edge_agent.adapters.input_sources import FileSource, TraceSource, plugin

    if entry.source == "file":
        paths = [
            Path(entry.path.format(agent=name, index=index, population=group.config.name))
            for index, name in enumerate(group.names)
        ]
        return FileSource(paths, group.poll_s)
    if entry.source == "trace":
        return TraceSource(Path(entry.path), column, len(group.names))
    source: Source = plugin(SENSORS, entry.plugin)(list(group.names))
    return source


def sinks(commands: ProgramRunner, config: Config) -> dict[str, Sink]:
    """Return the sinks beside MQTT.

    Raises
    ------
    ConfigError
        A plug-in that the configuration names is not installed or cannot be loaded.
    """
    from edge_agent.adapters.action_sinks import write_file

    wanted = [act.plugin for population in config.population for act in population.act if act.plugin]
    plugins: dict[str, object] = {name: _actuator(name) for name in dict.fromkeys(wanted)}

    def to_file(act: ActConfig, agent: str, index: int, payload: str) -> bool:
        return write_file(Path(act.path.format(agent=agent, index=index)), payload)

    def to_command(act: ActConfig, agent: str, index: int, payload: str) -> bool:
        words: Sequence[str] = [w.format(agent=agent, index=index, value=payload) for w in act.command]
        return commands.run(words)

    def to_plugin(act: ActConfig, agent: str, index: int, payload: str) -> bool:
        if act.plugin not in plugins:
            plugins[act.plugin] = _actuator(act.plugin)
        actuator = plugins[act.plugin]
        return bool(actuator(agent, payload)) if callable(actuator) else False

    return {"file": to_file, "command": to_command, "plugin": to_plugin}


def _actuator(name: str) -> object:
    from edge_agent.adapters.input_sources import plugin  # brings importlib.metadata, which is 1 MB

    return plugin(ACTUATORS, name)()
