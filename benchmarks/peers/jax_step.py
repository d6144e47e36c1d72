"""pymdp's JAX agent and the best JAX we can write, on the golden models; run by the peers' own Python.

Prints one JSON object a model: seconds a step of one pymdp agent, its functions fused in one jit (``single``)
and inside ``lax.scan`` over many ticks (``scan``: no call a step, for agents that live in a simulation), and
seconds an agent-step of a shared model over batches of beliefs, at the best batch size: ``vmap`` of those
functions, and ``batched``, the same mathematics written for batches by hand. That one plans level by level,
so that policies share prefixes, keeps the predicted beliefs of planning as the next prior, and runs 16
fixed-point iterations as pymdp does (`jax_factors` for more than two factors). With one factor an iteration
is enough: ``single_1``, ``scan_1`` and ``vmap_1`` are with ``num_iter=1``, pymdp's default is 16.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax_factors import step_of  # type: ignore[import-not-found]  # beside this file
from numpy.typing import NDArray
from pymdp import control
from pymdp.algos import run_factorized_fpi

BATCHES = (64, 256, 1024, 4096)
TICKS = 200
HIGHEST = partial(jnp.einsum, precision="highest")

Arrays = list[jax.Array]
Deps = list[list[int]]
# A, B, C, D, A_deps, B_deps, policies
Model = tuple[Arrays, Arrays, Arrays, Arrays, Deps, Deps, NDArray[np.int64]]
Step = Callable[[Arrays, jax.Array], tuple[Arrays, jax.Array]]


def read(path: Path) -> Model:
    """Return the arrays of a golden model."""
    data = np.load(path)

    def series(letter: str) -> Arrays:
        numbers = sorted(int(k[2:]) for k in data.files if k[:2] == letter + "_" and k[2:].isdigit())
        return [jnp.asarray(data[f"{letter}_{i}"], jnp.float32) for i in numbers]

    A_deps, B_deps = (json.loads(str(data[key])) for key in ("A_deps", "B_deps"))
    return series("A"), series("B"), series("C"), series("D"), A_deps, B_deps, np.asarray(data["policies"])


def best_time(step: Step, prior: Arrays, obs: jax.Array) -> float:
    """Return the shortest time of a step in seconds, measured for at least 2 s."""
    jax.block_until_ready(step(prior, obs))
    times: list[float] = []
    end = time.perf_counter() + 2.0
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        jax.block_until_ready(step(prior, obs))
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def pymdp_step(model: Model, turns: int = 16) -> Step:
    """Return a step of one agent through pymdp's own functions, ``turns`` fixed-point iterations each."""
    A, B, C, _, A_deps, B_deps, policies = model
    plans = jnp.asarray(policies)
    E = jnp.ones(len(policies)) / len(policies)
    controls = [b.shape[-1] for b in B]

    def step(prior: Arrays, obs: jax.Array) -> tuple[Arrays, jax.Array]:
        one_hot = [jax.nn.one_hot(obs[m], a.shape[0]) for m, a in enumerate(A)]
        qs = run_factorized_fpi(A, one_hot, prior, A_deps, num_iter=turns)
        q_pi, _ = control.update_posterior_policies(
            plans, qs, A, B, C, E, None, None, A_deps, B_deps, gamma=16.0
        )
        action = control.sample_action(plans, controls, q_pi)
        return control.compute_expected_state(qs, B, action, B_deps), action

    return step


def single(model: Model, turns: int = 16) -> float:
    """Time one agent, everything in one compiled call."""
    step = jax.jit(pymdp_step(model, turns))
    return best_time(step, model[3], jnp.zeros(len(model[0]), jnp.int32))


def scanned(model: Model, turns: int = 16) -> float:
    """Time one agent in a compiled loop over ``TICKS`` ticks, a tick."""
    step = pymdp_step(model, turns)
    run = jax.jit(lambda prior, obs: jax.lax.scan(step, prior, obs))
    return best_time(run, model[3], jnp.zeros((TICKS, len(model[0])), jnp.int32)) / TICKS


def vmapped(model: Model, n: int, turns: int = 16) -> float:
    """Time ``n`` agents of a shared model: vmap over beliefs."""
    step = jax.jit(jax.vmap(pymdp_step(model, turns)))
    prior = [jnp.tile(d, (n, 1)) for d in model[3]]
    return best_time(step, prior, jnp.zeros((n, len(model[0])), jnp.int32)) / n


