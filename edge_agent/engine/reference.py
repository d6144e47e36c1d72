"""The engine's mathematics in float64, written to be read beside the papers; the oracle for everything else.

Theory of operation. An agent holds q(s), a product of one categorical distribution a factor. A step is:

1. predict: the prior of factor f is B_f(u_f) applied to the last beliefs of its parents;
2. infer: q(s) minimises the variational free energy F = E_q[ln q(s) - ln p(o, s)] (Friston et al. 2017,
   "Active inference: a process theory", eq. 2.1; Da Costa et al. 2020, "Active inference on discrete state
   spaces: a synthesis", section 4). One factor: Bayes' rule, exact. Several: fixed-point iteration,
   ln q_f = E_{q of the others}[ln A(o|s)] + ln prior_f, 16 times from a uniform q, as pymdp's JAX agent does
   (Heins et al. 2022, "pymdp: a Python library for active inference in discrete state spaces");
3. plan: the negative expected free energy of a policy is, summed over its steps and over modalities,
   H[q(o)] - E_q(s)[H[p(o|s)]] (information gain about states) + E_q(o)[C] (utility) (Da Costa et al. 2020,
   eq. 20 ff.), and the posterior over policies is softmax(gamma G + ln E);
4. act: of each factor the first action with the largest sum of q(pi); the lowest index wins a tie.

Probabilities are clipped at the float64 epsilon inside logarithms, as pymdp does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.engine.arrays import ModelArrays

Float = NDArray[np.float64]
Beliefs = list[Float]

EPSILON = float(np.finfo(np.float64).eps)
ITERATIONS = 16
TIE = 1e-9


class Decision(NamedTuple):
    """One step of one agent: ``qs`` a factor, ``G`` [P] (negative EFE), ``q_pi`` [P], ``act`` [F], ``F``."""

    qs: Beliefs
    G: Float
    q_pi: Float
    act: NDArray[np.int64]
    F: float


def log(x: Float) -> Float:
    """Return ln x, clipped from below at epsilon."""
    out: Float = np.log(np.maximum(x, EPSILON))
    return out


def softmax(x: Float) -> Float:
    """Return the distribution proportional to exp(x)."""
    e = np.exp(x - x.max())
    out: Float = e / e.sum()
    return out


def contract(tensor: Float, vectors: Sequence[Float], keep: int | None = None) -> Float:
    """Sum the trailing ``len(vectors)`` axes against ``vectors``, except the axis ``keep`` among them."""
    first = tensor.ndim - len(vectors)
    out = tensor
    for i in reversed(range(len(vectors))):
        if i != keep:
            out = np.tensordot(out, vectors[i], axes=(first + i, 0))
    return np.asarray(out, dtype=np.float64)


def predict(model: ModelArrays, qs: Sequence[Float], action: Sequence[int]) -> Beliefs:
    """Return the prior of the next step: B_f(u_f) applied to the beliefs of its parents."""
    return [
        contract(b[..., u], [qs[d] for d in deps])
        for b, u, deps in zip(model.B, action, model.B_deps, strict=True)
    ]


def log_likelihoods(model: ModelArrays, observation: Sequence[ArrayLike | int]) -> list[Float]:
    """Return ln A(o | s) a modality; an outcome below 0 is missing, a vector is a soft outcome."""
    out = []
    for a, o in zip(model.A, observation, strict=True):
        soft = np.asarray(o)
        if soft.ndim:
            out.append(np.tensordot(soft.astype(np.float64), log(a), axes=(0, 0)))
        elif soft < 0:
            out.append(np.zeros(a.shape[1:]))
        else:
            out.append(log(a[int(soft)]))
    return out


def infer(
    model: ModelArrays,
    prior: Sequence[Float],
    observation: Sequence[ArrayLike | int],
    evidence: Sequence[Float] | None = None,
) -> tuple[Beliefs, float]:
    """Return the posterior and its variational free energy.

    ``evidence`` adds a log-likelihood vector [S_f] a factor, from outside the model's own modalities.
    """
    lls = log_likelihoods(model, observation)
    extra = [np.zeros(n) for n in model.num_states] if evidence is None else list(evidence)
    log_prior = [log(p) + e for p, e in zip(prior, extra, strict=True)]
    log_q = [np.zeros(n) for n in model.num_states]
    for _ in range(ITERATIONS if len(log_q) > 1 else 1):
        q = [softmax(x) for x in log_q]
        log_q = [x.copy() for x in log_prior]
        for ll, deps in zip(lls, model.A_deps, strict=True):
            for i, f in enumerate(deps):
                log_q[f] = log_q[f] + contract(ll, [q[d] for d in deps], keep=i)
    qs = [softmax(x) for x in log_q]
    accuracy = sum(
        float(contract(ll, [qs[d] for d in deps])) for ll, deps in zip(lls, model.A_deps, strict=True)
    )
    complexity = sum(float(q @ (log(q) - p)) for q, p in zip(qs, log_prior, strict=True))
    return qs, complexity - accuracy


def expected_free_energy(
    model: ModelArrays, qs: Sequence[Float], *, horizon: int | None = None, epistemic: bool = True
) -> Float:
    """Return the negative expected free energy [P] of every policy from beliefs ``qs``."""
    G = np.zeros(len(model.policies))
    for p, policy in enumerate(model.policies):
        states = list(qs)
        for t, action in enumerate(policy[:horizon]):
            states = predict(model, states, action)
            for a, c, deps in zip(model.A, model.C, model.A_deps, strict=True):
                parents = [states[d] for d in deps]
                outcomes = contract(a, parents)
                G[p] += float(outcomes @ (c[t] if c.ndim == 2 else c))
                if epistemic:
                    ambiguity = -(a * log(a)).sum(axis=0)
                    G[p] += float(-(outcomes @ log(outcomes)) - contract(ambiguity, parents))
    return G


def policy_posterior(model: ModelArrays, G: Float) -> Float:
    """Return q(pi) [P] = softmax(gamma G + ln E)."""
    return softmax(model.gamma * G + log(model.E))


def marginal_action(model: ModelArrays, q_pi: Float) -> NDArray[np.int64]:
    """Return the most probable first action of each factor [F], as pymdp selects by default.

    Probabilities that differ by less than rounding does are a tie, and the lowest index wins it.
    """
    action = []
    for f, count in enumerate(model.num_controls):
        marginal = np.bincount(model.policies[:, 0, f], q_pi, count)
        action.append(int(np.argmax(marginal >= marginal.max() - TIE)))
    return np.array(action, dtype=np.int64)


def step(model: ModelArrays, prior: Sequence[Float], observation: Sequence[ArrayLike | int]) -> Decision:
    """Infer, plan and choose for one agent whose prior is ``prior``."""
    qs, F = infer(model, prior, observation)
    G = expected_free_energy(model, qs)
    q_pi = policy_posterior(model, G)
    return Decision(qs, G, q_pi, marginal_action(model, q_pi), F)
