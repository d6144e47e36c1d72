"""A running population: its agents step on their observations, and act or are held at their safe values.

Theory of operation. Inputs (`runtime.population.inputs`) are stored as observations. At the end of each tick
`Group.step` closes it for all agents: the model infers and plans, its shadow is compared, records go to the
history, and actions are returned. If ticks have passed since (the daemon was busy or off, or the population
suspended), `Group.pass_ticks` applies their transitions first, each with the readings that were made in it.
Within a tick `Group.decide` lets agents with new readings decide again; the model starts from the beliefs at
the boundary and the action that stood there, so nothing of it changes the step that closes the tick. Where an
arrival is a tick, and for networks, `Group.step` steps the agents with new observations only. Agents whose
observations are all stale, and all agents of a suspended population, get the safe value instead of an action
(`runtime.population.safe_state`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.agent_names import AgentNames
from edge_agent.config.records import PopulationConfig
from edge_agent.engine.binding import Binding, seen_counts
from edge_agent.engine.population import Population
from edge_agent.errors import ConfigError
from edge_agent.memory.arena import Column
from edge_agent.memory.history import History
from edge_agent.runtime.population import actuators, spread
from edge_agent.runtime.population.actuators import SAFE, Sink
from edge_agent.runtime.population.channels import Channel
from edge_agent.runtime.population.counters import GroupCounters
from edge_agent.runtime.population.drift import DriftWindow
from edge_agent.runtime.population.inputs import Inputs
from edge_agent.runtime.population.latency_histogram import Histogram
from edge_agent.runtime.population.margin import keep_within_margin
from edge_agent.runtime.population.observations import Observations
from edge_agent.runtime.population.population_port import PopulationPort
from edge_agent.runtime.population.safe_state import Executed, Hold, SafeState
from edge_agent.runtime.population.shadow import Shadow
from edge_agent.runtime.population.spread import Distributions, SpreadTable
from edge_agent.runtime.population.suspension import SuspendReason


class Step(NamedTuple):
    """A step or a decision within a tick: of which agents (n,), on which bins (n, M), what the model chose,
    and what is to be done.

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
    soft: Distributions | None = None
    """Distributions in place of bins, where observations were uncertain."""


POLL_S = 1.0
MAX_PASSED = 64
"""Ticks whose transitions are applied after a pause; later ones hardly change a belief."""


def ticks_per_second(config: PopulationConfig, binding: Binding) -> float:
    """Return the rate of a population: as configured, else that of the model, else 1 (a network)."""
    if config.rate_hz is not None:
        return config.rate_hz
    return 1.0 if binding.tick_s is None else 1.0 / binding.tick_s


def redecides(config: PopulationConfig, binding: Binding) -> bool:
    """Whether agents decide within ticks: not at a rate, nor where an arrival is a tick, nor in networks."""
    return config.step != "rate" and config.tick != "arrival" and binding.infers


def columns(config: PopulationConfig, size: int, binding: Binding) -> tuple[Column, ...]:
    """Return what `Group` needs of the arena beside the model's and the history's columns."""
    return (
        *Observations.columns(config, size, len(binding.modalities), binding.dtype),
        *SpreadTable.columns(config, binding, size),
        *SafeState.columns(size),
        *actuators.columns(config, size),
        *DriftWindow.columns(binding),
    )


