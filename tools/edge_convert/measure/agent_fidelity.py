"""How near a bundle's agent is to the agent it came from, measured on what agents go through.

Theory of operation. All that are compared see the same outcomes and are told the same executed actions, so a
difference in one decision does not count again in the next (``decisions`` defines the figures). There are two
measures:

- against the user's agent: along the trace that ``export_pymdp`` kept of the live agent;
- against the float64 reference: on a recording, or on rollouts in which the source model is the world and the
  bundle's agents act; a second set of rollouts, in which the reference acts in the same world, gives the
  return that the source would have had.

The reference is run along the live agent's trace as well: where the bundle is near the reference and the
reference is not near the agent, the export is at fault, not the bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine import Model, Population
from edge_agent.engine.arrays import ModelArrays
from edge_convert import console
from edge_convert.measure.decisions import Comparison, Decisions, compare, most_probable, stacked
from edge_convert.measure.oracle import Oracle, World
from edge_convert.readers.agent_source import AgentSource
from edge_convert.readers.agent_trace import AgentTrace
from edge_convert.readers.samples import Trace

ROLLOUT_STEPS = 50
ROLLOUT_AGENTS = 8
SIMULATED = "simulated from the model itself"
Float = NDArray[np.float64]


@dataclass(frozen=True)
class TraceHistory:
    """What agents went through: outcomes int [T, N, M] and executed actions int [T, N, F].

    ``restarts`` are the ticks before which they started again from D; ``soft`` holds distributions over
    outcomes [T, N, O_m] in place of a modality's outcomes.
    """

    outcomes: NDArray[np.int64]
    executed: NDArray[np.int64]
    restarts: frozenset[int] = frozenset()
    soft: Mapping[int, Float] = field(default_factory=dict)

    @classmethod
    def of_trace(cls, trace: AgentTrace) -> TraceHistory:
        """Return what the live agent went through, as the history of one agent."""
        soft = {m: table[:, np.newaxis].astype(np.float64) for m, table in trace.soft.items()}
        return cls(trace.obs[:, np.newaxis], trace.executed[:, np.newaxis], trace.restarts, soft)

    def distributions(self, t: int) -> dict[int, Float]:
        """Return the distributions [N, O_m] that stand for a modality's outcomes at step ``t``."""
        return {m: table[t] for m, table in self.soft.items()}

    def head(self, steps: int, agents: int) -> TraceHistory:
        """Return the first steps of the first agents."""
        soft = {m: table[:steps, :agents] for m, table in self.soft.items()}
        begun = frozenset(t for t in self.restarts if t < steps)
        return TraceHistory(self.outcomes[:steps, :agents], self.executed[:steps, :agents], begun, soft)


@dataclass(frozen=True)
class AgentFidelity:
    """The measures of one bundle; ``closed_loop``: (bundle, reference), mean preference per step.

    ``agent`` and ``export`` (bundle and reference against the user's agent) are None without a trace.
    """

    reference: Comparison
    agent: Comparison | None
    export: Comparison | None
    closed_loop: tuple[float, float] | None
    history: TraceHistory

    def figures(self) -> dict[str, Any]:
        """Return what the manifest and the tables show."""
        figures = self.reference.figures()
        if self.closed_loop is not None:
            figures["return"], figures["reference_return"] = self.closed_loop
        if self.agent is not None and self.export is not None:
            figures["agent"] = self.agent.figures()
            figures["agent_of_reference"] = self.export.figures()
        return figures

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of the report: against the user's agent, and against the float64 reference."""
        measured = [("against your agent", self.agent), ("against the float64 reference", self.reference)]
        return [{"measured": name} | one.line() for name, one in measured if one is not None]

    def worst_steps(self) -> list[str]:
        """Return the steps that are off most, and the factor, in words."""
        return (self.agent or self.reference).worst_steps()


