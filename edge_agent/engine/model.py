"""Model: an immutable 8-bit POMDP, made from arrays (``from_arrays``) or from a bundle (``load``).

Theory of operation. Tensors A and B are stored (``storage``) as palette codes, dense or sparse; vectors (C,
D, E, and what planning folds out of A and C) are float32. ``payload`` says how they lie in a bundle.
Everything is checked once, when a model is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.engine import outcome_classes, payload, storage
from edge_agent.engine.arrays import Deps, ModelArrays, model_arrays
from edge_agent.engine.merged_controls import NONE, MergedControls, mixed
from edge_agent.engine.plan_classes import PlanClasses, merging
from edge_agent.engine.planning import Folds, PolicyTree, Program, groups_of, program
from edge_agent.engine.reference import log
from edge_agent.engine.storage import Tensor
from edge_agent.errors import BundleError, ModelError
from edge_agent.wire import bundle as bundles

KIND = "pomdp"
NODE_BUDGET = 20_000
GOLDEN = "golden.npz"

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Model:
    """An immutable model.

    Attributes
    ----------
    A, B : tuple of Tensor
        Stored tensors, a modality, a factor.
    C, D : tuple of ndarray of float32
        Preferences a modality, [O_m] or [T, O_m]; priors a factor, [S_f].
    E : ndarray of float32, shape (P,), or None
        Prior over policies; None when uniform.
    policies : ndarray of int64, shape (P, T, F)
    """

    name: str
    meta: Mapping[str, Any]
    A: tuple[Tensor, ...]
    B: tuple[Tensor, ...]
    C: tuple[Float32, ...]
    D: tuple[Float32, ...]
    E: Float32 | None
    policies: NDArray[np.int64]
    A_deps: Deps
    B_deps: Deps
    folds: Folds
    gamma: float
    alpha: float
    node_budget: int = field(default=NODE_BUDGET, compare=False)

    @classmethod
    def from_arrays(
        cls,
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
        meta: Mapping[str, Any] | None = None,
        name: str = "model",
        node_budget: int = NODE_BUDGET,
    ) -> Self:
        """Quantize a model; shapes and defaults are those of ``arrays.model_arrays``.

        Parameters
        ----------
        meta : Mapping, optional
            Names of modalities, states and controls; bin edges; units; control values (JSON).
        node_budget : int
            The most nodes that planning may expand a step.

        Raises
        ------
        ModelError
            The message names tensor, index and rule.
        """
        arrays = model_arrays(
            A,
            B,
            C,
            D,
            E=E,
            policies=policies,
            A_deps=A_deps,
            B_deps=B_deps,
            policy_len=policy_len,
            gamma=gamma,
            alpha=alpha,
        )
        return cls.quantized(arrays, meta=meta, name=name, node_budget=node_budget)

    @classmethod
    def quantized(
        cls,
        arrays: ModelArrays,
        *,
        meta: Mapping[str, Any] | None = None,
        name: str = "model",
        node_budget: int = NODE_BUDGET,
    ) -> Self:
        """Quantize checked arrays. See ``from_arrays``."""
        uniform = bool((arrays.E[0] == arrays.E).all())
        model = cls(
            name=name,
            meta=dict(meta or {}),
            A=tuple(storage.store(a, controls=False) for a in arrays.A),
            B=tuple(storage.store(b, controls=True) for b in arrays.B),
            C=tuple(c.astype(np.float32) for c in arrays.C),
            D=tuple(d.astype(np.float32) for d in arrays.D),
            E=None if uniform else arrays.E.astype(np.float32),
            policies=arrays.policies,
            A_deps=arrays.A_deps,
            B_deps=arrays.B_deps,
            folds=_folds(arrays),
            gamma=arrays.gamma,
            alpha=arrays.alpha,
            node_budget=node_budget,
        )
        model.plan(model.policy_len, True)  # the node budget is checked here
        return model

    @classmethod
    def load(cls, path: str | Path, *, node_budget: int = NODE_BUDGET) -> Self:
        """Map a bundle, verify it, run its golden vectors, and return its model.

        Raises
        ------
        BundleError, ModelError
            The message names file, entry and rule.
        """
        return cls.from_bundle(bundles.read(Path(path)), node_budget=node_budget)

    @classmethod
    def from_bundle(cls, bundle: bundles.Bundle, *, node_budget: int = NODE_BUDGET) -> Self:
        """Return the model of a verified bundle, its golden vectors run. See ``load``."""
        from edge_agent.engine import golden  # it needs Population, which needs this module

        if bundle.kind != KIND:
            raise BundleError(f"{bundle.path}: kind {bundle.kind}, expected {KIND}")
        stored = {name: data for name, data in bundle.entries.items() if name != GOLDEN}
        try:
            fields = payload.fields(stored)
            model = cls(name=bundle.name, meta=dict(bundle.manifest["io"]), node_budget=node_budget, **fields)
            payload.check(model)
        except KeyError as error:
            raise BundleError(f"{bundle.path}: {error.args[0]} is missing") from error
        except (*payload.MALFORMED, ModelError) as error:
            raise BundleError(f"{bundle.path}: {error}") from error
        if GOLDEN not in bundle.entries:
            raise BundleError(f"{bundle.path}: {GOLDEN} is missing")
        try:
            golden.check(model, bundle.entries[GOLDEN])
        except BundleError as error:
            raise BundleError(f"{bundle.path}: {error}") from error
        return model

    def entries(self) -> dict[str, bytes]:
        """Return the payload of a bundle; the same model gives the same bytes."""
        return payload.entries(self)

    def arrays(self) -> ModelArrays:
        """Return the float64 model that the codes stand for."""
        A = [
            t.matrix().astype(np.float64).reshape(t.rows, *(self.num_states[d] for d in deps))
            for t, deps in zip(self.A, self.A_deps, strict=True)
        ]
        B = [
            np.moveaxis(
                t.matrix().astype(np.float64).reshape(u, s, *(self.num_states[d] for d in deps)),
                0,
                -1,
            )
            for t, u, s, deps in zip(self.B, self.num_controls, self.num_states, self.B_deps, strict=True)
        ]
        habits = np.full(len(self.policies), 1.0 / len(self.policies)) if self.E is None else self.E
        return ModelArrays(
            tuple(A),
            tuple(B),
            tuple(c.astype(np.float64) for c in self.C),
            tuple(d.astype(np.float64) for d in self.D),
            habits.astype(np.float64),
            self.policies,
            self.A_deps,
            self.B_deps,
            self.gamma,
            self.alpha,
        )

    @property
    def num_states(self) -> tuple[int, ...]:
        """States a factor."""
        return tuple(len(d) for d in self.D)

    @property
    def num_obs(self) -> tuple[int, ...]:
        """Outcomes a modality."""
        return tuple(a.rows for a in self.A)

    @property
    def num_controls(self) -> tuple[int, ...]:
        """Control values a factor."""
        return tuple(b.rows // n for b, n in zip(self.B, self.num_states, strict=True))

    @property
    def policy_len(self) -> int:
        """Steps of a policy."""
        return int(self.policies.shape[1])

    @cached_property
    def nbytes(self) -> int:
        """Bytes of the model's arrays and of its planning program."""
        vectors = (*self.C, *self.D, *self.folds.utility, *self.folds.ambiguity)
        plan = self.plan(self.policy_len, True)
        return (
            sum(t.nbytes for t in self.tensors)
            + sum(v.nbytes for v in vectors)
            + (0 if self.E is None else self.E.nbytes)
            + sum(m.nbytes for m in self.mixed)
            + self.alike.nbytes
            + plan.nbytes
        )

    @cached_property
    def mixed(self) -> tuple[MergedControls, ...]:
        """The mixed form of each of ``tensors``; ``mixed.NONE`` where there is none."""
        transitions = (mixed(b, n) for b, n in zip(self.B, self.num_states, strict=True))
        return (*(NONE for _ in self.A), *transitions, *(NONE for _ in self._merging.tensors))

    @cached_property
    def _merging(self) -> PlanClasses:
        return merging(self.A, self.A_deps, self.num_states, self.folds, len(self.A) + len(self.B))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What the kernel computes with: A, B, and A over classes of states for planning."""
        return (*self.A, *self.B, *self._merging.tensors)

    @cached_property
    def alike(self) -> outcome_classes.OutcomeClasses:
        """The classes of states that iteration goes over."""
        return outcome_classes.alike(self.A, self.A_deps, self.num_states)

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex over the payload: models with the same digest act alike."""
        total = hashlib.sha256()
        for name, data in sorted(self.entries().items()):
            total.update(f"{name}:{len(data)}:".encode() + data)
        return total.hexdigest()

    @cached_property
    def _plans(self) -> dict[tuple[int, bool], Program]:
        return {}

    def preferring(self, added: Mapping[int, ArrayLike]) -> Self:
        """Return this model with ``added`` log-preferences on top of C, nats, (O_m,) a modality.

        Raises
        ------
        ModelError
            A modality is unknown, or its values are not one finite number an outcome.
        """
        C, utility = list(self.C), list(self.folds.utility)
        for m, values in added.items():
            vector = np.asarray(values, np.float64)
            if not 0 <= m < len(C):
                raise ModelError(f"preferences: modality {m}, expected 0 to {len(C) - 1}")
            if vector.shape != (self.num_obs[m],) or not np.isfinite(vector).all():
                raise ModelError(f"preferences of modality {m}: expected {self.num_obs[m]} finite numbers")
            group = self.folds.groups.index(self.A_deps[m])
            C[m] = (C[m] + vector).astype(np.float32)
            more = vector @ self.A[m].matrix().astype(np.float64)
            utility[group] = (utility[group] + more).astype(np.float32)
        return replace(self, C=tuple(C), folds=replace(self.folds, utility=tuple(utility)))

    def plan(self, horizon: int, epistemic: bool) -> Program:
        """Return the planning program for the first ``horizon`` steps; written once.

        Raises
        ------
        ModelError
            The tree has more nodes than the budget, or the horizon is not one of the model's.
        """
        if not 1 <= horizon <= self.policy_len:
            raise ModelError(f"horizon: {horizon}, expected 1 to {self.policy_len}")
        key = (horizon, epistemic)
        if key not in self._plans:
            tree = PolicyTree(
                self.num_states,
                self.num_controls,
                self.A_deps,
                self.B_deps,
                self.policies,
                self.folds,
                self._merging.groups,
                self.node_budget,
            )
            self._plans[key] = program(tree, horizon, epistemic)
        return self._plans[key]


def _folds(arrays: ModelArrays) -> Folds:
    """Fold utility and ambiguity of modalities with the same parents into vectors, from the exact arrays."""
    groups = groups_of(arrays.A_deps)
    utilities, ambiguities = [], []
    for deps in groups:
        members = [m for m, parents in enumerate(arrays.A_deps) if parents == deps]
        size = int(np.prod([arrays.num_states[d] for d in deps]))
        timed = any(arrays.C[m].ndim == 2 for m in members)
        utility = np.zeros((arrays.policies.shape[1] if timed else 1, size))
        ambiguity = np.zeros(size)
        for m in members:
            a = arrays.A[m].reshape(-1, size)
            utility += np.atleast_2d(arrays.C[m]) @ a
            ambiguity -= (a * log(a)).sum(axis=0)
        utilities.append(utility.astype(np.float32))
        ambiguities.append(ambiguity.astype(np.float32))
    return Folds(groups, tuple(utilities), tuple(ambiguities))
