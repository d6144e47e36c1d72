"""Sophisticated inference in float64: a search over actions and the observations that can follow them.

Theory of operation. What ``pymdp.planning.si.si_policy_search`` (1.0.4) does; Friston et al. 2021,
"Sophisticated inference". The tree has two kinds of nodes. An observation node is a belief: the root is
the agent's own. Its children are the actions whose posterior there is above
``si_policy_prune_threshold``, each with the negative expected free energy of that one step. An action's
children are the joint outcomes (products of the modalities' predicted probabilities) above
``si_observation_prune_threshold``, each with the belief that infers it.

The tree grows a level at a time. After each level values go back from the leaves: an action is worth its
own step and, weighed by their probabilities, its observation nodes; one that was pruned, or without
children, -``si_prune_penalty``. A node's posterior over actions is softmax(gamma value), and its value
the mean under it; actions below the threshold are pruned for good. The posterior of a node goes over
``si_max_branching`` places, of which those beyond the actions hold the penalty.

A level that needs more than ``si_max_nodes`` nodes is dropped whole: the search decides with the levels
before (if it is the first level, with the values of single steps). So more nodes only ever look further,
and the result depends on nothing but belief and options.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.options import AgentOptions

Float = NDArray[np.float64]
Beliefs = list[Float]


class Steps(Protocol):
    """What the search needs of a model: one step of one agent (``reference``)."""

    def values(self, qs: Beliefs) -> Float:
        """Return the negative expected free energy [P] of one step."""

    def predict(self, qs: Beliefs, policy: int) -> Beliefs:
        """Return the beliefs after the first action of a policy."""

    def outcomes(self, states: Beliefs) -> list[Float]:
        """Return the predicted probabilities [O_m] of each modality's outcomes."""

    def infer(self, states: Beliefs, observation: Sequence[int]) -> Beliefs:
        """Return the posterior of the prior ``states``."""


class _Outcome(NamedTuple):
    probability: float
    node: _Observation


@dataclass(slots=True)
class _Action:
    value: float
    outcomes: list[_Outcome] = field(default_factory=list)


@dataclass(slots=True)
class _Observation:
    """``actions`` by the number of the policy, None of a leaf, whose ``value`` is 0.

    ``observation`` is still to be inferred from ``states``, when the node grows: leaves of the last level
    never are. The root's is None: its states are a posterior.
    """

    states: Beliefs
    observation: list[int] | None = None
    actions: dict[int, _Action] | None = None
    value: float = 0.0


def search(steps: Steps, options: AgentOptions, qs: Beliefs, horizon: int) -> Float:
    """Return the values [P] of the root's actions: the negative expected free energy of what follows them."""
    root = _Observation(qs)
    values = steps.values(qs)
    policies, last = len(values), options.si_max_nodes - 1
    frontier, used = [root], 1
    for level in range(1, horizon + 1):
        for node in frontier:
            used += _grow(steps, options, node, last - used)
            if used >= last:
                return values[:policies]
        values = _backward(options, root)
        used, frontier = _count(root, level)
        posterior = _softmax(options.gamma * values)
        entropy = -float(posterior @ np.log(np.maximum(posterior, np.finfo(np.float64).eps)))
        if entropy <= options.si_entropy_stop_threshold or root.value >= options.si_neg_efe_stop_threshold:
            break
    return values[:policies]


def policy_posterior(options: AgentOptions, values: Float) -> Float:
    """Return q(pi) [..., P] for values [..., P]; it sums to less than 1 only where everything was pruned."""
    spare = (*values.shape[:-1], options.si_max_branching - values.shape[-1])
    places = np.concatenate([values, np.full(spare, -options.si_prune_penalty)], axis=-1)
    return np.asarray(_softmax(options.gamma * places)[..., : values.shape[-1]])


def _softmax(x: Float) -> Float:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    out: Float = e / e.sum(axis=-1, keepdims=True)
    return out


def _grow(steps: Steps, options: AgentOptions, node: _Observation, room: int) -> int:
    """Give a leaf its actions, and them their observation nodes; return how many nodes there are more.

    It ends when there are as many as ``room``: the level is dropped then.
    """
    qs = node.states if node.observation is None else steps.infer(node.states, node.observation)
    values = steps.values(qs)
    posterior = _softmax(options.gamma * values)
    node.actions, added = {}, 0
    for p in np.flatnonzero(posterior > options.si_policy_prune_threshold).tolist():
        states = steps.predict(qs, p)
        action = node.actions[p] = _Action(float(values[p]))
        added += 1
        for probability, observation in _followed(steps.outcomes(states), options):
            added += 1
            if added >= room:
                return added
            if len(action.outcomes) < options.si_max_branching:
                action.outcomes.append(_Outcome(probability, _Observation(states, observation)))
    return added


def _followed(predicted: list[Float], options: AgentOptions) -> Iterator[tuple[float, list[int]]]:
    """Yield the joint outcomes that are followed, with their probabilities: of each modality the most
    probable first, the last modality fastest.
    """
    ranked = [np.argsort(-outcomes, kind="stable") for outcomes in predicted]
    shares = [outcomes / outcomes.sum() for outcomes in predicted]

    def extend(probability: float, chosen: list[int]) -> Iterator[tuple[float, list[int]]]:
        m = len(chosen)
        if m == len(ranked):
            yield probability, chosen
            return
        for o in ranked[m].tolist():
            joint = probability * float(shares[m][o])
            if joint <= options.si_observation_prune_threshold:
                break
            yield from extend(joint, [*chosen, o])

    return extend(1.0, [])


def _backward(options: AgentOptions, node: _Observation) -> Float:
    """Set the values of a node and of all below it, prune, and return its places [``si_max_branching``]."""
    values = np.full(options.si_max_branching, -options.si_prune_penalty)
    actions = node.actions or {}
    for p, action in actions.items():
        for _, child in action.outcomes:
            if child.actions is not None:
                _backward(options, child)
        if action.outcomes:
            values[p] = action.value + sum(o.probability * o.node.value for o in action.outcomes)
    posterior = _softmax(options.gamma * values)
    node.value = float(posterior @ values)
    for p in [p for p in actions if posterior[p] < options.si_policy_prune_threshold]:
        del actions[p]
    return values


def _count(node: _Observation, level: int) -> tuple[int, list[_Observation]]:
    """Return the number of nodes from ``node`` on, and the observation nodes ``level`` steps below it."""
    if node.actions is None:
        return 1, [node] if level == 0 else []
    used, leaves = 1, list[_Observation]()
    for action in node.actions.values():
        used += 1
        for _, child in action.outcomes:
            more, below = _count(child, level - 1)
            used += more
            leaves += below
    return used, leaves
