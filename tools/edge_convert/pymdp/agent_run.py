"""Lets a live agent run and writes down what it saw, believed and did.

Theory of operation. The process is the agent's own model (``oracle.World``): states are drawn from D and B,
outcomes from A. Runs of ``EPISODE`` steps begin from D; in every second one some of the executed actions are
drawn from the policies' first actions instead of the agent's choice, so that an agent that stays at its goal
is seen elsewhere too. The agent is told what was executed, so each of its decisions is its own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from edge_agent.engine.arrays import ModelArrays
from edge_convert.measure.oracle import World
from edge_convert.pymdp import pymdp_source
from edge_convert.pymdp.live_agent import Decided, JaxAgent, LegacyAgent, LiveAgent
from edge_convert.readers.agent_trace import AgentTrace

EPISODE = 25
EXPLORED = 0.25
_SOFTNESS = 0.1


def start(
    agent: Any, batch: int, seed: int, without: Collection[str], policy_search: Any = None
) -> LiveAgent:
    """Return the agent, ready to run; ``without``: options that are off."""
    if pymdp_source.is_jax(agent):
        return JaxAgent(agent, batch, seed, without, policy_search)
    return LegacyAgent(agent, seed, without)


def trace(
    live: LiveAgent,
    model: ModelArrays,
    observations: Sequence[Sequence[Any]] | None,
    steps: int,
    seed: int,
    origin: dict[str, Any],
) -> AgentTrace:
    """Return the trace of ``steps`` steps in the model's own process, or of all ``observations``."""
    rng = np.random.default_rng([seed, 1])
    soft = bool(origin.pop("soft", False))
    rows: list[tuple[list[Any], Decided, np.ndarray[Any, Any]]] = []
    restarts: set[int] = set()
    world = World(model, seed)
    live.begin()
    for t in range(steps if observations is None else len(observations)):
        if observations is None and t and t % EPISODE == 0:
            restarts.add(t)
            world = World(model, seed + t)
            live.begin()
        seen = list(observations[t]) if observations is not None else _outcome(world, model, soft, rng)
        decided = live.decide(seen)
        executed = decided.act
        if observations is None and t // EPISODE % 2 and rng.random() < EXPLORED:
            executed = model.policies[rng.integers(len(model.policies)), 0]
        live.act(executed)
        if observations is None:
            world.act(executed.tolist())
        rows.append((seen, decided, executed))
    process = "its own" if observations is None else "given"
    return _trace(rows, model, restarts, origin | {"process": process, "seed": seed})


def _outcome(world: World, model: ModelArrays, soft: bool, rng: np.random.Generator) -> list[Any]:
    outcomes: list[Any] = world.observe().tolist()
    if not soft:
        return outcomes
    weights = _SOFTNESS * rng.random(len(outcomes))
    return [(1 - w) * np.eye(n)[o] + w / n for o, n, w in zip(outcomes, model.num_obs, weights, strict=True)]


def _trace(rows: Sequence[Any], model: ModelArrays, restarts: set[int], meta: dict[str, Any]) -> AgentTrace:
    seen = [row[0] for row in rows]
    decided: list[Decided] = [row[1] for row in rows]
    soft = {
        m: np.stack([np.asarray(row[m], np.float32) for row in seen])
        for m in range(len(model.num_obs))
        if np.ndim(seen[0][m])
    }
    obs = np.array([[-1 if m in soft else int(o) for m, o in enumerate(row)] for row in seen], np.int64)
    return AgentTrace(
        obs=obs,
        qs=tuple(
            np.stack([d.qs[f] for d in decided]).astype(np.float32) for f in range(len(model.num_states))
        ),
        G=np.stack([d.G for d in decided]).astype(np.float32),
        q_pi=np.stack([d.q_pi for d in decided]).astype(np.float32),
        act=np.stack([d.act for d in decided]),
        executed=np.stack([row[2] for row in rows]).astype(np.int64),
        restarts=frozenset(restarts),
        soft=soft,
        meta=meta,
    )
