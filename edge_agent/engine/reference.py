"""The engine's mathematics in float64, written to be read beside the papers; the oracle for everything else.

Theory of operation. An agent holds q(s), a product of one categorical distribution a factor. A step is:

1. predict: the prior of factor f is B_f(u_f) applied to the last beliefs of its parents;
2. infer: q(s) minimises the variational free energy F = E_q[ln q(s) - ln p(o, s)] (Friston et al. 2017,
   "Active inference: a process theory", eq. 2.1; Da Costa et al. 2020, "Active inference on discrete state
   spaces: a synthesis", section 4). One factor: Bayes' rule, exact. Several: fixed-point iteration,
   ln q_f = E_{q of the others}[ln A(o|s)] + ln prior_f, num_iter times from a uniform q, as pymdp's JAX agent
   does (Heins et al. 2022, "pymdp: a Python library for active inference in discrete state spaces"). Or, as
   an option, the marginals of the exact posterior under that factorised prior ("exact"), or messages over a
   window of ticks, forwards and backwards ("mmp", "vmp": ``inference_window``; of a window of one tick they
   are the iteration here);
3. plan: the negative expected free energy of a policy is, summed over its steps and over modalities,
   H[q(o)] - E_q(s)[H[p(o|s)]] (information gain about states) + E_q(o)[C] (utility) (Da Costa et al. 2020,
   eq. 20 ff.), and, as options, the information gain on parameters (``novelty``) and the inductive value
   (``induction``); the posterior over policies is softmax(gamma G + ln E). Or, as an option, G is what a
   search over actions and observations finds (``sophisticated``);
4. act: the first action of the most probable policy ("full"), or each factor's action with the largest sum of
   q(pi) ("marginal"), or one drawn in proportion to these to the power of alpha. The lowest index wins a tie.

Probabilities are clipped at the float64 epsilon inside logarithms, as pymdp does. What is improbable for the
model's own expectations is counted as a contradiction (``surprise``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.engine import induction, novelty, sophisticated
from edge_agent.engine.arrays import ModelArrays
from edge_agent.engine.options import TIE
from edge_agent.engine.sparse import ambiguity, applied, controlled, log_outcome, log_soft

Float = NDArray[np.float64]
Beliefs = list[Float]

EPSILON = float(np.finfo(np.float64).eps)
SMALLEST = 1e-290
NO_CHANCE = 16.0
"""Nats of surprise above what is expected: a chance of one in ten million."""
DEVIATIONS = 3.0
EXPLAINED = 20.0
"""Nats by which an observation must fit better without the belief, for the belief to be dropped ("reset")."""


class Decision(NamedTuple):
    """One step of one agent: ``qs`` a factor, ``G`` [P] (negative EFE), ``q_pi`` [P], ``act`` [F], ``F``.

    ``contradiction``: whether the observation was one to the agent's prediction (``contradicts``).
    """

    qs: Beliefs
    G: Float
    q_pi: Float
    act: NDArray[np.int64]
    F: float
    contradiction: bool = False


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
        applied(controlled(b, u), [qs[d] for d in deps])
        for b, u, deps in zip(model.B, action, model.B_deps, strict=True)
    ]


def log_likelihoods(model: ModelArrays, observation: Sequence[ArrayLike | int]) -> list[Float]:
    """Return ln A(o | s) a modality; an outcome below 0 is missing, a vector is a soft outcome."""
    out = []
    for a, o in zip(model.A, observation, strict=True):
        soft = np.asarray(o)
        if soft.ndim:
            out.append(log_soft(a, soft.astype(np.float64)))
        elif soft < 0:
            out.append(np.zeros(a.shape[1:]))
        else:
            out.append(log_outcome(a, int(soft)))
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
    if model.options.inference_algo == "exact":
        return exact_marginals(log_prior, lls, model.A_deps)
    qs = [np.full(n, 1.0 / n) for n in model.num_states]
    for _ in range(model.options.num_iter if len(qs) > 1 else 1):
        expected = expected_likelihoods(model, lls, qs)
        qs = [softmax(p + e) for p, e in zip(log_prior, expected, strict=True)]
    return qs, free_energy(model, log_prior, lls, qs)


def expected_likelihoods(model: ModelArrays, lls: Sequence[Float], qs: Sequence[Float]) -> Beliefs:
    """Return E_q(others)[ln A(o | s)] [S_f] of each factor, summed over modalities."""
    out = [np.zeros(n) for n in model.num_states]
    for ll, deps in zip(lls, model.A_deps, strict=True):
        for i, f in enumerate(deps):
            out[f] = out[f] + contract(ll, [qs[d] for d in deps], keep=i)
    return out


def free_energy(
    model: ModelArrays, log_prior: Sequence[Float], lls: Sequence[Float], qs: Sequence[Float]
) -> float:
    """Return E_q[ln q(s) - ln prior(s) - ln A(o | s)], nats."""
    accuracy = sum(
        float(contract(ll, [qs[d] for d in deps])) for ll, deps in zip(lls, model.A_deps, strict=True)
    )
    complexity = sum(float(q @ (log(q) - p)) for q, p in zip(qs, log_prior, strict=True))
    return complexity - accuracy


def contradicts(
    model: ModelArrays, prior: Sequence[Float], observation: Sequence[ArrayLike | int], F: float
) -> bool:
    """Return whether the model, which expects ``prior``, gives the observation no chance; ``F`` is its free
    energy.

    Surprise is compared with what the model expects of its own observations. It is F where inference is
    exact; with fixed-point iteration, or over a window, it is at most the sum over modalities of
    -ln p(o_m), since an iteration that went astray raises F without a contradiction. Expected are the sum of
    the entropies H[p(o_m)], ``NO_CHANCE`` nats and ``DEVIATIONS`` standard deviations: it grows with the
    modalities that were observed.
    """
    surprise = expected = variance = 0.0
    for a, o, deps in zip(model.A, observation, model.A_deps, strict=True):
        outcomes = applied(a, [prior[d] for d in deps])
        bits = -log(outcomes)
        seen = np.asarray(o)
        if not seen.ndim and seen < 0:
            continue
        surprise += float(seen @ bits) if seen.ndim else float(bits[int(seen)])
        mean = float(outcomes @ bits)
        expected += mean
        variance += max(float(outcomes @ bits**2) - mean**2, 0.0)
    exact = model.options.inference_algo == "exact" or (len(model.B) == 1 and not model.options.windowed)
    least = F if exact else min(F, surprise)
    return F > NO_CHANCE and least > expected + NO_CHANCE + DEVIATIONS * math.sqrt(variance)


def exact_marginals(
    log_prior: Sequence[Float], lls: Sequence[Float], A_deps: Sequence[tuple[int, ...]]
) -> tuple[Beliefs, float]:
    """Return the marginals of p(s | o), in proportion to the product of priors and likelihoods, and -ln p(o).

    The joint table is summed by NumPy, which plans the order: variable elimination, one factor after another.
    """
    offset, operands = 0.0, list[object]()
    for table, factors in [*((p, [f]) for f, p in enumerate(log_prior)), *zip(lls, A_deps, strict=True)]:
        offset += float(table.max())
        operands += [np.exp(table - table.max()), list(factors)]
    qs = []
    for f in range(len(log_prior)):
        marginal = np.einsum(*operands, [f], optimize="greedy")  # type: ignore[call-overload]
        total = float(marginal.sum())
        if total <= SMALLEST:  # outcomes that contradict each other beyond float64: the belief stays
            return [softmax(p) for p in log_prior], -(math.log(SMALLEST) + offset)
        qs.append(marginal / total)
    return qs, -(math.log(total) + offset)


def expected_free_energy(
    model: ModelArrays, qs: Sequence[Float], *, horizon: int | None = None, epistemic: bool = True
) -> Float:
    """Return the negative expected free energy [P] of every policy from beliefs ``qs``."""
    if model.options.sophisticated:
        depth = model.options.si_horizon if horizon is None else horizon
        return sophisticated.search(_ModelSteps(model, epistemic), model.options, list(qs), depth)
    return _policy_values(model, qs, horizon, epistemic, [ambiguity(a) for a in model.A])


class _ModelSteps:
    """One step of one agent, for a search."""

    def __init__(self, model: ModelArrays, epistemic: bool) -> None:
        self._model, self._epistemic = model, epistemic
        self._ambiguities = [ambiguity(a) for a in model.A]

    def values(self, qs: Beliefs) -> Float:
        """Return the negative expected free energy [P] of one step."""
        return _policy_values(self._model, qs, 1, self._epistemic, self._ambiguities)

    def predict(self, qs: Beliefs, policy: int) -> Beliefs:
        """Return the beliefs after the first action of a policy."""
        return predict(self._model, qs, self._model.policies[policy, 0])

    def outcomes(self, states: Beliefs) -> list[Float]:
        """Return the predicted probabilities [O_m] of each modality's outcomes."""
        pairs = zip(self._model.A, self._model.A_deps, strict=True)
        return [applied(a, [states[d] for d in deps]) for a, deps in pairs]

    def infer(self, states: Beliefs, observation: Sequence[int]) -> Beliefs:
        """Return the posterior of the prior ``states``."""
        return infer(self._model, states, observation)[0]


