"""Formats actions as messages: topics and payloads of the controls of one population.

Theory of operation. An `Actuator` stores the last action sent for each agent (a column in the arena), so that
only changes are sent. After a reconnect it is cleared, so that everything is sent again. A payload that does
not depend on the agent is formatted once. The sink decides where the payload goes (MQTT, a file, a command).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.agent_names import AgentNames
from edge_agent.config.records import ActConfig, PopulationConfig
from edge_agent.errors import ConfigError
from edge_agent.memory.arena import Column
from edge_agent.runtime.population.binding import Binding, Output

UNKNOWN = -1
SAFE = -2

Sink = Callable[[ActConfig, str, int, str], bool]
"""(binding, agent's name, agent's number, payload) -> whether it went out."""


class Actuator:
    """One control's way out.

    Parameters
    ----------
    config : ActConfig
        Topic, template and rules.
    output : Output
        The control, its values, and in which column of the actions it is.
    names : AgentNames
        Whose actions they are.
    sent : ndarray, int16 (N,)
        What each agent was last told; UNKNOWN, or SAFE for the safe value.
    """

    def __init__(self, config: ActConfig, output: Output, names: AgentNames, sent: NDArray[np.int16]) -> None:
        self.config = config
        self.control = output.control
        self.column = output.column
        self._part = output.part
        self._names = names
        self._sent = sent
        self._same = "{agent}" not in config.template and "{index" not in config.template
        self._payloads: dict[int, str] = {}
        self._check()
        self.forget()

    def forget(self) -> None:
        """Forget the sent actions, so that all next actions are sent."""
        self._sent[:] = UNKNOWN

    def _check(self) -> None:
        """Fill topic and template in once for every value: a format that does not fit ends here."""
        try:
            self.config.topic.format(agent=self._names[0], index=0)
            for action in (*range(len(self.control.values)), SAFE):
                self._payload(0, action)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"act {self.control.name}: topic {self.config.topic!r} or template {self.config.template!r} "
                f"cannot be filled in ({error})"
            ) from error

    def told(self, agent: int) -> str:
        """Return the value that ``agent`` was last told, for people."""
        action = int(self._sent[agent])
        if action == UNKNOWN:
            return "-"
        return f"{self.config.safe} (safe)" if action == SAFE else str(self.control.values[action])

    def held(self, agents: NDArray[np.intp]) -> NDArray[np.int16]:
        """Return the actions (n,) that ``agents`` execute while they are held safe; UNKNOWN: none of ours."""
        if self._part is not None:  # the column is made of several controls: no one knows them all
            return np.full(len(agents), UNKNOWN, np.int16)
        if not self.config.safe:
            return np.maximum(self._sent[agents], UNKNOWN)
        values = [str(value) for value in self.control.values]
        code = values.index(self.config.safe) if self.config.safe in values else UNKNOWN
        return np.full(len(agents), code, np.int16)

    def act(self, agents: NDArray[np.intp], actions: NDArray[np.int16], sink: Sink) -> int:
        """Hand the actions (SAFE: the safe value) of ``agents`` to ``sink``; return how many went out."""
        count = 0
        if self._part is not None:
            actions = np.where(actions < 0, actions, self._part[np.maximum(actions, 0)])
        for agent, action in self._wanted(agents, actions):
            if sink(self.config, self._names[agent], agent, self._payload(agent, action)):
                self._sent[agent] = action
                count += 1
        return count

    def _wanted(self, agents: NDArray[np.intp], actions: NDArray[np.int16]) -> Iterator[tuple[int, int]]:
        wanted = (actions != SAFE) | bool(self.config.safe)
        if self.config.on_change:
            wanted &= actions != self._sent[agents]
        return zip(agents[wanted].tolist(), actions[wanted].tolist(), strict=True)

    def _payload(self, agent: int, action: int) -> str:
        if self._same and action in self._payloads:
            return self._payloads[action]
        value = self.config.safe if action == SAFE else self.control.values[action]
        text = self.config.template.format(value=value, action=action, agent=self._names[agent], index=agent)
        if self._same:
            self._payloads[action] = text
        return text


def columns(config: PopulationConfig, size: int) -> tuple[Column, ...]:
    """Return what `actuators` needs of the arena."""
    return (Column("sent", (len(config.act), size), np.int16),)


def actuators(
    config: PopulationConfig, binding: Binding, names: AgentNames, sent: NDArray[np.int16]
) -> tuple[Actuator, ...]:
    """Return the ways out of a population; ``sent`` is the arena's array for `columns`."""
    found = []
    for number, entry in enumerate(config.act):
        output = binding.output(entry.control, f"population {config.name}: act[{number}].control")
        found.append(Actuator(_placed(entry, config.name), output, names, sent[number]))
    return tuple(found)


def _placed(act: ActConfig, population: str) -> ActConfig:
    """Return ``act`` with {population} filled in."""

    def fill(text: str) -> str:
        return text.replace("{population}", population)

    return replace(
        act,
        topic=fill(act.topic),
        path=fill(act.path),
        template=fill(act.template),
        command=tuple(fill(word) for word in act.command),
    )
