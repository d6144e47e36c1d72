"""Live agents of pymdp that learn: ``learners.py KIND FOLDER [NAME ...]``, KIND: jax, legacy or speed.

Each acts for `STEPS` ticks in a world that is its model, half of its actions drawn, and learns from each
`EVERY` ticks (``Agent.infer_parameters``), or once from all. ``FOLDER/NAME.npz`` has what it was given, saw,
did and believed, and the concentrations that it ended with. Legacy agents learn D, from the first tick of
each episode. "speed" prints the microseconds an agent of a batch needs for a step that learns, compiled.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

MODELS = Path(__file__).parents[1] / "golden" / "models"
STEPS, EVERY, EPISODE = 2000, 10, 10
BATCH, RUNS = 64, 7
CASES: dict[str, dict[str, Any]] = {
    "s1_grid5_T1": {"lr": (0.7, 1.3)},
    "s2_grid10_T1": {},
    "s2_grid10_T3": {},
    "s3_tmaze_T2": {"episodes": True},
    "s4_grid10x4_T1": {},
    "s1_grid5_T1, learn_A alone": {"learn": (True, False)},
    "s1_grid5_T1, learn_B alone": {"learn": (False, True)},
    "s1_grid5_T1, offline": {"every": STEPS},
    "s1_grid5_T1, use_param_info_gain": {"gain": True},
}


def arrays(name: str) -> dict[str, Any]:
    """Return the tensors of a golden model."""
    with np.load(MODELS / f"{name}.npz") as stored:
        held = {k: stored[k] for k in stored.files}

    def all_of(letter: str) -> list[Any]:
        return [held[f"{letter}_{i}"].astype(float) for i in range(len(held)) if f"{letter}_{i}" in held]

    out: dict[str, Any] = {letter: all_of(letter) for letter in "ABCD"}
    for key in ("A_deps", "B_deps"):
        out[key] = json.loads(str(held[key]))
    return out | {"policy_len": int(str(held["policy_len"])), "gamma": float(str(held["gamma"]))}


class World:
    """States and readings drawn from a model's own tensors."""

    def __init__(self, model: dict[str, Any], rng: np.random.Generator) -> None:
        self.model, self.rng = model, rng
        self.begin()

    def begin(self) -> None:
        self.state = [self.drawn(d) for d in self.model["D"]]

    def drawn(self, p: Any) -> int:
        return int(min(np.searchsorted(np.cumsum(p), self.rng.random() * p.sum()), len(p) - 1))

    def move(self, action: Any) -> None:
        pairs = zip(self.model["B"], self.model["B_deps"], strict=True)
        columns = [b[(slice(None), *(self.state[d] for d in deps))] for b, deps in pairs]
        self.state = [self.drawn(c[:, u]) for c, u in zip(columns, action, strict=True)]

    def read(self) -> list[int]:
        pairs = zip(self.model["A"], self.model["A_deps"], strict=True)
        return [self.drawn(a[(slice(None), *(self.state[d] for d in deps))]) for a, deps in pairs]