def _policy_values(
    model: ModelArrays,
    qs: Sequence[Float],
    horizon: int | None,
    epistemic: bool,
    ambiguities: Sequence[Float],
) -> Float:
    G = np.zeros(len(model.policies))
    options = model.options
    penalties = [
        induction.penalty(ways, most_probable(q), options.inductive_epsilon)
        for ways, q in zip(model.I or (), qs, strict=bool(model.I))
        if options.use_inductive
    ]
    gains = novelty.gains(model)
    for p, policy in enumerate(model.policies):
        before = list(qs)
        for t, action in enumerate(policy[:horizon]):
            states = predict(model, before, action)
            for m, (a, c, deps) in enumerate(zip(model.A, model.C, model.A_deps, strict=True)):
                parents = [states[d] for d in deps]
                outcomes = applied(a, parents)
                if options.use_utility:
                    G[p] += float(outcomes @ (c[t] if c.ndim == 2 else c))
                if epistemic and options.use_states_info_gain:
                    G[p] += float(-(outcomes @ log(outcomes)) - contract(ambiguities[m], parents))
                if epistemic and m in gains:
                    G[p] += float(outcomes @ contract(gains[m], parents))
            for f, (state, deps) in enumerate(zip(states, model.B_deps, strict=True)):
                if epistemic and len(model.A) + f in gains:
                    gain = gains[len(model.A) + f][..., action[f]]
                    G[p] += float(state @ contract(gain, [before[d] for d in deps]))
            G[p] += sum(float(penalty @ states[f]) for f, penalty in enumerate(penalties))
            before = states
    return G


