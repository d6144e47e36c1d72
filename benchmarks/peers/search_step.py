"""pymdp's sophisticated inference on its own environments; run by the peers' own Python.

``search_step.py FOLDER NAME HORIZON`` builds one agent, writes its model to FOLDER/NAME.npz as the golden
models are written, and prints seconds of a search from the agent's first prior, compiled and warm.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from pymdp.agent import Agent
from pymdp.envs import CueChainingEnv, GridWorld, TMaze
from pymdp.planning.si import si_policy_search

SECONDS = 2.0
OPTIONS = {"max_nodes": 1000, "entropy_stop_threshold": 0.0, "gamma": 4.0}


def _tmaze() -> Agent:
    env = TMaze(cue_validity=0.95, reward_probability=0.9)
    C = [jnp.zeros(a.shape[0]) for a in env.A]
    C[1] = C[1].at[1].set(3.0).at[2].set(-3.0)
    return _agent(env, env.A, C, env.D)


def _grid() -> Agent:
    """On a 7 by 7 grid, where it begins in a corner and knows it, and sees where it is most of the time."""
    env = GridWorld(shape=(7, 7), success_prob=0.9)
    distance = jnp.abs(jnp.arange(49) // 7 - 3) + jnp.abs(jnp.arange(49) % 7 - 3)
    D = [jnp.zeros(49).at[0].set(1.0)]
    return _agent(env, [0.8 * env.A[0] + 0.2 / 49], [-0.5 * distance], D)


def _cues() -> Agent:
    env = CueChainingEnv()
    C = [jnp.zeros(a.shape[0]) for a in env.A]
    C[3] = C[3].at[1].set(3.0).at[2].set(-6.0)
    return _agent(env, env.A, C, [env.D[0], *(jnp.ones_like(d) / len(d) for d in env.D[1:])])


def _agent(
    env: TMaze | GridWorld | CueChainingEnv, A: list[jax.Array], C: list[jax.Array], D: list[jax.Array]
) -> Agent:
    deps = {"A_dependencies": env.A_dependencies, "B_dependencies": env.B_dependencies}
    return Agent(list(A), list(env.B), C, list(D), policy_len=1, **deps)


AGENTS: dict[str, Callable[[], Agent]] = {"tmaze": _tmaze, "grid7": _grid, "cue_chaining": _cues}


def write(agent: Agent, path: Path) -> None:
    """Write an agent's model, without the batch axis."""
    series = {"A": agent.A, "B": agent.B, "C": agent.C, "D": agent.D}
    entries = {f"{k}_{i}": np.asarray(x)[0] for k, arrays in series.items() for i, x in enumerate(arrays)}
    for key, deps in (("A_deps", agent.A_dependencies), ("B_deps", agent.B_dependencies)):
        entries[key] = np.asarray(json.dumps([[int(d) for d in one] for one in deps]))
    np.savez(path, policies=np.asarray(agent.policies.policy_arr), **entries)


def search_time(agent: Agent, horizon: int) -> float:
    """Return the median seconds of a search."""
    search = si_policy_search(horizon=horizon, **OPTIONS)
    qs = [d[:, None, :] for d in agent.D]
    jax.block_until_ready(search(agent, qs)[0])
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        jax.block_until_ready(search(agent, qs)[0])
        times.append(time.perf_counter() - start)
    return float(np.median(times))


if __name__ == "__main__":
    folder, name, horizon = sys.argv[1:]
    agent = AGENTS[name]()
    write(agent, Path(folder) / f"{name}.npz")
    print(json.dumps({"model": name, "search": search_time(agent, int(horizon))}), flush=True)
