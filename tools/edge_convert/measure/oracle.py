"""The float64 reference, stepped for many agents along a history that something else acted out.

The mathematics is ``edge_agent.engine.reference``, function by function. What is added here is that agents
are stepped together, and that the policies' common prefixes are expanded once, level by level: 155 expansions
instead of 375 for three steps of five actions, and a handful of array operations instead of a thousand.
Arrays have the agents as their first axis, or prefixes and agents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine import induction, novelty, reference, sophisticated, sparse
from edge_agent.engine.arrays import ModelArrays
from edge_agent.engine.reference import Beliefs, Float
from edge_agent.engine.sparse import Sparse, Weights
from edge_convert.measure.window_oracle import WindowOracle

Int = NDArray[np.int64]


@dataclass(frozen=True)
class _Level:
    """The distinct prefixes of one length: which one of the level before each extends, and by which
    action.
    """

    parents: Int
    actions: Int


class Oracle:
    """``agents`` agents of the reference; ``step`` decides, ``act`` says which actions were really executed.

    ``rounding`` is applied to the posteriors [N, S_f] of the factors it names before they are kept.
    """

    def __init__(
        self,
        model: ModelArrays,
        agents: int = 1,
        rounding: Mapping[int, Callable[[Float], Float]] | None = None,
    ) -> None:
        self._model = model
        self._agents = agents
        self._rounding = rounding or {}
        self._logs = [None if isinstance(a, Sparse) else reference.log(a) for a in model.A]
        self._ambiguity = [sparse.ambiguity(a) for a in model.A]
        self._novelty = novelty.gains(model)
        self._levels, self._leaves = _prefixes(model.policies)
        self._order: dict[int, Any] = {}
        self._windows = WindowOracle(model, agents) if model.options.windowed else None
        self.restart()

    def restart(self) -> None:
        """Begin anew from D."""
        self._prior: Beliefs = [np.tile(d, (self._agents, 1)) for d in self._model.D]
        self._qs: Beliefs = list(self._prior)
        if self._windows is not None:
            self._windows.restart()

    def follow(self, other: Oracle) -> None:
        """Take over the beliefs of other agents; what is predicted from them is one's own."""
        self._qs = list(other._qs)
        if self._windows is not None and other._windows is not None:
            self._windows.follow(other._windows)

    def infer(self, outcomes: Int, soft: Mapping[int, Float] | None = None) -> Beliefs:
        """Return the posteriors [N, S_f] after outcomes [N, M], or distributions [N, O_m] in their place."""
        logs = self._likelihoods(outcomes, soft or {})
        if self._windows is not None:
            self._qs = self._windows.infer(logs)
        elif self._model.options.inference_algo == "exact":
            self._qs = self._exact(logs)
        else:
            self._qs = self._iterated(logs)
        for f, rounded in self._rounding.items():
            self._qs[f] = rounded(self._qs[f])
        return self._qs

    def step(self, outcomes: Int, soft: Mapping[int, Float] | None = None) -> tuple[Beliefs, Float]:
        """Return posteriors [N, S_f] and q(pi) [N, P]."""
        qs = self.infer(outcomes, soft)
        return qs, self.policy_posterior(self.expected_free_energy(qs))

    def act(self, actions: Int) -> None:
        """Predict the next priors from the actions [N, F] that were executed."""
        if self._windows is not None:
            self._windows.act(actions)
        else:
            self._prior = self._predicted(self._qs, actions)

    def policy_posterior(self, G: Float) -> Float:
        """Return q(pi) [N, P] for G [N, P]."""
        model = self._model
        if model.options.sophisticated:
            return sophisticated.policy_posterior(model.options, G)
        return _softmax(model.gamma * G + reference.log(model.E))

    def expected_free_energy(self, qs: Sequence[Float]) -> Float:
        """Return the negative expected free energy [N, P] from beliefs [N, S_f]."""
        if self._model.options.sophisticated:
            return self._searched(qs)
        penalties = self._penalties(qs)
        states: Beliefs = [q[np.newaxis] for q in qs]
        value = np.zeros((1, len(qs[0])))
        for t, level in enumerate(self._levels):
            before = [q[level.parents] for q in states]
            actions = np.repeat(level.actions[:, np.newaxis], value.shape[1], axis=1)
            states = self._predicted(before, actions)
            value = value[level.parents] + self._gain(states, t) + self._learned(before, states, actions)
            for penalty, state in zip(penalties, states, strict=False):
                value = value + (state * penalty).sum(axis=-1)
        return np.ascontiguousarray(value[self._leaves].T)

    def _searched(self, qs: Sequence[Float]) -> Float:
        """Return what a sophisticated search finds; agents that believe the same are searched once."""
        splits = np.cumsum(self._model.num_states)[:-1]
        distinct, owner = np.unique(np.concatenate(qs, axis=1), axis=0, return_inverse=True)
        found = [reference.expected_free_energy(self._model, np.split(row, splits)) for row in distinct]
        return np.stack(found)[owner.ravel()]

    def _likelihoods(self, outcomes: Int, soft: Mapping[int, Float]) -> list[Float]:
        out = []
        for m, (a, log) in enumerate(zip(self._model.A, self._logs, strict=True)):
            if m in soft:
                out.append(np.stack([sparse.log_soft(a, row) for row in soft[m]]))
                continue
            seen = outcomes[:, m]
            known = np.maximum(seen, 0)
            table = np.stack([sparse.log_outcome(a, o) for o in known]) if log is None else log[known]
            table[seen < 0] = 0.0
            out.append(table)
        return out

    def _iterated(self, logs: Sequence[Float]) -> Beliefs:
        """Return the posteriors after fixed-point iteration; modalities with the same parents count as
        one.
        """
        model = self._model
        prior = [reference.log(p) for p in self._prior]
        joint: dict[tuple[int, ...], Float] = {}
        for ll, deps in zip(logs, model.A_deps, strict=True):
            if len(deps) == 1:
                prior[deps[0]] = prior[deps[0]] + ll
            else:
                joint[deps] = joint[deps] + ll if deps in joint else ll
        terms = [
            (f, np.moveaxis(table, 1 + i, 1), [d for d in reversed(deps) if d != f])
            for deps, table in joint.items()
            for i, f in enumerate(deps)
        ]
        log_q = [np.zeros_like(p) for p in prior]
        for _ in range(model.options.num_iter if terms else 1):
            q = [_softmax(x) for x in log_q]
            log_q = list(prior)
            for f, table, others in terms:
                out = table
                for d in others:
                    out = _sum_last(out, q[d])
                log_q[f] = log_q[f] + out
        return [_softmax(x) for x in log_q]

    def _exact(self, logs: Sequence[Float]) -> Beliefs:
        """Return the marginals of each agent's joint posterior: ``reference.exact_marginals`` for all agents.

        The order of elimination depends on the model alone, so it is planned once a factor.
        """
        factors = range(len(self._prior))
        tables = [((f,), reference.log(self._prior[f])) for f in factors]
        operands: list[Any] = []
        for deps, table in (*tables, *zip(self._model.A_deps, logs, strict=True)):
            largest = table.max(axis=tuple(range(1, table.ndim)), keepdims=True)
            operands += [np.exp(table - largest), [len(factors), *deps]]
        qs = []
        for f in factors:
            wanted = [len(factors), f]
            if f not in self._order:
                self._order[f] = np.einsum_path(*operands, wanted, optimize="greedy")[0]
            qs.append(np.einsum(*operands, wanted, optimize=self._order[f]))
        none = (
            np.min([q.sum(axis=1) for q in qs], axis=0) <= reference.SMALLEST
        )  # beyond float64: beliefs stay
        return [
            np.where(none[:, np.newaxis], p, q / np.where(none, 1.0, q.sum(axis=1))[:, np.newaxis])
            for p, q in zip((_softmax(reference.log(p)) for p in self._prior), qs, strict=True)
        ]

    def _predicted(self, qs: Sequence[Float], actions: Int) -> Beliefs:
        """Return B(u) applied to beliefs [..., S_f]; ``actions`` [..., F]."""
        out = []
        for f, (b, deps) in enumerate(zip(self._model.B, self._model.B_deps, strict=True)):
            new = np.empty((*actions.shape[:-1], b.shape[0]))
            for u in np.unique(actions[..., f]):
                mine = actions[..., f] == u
                new[mine] = _expect(sparse.controlled(b, u), [qs[d][mine] for d in deps])
            out.append(new)
        return out

    def _gain(self, states: Sequence[Float], t: int) -> Float:
        model, options = self._model, self._model.options
        gain = np.zeros(states[0].shape[:-1])
        for m, (a, c, deps) in enumerate(zip(model.A, model.C, model.A_deps, strict=True)):
            parents = [states[d] for d in deps]
            outcomes = _expect(a, parents)
            if options.use_utility:
                gain += outcomes @ (c[t] if c.ndim == 2 else c)
            if options.use_states_info_gain:
                gain -= (outcomes * reference.log(outcomes)).sum(axis=-1)
                gain -= _expect(self._ambiguity[m][np.newaxis], parents)[..., 0]
            if m in self._novelty:
                gain += (outcomes * _expect(self._novelty[m], parents)).sum(axis=-1)
        return gain

    def _learned(self, before: Sequence[Float], states: Sequence[Float], actions: Int) -> Float:
        gain = np.zeros(states[0].shape[:-1])
        for f, (state, deps) in enumerate(zip(states, self._model.B_deps, strict=True)):
            weights = self._novelty.get(len(self._model.A) + f)
            if weights is None:
                continue
            for u in np.unique(actions[..., f]):
                mine = actions[..., f] == u
                expected = _expect(weights[..., u], [before[d][mine] for d in deps])
                gain[mine] += (state[mine] * expected).sum(axis=-1)
        return gain

    def _penalties(self, qs: Sequence[Float]) -> list[Float]:
        """Return the inductive value [N, S_f] of each state."""
        options = self._model.options
        if not options.use_inductive or self._model.I is None:
            return []
        return [
            np.stack(
                [
                    induction.penalty(ways, reference.most_probable(row), options.inductive_epsilon)
                    for row in q
                ]
            )
            for ways, q in zip(self._model.I, qs, strict=True)
        ]