def policy_posterior(model: ModelArrays, G: Float) -> Float:
    """Return q(pi) [P] = softmax(gamma G + ln E)."""
    if model.options.sophisticated:
        return sophisticated.policy_posterior(model.options, G)
    return softmax(model.gamma * G + log(model.E))


def most_probable(values: Float) -> int:
    """Return the lowest index whose value is the largest, or less by no more than ``TIE`` of it."""
    return int(np.argmax(values >= values.max() * (1.0 - TIE)))


def draw(values: Float, alpha: float, uniform: float) -> int:
    """Return an index drawn in proportion to values^alpha; ``uniform``: a number in [0, 1)."""
    cumulated = np.cumsum(softmax(alpha * log(values)))
    return int(min(np.searchsorted(cumulated, uniform * cumulated[-1], side="right"), len(values) - 1))


def uniform(seed: int, agent: int, tick: int, factor: int = 0) -> float:
    """Return the number in [0, 1) that an agent draws at a tick: Philox4x64-10, as NumPy has it."""
    key = np.array([seed & (2**64 - 1), agent], np.uint64)
    counter = np.array([tick, factor, 0, 0], np.uint64)
    return float(np.random.Generator(np.random.Philox(key=key, counter=counter)).random())


def choose(
    model: ModelArrays, q_pi: Float, seed: int = 0, agent: int = 0, tick: int = 0
) -> NDArray[np.int64]:
    """Return the action [F] that the model's options select; seed, agent and tick give what is drawn."""
    options = model.options

    def selected(values: Float, factor: int) -> int:
        if options.action_selection == "deterministic":
            return most_probable(values)
        return draw(values, options.alpha, uniform(seed, agent, tick, factor))

    if options.sampling_mode == "full":
        return np.array(model.policies[selected(q_pi, 0), 0], dtype=np.int64)
    marginals = [
        np.bincount(model.policies[:, 0, f], q_pi, count).astype(np.float64)
        for f, count in enumerate(model.num_controls)
    ]
    return np.array([selected(marginal, f) for f, marginal in enumerate(marginals)], dtype=np.int64)


def step(model: ModelArrays, prior: Sequence[Float], observation: Sequence[ArrayLike | int]) -> Decision:
    """Infer, plan and choose for one agent whose prior is ``prior``."""
    qs, F = infer(model, prior, observation)
    odd = contradicts(model, prior, observation, F)
    if odd and model.options.on_contradiction == "reset":
        again, least = infer(model, [np.full(n, 1.0 / n) for n in model.num_states], observation)
        if F - least > EXPLAINED:
            qs, F = again, least
    return decide(model, qs, F, odd)


def decide(model: ModelArrays, qs: Beliefs, F: float, contradiction: bool) -> Decision:
    """Plan and choose from the posterior ``qs``, whose free energy is ``F``."""
    G = expected_free_energy(model, qs)
    q_pi = policy_posterior(model, G)
    return Decision(qs, G, q_pi, choose(model, q_pi), F, contradiction)
