"""A model as its author wrote it: the float64 arrays of a discrete POMDP, in pymdp's conventions.

Theory of operation. ``ModelArrays`` is what the reference runs on and what the quantizer reads. It is made
once, checked whole (``validation``), and is immutable from then on. Shapes, with O outcomes, S states,
U controls, P policies, T steps, F factors:

- ``A[m]`` [O_m, *states of A_deps[m]], P(outcome | states); columns sum to 1;
- ``B[f]`` [S_f, *states of B_deps[f], U_f], P(next state | states, control); columns sum to 1 (A and B may
  also be ``sparse.Sparse``);
- ``C[m]`` [O_m] or [T, O_m], preferences in nats (log-probabilities up to a constant);
- ``D[f]`` [S_f], the prior at the start; ``E`` [P], the prior over policies; ``policies`` [P, T, F];
- ``pA[m]``, ``pB[f]`` shaped as ``A[m]``, ``B[f]``: Dirichlet counts, for the information gain on parameters;
- ``I[f]`` [depth, S_f] of 0 and 1: from which states the goal is at most so many steps away.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.engine import validation
from edge_agent.engine.options import AgentOptions
from edge_agent.engine.sparse import Sparse, Weights
from edge_agent.errors import ModelError

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Deps = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ModelArrays:
    """The checked arrays of a model, shaped as the module's head says, and its agent's options."""

    A: tuple[Weights, ...]
    B: tuple[Weights, ...]
    C: tuple[Float, ...]
    D: tuple[Float, ...]
    E: Float
    policies: Int
    A_deps: Deps
    B_deps: Deps
    options: AgentOptions
    pA: tuple[Float, ...] | None = None
    pB: tuple[Float, ...] | None = None
    I: tuple[Float, ...] | None = None
    gains: Mapping[int, Weights] | None = None
    """What ``pA`` and ``pB`` fold into (``novelty``), where only that is known: of a stored model."""

    @property
    def gamma(self) -> float:
        """Precision of the posterior over policies."""
        return self.options.gamma

    @property
    def alpha(self) -> float:
        """Precision of drawn actions."""
        return self.options.alpha

    @property
    def num_states(self) -> tuple[int, ...]:
        """States a factor."""
        return tuple(b.shape[0] for b in self.B)

    @property
    def num_obs(self) -> tuple[int, ...]:
        """Outcomes a modality."""
        return tuple(a.shape[0] for a in self.A)

    @property
    def num_controls(self) -> tuple[int, ...]:
        """Control values a factor (1: not controllable)."""
        return tuple(b.shape[-1] for b in self.B)


def all_policies(num_controls: Sequence[int], policy_len: int) -> Int:
    """Return every policy, int [P, T, F], in pymdp's order: the last factor of the last step runs fastest."""
    one_step = list(itertools.product(*[range(n) for n in num_controls]))
    plans = list(itertools.product(one_step, repeat=policy_len))
    return np.array(plans, dtype=np.int64).reshape(len(plans), policy_len, len(num_controls))


def model_arrays(
    A: Sequence[ArrayLike | Sparse],
    B: Sequence[ArrayLike | Sparse],
    C: Sequence[ArrayLike] | None = None,
    D: Sequence[ArrayLike] | None = None,
    *,
    E: ArrayLike | None = None,
    policies: ArrayLike | None = None,
    A_deps: Sequence[Sequence[int]] | None = None,
    B_deps: Sequence[Sequence[int]] | None = None,
    policy_len: int = 1,
    gamma: float | None = None,
    alpha: float | None = None,
    options: AgentOptions | None = None,
    pA: Sequence[ArrayLike] | None = None,
    pB: Sequence[ArrayLike] | None = None,
    H: Sequence[ArrayLike] | None = None,
    I: Sequence[ArrayLike] | None = None,
) -> ModelArrays:
    """Fill in pymdp's defaults, check everything, and return the model.

    Defaults: ``A_deps`` every factor, ``B_deps`` each factor itself, ``C`` zero, ``D`` and ``E`` uniform,
    ``policies`` all of length ``policy_len``, ``options`` those of ``AgentOptions``. ``gamma`` and ``alpha``
    are short for those of ``options``. ``H[f]`` [S_f], 1 for a goal state, gives ``I``.

    Raises
    ------
    ModelError
        The message names tensor, index and rule.
    """
    tensors_a = validation.weights("A", A)
    tensors_b = validation.weights("B", B)
    factors = len(tensors_b)
    deps_a = validation.dependencies("A_deps", A_deps, len(tensors_a), factors, range(factors))
    deps_b = validation.dependencies("B_deps", B_deps, factors, factors, None)
    validation.shapes(tensors_a, tensors_b, deps_a, deps_b)
    outcomes = [a.shape[0] for a in tensors_a]
    states = [b.shape[0] for b in tensors_b]
    controls = [b.shape[-1] for b in tensors_b]
    chosen = options or AgentOptions()
    chosen = chosen if gamma is None else replace(chosen, gamma=gamma)
    chosen = chosen if alpha is None else replace(chosen, alpha=alpha)
    counts_a = None if pA is None else validation.counts(validation.tensors("pA", pA), tensors_a, "pA")
    counts_b = None if pB is None else validation.counts(validation.tensors("pB", pB), tensors_b, "pB")
    if chosen.use_param_info_gain and counts_a is None and counts_b is None:
        raise ModelError("use_param_info_gain: there are no counts, expected pA, pB or both")
    ways = None
    if H is not None:
        goals = validation.indicators(validation.tensors("H", H), states, "H")
        from edge_agent.engine import induction  # the daemon's memory: few models need it

        ways = induction.reachability(goals, tensors_b, deps_b, chosen)
    elif I is not None:
        ways = validation.indicators(validation.tensors("I", I), states, "I")
    if policies is None:
        validation.policy_count(controls, policy_len)
        plans = all_policies(controls, policy_len)
    else:
        plans = validation.policies(policies, controls)
    horizon = plans.shape[1]
    tensors_c = (
        tuple(np.zeros(n) for n in outcomes)
        if C is None
        else validation.preferences(validation.tensors("C", C), outcomes, horizon)
    )
    tensors_d = (
        tuple(np.full(n, 1.0 / n) for n in states)
        if D is None
        else validation.priors(validation.tensors("D", D), states)
    )
    habits = (
        np.full(len(plans), 1.0 / len(plans))
        if E is None
        else validation.priors(validation.tensors("E", [E]), [len(plans)], "E")[0]
    )
    validation.search(chosen, plans, habits, states)
    validation.window(chosen, tensors_a, states)
    more = (*(counts_a or ()), *(counts_b or ()), *(ways or ()))
    for array in (*tensors_a, *tensors_b, *tensors_c, *tensors_d, habits, plans, *more):
        array.setflags(write=False)
    return ModelArrays(
        tensors_a,
        tensors_b,
        tensors_c,
        tensors_d,
        habits,
        plans,
        deps_a,
        deps_b,
        chosen,
        counts_a,
        counts_b,
        ways,
    )