def deterministic(model: ModelArrays) -> ModelArrays:
    """Return the model with the most probable action chosen, never drawn."""
    return replace(model, options=replace(model.options, action_selection="deterministic"))


def _prefixes(policies: Int) -> tuple[list[_Level], Int]:
    """Return the distinct prefixes of each length, and the last one's number for each policy."""
    levels = []
    owner = np.zeros(len(policies), np.int64)
    for t in range(policies.shape[1]):
        keys = np.column_stack([owner, policies[:, t]])
        kinds, owner = np.unique(keys, axis=0, return_inverse=True)
        owner = owner.ravel().astype(np.int64)
        levels.append(_Level(kinds[:, 0], kinds[:, 1:]))
    return levels, owner


def _softmax(x: Float) -> Float:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    out: Float = e / e.sum(axis=-1, keepdims=True)
    return out


def _expect(tensor: Weights, parents: Sequence[Float]) -> Float:
    """Return ``tensor`` [R, *states] summed against beliefs [..., S] of each of its factors: [..., R]."""
    if isinstance(tensor, Sparse):
        batch = parents[0].shape[:-1]
        agents = zip(*(p.reshape(-1, p.shape[-1]) for p in parents), strict=True)
        flat = np.stack([tensor.apply(row) for row in agents])
        return np.asarray(flat.reshape(*batch, tensor.shape[0]), np.float64)
    if (
        len(parents) == 1
    ):  # one product of two matrices that lie in one piece: any other is summed without BLAS
        rows = np.ascontiguousarray(parents[0]).reshape(-1, tensor.shape[-1])
        return np.asarray(rows @ np.ascontiguousarray(tensor).T).reshape(*parents[0].shape[:-1], -1)
    flat = np.asarray(parents[-1] @ np.moveaxis(tensor, -1, 0).reshape(tensor.shape[-1], -1), np.float64)
    out: Float = flat.reshape(*parents[-1].shape[:-1], *tensor.shape[:-1])
    for belief in reversed(parents[:-1]):
        out = _sum_last(out, belief)
    return out