def batched(model: Model, n: int) -> float:
    """Time a shared model, ``n`` agents: every contraction is one matrix product for all of them."""
    if len(model[1]) > 2:
        many = [jnp.tile(d, (n, 1)) for d in model[3]]
        return best_time(jax.jit(step_of(model)), many, jnp.zeros((n, len(model[0])), jnp.int32)) / n
    A, B, C, D, A_deps, _, policies = model
    horizon, factors = policies.shape[1], len(B)
    logA = [jnp.log(jnp.clip(a, 1e-16)) for a in A]
    ambiguity = [-(a * la).sum(0) for a, la in zip(A, logA, strict=True)]
    groups: dict[tuple[int, ...], list[int]] = {}
    for m, deps in enumerate(A_deps):
        groups.setdefault(tuple(deps), []).append(m)
    letters = "abcdefg"

    def term(beliefs: Arrays) -> jax.Array | float:  # [n, K, S_f] a factor -> [n, K]
        total: jax.Array | float = 0.0
        for deps, members in groups.items():
            axes = ",".join(f"nk{letters[i]}" for i in range(len(deps)))
            index = letters[: len(deps)]
            for m in members:
                qs = [beliefs[d] for d in deps]
                joint = HIGHEST(f"{axes}->nk{index}", *qs) if len(deps) > 1 else qs[0]
                flat = joint.reshape(*joint.shape[:2], -1)
                qo = HIGHEST("nkj,oj->nko", flat, A[m].reshape(A[m].shape[0], -1))
                total += -(qo * jnp.log(jnp.clip(qo, 1e-16))).sum(-1) + qo @ C[m]
                total -= flat @ ambiguity[m].ravel()
        return total

    def expand(beliefs: Arrays) -> Arrays:
        # every control of the one controllable factor; the others evolve by themselves
        out = []
        for f, b in enumerate(B):
            q = beliefs[f]
            nxt = HIGHEST("nkj,iju->nkui", q, b)
            if b.shape[-1] == 1:
                nxt = jnp.broadcast_to(nxt, (*nxt.shape[:2], actions, nxt.shape[-1]))
            out.append(nxt.reshape(nxt.shape[0], -1, nxt.shape[-1]))
        return out

    actions = max(b.shape[-1] for b in B)

    def step(prior: Arrays, obs: jax.Array) -> tuple[Arrays, jax.Array]:
        if factors == 1:
            ll = sum(logA[m][obs[:, m]] for m in range(len(A)))
            qs = [jax.nn.softmax(ll + jnp.log(jnp.clip(prior[0], 1e-16)))]
        else:
            lls = [la[obs[:, m]] for m, la in enumerate(logA)]
            log_prior = [jnp.log(jnp.clip(p, 1e-16)) for p in prior]
            fixed = list(log_prior)
            for m, deps in enumerate(A_deps):
                if len(deps) == 1:
                    fixed[deps[0]] = fixed[deps[0]] + lls[m]
            joint = [m for m, deps in enumerate(A_deps) if len(deps) == 2]

            def iterate(log_q: Arrays, _: None) -> tuple[Arrays, None]:
                q = [jax.nn.softmax(x) for x in log_q]
                out = list(fixed)
                for m in joint:
                    a, b = A_deps[m]
                    out[a] = out[a] + jnp.einsum("nij,nj->ni", lls[m], q[b])
                    out[b] = out[b] + jnp.einsum("nij,ni->nj", lls[m], q[a])
                return out, None

            log_q, _ = jax.lax.scan(iterate, [jnp.zeros_like(p) for p in prior], None, length=16)
            qs = [jax.nn.softmax(x) for x in log_q]
        beliefs = [q[:, None] for q in qs]
        G = jnp.zeros((qs[0].shape[0], 1))
        roots: Arrays = []
        for _ in range(horizon):
            beliefs = expand(beliefs)
            roots = roots or beliefs
            G = jnp.repeat(G, actions, axis=1) + term(beliefs)
        q_pi = jax.nn.softmax(16.0 * G)
        marginal = q_pi.reshape(q_pi.shape[0], actions, -1).sum(-1)
        action = marginal.argmax(-1)
        return [jnp.take_along_axis(r, action[:, None, None], axis=1)[:, 0] for r in roots], action

    prior = [jnp.tile(d, (n, 1)) for d in D]
    return best_time(jax.jit(step), prior, jnp.zeros((n, len(A)), jnp.int32)) / n


if __name__ == "__main__":
    for name in sys.argv[2:]:
        model = read(Path(sys.argv[1]) / f"{name}.npz")
        results: dict[str, str | float] = {"model": name, "single": single(model), "scan": scanned(model)}
        peers: dict[str, Callable[[Model, int], float]] = {"vmap": vmapped, "batched": batched}
        if len(model[1]) == 1:
            results |= {"single_1": single(model, 1), "scan_1": scanned(model, 1)}
            peers["vmap_1"] = partial(vmapped, turns=1)
        for label, peer in peers.items():
            times = {n: peer(model, n) for n in BATCHES}
            best = min(times, key=times.__getitem__)
            results |= {label: times[best], f"{label}_batch": best}
        print(json.dumps(results), flush=True)
