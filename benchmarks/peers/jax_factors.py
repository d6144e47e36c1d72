"""The best JAX that we can write for models of many factors whose policies are one step long, batched.

Run by the peers' own Python, from `jax_step`. Beliefs are [agents, controls of the factor, states]: what a
factor comes to under each of its controls is computed once, and every contraction is planned by opt_einsum,
so that factors without controls are summed out first. Fixed-point iteration runs as many times as pymdp's.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

TURNS = 16

Arrays = list[jax.Array]
Step = Callable[[Arrays, jax.Array], tuple[Arrays, jax.Array]]


def _einsum(rule: str, *operands: jax.Array) -> jax.Array:
    return jnp.einsum(rule, *operands, precision="highest", optimize="optimal")


def step_of(model: tuple[Any, ...]) -> Step:
    """Return a step of a batch of agents of a shared model: priors [n, S_f], outcomes [n, M]."""
    A, B, C, D, A_deps, _, _ = model
    factors = len(D)
    logA = [jnp.log(jnp.clip(a, 1e-16)) for a in A]
    ambiguity = [-(a * la).sum(0) for a, la in zip(A, logA, strict=True)]
    controlled = [f for f, b in enumerate(B) if b.shape[-1] > 1]
    s, u = string.ascii_lowercase[:factors], string.ascii_uppercase[:factors]

    def messages(lls: Arrays, q: Arrays, log_q: Arrays) -> Arrays:
        out = list(log_q)
        for ll, deps in zip(lls, A_deps, strict=True):
            index = "z" + "".join(s[d] for d in deps)
            for f in deps if len(deps) > 1 else ():
                others = [d for d in deps if d != f]
                rule = ",".join([index, *("z" + s[d] for d in others)])
                out[f] = out[f] + _einsum(f"{rule}->z{s[f]}", ll, *(q[d] for d in others))
        return out

    def infer(prior: Arrays, obs: jax.Array) -> Arrays:
        lls = [la[obs[:, m]] for m, la in enumerate(logA)]
        fixed = [jnp.log(jnp.clip(p, 1e-16)) for p in prior]
        for ll, deps in zip(lls, A_deps, strict=True):
            if len(deps) == 1:
                fixed[deps[0]] = fixed[deps[0]] + ll

        def turn(log_q: Arrays, _: None) -> tuple[Arrays, None]:
            return messages(lls, [jax.nn.softmax(x) for x in log_q], fixed), None

        log_q, _ = jax.lax.scan(turn, [jnp.zeros_like(p) for p in prior], None, length=TURNS)
        return [jax.nn.softmax(x) for x in log_q]

    def value(beliefs: Arrays, m: int) -> jax.Array:
        """Return the value of modality ``m``, [n, controls of the factors that have any]."""
        deps = A_deps[m]
        # factors without controls have no axis for them, so that they can be summed out first
        qs = [beliefs[d] if d in controlled else beliefs[d][:, 0] for d in deps]
        axes = ["z" + (u[d] if d in controlled else "") + s[d] for d in deps]
        kept = "z" + "".join(u[d] for d in deps if d in controlled)
        states = "".join(s[d] for d in deps)
        qo = _einsum(",".join([f"y{states}", *axes]) + f"->{kept}y", A[m], *qs)
        out = -(qo * jnp.log(jnp.clip(qo, 1e-16))).sum(-1) + qo @ C[m]
        out -= _einsum(",".join([states, *axes]) + f"->{kept}", ambiguity[m], *qs)
        return out.reshape(-1, *(b.shape[-1] if f in deps else 1 for f, b in enumerate(B) if f in controlled))

    def step(prior: Arrays, obs: jax.Array) -> tuple[Arrays, jax.Array]:
        qs = infer(prior, obs)
        beliefs = [_einsum("zi,jiu->zuj", q, b) for q, b in zip(qs, B, strict=True)]
        G: jax.Array | float = 0.0
        for m in range(len(A)):
            G = G + value(beliefs, m)
        shape = [B[f].shape[-1] for f in controlled]
        G = jnp.broadcast_to(jnp.asarray(G), (qs[0].shape[0], *shape))
        q_pi = jax.nn.softmax(16.0 * G.reshape(len(G), -1)).reshape(G.shape)
        nexts, actions = [], []
        for f, after in enumerate(beliefs):
            if f not in controlled:
                nexts.append(after[:, 0])
                continue
            rest = tuple(1 + i for i, g in enumerate(controlled) if g != f)
            actions.append(q_pi.sum(rest).argmax(-1))
            nexts.append(jnp.take_along_axis(after, actions[-1][:, None, None], axis=1)[:, 0])
        return nexts, jnp.stack(actions, axis=-1)

    return step