def _sum_last(table: Float, belief: Float) -> Float:
    """Return ``table`` [*batch, ..., S] summed against beliefs [*batch, S]."""
    batch = belief.ndim - 1
    middle = table.shape[batch:-1]
    flat = table.reshape(*table.shape[:batch], -1, table.shape[-1])
    return (flat @ belief[..., np.newaxis])[..., 0].reshape(*table.shape[:batch], *middle)


class World:
    """The model taken for the world: states are drawn from D and B, outcomes from A, seeded."""

    def __init__(self, model: ModelArrays, seed: int) -> None:
        self._model = model
        self._columns = {id(t): _Columns(t) for t in (*model.A, *model.B) if isinstance(t, Sparse)}
        self._rng = np.random.default_rng(seed)
        self._states = [self._draw(d) for d in model.D]

    def observe(self) -> NDArray[np.int64]:
        """Return outcomes [M] drawn from the likelihood of the present states."""
        model = self._model
        columns = (
            self._column(a, [self._states[d] for d in deps])
            for a, deps in zip(model.A, model.A_deps, strict=True)
        )
        return np.array([self._draw(column) for column in columns], dtype=np.int64)

    def act(self, action: Sequence[int]) -> None:
        """Draw the next states."""
        model = self._model
        columns = [
            self._column(b, [*(self._states[d] for d in deps), int(u)])
            for b, deps, u in zip(model.B, model.B_deps, action, strict=True)
        ]
        self._states = [self._draw(column) for column in columns]

    def _column(self, tensor: Weights, indices: Sequence[int]) -> Float:
        """Return ``tensor[:, *indices]``, a distribution."""
        if isinstance(tensor, Sparse):
            return self._columns[id(tensor)].column(indices)
        out: Float = np.moveaxis(tensor, 0, -1)[tuple(indices)]
        return out

    def _draw(self, distribution: Float) -> int:
        edges = np.cumsum(distribution)
        drawn = int(np.searchsorted(edges, self._rng.random() * edges[-1], side="right"))
        return min(drawn, len(edges) - 1)


class _Columns:
    """The columns of a sparse tensor, found without going through all of its entries."""

    def __init__(self, tensor: Sparse) -> None:
        self._tensor = tensor
        self._order = np.argsort(tensor.columns, kind="stable")
        self._starts = np.searchsorted(tensor.columns[self._order], np.arange(tensor.width + 1))

    def column(self, indices: Sequence[int]) -> Float:
        """Return ``tensor[:, *indices]``."""
        place = int(np.ravel_multi_index(tuple(indices), self._tensor.shape[1:]))
        listed = self._order[self._starts[place] : self._starts[place + 1]]
        out = np.full(self._tensor.shape[0], self._tensor.background)
        out[self._tensor.rows[listed]] = self._tensor.values[listed]
        return out