def jax_learner(name: str) -> dict[str, Any]:
    """Let a JAX agent act and learn; return its trace."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import equinox as eqx
    import jax.numpy as jnp
    from pymdp.agent import Agent

    stated = CASES[name]
    model = arrays(name.partition(",")[0])
    every, learn = stated.get("every", EVERY), stated.get("learn", (True, True))
    lr = stated.get("lr", (1.0, 1.0))
    p = {f"p{k}": [10.0 * t + 0.01 for t in model[k]] for k in "AB"}

    def given(tensors: list[Any]) -> list[Any]:
        return [jnp.asarray(t) for t in tensors]

    agent = Agent(
        given([q / q.sum(axis=0) for q in p["pA"]]) if learn[0] else given(model["A"]),
        given([q / q.sum(axis=0) for q in p["pB"]]) if learn[1] else given(model["B"]),
        given(model["C"]),
        given(model["D"]),
        pA=given(p["pA"]),
        pB=given(p["pB"]),
        A_dependencies=model["A_deps"],
        B_dependencies=model["B_deps"],
        policy_len=model["policy_len"],
        gamma=model["gamma"],
        learn_A=learn[0],
        learn_B=learn[1],
        use_param_info_gain=bool(stated.get("gain")),
        sampling_mode="full",
    )
    rng = np.random.default_rng(3)
    world = World(model, rng)

    @eqx.filter_jit
    def tick(agent: Any, outcome: Any, prior: Any) -> Any:
        qs = agent.infer_states(outcome, prior)
        q_pi, _ = agent.infer_policies(qs)
        return [q[:, -1] for q in qs], q_pi

    @eqx.filter_jit
    def predict(agent: Any, action: Any, qs: Any) -> Any:
        return agent.update_empirical_prior(action, [q[:, None] for q in qs])

    @eqx.filter_jit
    def learned(agent: Any, now: Any, outcomes: Any, actions: Any, window: Any) -> Any:
        rates = {"lr_pA": lr[0], "lr_pB": lr[1]}
        return agent.infer_parameters(now, outcomes, actions, beliefs_B=window, **rates)

    controls = [b.shape[-1] for b in model["B"]]
    rows: dict[str, list[Any]] = {key: [] for key in ("observations", "executed", "q_pi")}
    beliefs: list[list[Any]] = [[] for _ in model["B"]]
    prior, action, began = agent.D, None, 0
    for t in range(STEPS):
        if stated.get("episodes") and t % EPISODE == 0:
            world.begin()
            prior, action, began = agent.D, None, t
        elif action is not None:
            world.move(action)
        outcome = world.read()
        qs, q_pi = tick(agent, [jnp.array([[o]]) for o in outcome], prior)
        rows["observations"].append(outcome)
        rows["executed"].append([-1] * len(controls) if action is None else action)
        rows["q_pi"].append(np.asarray(q_pi)[0])
        for kept, q in zip(beliefs, qs, strict=True):
            kept.append(np.asarray(q)[0])
        best = np.asarray(agent.policies.policy_arr)[int(np.argmax(np.asarray(q_pi)[0])), 0]
        drawn = [int(rng.integers(u)) for u in controls]
        action = drawn if rng.random() < 0.5 else [int(u) for u in best]
        prior = predict(agent, jnp.array([action]), qs)  # with the old B, before learning ...
        if (t + 1) % every == 0:
            first = max(t - every, began)
            now = slice(t + 1 - every, t + 1)
            agent = learned(
                agent,
                [jnp.asarray(np.array(kept[now]))[None] for kept in beliefs],
                [
                    jnp.asarray(np.array([o[m] for o in rows["observations"][now]]))[None]
                    for m in range(len(outcome))
                ],
                jnp.asarray(np.array(rows["executed"][first + 1 : t + 1]))[None],
                [jnp.asarray(np.array(kept[first : t + 1]))[None] for kept in beliefs],
            )
            prior = predict(agent, jnp.array([action]), qs)  # ... and again with the new, as the rollout does
    out: dict[str, Any] = {key: np.array(values) for key, values in rows.items()}
    out |= {f"belief_{f}": np.array(kept) for f, kept in enumerate(beliefs)}
    for letter, ends in (("pA", agent.pA), ("pB", agent.pB)):
        out |= {f"{letter}_{i}": q for i, q in enumerate(p[letter])}
        out |= {f"end_{letter}_{i}": np.asarray(q)[0] for i, q in enumerate(ends)}
    return out | {
        "every": every,
        "lr": np.array(lr),
        "learn": np.array(learn),
        "gain": bool(stated.get("gain")),
    }


def legacy_learner(name: str) -> dict[str, Any]:
    """Let a legacy agent learn D over episodes; return what it saw and ended with."""
    from pymdp.agent import Agent

    model = arrays(name)
    pD = [5.0 * d + 0.2 * (np.arange(len(d)) % 2) for d in model["D"]]
    model["A"] = [over_all(a, deps, model) for a, deps in zip(model["A"], model["A_deps"], strict=True)]
    model["A_deps"] = [list(range(len(model["B"])))] * len(model["A"])
    agent = Agent(
        objects(model["A"]),
        objects(model["B"]),
        D=objects([p / p.sum() for p in pD]),
        pD=objects(pD),
        lr_pD=0.5,
        save_belief_hist=True,
    )
    world = World(model | {"D": [np.full(len(d), 1 / len(d)) for d in model["D"]]}, np.random.default_rng(5))
    outcomes, beliefs = [], []
    for _ in range(STEPS // EPISODE):
        world.begin()
        agent.reset()
        outcomes.append(world.read())
        qs = agent.infer_states(outcomes[-1])
        beliefs.append([np.asarray(q, float) for q in qs])
        agent.update_D(qs)
    return {
        "observations": np.array(outcomes),
        **{f"belief_{f}": np.array([b[f] for b in beliefs]) for f in range(len(pD))},
        "lr": np.array(0.5),
        **{f"pD_{f}": p for f, p in enumerate(pD)},
        **{f"end_pD_{f}": np.asarray(p, float) for f, p in enumerate(agent.pD)},
    }


def objects(tensors: list[Any]) -> Any:
    """Return tensors as pymdp 0.x wants them."""
    out = np.empty(len(tensors), object)
    for i, tensor in enumerate(tensors):
        out[i] = tensor
    return out


def over_all(a: Any, deps: list[int], model: dict[str, Any]) -> Any:
    """Return a likelihood with an axis for every factor: pymdp 0.x has no other."""
    states = [len(d) for d in model["D"]]
    shape = [n if f in deps else 1 for f, n in enumerate(states)]
    return np.broadcast_to(a.reshape(len(a), *shape), (len(a), *states)).copy()


def speed(name: str) -> float:
    """Return the microseconds an agent needs for a step that learns, in a batch, compiled."""
    import jax
    import jax.numpy as jnp
    import jax.random as jr
    from pymdp.agent import Agent
    from pymdp.envs.rollout import infer_and_plan

    model = arrays(name)

    def given(tensors: list[Any]) -> list[Any]:
        return [jnp.asarray(t, jnp.float32) for t in tensors]

    agent = Agent(
        given(model["A"]),
        given(model["B"]),
        given(model["C"]),
        given(model["D"]),
        pA=given([10 * a + 0.01 for a in model["A"]]),
        pB=given([10 * b + 0.01 for b in model["B"]]),
        A_dependencies=model["A_deps"],
        B_dependencies=model["B_deps"],
        policy_len=model["policy_len"],
        gamma=model["gamma"],
        learn_A=True,
        learn_B=True,
        batch_size=BATCH,
    )
    step = jax.jit(
        lambda agent, qs, outcome, action, key: infer_and_plan(agent, qs, outcome, action, key)[:3]
    )
    outcome = [jnp.zeros((BATCH, 1), jnp.int32) for _ in model["A"]]
    state = agent, jnp.zeros((BATCH, len(model["B"])), jnp.int32), [d[:, None] for d in agent.D]
    taken = []
    for n in range(RUNS + 1):
        begun = time.perf_counter()
        state = step(state[0], state[2], outcome, state[1], jr.PRNGKey(n))
        jax.block_until_ready(state[2])
        taken.append(time.perf_counter() - begun)
        state = state[0], state[1], [q[:, -1:] for q in state[2]]
    return float(np.median(taken[1:])) / BATCH * 1e6


def main(kind: str, folder: Path, names: list[str]) -> int:
    """Write a trace each; print one line each."""
    if kind == "speed":
        for name in names:
            print(f"{name} {speed(name)}", flush=True)
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    cases = CASES if kind == "jax" else ("s1_grid5_T1", "s3_tmaze_T2")
    for name in cases:
        if not names or name in names:
            made = jax_learner(name) if kind == "jax" else legacy_learner(name)
            np.savez_compressed(folder / f"{name}.npz", **made)
            print(name, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