class Measurement:
    """What bundles of one source are measured on, and what reference and live agent decided there."""

    def __init__(self, source: AgentSource, recording: Trace | None, name: str, seed: int) -> None:
        self._source = source
        self._recording = recording
        self._name = name
        self._seed = seed
        self._known: tuple[TraceHistory, Decisions] | None = None
        self._trace: tuple[TraceHistory, Decisions, Comparison] | None = None
        if source.trace is not None:
            history = TraceHistory.of_trace(source.trace)
            wanted = trace_decisions(source.arrays, source.trace)
            found = reference_decisions(source.arrays, history)
            origin = _words(source.trace)
            self._trace = history, wanted, compare(source.arrays, wanted, found, origin)

    def measure(self, model: Model) -> AgentFidelity:
        """Return the fidelity of ``model``; without a recording it acts in rollouts of its own."""
        if self._recording is not None:
            return self._along(model, _history(self._recording, model), None, self._name)
        history, found, utility = _rollouts(self._source.arrays, model, self._seed)
        words = f"{ROLLOUT_AGENTS} rollouts of {ROLLOUT_STEPS} steps {SIMULATED}, seed {self._seed}"
        fidelity = self._along(model, history, found, words)
        theirs = (
            utility if fidelity.reference.alike.all() else _reference_return(self._source.arrays, self._seed)
        )
        return AgentFidelity(
            fidelity.reference, fidelity.agent, fidelity.export, (utility, theirs), fidelity.history
        )

    def along(self, model: Model, fidelity: AgentFidelity) -> AgentFidelity:
        """Return the fidelity of ``model`` along the history that another one went through."""
        return self._along(model, fidelity.history, None, fidelity.reference.origin)

    def _along(
        self, model: Model, history: TraceHistory, found: Decisions | None, origin: str
    ) -> AgentFidelity:
        arrays = self._source.arrays
        if self._known is None or self._known[0] is not history:
            self._known = history, reference_decisions(arrays, history)
        if found is None:
            found = bundle_decisions(arrays, model, history)
        reference = compare(arrays, self._known[1], found, origin)
        if self._trace is None:
            return AgentFidelity(reference, None, None, None, history)
        past, wanted, export = self._trace
        mine = compare(arrays, wanted, bundle_decisions(arrays, model, past), export.origin)
        return AgentFidelity(reference, mine, export, None, history)


def measure(
    source: AgentSource, model: Model, recording: Trace | None, name: str, seed: int
) -> AgentFidelity:
    """Return the fidelity of ``model`` to ``source`` on a recording, or on rollouts where there is none."""
    return Measurement(source, recording, name, seed).measure(model)


def reference_decisions(model: ModelArrays, history: TraceHistory) -> Decisions:
    """Return what the float64 reference holds and chooses along a history."""
    ticks, size = history.outcomes.shape[:2]
    oracle = Oracle(model, size)
    rows = []
    for t in console.progress(range(ticks), ticks, "reference"):
        if t in history.restarts:
            oracle.restart()
        qs, q_pi = oracle.step(history.outcomes[t], history.distributions(t))
        rows.append(Decisions(tuple(qs), q_pi, most_probable(model, q_pi)))
        oracle.act(history.executed[t])
    return stacked(rows)


def bundle_decisions(arrays: ModelArrays, model: Model, history: TraceHistory) -> Decisions:
    """Return what a bundle's agents hold and choose along a history."""
    agents = Population(model, history.outcomes.shape[1])
    rows = []
    for t in range(len(history.outcomes)):
        if t in history.restarts:
            agents.reset()
        rows.append(_stepped(arrays, agents, history.outcomes[t], history.distributions(t)))
        agents.act(history.executed[t])
    return stacked(rows)


