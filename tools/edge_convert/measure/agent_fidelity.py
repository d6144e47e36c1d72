"""How near an 8-bit agent is to its float64 source, decision by decision.

Theory of operation. Population and reference see the same outcomes and are told the same executed actions, so
a difference in one decision does not count again in the next. The history is a recording, or rollouts in
which the source model is the world and the 8-bit agents act; a second set of rollouts, in which the reference
acts in the same world, gives the return that the source would have had. Figures of a decision:

- ``kl``: KL(reference || 8 bits) of the posterior over states, nats, the worst factor;
- ``tv``: total variation distance of the posteriors over policies;
- ``regret``: what the chosen action gives away in the reference's (negative) expected free energy, nats:
  that of the best policy less that of the best policy which starts with the chosen action;
- ``agree``: whether the action is the reference's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine import Model, Population
from edge_agent.engine.arrays import ModelArrays
from edge_agent.engine.reference import EPSILON, Decision
from edge_convert import console
from edge_convert.measure.oracle import Oracle, World
from edge_convert.readers.samples import Trace

ROLLOUT_STEPS = 50
ROLLOUT_AGENTS = 8
SIMULATED = "simulated from the model itself"
Float = NDArray[np.float64]


@dataclass(frozen=True)
class TraceHistory:
    """What agents went through: outcomes int [T, N, M] and executed actions int [T, N, F].

    ``restarts`` are the ticks before which they started again from D.
    """

    outcomes: NDArray[np.int64]
    executed: NDArray[np.int64]
    restarts: frozenset[int] = frozenset()


@dataclass(frozen=True)
class AgentFidelity:
    """Figures [T, N] of N agents' T steps; ``closed_loop``: (8 bits, reference), mean preference a step."""

    kl: Float
    tv: Float
    regret: Float
    agree: NDArray[np.bool_]
    actions: NDArray[np.int64]
    reference_actions: NDArray[np.int64]
    kl_factors: Float
    closed_loop: tuple[float, float] | None
    origin: str
    history: TraceHistory

    def figures(self) -> dict[str, Any]:
        """Return what the gate, the manifest and the tables show."""
        figures: dict[str, Any] = {
            "action_agreement": float(self.agree.mean()),
            "max_posterior_kl": float(self.kl.max()),
            "mean_posterior_kl": float(self.kl.mean()),
            "mean_policy_tv": float(self.tv.mean()),
            "max_policy_tv": float(self.tv.max()),
            "max_regret": float(self.regret.max()),
            "decisions": int(self.agree.size),
            "data": self.origin,
        }
        if self.closed_loop is not None:
            figures["return"], figures["reference_return"] = self.closed_loop
        return figures

    def worst_steps(self) -> list[str]:
        """Return the two steps that are off most, and the factor, in words."""
        said = []
        for flat in np.argsort(-(self.kl + self.regret), axis=None)[:2]:
            t, n = np.unravel_index(flat, self.kl.shape)
            found, wanted = self.actions[t, n].tolist(), self.reference_actions[t, n].tolist()
            said.append(
                f"step {t}, agent {n}: KL {self.kl[t, n]:.3g}, action {found} for {wanted}, "
                f"regret {self.regret[t, n]:.3g}"
            )
        factor = int(self.kl_factors.argmax())
        said.append(f"factor {factor} reaches a posterior KL of {self.kl_factors[factor]:.3g}")
        return said


def measure(
    source: ModelArrays, model: Model, recording: Trace | None, name: str, seed: int
) -> AgentFidelity:
    """Return the fidelity of ``model`` to ``source`` on a recording, or on rollouts where there is none."""
    if recording is not None:
        return _recorded(source, model, recording, name)
    worlds = [World(source, seed + agent) for agent in range(ROLLOUT_AGENTS)]
    run = _Run(source, model, ROLLOUT_AGENTS)
    utility = 0.0
    for _ in console.progress(range(ROLLOUT_STEPS), ROLLOUT_STEPS, "rollouts"):
        outcomes = np.stack([world.observe() for world in worlds])
        utility += _preference(source, outcomes)
        actions = run.step(outcomes)
        run.act(actions)
        for world, action in zip(worlds, actions.tolist(), strict=True):
            world.act(action)
    mine = utility / ROLLOUT_STEPS
    loop = mine, mine if run.agrees else _reference_return(source, seed)
    return run.result(loop, f"{ROLLOUT_AGENTS} rollouts of {ROLLOUT_STEPS} steps {SIMULATED}, seed {seed}")