class Group:
    """One running population.

    Parameters
    ----------
    config : PopulationConfig
        Its section of the configuration.
    model_port : PopulationPort
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
        model_port: PopulationPort,
        binding: Binding,
        names: AgentNames,
        channels: Sequence[Channel],
        history: History,
        arrays: Mapping[str, NDArray[Any]],
        digest: str,
        owners: tuple[str, ...],
    ) -> None:
        self.config = config
        self.model_port = model_port
        self.binding = binding
        self.names = names
        self.history = history
        self.digest = digest
        self.bundle = config.bundle
        self.owners = owners
        self.shadow: Shadow | None = None
        self.reasons: AbstractSet[SuspendReason] = frozenset()
        """Why it is suspended: a view of what `Populations` holds."""
        self.preferred: Mapping[int, Sequence[float]] = {}
        self.horizon: int | None = None
        self.counters = GroupCounters()
        self.latency = Histogram()
        self.jitter = Histogram()
        self.observations = Observations(config, binding, arrays)
        self.inputs = Inputs(channels, binding, len(names), self.observations, self.counters)
        self.actuators = actuators.actuators(config, binding, names, arrays)
        self.redecides = redecides(config, binding)
        self.opened: float | None = None
        """When the tick began that is open now, monotonic seconds; None if that is not known."""
        self.passed = 0
        """Ticks that passed without a step and were made up, since the start."""
        self.lost = 0
        """Ticks that passed without a step beyond those that are made up."""
        self.drift = DriftWindow(binding.seen, arrays["drift"]) if "drift" in arrays else None
        self._safe_state = SafeState(arrays["held"], binding.controls, self.actuators)
        self._everyone = np.arange(len(names))

    def configure(self, config: PopulationConfig) -> None:
        """Take over what may change while it runs: rate, stale readings, dwell and margin of actions.

        ``config`` is otherwise the present one.
        """
        self.config = config
        self.observations.configure(config)
        for entry, actuator in zip(config.act, self.actuators, strict=True):
            output = self.binding.output(entry.control, f"population {config.name}: act")
            actuator.configure(*actuators.reluctance(config, entry, self.binding, output))

    @property
    def rate_hz(self) -> float:
        """Ticks per second."""
        return ticks_per_second(self.config, self.binding)

    @property
    def poll_s(self) -> float:
        """Seconds between two readings of its sources."""
        period = 1.0 / self.rate_hz
        return period if self.config.step == "rate" else min(period, POLL_S)

    @property
    def on_time(self) -> bool:
        """Whether its ticks end on time, and not with arrivals."""
        return self.config.step == "rate" or self.redecides

    @property
    def delayed(self) -> int:
        """Actions that had to wait for the end of a dwell, since the start."""
        return sum(actuator.delayed for actuator in self.actuators)

    @property
    def suspended(self) -> bool:
        """Whether it does not step."""
        return bool(self.reasons)

    @property
    def elsewhere(self) -> bool:
        """Whether another device acts for its agents."""
        return SuspendReason.LOAN in self.reasons

    @property
    def wants_step(self) -> bool:
        """Whether agents were heard from that step or decide when they are."""
        return self.config.step != "rate" and self.observations.any_fresh

    def step(self, now: float, time_ms: int, boundary: float = math.inf) -> Step | None:
        """Close a tick for the agents that are due; None if the population is suspended or no agent is due.

        Parameters
        ----------
        now : float
            Monotonic seconds.
        time_ms : int
            Unix time in milliseconds.
        boundary : float
            When the tick ended, monotonic seconds; later readings belong to the next tick.
        """
        if self.suspended:
            self.observations.discard_fresh()
            return None
        subset = None if self.on_time else self.observations.fresh()
        agents = self._everyone if subset is None else subset
        if not agents.size:
            return None
        observed, silent = self.observations.collect(subset, now, boundary)
        self.observations.close(subset, boundary)
        self.counters.ticks += 1
        if self.drift is not None:
            self.drift.note(observed, now)
        soft = self.observations.distributions(subset, observed)
        chosen = np.asarray(spread.step(self.model_port, observed, subset, soft), np.int16)
        self.counters.steps += len(agents)
        energy = self.model_port.free_energy if subset is None else self.model_port.free_energy[agents]
        if self.shadow is not None:
            self.shadow.follow(agents, subset, observed, chosen, energy, soft)
        actions = keep_within_margin(self.model_port, self.actuators, agents, chosen)
        self.history.append(agents, self.counters.ticks, time_ms, observed, actions, energy)
        self._safe_state.note(agents, silent)
        if not np.count_nonzero(silent):  # of few a fraction of the time that any() takes
            return Step(agents, observed, chosen, actions, soft=soft)
        actions = actions.copy()
        actions[silent] = SAFE
        return Step(agents, observed, chosen, actions, self._execute_safe(agents[silent]), soft)

    def pass_ticks(self, now: float, boundary: float) -> Iterator[tuple[NDArray[Any], Distributions | None]]:
        """Make up for the ticks between the last that was closed and the one that ends at ``boundary``.

        Yields
        ------
        ndarray, shape (N, M)
            The bins that all agents observed in one of them.
        mapping of modality to ndarray (N, O), or None
            Distributions in place of bins.
        """
        if self.suspended or boundary == math.inf:
            return
        period = 1.0 / self.rate_hz
        count = 0 if self.opened is None else max(round((boundary - self.opened) / period) - 1, 0)
        self.opened = self.observations.closed = boundary
        self.lost += max(count - MAX_PASSED, 0)
        for tick in range(min(count, MAX_PASSED), 0, -1):
            until = boundary - tick * period
            observed, _ = self.observations.collect(None, now, until)
            self.observations.close(None, until)
            soft = self.observations.distributions(None, observed)
            spread.infer(self.model_port, observed, soft)
            if self.shadow is not None:
                spread.infer(self.shadow.model_port, observed, soft)
            self.counters.ticks += 1
            self.passed += 1
            yield observed.copy(), soft

    def decide(self, now: float) -> Step | None:
        """Let agents with new readings decide within the tick; None if there are none."""
        if self.suspended:
            self.observations.discard_fresh()
            return None
        agents = self.observations.fresh()
        if not agents.size:
            return None
        observed, silent = self.observations.collect(agents, now)
        soft = self.observations.distributions(agents, observed)
        chosen = np.asarray(spread.decide(self.model_port, observed, agents, soft), np.int16)
        self.counters.steps += len(agents)
        self._safe_state.note(agents, silent)
        actions = keep_within_margin(self.model_port, self.actuators, agents, chosen)
        if np.count_nonzero(silent):
            actions = actions.copy()
            actions[silent] = SAFE
        return Step(agents, observed, chosen, actions, soft=soft)

    def publish(
        self,
        agents: NDArray[np.intp],
        actions: NDArray[np.int16],
        sink: Sink,
        clock: Callable[[], float],
    ) -> int:
        """Publish the actions, and record the time since the observations that caused them arrived."""
        now = clock()
        count = sum(
            actuator.act(agents, actions[:, actuator.column], sink, now) for actuator in self.actuators
        )
        self.counters.actions += count
        heard = self.observations.answered(agents)
        if heard.size:
            self.latency.add(clock() - heard)
        return count

    def delay(self, step: Step) -> Executed | None:
        """Tell the models what agents execute whose new actions wait, are not taken or are overridden; None
        if none are.
        """
        agents = step.agents
        differs = [actuator.differs(agents) for actuator in self.actuators]
        if step.actions is step.chosen and not any(map(np.count_nonzero, differs)):
            return None
        rows = np.where(step.actions == SAFE, step.chosen, step.actions)
        others = (rows != step.chosen).any(axis=1)
        held = self._safe_state.holds(agents)
        rows[held] = self._safe_state.executed(agents[held]).actions
        for actuator, other in zip(self.actuators, differs, strict=True):
            for column in actuator.columns:
                rows[other, column] = actuator.doing(agents[other])
            others |= other
        return self._execute(Executed(agents[others], rows[others])) if others.any() else None

    def release(self, sink: Sink, now: float) -> Executed | None:
        """Send the waiting actions whose dwell is over; return what the model was told, if it was.

        Within a tick it is not: its prediction is from the action that stood at the boundary.
        """
        if self.suspended:
            return None
        released: NDArray[np.intp] = self._everyone[:0]
        for actuator in self.actuators:
            agents, count = actuator.release(sink, now)
            self.counters.actions += count
            if agents.size:  # seldom, and numpy loads 0.9 MB for it
                released = np.union1d(released, agents)
        if not released.size or self.redecides:
            return None
        done = self._safe_state.executed(released)
        for actuator in self.actuators:
            done.actions[:, actuator.columns] = actuator.doing(released)[:, np.newaxis]
        return self._execute(done)

    def silent(self, now: float) -> NDArray[np.intp]:
        """Return the agents with stale observations, or all if the population is suspended."""
        return self._everyone if self.suspended else self.observations.silent(now)

    def hold_silent(self, now: float) -> Hold:
        """Return the agents with stale observations; the model is told which actions they execute instead,
        unless they are within a tick.
        """
        if self.elsewhere:  # another device acts for these agents
            nobody = self._everyone[:0]
            return Hold(nobody, self._safe_state.safe(nobody), nobody, None)
        silent = self.silent(now)
        self.counters.stale = len(silent)
        new = self._safe_state.begin(silent)
        tell = new.size and (self.suspended or not self.redecides)
        return Hold(silent, self._safe_state.safe(silent), new, self._execute_safe(new) if tell else None)

    def plan(self, horizon: int | None) -> None:
        """Plan ``horizon`` steps ahead from now on; None: all that the model has."""
        self.horizon = horizon
        self.model_port.plan(horizon=horizon)

    def resume_from(self, beliefs: bytes, counters: GroupCounters) -> None:
        """Restore beliefs and counters from a population of the same bundle and size."""
        self.model_port.restore(beliefs)
        self.counters.resume_from(counters)
        self.opened = None

    def reopen(self, opened: float) -> None:
        """Continue the tick that began at ``opened``, monotonic seconds; readings made before are late."""
        self.opened = self.observations.closed = opened

    def exchange(self) -> None:
        """Exchange the acting model and its shadow."""
        if self.shadow is None:
            raise ConfigError(f"population {self.config.name}: there is no shadow to exchange with")
        new = self.shadow
        self.shadow = Shadow(self.model_port, self.digest, self.bundle, self.owners[0])
        self.model_port, self.digest, self.bundle = new.model_port, new.digest, new.bundle
        self.owners = (new.owner, *self.owners[1:])
        if self.drift is not None and isinstance(self.model_port, Population):
            model = self.model_port.model
            self.drift.expect(seen_counts(model.meta, model.num_obs, self.bundle))
        self.model_port.plan(horizon=self.horizon)
        self.forget_sent()

    def forget_sent(self) -> None:
        """Send every action again with the next step, since receivers may have missed them."""
        self._safe_state.forget()
        for actuator in self.actuators:
            actuator.forget()

    def _execute_safe(self, agents: NDArray[np.intp]) -> Executed | None:
        """Tell the models which actions ``agents`` execute while held safe; None if their actions are not
        sent.
        """
        if not self.actuators and not self.config.bulk:
            return None
        return self._execute(self._safe_state.executed(agents))

    def _execute(self, done: Executed) -> Executed:
        self.model_port.act(done.actions, done.agents)
        if self.shadow is not None:
            self.shadow.model_port.act(done.actions, done.agents)
        return done
