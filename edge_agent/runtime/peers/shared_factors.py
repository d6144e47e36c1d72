"""Shared factors of populations: sends their observations as evidence, and sets their beliefs to the fused
one.

Theory of operation. A population with a shared factor steps once a fleet tick. Before the step its agents
take over the fused belief of the tick, from everybody's evidence so far, as their prior; the step adds
their own observations and plans from there. After it, what the observations say about the factor goes to
`protocol.peers.evidence_exchange`, which tells the others and folds late evidence in by re-running the filter
(`shared.PopulationFilter`, the population's own kernel and transition matrices).

Only modalities that depend on the factor alone are evidence for others; what an agent concludes about it
from the rest holds until its next step. A factor whose transitions depend on others can't be shared. The
factor's controller tells its action too.

An agent's number in a channel counts this device's agents on it, in the order of the configuration.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.config.agent_names import AgentNames
from edge_agent.config.peer_records import ShareConfig
from edge_agent.engine import likelihood
from edge_agent.engine.population import Population
from edge_agent.engine.stored_model import StoredModel
from edge_agent.errors import ConfigError, ModelError, ObservationError
from edge_agent.protocol.peers.bayes_fusion import BayesFusion
from edge_agent.protocol.peers.evidence_exchange import EvidenceExchange
from edge_agent.protocol.ports import Clock, Publication
from edge_agent.runtime.peers.kernel_filter import PopulationFilter
from edge_agent.runtime.population.group import Group, Step
from edge_agent.runtime.recording.recorder import Recorder
from edge_agent.wire.evidence import MAX_STATES, NO_ACTION

log = logging.getLogger("edge_agent")

STEP_AT, SEND_AT = 0.5, 0.6
"""When in a fleet tick populations step, and when what they saw is sent: clocks may differ by half a tick."""


@dataclass(frozen=True, slots=True)
class _Shared:
    """One shared factor of one population: the channel and number in it of each agent."""

    factor: int
    channels: tuple[str, ...]
    numbers: tuple[int, ...]
    controller: str


def shared_factor(share: ShareConfig, model: StoredModel, where: str) -> int:
    """Return the number of the factor that ``share`` names; ``where`` is its place in the configuration.

    Raises
    ------
    ConfigError
        The model has no such factor, or one that can't be shared.
    """
    named = [str(entry.get("name", n)) for n, entry in enumerate(model.meta.get("factors") or ())]
    names = named or [str(n) for n in range(len(model.num_states))]
    if share.factor in names:
        factor = names.index(share.factor)
    elif share.factor.isdecimal() and int(share.factor) < len(model.num_states):
        factor = int(share.factor)
    else:
        raise ConfigError(f"{where}.factor: found {share.factor!r}, expected one of {', '.join(names)}")
    place = f"{where}.factor: found {share.factor!r}"
    if (factor,) not in model.A_deps:
        raise ConfigError(f"{place}, expected one that some modality depends on alone")
    if model.B_deps[factor] != (factor,):
        raise ConfigError(f"{place}, expected one whose transitions depend on no other")
    if model.num_states[factor] > MAX_STATES:
        raise ConfigError(f"{place} of {model.num_states[factor]} states, expected at most {MAX_STATES}")
    if model.num_controls[factor] > 1 and not share.controller:
        raise ConfigError(f"{where}.controller: missing, expected the device whose actions move the factor")
    return factor


def channel_names(share: ShareConfig, population: str, names: AgentNames) -> Iterator[str]:
    """Yield the channel of each agent."""
    for index, name in enumerate(names):
        yield share.channel.format(agent=name, index=index, population=population)


def populations_of(group: Group) -> list[Population]:
    """Return the population of a model that acts, and the one that runs as its shadow."""
    model_ports = (group.model_port, None if group.shadow is None else group.shadow.model_port)
    return [model_port for model_port in model_ports if isinstance(model_port, Population)]


class SharedFactors:
    """All shared factors of a device.

    Parameters
    ----------
    sharing : EvidenceExchange
        Who says and hears what.
    window : int
        Ticks within which evidence may be late.
    clock : Clock
        Unix time makes the ticks.
    """

    def __init__(self, sharing: EvidenceExchange, window: int, clock: Clock) -> None:
        self.sharing = sharing
        self.ticks_missed = 0
        self._window = window
        self._clock = clock
        self._bound: dict[str, tuple[str, tuple[_Shared, ...]]] = {}
        self._seen: dict[str, int] = {}

    def __bool__(self) -> bool:
        return any(shared for _, shared in self._bound.values())

    def bind(self, groups: Mapping[str, Group]) -> None:
        """Share the factors of ``groups``, and of no others; one that runs another model begins anew."""
        taken: dict[str, int] = {}
        for name in [name for name in self._bound if name not in groups]:
            self._close(name)
        for name, group in groups.items():
            digest, shared = self._bound.get(name, ("", ()))
            if digest == group.digest:
                for one in shared:
                    for channel, number in zip(one.channels, one.numbers, strict=True):
                        taken[channel] = max(taken.get(channel, 0), number + 1)
                continue
            self._close(name)
            try:
                self._bound[name] = (group.digest, tuple(self._open(name, group, taken)))
            except ConfigError as error:
                log.error("peers: %s; nothing of it is shared", error)
                self._bound[name] = (group.digest, ())

    def before(self, name: str, group: Group, recorder: Recorder) -> None:
        """Let a population's agents begin the tick from what all have seen."""
        _, shared = self._bound.get(name, ("", ()))
        if not shared or group.suspended or not isinstance(group.model_port, Population):
            return
        self.sharing.advance(self._clock.time())
        for one in shared:
            fused = {channel: self.sharing.fusion(channel).belief() for channel in set(one.channels)}
            beliefs = np.stack([fused[channel] for channel in one.channels]).astype(np.float32)
            for population in populations_of(group):
                if population.model.num_states[one.factor] == beliefs.shape[1]:
                    population.set_beliefs(one.factor, beliefs)
            recorder.record_beliefs(name, one.factor, beliefs)

    def after(self, name: str, group: Group, step: Step) -> None:
        """Take what a population's agents saw in this tick for evidence."""
        _, shared = self._bound.get(name, ("", ()))
        if not shared or not isinstance(group.model_port, Population):
            return
        tick = self.sharing.advance(self._clock.time())
        if self._seen.get(name) == tick:  # a second step in one tick: its evidence would count twice
            self.ticks_missed += 1
            return
        self._seen[name] = tick
        for one in shared:
            self._observe(one, group.model_port.model, step)

    def flush(self) -> list[Publication]:
        """Return what is to be sent in this tick."""
        now = self._clock.time()
        self.sharing.advance(now)
        return self.sharing.flush(now)

    def seconds_to(self, part: float) -> float:
        """Return the seconds until ``part`` of a fleet tick is over, of this one or the next."""
        period = self.sharing.settings.period
        return float((part * period - self._clock.time()) % period) or period

    def status(self) -> dict[str, Any]:
        """Return what was shared, and the fused beliefs, in plain types."""
        return {
            **asdict(self.sharing.counters),
            "lost": self.sharing.lost(),
            "ticks_missed": self.ticks_missed,
            "channels": {
                channel: {
                    "members": self.sharing.shared_with(channel),
                    "belief": [round(float(p), 6) for p in self.sharing.fusion(channel).belief()],
                }
                for channel in sorted(self._channels())
            },
        }

    def _open(self, name: str, group: Group, taken: dict[str, int]) -> Iterator[_Shared]:
        if not isinstance(group.model_port, Population):
            return
        model = group.model_port.model
        for place, share in enumerate(group.config.share):
            factor = shared_factor(share, model, f"population {name}: share[{place}]")
            channels = tuple(channel_names(share, name, group.names))
            numbers = []
            for channel in channels:
                numbers.append(taken.get(channel, 0))
                taken[channel] = numbers[-1] + 1
            controller = (share.controller, 0) if share.controller else None
            runs = PopulationFilter(model, factor)
            beliefs = group.model_port.beliefs(factor).astype(np.float64)  # of a checkpoint, or D
            tick = self.sharing.tick_of(self._clock.time())
            for channel in set(channels) - self._channels():
                prior = beliefs[channels.index(channel)]
                self.sharing.open(
                    channel, BayesFusion(runs, prior / prior.sum(), tick, self._window, controller)
                )
            yield _Shared(factor, channels, tuple(numbers), share.controller)

    def _close(self, name: str) -> None:
        _, gone = self._bound.pop(name, ("", ()))
        for channel in {c for one in gone for c in one.channels} - self._channels():
            self.sharing.close(channel)

    def _channels(self) -> set[str]:
        return {c for _, shared in self._bound.values() for one in shared for c in one.channels}

    def _observe(self, one: _Shared, model: StoredModel, step: Step) -> None:
        me = self.sharing.topics.device
        seen = [m for m, deps in enumerate(model.A_deps) if deps == (one.factor,)]
        for row, agent in enumerate(step.agents.tolist()):
            channel, number = one.channels[agent], one.numbers[agent]
            action = NO_ACTION
            if one.controller == me and number == 0 and step.actions[row, one.factor] >= 0:
                action = int(step.actions[row, one.factor])
            likelihood = _likelihood(model, one.factor, step.observed[row : row + 1], seen)
            if likelihood is not None or action != NO_ACTION:
                flat = np.ones(model.num_states[one.factor])
                self.sharing.observe(channel, number, flat if likelihood is None else likelihood, action)


def _likelihood(
    model: StoredModel, factor: int, observed: NDArray[np.int16], modalities: Iterable[int]
) -> NDArray[np.float64] | None:
    """Return what one agent's outcomes (1, M) say about the factor; None: nothing, or nothing possible."""
    if all(observed[0, m] < 0 for m in modalities):
        return None
    try:
        return np.asarray(likelihood.likelihood(model, factor, observed)[0])
    except (ObservationError, ModelError):
        return None  # the step has counted the contradiction
