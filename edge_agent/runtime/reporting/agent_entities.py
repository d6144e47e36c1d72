"""What Home Assistant shows of a population's agents, from its configuration and its model.

The announcement of a device has a largest size (`discovery.MAX_BYTES`): the populations' diagnostic sensors
come first, then the agents in the order of the configuration, as many as there is room for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from edge_agent.config.agent_names import AgentNames
from edge_agent.config.records import Config, PopulationConfig
from edge_agent.engine.binding import Binding
from edge_agent.engine.stored_model import StoredModel
from edge_agent.errors import ConfigError
from edge_agent.memory.budget import Line
from edge_agent.wire import discovery
from edge_agent.wire.agent_discovery import (
    AgentEntities,
    ControlEntity,
    FactorEntity,
    agent_components,
    auto_option,
)
from edge_agent.wire.topics import DeviceTopics

BYTES_PER_AGENT = 8192
"""Of the daemon's memory for each agent that is shown: ids, the last state, and the announcement as it is
made.
"""


class PopulationView(NamedTuple):
    """What is needed of a population, running or only prepared."""

    config: PopulationConfig
    binding: Binding
    model: Any
    names: AgentNames


class Shown(NamedTuple):
    """What is shown of a population: of its first ``agents`` out of ``wanted``."""

    entities: AgentEntities
    agents: int
    wanted: int

    @property
    def messages_per_s(self) -> float:
        """Largest rate of state messages, overrides excepted."""
        return self.agents / self.entities.interval_s


def announce_agents(
    topics: DeviceTopics, populations: Iterable[PopulationView], taken: int
) -> tuple[discovery.Components, dict[str, Shown]]:
    """Return the components of all shown agents, and what is shown of which population.

    ``taken`` bytes of the announcement are in use already.
    """
    found: discovery.Components = {}
    shown: dict[str, Shown] = {}
    for population in populations:
        entities = agent_entities(population.config, population.binding, population.model)
        if entities is None or population.config.home_assistant is None:
            continue
        names = population.names
        wanted = min(population.config.home_assistant.agents, len(names))
        every = (agent_components(topics, entities, names[i], i) for i in range(wanted))
        components, count = discovery.fitting(every, taken)
        taken += len(discovery.encode(components))
        found |= components
        shown[population.config.name] = Shown(entities, count, wanted)
    return found, shown


def planned_agents(config: Config, populations: Iterable[PopulationView]) -> dict[str, Shown]:
    """Return what will be shown of which population of a configuration."""
    topics = DeviceTopics(config.device.fleet, config.device.name)
    names = ("", *(entry.name for entry in config.population))
    seconds = config.device.telemetry_s
    head, _ = discovery.fitting(discovery.diagnostics(topics, name, seconds) for name in names)
    _, shown = announce_agents(topics, populations, len(discovery.encode(head)))
    return shown


def check_room(config: Config, shown: Mapping[str, Shown], where: str) -> None:
    """Check that the announcement has room for all agents that are to be shown.

    Raises
    ------
    ConfigError
        It has not; ``where`` is the configuration's path.
    """
    for number, entry in enumerate(config.population):
        found = shown.get(entry.name)
        if found is not None and found.agents < found.wanted:
            raise ConfigError(
                f"{where}: population[{number}].home_assistant.agents: found {found.wanted}, "
                f"expected at most {found.agents}: an announcement has at most {discovery.MAX_BYTES} bytes"
            )


def memory_lines(config: Config, sizes: Iterable[tuple[PopulationConfig, int]]) -> Iterator[Line]:
    """Yield what the shown agents of populations, each with its number of agents, add to the memory plan."""
    for population, size in sizes:
        shown = population.home_assistant
        if shown is not None and config.broker is not None and config.broker.home_assistant:
            yield Line(population.name, "home assistant", min(shown.agents, size) * BYTES_PER_AGENT)


def agent_entities(config: PopulationConfig, binding: Binding, model: Any) -> AgentEntities | None:
    """Return what is shown of each agent, None if nothing is; ``model`` has factors if it is a
    `StoredModel`.
    """
    shown = config.home_assistant
    if shown is None:
        return None
    factors = tuple(_factors(model)) if isinstance(model, StoredModel) else ()
    return AgentEntities(config.name, tuple(_controls(config, binding)), factors, shown.interval_s)


def _controls(config: PopulationConfig, binding: Binding) -> Iterator[ControlEntity]:
    shown = config.home_assistant
    acting = {
        binding.output(entry.control, f"population {config.name}: act[{number}].control").control.name
        for number, entry in enumerate(config.act)
    }
    for output in binding.outputs:
        values = output.control.texts()
        if len(values) < 2:  # a factor that no control moves
            continue
        accepts = shown is not None and shown.override_s > 0.0 and output.control.name in acting
        yield ControlEntity(output.control.name, values, (auto_option(values), *values) if accepts else ())


def _factors(model: StoredModel) -> Iterator[FactorEntity]:
    for number, entry in enumerate(model.meta.get("factors") or ()):
        if entry.get("name"):
            states = entry.get("states") or range(model.num_states[number])
            yield FactorEntity(number, str(entry["name"]), tuple(str(state) for state in states))
