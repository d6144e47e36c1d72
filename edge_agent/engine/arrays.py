"""A model as its author wrote it: the float64 arrays of a discrete POMDP, in pymdp's conventions.

Theory of operation. ``ModelArrays`` is what the reference runs on and what the quantizer reads. It is made
once, checked whole (``validation``), and is immutable from then on. Shapes, with O outcomes, S states,
U controls, P policies, T steps, F factors:

- ``A[m]`` [O_m, *states of A_deps[m]], P(outcome | states); columns sum to 1;
- ``B[f]`` [S_f, *states of B_deps[f], U_f], P(next state | states, control); columns sum to 1;
- ``C[m]`` [O_m] or [T, O_m], preferences in nats (log-probabilities up to a constant);
- ``D[f]`` [S_f], the prior at the start; ``E`` [P], the prior over policies; ``policies`` [P, T, F].
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.engine import validation

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Deps = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ModelArrays:
    """The checked arrays of a model, shaped as the module's head says; ``gamma``, ``alpha``: precisions."""

    A: tuple[Float, ...]
    B: tuple[Float, ...]
    C: tuple[Float, ...]
    D: tuple[Float, ...]
    E: Float
    policies: Int
    A_deps: Deps
    B_deps: Deps
    gamma: float
    alpha: float

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
    A: Sequence[ArrayLike],
    B: Sequence[ArrayLike],
    C: Sequence[ArrayLike] | None = None,
    D: Sequence[ArrayLike] | None = None,
    *,
    E: ArrayLike | None = None,
    policies: ArrayLike | None = None,
    A_deps: Sequence[Sequence[int]] | None = None,
    B_deps: Sequence[Sequence[int]] | None = None,
    policy_len: int = 1,
    gamma: float = 16.0,
    alpha: float = 16.0,
) -> ModelArrays:
    """Fill in pymdp's defaults, check everything, and return the model.

    Defaults: ``A_deps`` every factor, ``B_deps`` each factor itself, ``C`` zero, ``D`` and ``E`` uniform,
    ``policies`` all of length ``policy_len``.

    Raises
    ------
    ModelError
        The message names tensor, index and rule.
    """
    tensors_a = validation.tensors("A", A)
    tensors_b = validation.tensors("B", B)
    factors = len(tensors_b)
    deps_a = validation.dependencies("A_deps", A_deps, len(tensors_a), factors, range(factors))
    deps_b = validation.dependencies("B_deps", B_deps, factors, factors, None)
    validation.shapes(tensors_a, tensors_b, deps_a, deps_b)
    outcomes = [a.shape[0] for a in tensors_a]
    states = [b.shape[0] for b in tensors_b]
    controls = [b.shape[-1] for b in tensors_b]
    validation.positive("gamma", gamma)
    validation.positive("alpha", alpha)
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
    for array in (*tensors_a, *tensors_b, *tensors_c, *tensors_d, habits, plans):
        array.setflags(write=False)
    return ModelArrays(
        tensors_a, tensors_b, tensors_c, tensors_d, habits, plans, deps_a, deps_b, float(gamma), float(alpha)
    )


def arrays_from_npz(data: Mapping[str, Any]) -> ModelArrays:
    """Return the model in an npz of the form that design notes and ``edge_convert.export_pymdp`` use.

    Keys: ``A_0 …``, ``B_0 …``, ``C_0 …``, ``D_0 …``, optional ``E``, ``policies``, ``A_deps``, ``B_deps``
    (JSON), ``policy_len``, ``gamma``, ``alpha``.
    """

    def series(letter: str) -> list[Any] | None:
        found = list(
            itertools.takewhile(lambda key: key in data, (f"{letter}_{i}" for i in itertools.count()))
        )
        return [data[key] for key in found] or None

    def parsed(key: str) -> Any:
        return json.loads(str(data[key])) if key in data else None

    return model_arrays(
        series("A") or [],
        series("B") or [],
        series("C"),
        series("D"),
        E=data.get("E"),
        policies=data.get("policies"),
        A_deps=parsed("A_deps"),
        B_deps=parsed("B_deps"),
        policy_len=int(data["policy_len"]) if "policy_len" in data else 1,
        gamma=float(data["gamma"]) if "gamma" in data else 16.0,
        alpha=float(data["alpha"]) if "alpha" in data else 16.0,
    )
