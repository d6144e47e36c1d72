"""Model: an immutable 8-bit POMDP, made from arrays (``from_arrays``) or from a bundle (``load``).

Theory of operation. Tensors A and B are stored (``storage``) as palette codes, dense or sparse; vectors (C,
D, E, and what planning folds out of A and C) are float32. ``payload`` says how they lie in a bundle.
Everything is checked once, when a model is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.engine import storage
from edge_agent.engine.arrays import Deps, ModelArrays, model_arrays
from edge_agent.engine.contraction_plan import Contraction, no_tables
from edge_agent.engine.elimination_plan import NONE as NO_ELIMINATION
from edge_agent.engine.elimination_plan import Elimination
from edge_agent.engine.integer_weights import pays
from edge_agent.engine.learning import Learning
from edge_agent.engine.merged_controls import NONE, MergedControls, mixed
from edge_agent.engine.options import RULES, AgentOptions
from edge_agent.engine.outcome_classes import OutcomeClasses, find_classes, no_classes
from edge_agent.engine.plan_classes import PlanClasses, merging
from edge_agent.engine.plan_products import Product, products
from edge_agent.engine.plan_steps import beliefs_of
from edge_agent.engine.planning import Program, program
from edge_agent.engine.policy_tree import Folds, PolicyTree, folded
from edge_agent.engine.precision import Precision
from edge_agent.engine.sparse import Sparse
from edge_agent.engine.storage import Tensor
from edge_agent.engine.window_plan import inverse_sums, state_bytes
from edge_agent.errors import ModelError

NODE_BUDGET = 20_000

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class StoredModel:
    """The tensors of a model as they are stored, its options and its plans; immutable.

    `engine.model.Model` is the model that users make: it adds reading from a bundle.

    Attributes
    ----------
    A, B : tuple of Tensor
        Stored tensors, a modality, a factor.
    C, D : tuple of ndarray of float32
        Preferences a modality, [O_m] or [T, O_m]; priors a factor, [S_f].
    E : ndarray of float32, shape (P,), or None
        Prior over policies; None when uniform.
    policies : ndarray of int64, shape (P, T, F)
    belief_bits : tuple of int
        Bits of a belief's code, a factor: 8 or 16.
    novelty : dict of int to Tensor
        Information gain on the parameters of tensors, by the tensor's number: A first, then B.
    ways : tuple of ndarray of uint8
        Of inductive planning, [depth, S_f] a factor (``induction``); empty without it.
    rules : int
        1: made by a release without options, whose ties and contradictions were others (``options.RULES``).
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
    options: AgentOptions
    belief_bits: tuple[int, ...]
    novelty: Mapping[int, Tensor] = field(default_factory=dict)
    ways: tuple[NDArray[np.uint8], ...] = ()
    rules: int = RULES
    learning: Learning | None = field(default=None, compare=False)
    """Its concentrations; None: it does not learn."""
    changing: bool = False
    """Whether tensors change while it runs: no states are merged, nothing is made of tensors at load, so that
    memory stays as planned.
    """
    node_budget: int = field(default=NODE_BUDGET, compare=False)

    @classmethod
    def from_arrays(
        cls,
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
        meta: Mapping[str, Any] | None = None,
        name: str = "model",
        precision: Precision | None = None,
        node_budget: int = NODE_BUDGET,
    ) -> Self:
        """Quantize a model; shapes and defaults are those of ``arrays.model_arrays``.

        Parameters
        ----------
        precision : Precision, optional
            Bits of weights and beliefs; default 8 for all.
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
            options=options,
            pA=pA,
            pB=pB,
            H=H,
            I=I,
        )
        return cls.quantized(arrays, meta=meta, name=name, precision=precision, node_budget=node_budget)

    @classmethod
    def quantized(
        cls,
        arrays: ModelArrays,
        *,
        meta: Mapping[str, Any] | None = None,
        name: str = "model",
        precision: Precision | None = None,
        node_budget: int = NODE_BUDGET,
    ) -> Self:
        """Quantize checked arrays. See ``from_arrays``."""
        from edge_agent.engine import novelty  # the daemon's memory: it makes no models

        bits = precision or Precision.uniform(arrays)
        bits.check(arrays)
        uniform = bool((arrays.E[0] == arrays.E).all())
        model = cls(
            name=name,
            meta=dict(meta or {}),
            A=tuple(storage.store(a, False, n) for a, n in zip(arrays.A, bits.A, strict=True)),
            B=tuple(storage.store(b, True, n) for b, n in zip(arrays.B, bits.B, strict=True)),
            C=tuple(c.astype(np.float32) for c in arrays.C),
            D=tuple(d.astype(np.float32) for d in arrays.D),
            E=None if uniform else arrays.E.astype(np.float32),
            policies=arrays.policies,
            A_deps=arrays.A_deps,
            B_deps=arrays.B_deps,
            folds=folded(arrays),
            options=arrays.options,
            belief_bits=bits.beliefs,
            novelty={i: storage.store(w, i >= len(arrays.A), 16) for i, w in novelty.gains(arrays).items()},
            ways=tuple(i.astype(np.uint8) for i in arrays.I or ()) if arrays.options.use_inductive else (),
            node_budget=node_budget,
        )
        model.plan(model.policy_len, True)  # the node budget is checked here
        _ = model.elimination  # and the size of exact inference
        return model

    def arrays(self) -> ModelArrays:
        """Return the float64 model that the codes stand for."""
        A = [
            storage.written(t, (t.rows, *(self.num_states[d] for d in deps)), False)
            for t, deps in zip(self.A, self.A_deps, strict=True)
        ]
        B = [
            storage.written(t, (s, *(self.num_states[d] for d in deps), u), True)
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
            self.options,
            I=tuple(w.astype(np.float64) for w in self.ways) or None,
            gains={
                i: w.matrix().astype(np.float64).reshape(A[i].shape)
                if i < len(A)
                else storage.written(w, B[i - len(A)].shape, True)
                for i, w in self.novelty.items()
            },
        )

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
        return tuple(len(d) for d in self.D)

    @property
    def code_rows(self) -> tuple[int, ...]:
        """Bytes of a belief, a factor."""
        return tuple(n * bits // 8 for n, bits in zip(self.num_states, self.belief_bits, strict=True))

    @property
    def slots(self) -> int:
        """Ticks that an agent infers over (``inference_window``), 0 where it filters."""
        return self.options.inference_horizon if self.options.windowed else 0

    @property
    def state_rows(self) -> int:
        """Bytes of an agent's state: its beliefs, and its window behind them."""
        codes = sum(self.code_rows)
        return codes + state_bytes(codes, len(self.B), len(self.A), self.slots)

    @cached_property
    def inverse_sums(self) -> NDArray[np.float32]:
        """1 over the sum of every row of B, of inference over a window; else empty."""
        return inverse_sums(self.B if self.slots else ())

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

    @property
    def depth(self) -> int:
        """Steps that planning looks ahead: ``policy_len``, or ``si_horizon`` of a sophisticated search."""
        return self.options.si_horizon if self.options.sophisticated else self.policy_len

    @cached_property
    def nbytes(self) -> int:
        """Bytes of the model's arrays and of its planning program."""
        vectors = (*self.C, *self.D, *self.folds.utility, *self.folds.ambiguity)
        plan = self.plan(self.policy_len, True)
        return (
            sum(t.nbytes for t in self.tensors)
            + sum(p.times.nbytes + p.constant.nbytes for p in self.products.values())
            + sum(v.nbytes for v in vectors)
            + (0 if self.E is None else self.E.nbytes)
            + sum(m.nbytes for m in self.mixed)
            + sum(w.nbytes for w in self.ways)
            + self.outcome_classes.nbytes
            + self.elimination.nbytes
            + sum(c.nbytes for c in self.contractions)
            + plan.nbytes
            + self.inverse_sums.nbytes
            + (0 if self.learning is None else self.learning.nbytes)
        )

    @cached_property
    def mixed(self) -> tuple[MergedControls, ...]:
        """The mixed form of each of ``tensors``; ``mixed.NONE`` where there is none."""
        transitions = (mixed(b, n, self.rules) for b, n in zip(self.B, self.num_states, strict=True))
        others = len(self._merging.tensors) + len(self.novelty) + len(self.products)
        return (*(NONE for _ in self.A), *transitions, *(NONE,) * others)

    @cached_property
    def _merging(self) -> PlanClasses:
        first = len(self.A) + len(self.B)
        apart = [m for m in self.novelty if m < len(self.A)]  # states of equal columns gain differently
        if self.changing:
            apart = list(range(len(self.A)))
        beliefs = []
        if self.rules > 1 and any(len(deps) > 1 for deps in self.A_deps):
            beliefs = beliefs_of(self.policies, self.B_deps, self.node_budget)
        return merging(self.A, self.A_deps, self.num_states, self.folds, first, apart, beliefs)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What the kernel computes with: A, B, A over classes of states for planning, novelty, products."""
        own = (*self.A, *self.B, *self._merging.tensors, *self.novelty.values())
        return (*own, *(product.tensor for product in self.products.values()))

    @cached_property
    def products(self) -> Mapping[int, Product]:
        """Products of A and B that planning uses in their place, by factor."""
        if self.changing or self.rules == 1:
            return {}
        return products(self.A, self.B, self.A_deps, self.num_states)

    def product_of(self, number: int) -> Product | None:
        """Return the product that is tensor ``number``, if it is one."""
        first = len(self.tensors) - len(self.products)
        return [*self.products.values()][number - first] if number >= first else None

    @cached_property
    def integers(self) -> Mapping[int, int]:
        """Rows that the kernel applies together, by the number of a tensor that it multiplies in integers."""
        if self.changing or self.rules == 1:
            return {}
        rows = {len(self.A) + f: n for f, n in enumerate(self.num_states)}
        for deps, classes in zip(self.folds.groups, self._merging.groups, strict=True):
            if classes:
                rows |= {number: self.tensors[number].rows for number in classes.tensors.values()}
            elif not set(deps) <= set(self.products):
                rows |= {m: self.A[m].rows for m, parents in enumerate(self.A_deps) if parents == deps}
        chosen = {n: count for n, count in rows.items() if pays(self.tensors[n], count)}
        for n in range(len(self.tensors) - len(self.products), len(self.tensors)):
            product = self.product_of(n)
            if product is not None and not product.tensor.sparse:
                chosen[n] = product.tensor.rows // product.controls
        return chosen

    @cached_property
    def outcome_classes(self) -> OutcomeClasses:
        """The classes of states that iteration goes over."""
        if self.elimination.entries or self.changing or self.slots:
            return no_classes(len(self.A), len(self.B))
        return find_classes(self.A, self.A_deps, self.num_states)

    @cached_property
    def elimination(self) -> Elimination:
        """The program of exact inference; empty where nothing has to be eliminated.

        Raises
        ------
        ModelError
            Its tables are too large.
        """
        exact = self.options.inference_algo == "exact"
        if not exact:
            return NO_ELIMINATION
        from edge_agent.engine.elimination import elimination  # the daemon's memory: few models need it

        return elimination(self.A_deps, self.num_states)

    @cached_property
    def contractions(self) -> tuple[Contraction, Contraction]:
        """The order in which iteration sums tables over states, and over ``outcome_classes``."""
        if self.elimination.entries or all(len(deps) == 1 for deps in self.A_deps):
            return (no_tables(len(self.A)),) * 2
        from edge_agent.engine.contraction import TURNS, contraction  # as above

        planned, turns = self.rules > 1, min(self.options.num_iter, TURNS)
        over_states = contraction(self.A_deps, self.num_states, planned=planned, turns=turns)
        if not self.outcome_classes.patterns:
            return over_states, no_tables(len(self.A))
        classes = self.outcome_classes.classes.tolist()
        return over_states, contraction(self.A_deps, classes, planned=planned, turns=0)

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

        The program of a sophisticated search has one step, whatever the horizon.

        Raises
        ------
        ModelError
            The tree has more nodes than the budget, or the horizon is not one of the model's.
        """
        if not 1 <= horizon <= self.depth:
            raise ModelError(f"horizon: {horizon}, expected 1 to {self.depth}")
        horizon = min(horizon, self.policy_len)
        key = (horizon, epistemic)
        if key not in self._plans:
            first = len(self.A) + len(self.B) + len(self._merging.tensors)
            last = first + len(self.novelty)
            tree = PolicyTree(
                self.num_states,
                self.num_obs,
                self.num_controls,
                self.A_deps,
                self.B_deps,
                self.policies,
                self.folds,
                self._merging.groups,
                self.node_budget,
                self.options.use_utility,
                self.options.use_states_info_gain,
                {i: first + k for k, i in enumerate(self.novelty)},
                bool(self.ways),
                frozenset(self.integers),
                {f: (last + k, product) for k, (f, product) in enumerate(self.products.items())},
            )
            self._plans[key] = program(tree, horizon, epistemic)
        return self._plans[key]
