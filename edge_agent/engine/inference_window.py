"""Inference over a window of ticks, in float64: pymdp's marginal and variational message passing.

Theory of operation. A filter keeps the posterior of the last tick. Here an agent keeps what it observed and
did in its last ``inference_horizon`` ticks, its slots, and infers the beliefs of all slots anew at every
tick: what it observes now changes what it believes about ticks before, which changes what it believes now.
The belief about slot t and factor f is softmax of the sum of

- the likelihood, E_q(others)[ln A(o_t | s)], summed over modalities;
- the message of the slot before, ln E_q(t-1)[B_f(u)] ("mmp") or E_q(t-1)[ln B_f(u)] ("vmp"); of the first
  slot ln of the window's prior;
- the message of the slot after, summed over the factors g whose transition depends on f: ln of q_g(t+1)
  applied to B_g(u), transposed and normalised ("mmp"), or E_q(t+1)[ln B_g(u)] ("vmp").

With "mmp" (Parr, Markovic, Kiebel, Friston 2019, "Neuronal message passing using mean-field, Bethe, and
marginal approximations") the messages of both neighbours count half in a slot that has a later one. All slots
are updated together, ``num_iter`` times from uniform beliefs: ``pymdp.algos.run_mmp`` and ``run_vmp`` of
1.0.4, whose agent plans from the last slot.

The window advances as in ``pymdp.envs.rollout``. While it grows, its prior is D. Once it is full, a tick
drops the first slot, and the prior of the next is the first slot's belief moved by the action that followed
it. Where no action is known the slots on both sides are not linked: as in pymdp the later one starts from the
window's prior again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from edge_agent.engine import reference
from edge_agent.engine.arrays import ModelArrays
from edge_agent.engine.reference import Beliefs, Decision, Float
from edge_agent.engine.sparse import Sparse, applied, controlled

Action = Sequence[int] | None
"""A control value a factor, or None where it is not known."""


class InferenceWindow:
    """The window of one agent: ``infer`` takes in a tick, ``act`` says what was executed after it."""

    def __init__(self, model: ModelArrays) -> None:
        self._model = model
        self.restart()

    def restart(self) -> None:
        """Begin anew from D."""
        self._likelihoods: list[list[Float]] = []
        self._actions: list[Action] = []  # the one before each slot
        self._prior: Beliefs = list(self._model.D)
        self._next: Beliefs | None = None
        self._before: Action = None
        self.prediction: Beliefs = list(self._model.D)
        """What is expected of the next tick, [S_f] a factor."""

    def infer(self, observation: Sequence[ArrayLike | int]) -> tuple[Beliefs, float]:
        """Return the posterior of this tick, and its free energy relative to ``prediction``."""
        model, horizon = self._model, self._model.options.inference_horizon
        if len(self._likelihoods) == horizon:
            del self._likelihoods[0], self._actions[0]
            self._prior = self._prior if self._next is None else self._next
        self._likelihoods.append(reference.log_likelihoods(model, observation))
        self._actions.append(self._before)
        beliefs = slot_beliefs(model, self._prior, self._likelihoods, self._actions[1:])
        if len(beliefs) == horizon > 1:
            followed = self._actions[1]
            self._next = None if followed is None else reference.predict(model, beliefs[0], followed)
        qs = beliefs[-1]
        F = reference.free_energy(
            model, [reference.log(p) for p in self.prediction], self._likelihoods[-1], qs
        )
        self._before, self.prediction = None, qs
        return qs, F

    def act(self, action: Action) -> None:
        """Say which action was executed after the last tick; None: it is not known."""
        self._before = action
        if action is not None:
            self.prediction = reference.predict(self._model, self.prediction, action)

    def step(self, observation: Sequence[ArrayLike | int]) -> Decision:
        """Infer, plan and choose: ``reference.step`` over the window."""
        prediction = self.prediction
        qs, F = self.infer(observation)
        return reference.decide(
            self._model, qs, F, reference.contradicts(self._model, prediction, observation, F)
        )


def slot_beliefs(
    model: ModelArrays,
    prior: Sequence[Float],
    likelihoods: Sequence[Sequence[Float]],
    actions: Sequence[Action],
) -> list[Beliefs]:
    """Return the beliefs of each slot, [S_f] a factor.

    Parameters
    ----------
    prior : [S_f] a factor
        Of the first slot.
    likelihoods
        ln A(o | s) of each slot, a modality (``reference.log_likelihoods``).
    actions
        Executed between neighbouring slots, one fewer than slots.
    """
    last, half = len(likelihoods) - 1, model.options.inference_algo == "mmp"
    log_prior = [reference.log(p) for p in prior]
    beliefs = [[np.full(n, 1.0 / n) for n in model.num_states] for _ in likelihoods]
    for _ in range(model.options.num_iter):
        now, beliefs = beliefs, []
        for t, lls in enumerate(likelihoods):
            before = actions[t - 1] if t else None
            after = actions[t] if t < last else None
            logits = reference.expected_likelihoods(model, lls, now[t])
            weight = 0.5 if half and after is not None else 1.0
            for f, logit in enumerate(logits):
                message = log_prior[f] if before is None else from_past(model, f, now[t - 1], before)
                logit += weight * message
                if after is not None:
                    logit += weight * from_future(model, f, now[t], now[t + 1], after)
            beliefs.append([reference.softmax(logit) for logit in logits])
    return beliefs


def from_past(model: ModelArrays, f: int, past: Sequence[Float], action: Sequence[int]) -> Float:
    """Return the message [S_f] of beliefs ``past`` about the slot before, from which ``action`` led."""
    b, parents = controlled(model.B[f], action[f]), [past[d] for d in model.B_deps[f]]
    if model.options.inference_algo == "mmp":
        return reference.log(applied(b, parents))
    return reference.contract(reference.log(_dense(b)), parents)


def from_future(
    model: ModelArrays, f: int, present: Sequence[Float], future: Sequence[Float], action: Sequence[int]
) -> Float:
    """Return the message [S_f] of beliefs ``future`` about the slot after, to which ``action`` led.

    ``present`` are the beliefs about the slot itself: of factors on which a transition depends beside f.
    """
    message = np.zeros(model.num_states[f])
    for child, deps in enumerate(model.B_deps):
        if f not in deps:
            continue
        b = _dense(controlled(model.B[child], action[child]))
        parents, keep = [present[d] for d in deps], deps.index(f)
        if model.options.inference_algo == "mmp":
            table = reference.contract(b, parents, keep=keep)
            table = table / np.maximum(table.sum(axis=1, keepdims=True), reference.EPSILON)
            message += reference.log(future[child] @ table)
        else:
            message += future[child] @ reference.contract(reference.log(b), parents, keep=keep)
    return message


def _dense(tensor: Sparse | Float) -> Float:
    return tensor.dense() if isinstance(tensor, Sparse) else tensor