def _recorded(source: ModelArrays, model: Model, recording: Trace, name: str) -> AgentFidelity:
    run = _Run(source, model, recording.obs.shape[1])
    for t in console.progress(range(len(recording.obs)), len(recording.obs), "evaluation"):
        if t in recording.restarts:
            run.restart()
        actions = run.step(recording.obs[t])
        run.act(actions if recording.act is None else recording.act[t])
    return run.result(None, name)


class _Run:
    """Population and reference side by side."""

    def __init__(self, source: ModelArrays, model: Model, agents: int) -> None:
        self._source = source
        self._agents = Population(model, agents)
        self._oracles = [Oracle(source) for _ in range(agents)]
        self._rows: list[list[tuple[Float, float, float, bool]]] = []
        self._actions: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        self._outcomes: list[NDArray[np.int64]] = []
        self._executed: list[NDArray[np.int64]] = []
        self._restarts: set[int] = set()

    def restart(self) -> None:
        """Let all begin anew from D before the next step."""
        self._restarts.add(len(self._rows))
        self._agents.reset()
        for oracle in self._oracles:
            oracle.restart()

    def step(self, outcomes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Let both decide; return the population's actions [N, F]."""
        actions: NDArray[np.int64] = self._agents.step(outcomes)
        decisions = [oracle.step(o) for oracle, o in zip(self._oracles, outcomes.tolist(), strict=True)]
        beliefs = [self._agents.beliefs(f).astype(np.float64) for f in range(len(self._source.B))]
        q_pi = self._agents.policy_posterior
        self._rows.append(
            [
                (
                    np.array([divergence(q, beliefs[f][n]) for f, q in enumerate(decision.qs)]),
                    float(np.abs(decision.q_pi - q_pi[n]).sum() / 2),
                    _regret(self._source, decision, actions[n]),
                    bool((decision.act == actions[n]).all()),
                )
                for n, decision in enumerate(decisions)
            ]
        )
        self._outcomes.append(outcomes)
        self._actions.append((actions, np.stack([decision.act for decision in decisions])))
        return actions

    def act(self, actions: NDArray[np.int64]) -> None:
        """Tell both which actions [N, F] were executed."""
        self._executed.append(actions)
        self._agents.act(actions)
        for oracle, action in zip(self._oracles, actions.tolist(), strict=True):
            oracle.act(action)

    @property
    def agrees(self) -> bool:
        """Whether every decision so far was the reference's: the same worlds then give it the same return."""
        return all(row[3] for rows in self._rows for row in rows)

    def result(self, closed_loop: tuple[float, float] | None, origin: str) -> AgentFidelity:
        kl = np.array([[row[0] for row in rows] for rows in self._rows])
        return AgentFidelity(
            kl=kl.max(axis=2),
            tv=np.array([[row[1] for row in rows] for rows in self._rows]),
            regret=np.array([[row[2] for row in rows] for rows in self._rows]),
            agree=np.array([[row[3] for row in rows] for rows in self._rows]),
            actions=np.stack([found for found, _ in self._actions]),
            reference_actions=np.stack([wanted for _, wanted in self._actions]),
            kl_factors=kl.max(axis=(0, 1)),
            closed_loop=closed_loop,
            origin=origin,
            history=TraceHistory(
                np.stack(self._outcomes), np.stack(self._executed), frozenset(self._restarts)
            ),
        )


def divergence(p: Float, q: Float) -> float:
    """Return KL(p || q) in nats, with logarithms clipped as the reference clips them."""
    return max(float((p * (np.log(np.maximum(p, EPSILON)) - np.log(np.maximum(q, EPSILON)))).sum()), 0.0)


def _regret(source: ModelArrays, decision: Decision, action: NDArray[np.int64]) -> float:
    value = decision.G + np.log(np.maximum(source.E, EPSILON)) / source.gamma
    starts = (source.policies[:, 0] == action).all(axis=1)
    return float(value.max() - value[starts].max()) if starts.any() else float(np.ptp(value))


def _preference(source: ModelArrays, outcomes: NDArray[np.int64]) -> float:
    """Return the mean over agents of the preference for what they observe."""
    tables: Sequence[Float] = [c[0] if c.ndim == 2 else c for c in source.C]
    return float(np.sum([table[outcomes[:, m]] for m, table in enumerate(tables)], axis=0).mean())


def _reference_return(source: ModelArrays, seed: int) -> float:
    utility = 0.0
    for agent in range(ROLLOUT_AGENTS):
        world, oracle = World(source, seed + agent), Oracle(source)
        for _ in range(ROLLOUT_STEPS):
            outcomes = world.observe()
            utility += _preference(source, outcomes[None])
            action = oracle.step(outcomes.tolist()).act
            oracle.act(action.tolist())
            world.act(action.tolist())
    return utility / (ROLLOUT_AGENTS * ROLLOUT_STEPS)