def _stepped(
    arrays: ModelArrays, agents: Population, outcomes: NDArray[np.int64], soft: Mapping[int, Float]
) -> Decisions:
    actions = agents.step_with(outcomes, soft=soft) if soft else agents.step(outcomes)
    q_pi = agents.policy_posterior.astype(np.float64)
    beliefs = tuple(agents.beliefs(f).astype(np.float64) for f in range(len(arrays.B)))
    if actions is None or arrays.options.action_selection == "stochastic":
        actions = most_probable(arrays, q_pi)
    return Decisions(beliefs, q_pi, actions)


def _rollouts(arrays: ModelArrays, model: Model, seed: int) -> tuple[TraceHistory, Decisions, float]:
    """Let the bundle's agents act in the model's world; return history, decisions, and preference per
    step.
    """
    worlds = [World(arrays, seed + agent) for agent in range(ROLLOUT_AGENTS)]
    agents = Population(model, ROLLOUT_AGENTS, seed=seed)
    utility, seen, done, rows = 0.0, [], [], []
    for _ in console.progress(range(ROLLOUT_STEPS), ROLLOUT_STEPS, "rollouts"):
        outcomes = np.stack([world.observe() for world in worlds])
        utility += _preference(arrays, outcomes)
        rows.append(_stepped(arrays, agents, outcomes, {}))
        actions = rows[-1].act
        agents.act(actions)
        for world, action in zip(worlds, actions.tolist(), strict=True):
            world.act(action)
        seen.append(outcomes)
        done.append(actions)
    return TraceHistory(np.stack(seen), np.stack(done)), stacked(rows), utility / ROLLOUT_STEPS


def _history(recording: Trace, model: Model) -> TraceHistory:
    """Return a recording as a history; without executed actions those of ``model`` are taken."""
    if recording.act is not None:
        return TraceHistory(recording.obs, recording.act, recording.restarts)
    agents = Population(model, recording.obs.shape[1])
    done = []
    for t, outcomes in enumerate(recording.obs):
        if t in recording.restarts:
            agents.reset()
        done.append(agents.step(outcomes))
    return TraceHistory(recording.obs, np.stack(done), recording.restarts)


def trace_decisions(model: ModelArrays, trace: AgentTrace) -> Decisions:
    """Return what the live agent held and chose; of one that draws, its most probable action."""
    q_pi = trace.q_pi.astype(np.float64)
    drawn = model.options.action_selection == "stochastic"
    act = most_probable(model, q_pi) if drawn else trace.act
    beliefs = tuple(q[:, np.newaxis].astype(np.float64) for q in trace.qs)
    return Decisions(beliefs, q_pi[:, np.newaxis], act[:, np.newaxis])


def _words(trace: AgentTrace) -> str:
    meta = trace.meta
    process = "observations that were given" if meta.get("process") == "given" else "its own process"
    without: Sequence[str] = meta.get("without", ())
    left_out = f", without {', '.join(without)}" if without else ""
    return (
        f"{len(trace.obs)} steps of {meta.get('agent', 'the live agent')}, pymdp {meta.get('pymdp', '?')}, "
        f"in {process}, seed {meta.get('seed', 0)}{left_out}"
    )


def _preference(source: ModelArrays, outcomes: NDArray[np.int64]) -> float:
    """Return the mean over agents of the preference for what they observe."""
    tables: Sequence[Float] = [c[0] if c.ndim == 2 else c for c in source.C]
    return float(np.sum([table[outcomes[:, m]] for m, table in enumerate(tables)], axis=0).mean())


def _reference_return(source: ModelArrays, seed: int) -> float:
    worlds, oracle = [World(source, seed + n) for n in range(ROLLOUT_AGENTS)], Oracle(source, ROLLOUT_AGENTS)
    utility = 0.0
    for _ in range(ROLLOUT_STEPS):
        outcomes = np.stack([world.observe() for world in worlds])
        utility += _preference(source, outcomes)
        actions = most_probable(source, oracle.step(outcomes)[1])
        oracle.act(actions)
        for world, action in zip(worlds, actions.tolist(), strict=True):
            world.act(action)
    return utility / ROLLOUT_STEPS
