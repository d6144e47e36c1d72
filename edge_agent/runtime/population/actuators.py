"""Formats actions as messages: topics and payloads of the controls of one population.

Theory of operation. An `Actuator` stores the last action sent for each agent (a column in the arena), so that
only changes are sent. After a reconnect it is cleared, so that everything is sent again. Within ``dwell_s``
of an agent's last action the next one waits; it is sent when that time is over, unless another one replaced
it. The safe value does not wait. An overridden agent (`runtime.population.overrides`) executes another action
than it chose; its own choice is kept, and waits when the override ends. A payload that does not depend on the
agent is formatted once. The sink decides where the payload goes (MQTT, a file, a command).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.agent_names import AgentNames
from edge_agent.config.records import ActConfig, PopulationConfig
from edge_agent.engine.binding import Binding, Output, text_of
from edge_agent.errors import ConfigError
from edge_agent.memory.arena import Column

UNKNOWN = -1
SAFE = -2
MARGIN = 0.05
FEW = 16
"""Of so many agents actions are compared one by one: arrays take longer."""
MAX_DWELL_S = 60.0
"""Longest default dwell: the time that a fan should run before it is switched again."""

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
    waiting : ndarray, int16 (N,)
        The action that waits until the agent's dwell is over; UNKNOWN if none.
    acted_at : ndarray, float64 (N,)
        When each agent's last action was sent, s.
    dwell_s : float
        Minimum seconds between two actions of an agent.
    margin : float
        How much more probable a new action must be than the one that stands.
    """

    def __init__(
        self,
        config: ActConfig,
        output: Output,
        names: AgentNames,
        sent: NDArray[np.int16],
        waiting: NDArray[np.int16],
        acted_at: NDArray[np.float64],
        dwell_s: float,
        margin: float = 0.0,
    ) -> None:
        self.delayed = 0
        """Actions that had to wait, since the start."""
        self.config = config
        self.control = output.control
        self.column = output.column
        self.columns = output.columns
        self._part = output.part
        self._names = names
        self._sent = sent
        self._waiting = waiting
        self._acted_at = acted_at
        self.margin = margin
        self._dwell_s = dwell_s
        self._overrides: dict[int, int] = {}
        self._own: dict[int, int] = {}
        self._same = "{agent}" not in config.template and "{index" not in config.template
        self._payloads: dict[int, str] = {}
        self._check()
        self.forget()

    def forget(self) -> None:
        """Forget the sent actions, so that all next actions are sent."""
        self._sent[:] = UNKNOWN
        self._waiting[:] = UNKNOWN
        self._acted_at[:] = -np.inf

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

    def last_value(self, agent: int) -> str:
        """Return the value that ``agent`` was last told, for people."""
        action = int(self._sent[agent])
        if action == UNKNOWN:
            return "-"
        return f"{self.config.safe} (safe)" if action == SAFE else text_of(self.control.values[action])

    def override(self, agent: int, action: int) -> None:
        """Let ``agent`` execute ``action`` until the override ends; the next `release` sends it."""
        waiting = self._waiting[agent]
        self._own.setdefault(agent, int(self._sent[agent] if waiting == UNKNOWN else waiting))
        self._overrides[agent] = action
        self._waiting[agent] = action
        self._acted_at[agent] = -np.inf

    def overrides(self, agent: int, action: int) -> bool:
        """Whether ``agent`` was sent ``action`` because of an override."""
        return self._overrides.get(agent) == action == int(self._sent[agent])

    def end_override(self, agent: int) -> None:
        """Let ``agent`` execute its own choice again; the next `release` sends it."""
        if self._overrides.pop(agent, None) is not None:
            self._waiting[agent] = self._own.pop(agent)
            self._acted_at[agent] = -np.inf

    def lift_overrides(self) -> None:
        """Forget all overrides, sending nothing: the population is suspended and gets its safe values."""
        self._overrides.clear()
        self._own.clear()

    def held(self, agents: NDArray[np.intp]) -> NDArray[np.int16]:
        """Return the actions (n,) that ``agents`` execute while they are held safe; UNKNOWN: none of ours."""
        if self._part is not None:  # the column is made of several controls: no one knows them all
            return np.full(len(agents), UNKNOWN, np.int16)
        if not self.config.safe:
            return self._overridden(agents, np.maximum(self._sent[agents], UNKNOWN))
        values = self.control.texts()
        code = values.index(self.config.safe) if self.config.safe in values else UNKNOWN
        return self._overridden(agents, np.full(len(agents), code, np.int16))

    def doing(self, agents: NDArray[np.intp]) -> NDArray[np.int16]:
        """Return the actions (n,) last sent to ``agents``; UNKNOWN: none, or no action of the model."""
        if self._part is not None:
            return np.full(len(agents), UNKNOWN, np.int16)
        told = self._sent[agents]
        return np.asarray(np.where(told == SAFE, self.held(agents), told), np.int16)

    def stands(self, agents: NDArray[np.intp]) -> NDArray[np.int16]:
        """Return the actions (n,) that ``agents`` were last told, those that are overridden their own; below
        0: none, or the safe value.
        """
        told, rows = self._sent[agents], self._overridden_rows(agents)
        told[rows] = [self._own[agent] for agent in agents[rows].tolist()]
        return told

    def act(self, agents: NDArray[np.intp], actions: NDArray[np.int16], sink: Sink, now: float) -> int:
        """Hand the actions (SAFE: the safe value) of ``agents`` to ``sink``; return how many went out."""
        if self._part is not None:
            actions = np.where(actions < 0, actions, self._part[np.maximum(actions, 0)])
        if self._overrides:
            for row in self._overridden_rows(agents):
                if actions[row] != SAFE or self.config.safe:
                    self._own[int(agents[row])] = int(actions[row])
            actions = self._overridden(agents, actions)
        return self._send(agents, actions, sink, now)

    def _overridden_rows(self, agents: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the rows of ``agents`` that are overridden."""
        return np.flatnonzero(np.isin(agents, list(self._overrides))) if self._overrides else agents[:0]

    def _overridden(self, agents: NDArray[np.intp], actions: NDArray[np.int16]) -> NDArray[np.int16]:
        """Return ``actions`` (n,) of this control, those of overridden agents replaced."""
        rows = self._overridden_rows(agents)
        if rows.size:
            actions = actions.copy()
            actions[rows] = [self._overrides[agent] for agent in agents[rows].tolist()]
        return actions

    def _send(self, agents: NDArray[np.intp], actions: NDArray[np.int16], sink: Sink, now: float) -> int:
        """Send actions that are numbers of this control's values; return how many were sent."""
        self._waiting[agents] = UNKNOWN
        count = 0
        few = len(agents) <= FEW
        wanted = self._wanted_of_few(agents, actions, now) if few else self._wanted(agents, actions, now)
        for agent, action in wanted:
            if sink(self.config, self._names[agent], agent, self._payload(agent, action)):
                self._sent[agent] = action
                if action != SAFE:
                    self._acted_at[agent] = now
                count += 1
        return count

    def differs(self, agents: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which of ``agents`` execute another action than they chose: theirs waits, or is
        overridden.
        """
        found = np.asarray(self._waiting[agents] != UNKNOWN)
        if self._overrides:
            found[self._overridden_rows(agents)] = True
        return found

    def release(self, sink: Sink, now: float) -> tuple[NDArray[np.intp], int]:
        """Send the actions whose dwell is over; return the agents (n,) that execute them now, and how many
        were sent.
        """
        agents = np.flatnonzero((self._waiting != UNKNOWN) & (now - self._acted_at >= self._dwell_s))
        actions = self._waiting[agents]
        count = self._send(agents, actions, sink, now)
        return agents[self._sent[agents] == actions], count

    def _wanted(
        self, agents: NDArray[np.intp], actions: NDArray[np.int16], now: float
    ) -> Iterator[tuple[int, int]]:
        wanted = (actions != SAFE) | bool(self.config.safe)
        if self.config.on_change:
            wanted &= actions != self._sent[agents]
        early = wanted & (actions != SAFE) & (now - self._acted_at[agents] < self._dwell_s)
        if early.any():
            self._waiting[agents[early]] = actions[early]
            self.delayed += int(np.count_nonzero(early))
            wanted &= ~early
        return zip(agents[wanted].tolist(), actions[wanted].tolist(), strict=True)

    def _wanted_of_few(
        self, agents: NDArray[np.intp], actions: NDArray[np.int16], now: float
    ) -> Iterator[tuple[int, int]]:
        """Yield as `_wanted`, without arrays."""
        for agent, action in zip(agents.tolist(), actions.tolist(), strict=True):
            if action == SAFE and not self.config.safe:
                continue
            if self.config.on_change and action == self._sent[agent]:
                continue
            if action != SAFE and now - self._acted_at[agent] < self._dwell_s:
                self._waiting[agent] = action
                self.delayed += 1
                continue
            yield agent, action

    def _payload(self, agent: int, action: int) -> str:
        if self._same and action in self._payloads:
            return self._payloads[action]
        value = self._value(action)
        text = self.config.template.format(value=value, action=action, agent=self._names[agent], index=agent)
        if self._same:
            self._payloads[action] = text
        return text

    def _value(self, action: int) -> str | int | float:
        """Return what the device accepts for an action: text, or a number that a template may format."""
        value = self.config.safe if action == SAFE else self.control.values[action]
        if action != SAFE or value in self.control.texts():
            value = self.config.values.get(text_of(value), value)
        return text_of(value) if isinstance(value, bool) else value


def columns(config: PopulationConfig, size: int) -> tuple[Column, ...]:
    """Return what `actuators` needs of the arena."""
    shape = (len(config.act), size)
    return (
        Column("sent", shape, np.int16),
        Column("waiting", shape, np.int16),
        Column("acted_at", shape, np.float64),
    )


def check_output(act: ActConfig, output: Output, key: str, where: str) -> None:
    """Check that ``values`` and ``margin`` fit the control; ``key`` is the entry's key.

    Raises
    ------
    ConfigError
        ``values`` names a value that the control does not have, or a ``margin`` cannot be computed.
    """
    control = output.control
    if act.margin and output.part is not None:
        raise ConfigError(
            f"{key}.margin: found {act.margin:g}, expected 0: control {control.name} of {where} is one of "
            "several in an action"
        )
    for name in act.values:
        if name not in control.texts():
            raise ConfigError(
                f"{key}.values.{name}: found a value that control {control.name} of {where} does not have, "
                f"expected one of {', '.join(control.texts())}"
            )


def actuators(
    config: PopulationConfig, binding: Binding, names: AgentNames, arrays: Mapping[str, NDArray[Any]]
) -> tuple[Actuator, ...]:
    """Return the actuators of a population; ``arrays`` are the arena's arrays for `columns`."""
    timed = binding.tick_s is not None and config.tick != "arrival"
    usual = min((binding.tick_s or 0.0) / 2.0, MAX_DWELL_S) if timed else 0.0
    found = []
    for number, entry in enumerate(config.act):
        output = binding.output(entry.control, f"population {config.name}: act[{number}].control")
        dwell = usual if entry.dwell_s is None else entry.dwell_s
        sent, waiting, acted_at = (arrays[name][number] for name in ("sent", "waiting", "acted_at"))
        placed = _placed(entry, config.name)
        margin = entry.margin
        if margin is None:
            margin = MARGIN if timed and output.part is None else 0.0
        found.append(Actuator(placed, output, names, sent, waiting, acted_at, dwell, margin))
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
