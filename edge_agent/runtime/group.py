"""A population at work: its columns, when its agents step, and what happens to their actions.

Theory of operation. Observations lie in an int16 column (N, M), beside the time at which each arrived. A step
copies them to a scratch column in which stale ones count as not observed, lets the model infer and plan, adds
records to the history and hands the actions on. At a rate all agents step; on arrival those that were heard
from since their last step, as a subset. Agents that heard nothing at all for too long, and all agents of a
suspended population, are told the safe value instead of an action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edge_agent.errors import ConfigError
from edge_agent.memory.arena import Column
from edge_agent.memory.history import History
from edge_agent.runtime.acting import SAFE, Actuator, Sink
from edge_agent.runtime.binding import Binding, Fault
from edge_agent.runtime.config import ActConfig, ObserveConfig, PopulationConfig
from edge_agent.runtime.holding import Executed, executed
from edge_agent.runtime.latency import Histogram
from edge_agent.runtime.names import AgentNames
from edge_agent.runtime.sensing import Channel, Field, parse

NEVER = -1e18


class Stepper(Protocol):
    """What the daemon needs of a population of any kind (``engine.Population``, ``neural``)."""

    @property
    def free_energy(self) -> NDArray[np.float32]:
        """Surprise of each agent at its last step (N,), nats."""

    @property
    def contradictions(self) -> int:
        """Observations that no state could explain, since the start."""

    @property
    def nbytes(self) -> int:
        """Bytes of its columns."""

    def step(self, observations: NDArray[Any], agents: NDArray[np.intp] | None = None) -> NDArray[Any]:
        """Infer and plan; return actions (n, F)."""

    def act(self, actions: NDArray[Any], agents: NDArray[np.intp] | None = None) -> None:
        """Take note of what was really executed (n, F) instead of what the last step chose; -1: not known."""

    def plan(self, *, horizon: int | None = None) -> None:
        """Plan ``horizon`` steps ahead from now on; None: all that the model has."""

    def reset(self) -> None:
        """Let every agent begin anew."""

    def checkpoint(self) -> bytes:
        """Return the beliefs."""

    def restore(self, data: bytes) -> None:
        """Take beliefs back."""


class Source(Protocol):
    """Readings that are no messages: files, a trace, a plug-in."""

    @property
    def bins(self) -> bool:
        """Whether the numbers are bins already."""

    def read(self) -> Sequence[tuple[int, float]]:
        """Return what is new, (agent, number), without waiting."""

    def close(self) -> None:
        """Let go of what it holds."""


class Feed(NamedTuple):
    """A source, and what becomes of its readings."""

    source: Source
    field: Field


class Step(NamedTuple):
    """One step: of which agents (n,), on which bins (n, M), what the model chose, and what is to be done.

    A network's agents choose SAFE where one of their numbers (n, M) is missing.
    """

    agents: NDArray[np.intp]
    observed: NDArray[Any]
    chosen: NDArray[np.int16]
    """(n, F)."""
    actions: NDArray[np.int16]
    """(n, F), SAFE for those to be held safe."""
    executed: Executed | None = None
    """What those that are held safe do instead, if there are such."""


class Hold(NamedTuple):
    """Agents (n,) that are to be told the safe value."""

    agents: NDArray[np.intp]
    actions: NDArray[np.int16]
    """(n, F), SAFE everywhere."""
    executed: Executed | None
    """What those do now that were not held before, if there are such."""


@dataclass(slots=True)
class GroupCounters:
    """What happened since the population was first started; survives restarts by the checkpoint."""

    ticks: int = 0
    steps: int = 0
    observations: int = 0
    actions: int = 0
    stale: int = 0


def columns(
    config: PopulationConfig, size: int, modalities: int, dtype: DTypeLike = np.int16
) -> tuple[Column, ...]:
    """Return what `Group` needs of the arena beside the model's and the history's columns."""
    return (
        Column("observations", (size, modalities), dtype),
        Column("observed", (size, modalities), dtype),
        Column("arrived", (size, modalities), np.float64),
        Column("fresh", (size,), np.bool_),
        Column("held", (size,), np.bool_),
        Column("sent", (len(config.act), size), np.int16),
    )


@dataclass(slots=True)
class Shadow:
    """A model that sees what the acting one sees, and is compared with it."""

    stepper: Stepper
    digest: str
    bundle: str
    owner: str
    """Its region of the arena."""
    steps: int = 0
    agreed: int = 0
    free_energy: float = 0.0
    """Sums over those steps, nats: its own, and that of the model that acts."""
    acting_free_energy: float = 0.0


class Group:
    """One population at work.

    Parameters
    ----------
    config : PopulationConfig
        Its section of the configuration.
    stepper : Stepper
        The population of a model.
    binding, names, channels, history
        Its modalities and controls, agents, topics and memory.
    arrays : mapping of str to ndarray
        The arena's arrays for `columns`.
    digest : str
        Which bundle it runs.
    owners : tuple of str
        Its regions of the arena, the model's first.
    """

    def __init__(
        self,
        config: PopulationConfig,
        stepper: Stepper,
        binding: Binding,
        names: AgentNames,
        channels: Sequence[Channel],
        history: History,
        arrays: Mapping[str, NDArray[Any]],
        digest: str,
        owners: tuple[str, ...],
    ) -> None:
        self.config = config
        self.stepper = stepper
        self.binding = binding
        self.names = names
        self.channels = tuple(channels)
        self.history = history
        self.digest = digest
        self.bundle = config.bundle
        self.owners = owners
        self.shadow: Shadow | None = None
        self.feeds: list[Feed] = []
        self.suspended = False
        self.elsewhere = False
        self.preferred: Mapping[int, Sequence[float]] = {}
        self.horizon: int | None = None
        self.bulk_seq = 0
        self.counters = GroupCounters()
        self.faults: dict[Fault, int] = dict.fromkeys(Fault, 0)
        self.latency = Histogram()
        self.jitter = Histogram()
        self._observations = arrays["observations"]
        self._observed = arrays["observed"]
        self._arrived = arrays["arrived"]
        self._fresh = arrays["fresh"]
        self._held = arrays["held"]
        self._observations[:] = binding.missing
        self._arrived[:] = NEVER
        self._everyone = np.arange(len(names))
        self._stale, self._once, self._watched = self._rules()
        self.actuators = tuple(
            Actuator(
                _placed(entry, config.name), binding.controls[column], column, names, arrays["sent"][number]
            )
            for number, entry in enumerate(config.act)
            for column in [binding.control(entry.control, f"population {config.name}: act[{number}].control")]
        )

    def _rules(self) -> tuple[NDArray[np.float64], list[int], list[int]]:
        """Return seconds until stale (M,), the modalities used once, and those whose silence counts."""
        stale = np.full(len(self.binding.modalities), 300.0)
        once, watched = [], []
        for number, entry in enumerate(self.config.observe):
            column = self.binding.modality(
                entry.modality, f"population {self.config.name}: observe[{number}].modality"
            )
            stale[column] = entry.stale_s
            watched.append(column)
            if not entry.hold:
                once.append(column)
        if self.config.bulk and not watched:
            watched = list(range(len(stale)))
        return stale, once, watched

    @property
    def wants_step(self) -> bool:
        """Whether an agent was heard from since its last step."""
        return bool(self._fresh.any())

    def observe(self, channel: Channel, agent: int, payload: bytes, arrived: float) -> bool:
        """Take one message in; return whether anything in it was of use."""
        document = parse(payload)
        if isinstance(document, Fault):
            self.faults[document] += 1
            return False
        used = False
        for field in channel.fields:
            code = field.read(document)
            if isinstance(code, Fault):
                self.faults[code] += 1
                continue
            where = slice(None) if agent < 0 else agent
            self._set(where, field.column, code, arrived)
            used = True
        return used

    def feed(self, entry: ObserveConfig, column: int, source: Source) -> None:
        """Take readings from ``source`` from now on."""
        modality = self.binding.modalities[column]
        self.feeds.append(Feed(source, Field((), column, modality, entry.scale, entry.offset)))

    def poll(self, now: float) -> None:
        """Take in what the sources have."""
        for source, field in self.feeds:
            for agent, value in source.read():
                code = int(value) if source.bins and field.modality.size else field.read(value)
                if isinstance(code, Fault):
                    self.faults[code] += 1
                elif not (0 <= agent < len(self.names) and field.modality.holds(code)):
                    self.faults[Fault.OUT_OF_RANGE] += 1
                else:
                    self._set(agent, field.column, code, now)

    def observe_all(self, codes: NDArray[Any], arrived: float) -> None:
        """Take in the bins (N, M) of a bulk message; what is not observed leaves what was."""
        known = self.binding.observed(codes)
        changed = (known & (codes != self._observations)).any(axis=1)
        np.copyto(self._observations, codes, where=known)
        self._arrived[known] = arrived
        self._fresh |= changed if self.config.step == "change" else known.any(axis=1)
        self.counters.observations += int(np.count_nonzero(known))

    def _set(self, where: int | slice, column: int, code: float, arrived: float) -> None:
        changed = self._observations[where, column] != code
        self._observations[where, column] = code
        self._arrived[where, column] = arrived
        self._fresh[where] |= changed if self.config.step == "change" else True
        self.counters.observations += 1 if isinstance(where, int) else len(self.names)

    def step(self, now: float, time_ms: int) -> Step | None:
        """Step whoever is to step; None if the population is suspended or nobody is to."""
        if self.suspended:
            self._fresh[:] = False
            return None
        everyone = self.config.step == "rate"
        agents = self._everyone if everyone else np.flatnonzero(self._fresh)
        if not agents.size:
            return None
        observed = self._observed[: len(agents)]
        np.copyto(observed, self._observations if everyone else self._observations[agents])
        arrived = self._arrived if everyone else self._arrived[agents]
        observed[arrived < now - self._stale] = self.binding.missing
        for column in self._once:
            self._observations[agents, column] = self.binding.missing
        subset = None if everyone else agents
        self.counters.ticks += 1
        chosen = np.asarray(self.stepper.step(observed, subset), np.int16)
        self.counters.steps += len(agents)
        if self.shadow is not None:
            other = self.shadow.stepper.step(observed, subset)
            differs = (chosen != other).any(axis=1)
            if differs.any():  # the shadow's next prediction is of what is done, not of what it would do
                self.shadow.stepper.act(chosen[differs], agents[differs])
            self.shadow.steps += len(agents)
            self.shadow.agreed += len(agents) - int(np.count_nonzero(differs))
            self.shadow.free_energy += float(self.shadow.stepper.free_energy[agents].sum())
            self.shadow.acting_free_energy += float(self.stepper.free_energy[agents].sum())
        energy = self.stepper.free_energy if everyone else self.stepper.free_energy[agents]
        self.history.append(agents, self.counters.ticks, time_ms, observed, chosen, energy)
        silent = self._silent(arrived, now)
        self._held[agents] = silent
        if not silent.any():
            return Step(agents, observed, chosen, chosen)
        actions = chosen.copy()
        actions[silent] = SAFE
        return Step(agents, observed, chosen, actions, self._execute_safe(agents[silent]))

    def publish(self, agents: NDArray[np.intp], actions: NDArray[np.int16], sink: Sink, clock: Any) -> int:
        """Send the actions out, and count how long the observations behind them took to get here."""
        count = sum(actuator.act(agents, actions[:, actuator.column], sink) for actuator in self.actuators)
        self.counters.actions += count
        heard = agents[self._fresh[agents]]
        if heard.size:
            self.latency.add(clock() - self._arrived[heard].max(axis=1))
            self._fresh[heard] = False
        return count

    def hold_silent(self, now: float) -> Hold:
        """Return the agents that were not heard from for too long; the model learns what they do instead."""
        if self.elsewhere:  # another device acts for these agents
            return Hold(self._everyone[:0], self._safe(self._everyone[:0]), None)
        silent = self._everyone if self.suspended else np.flatnonzero(self._silent(self._arrived, now))
        self.counters.stale = len(silent)
        new = silent[~self._held[silent]]
        self._held[new] = True
        return Hold(silent, self._safe(silent), self._execute_safe(new) if new.size else None)

    def plan(self, horizon: int | None) -> None:
        """Plan ``horizon`` steps ahead from now on; None: all that the model has."""
        self.horizon = horizon
        self.stepper.plan(horizon=horizon)

    def exchange(self) -> None:
        """Let the shadow act, and the acting model be its shadow."""
        if self.shadow is None:
            raise ConfigError(f"population {self.config.name}: there is no shadow to exchange with")
        new = self.shadow
        self.shadow = Shadow(self.stepper, self.digest, self.bundle, self.owners[0])
        self.stepper, self.digest, self.bundle = new.stepper, new.digest, new.bundle
        self.owners = (new.owner, *self.owners[1:])
        self.stepper.plan(horizon=self.horizon)
        self.forget_sent()

    def forget_sent(self) -> None:
        """Send every action anew: whoever listens may have missed them."""
        self._held[:] = False
        for actuator in self.actuators:
            actuator.forget()

    def latest(self, agent: int) -> list[str]:
        """Return what the agent observes now, for people."""
        row = self._observations[agent].tolist()
        return [m.text(code) for m, code in zip(self.binding.modalities, row, strict=True)]

    def told(self, agent: int) -> list[str]:
        """Return what the agent was last told, by actuator, for people."""
        return [actuator.told(agent) for actuator in self.actuators]

    def _safe(self, agents: NDArray[np.intp]) -> NDArray[np.int16]:
        return np.full((len(agents), len(self.binding.controls)), SAFE, np.int16)

    def _execute_safe(self, agents: NDArray[np.intp]) -> Executed | None:
        """Tell the models what ``agents`` do while they are held safe; None if nobody listens to them."""
        if not self.actuators and not self.config.bulk:
            return None
        done = executed(agents, self.binding.controls, self.actuators)
        self.stepper.act(done.actions, done.agents)
        if self.shadow is not None:
            self.shadow.stepper.act(done.actions, done.agents)
        return done

    def _silent(self, arrived: NDArray[np.float64], now: float) -> NDArray[np.bool_]:
        if not self._watched:
            return np.zeros(len(arrived), np.bool_)
        late = arrived[:, self._watched] < now - self._stale[self._watched]
        return np.asarray(late.all(axis=1))


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
