"""Inference over windows of ticks in float64, for many agents and all slots at once.

The mathematics is ``edge_agent.engine.inference_window``, message by message. Arrays have agents and slots as
their first axes; the messages of a transition are computed together for all slots that one action leads to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine import reference
from edge_agent.engine.arrays import ModelArrays
from edge_agent.engine.reference import Beliefs, Float
from edge_agent.engine.sparse import Sparse

Int = NDArray[np.int64]


class WindowOracle:
    """``agents`` agents of one model, which all begin and restart together."""

    def __init__(self, model: ModelArrays, agents: int) -> None:
        self._model, self._agents = model, agents
        self._marginal = model.options.inference_algo == "mmp"
        dense = (b.dense() if isinstance(b, Sparse) else b for b in model.B)
        self._tables = [np.moveaxis(b if self._marginal else reference.log(b), -1, 0) for b in dense]
        self._moves = [np.moveaxis(b.dense() if isinstance(b, Sparse) else b, -1, 0) for b in model.B]
        self.restart()

    def restart(self) -> None:
        """Begin anew from D."""
        self._likelihoods: list[Sequence[Float]] = []
        self._actions: list[Int] = []  # before each slot, [N, F]; -1: not known
        self._before = np.full((self._agents, len(self._model.B)), -1, np.int64)
        self._prior: Beliefs = [np.tile(d, (self._agents, 1)) for d in self._model.D]
        self._next: Beliefs = self._prior

    def follow(self, other: WindowOracle) -> None:
        """Take over the priors of other agents' windows."""
        self._prior, self._next = list(other._prior), list(other._next)

    def infer(self, likelihoods: Sequence[Float]) -> Beliefs:
        """Return the posteriors [N, S_f] after a tick's ln A(o | s) [N, *states], a modality."""
        horizon = self._model.options.inference_horizon
        if len(self._likelihoods) == horizon:
            del self._likelihoods[0], self._actions[0]
            self._prior = self._next
        self._likelihoods.append(likelihoods)
        self._actions.append(self._before)
        done = np.stack(self._actions[1:], axis=1) if len(self._actions) > 1 else None
        qs = self._slots(done)
        if done is not None and len(self._actions) == horizon:
            known = np.all(done[:, :1] >= 0, axis=2)
            moved = [self._past([q[:, :1] for q in qs], done[:, :1], f, self._moves) for f in range(len(qs))]
            self._next = [np.where(known, m[:, 0], p) for m, p in zip(moved, self._prior, strict=True)]
        self._before = np.full_like(self._before, -1)
        return [q[:, -1] for q in qs]

    def act(self, actions: Int) -> None:
        """Say which actions [N, F] were executed after the last tick; -1: it is not known."""
        self._before = np.array(actions, np.int64)

    def _slots(self, done: Int | None) -> Beliefs:
        """Return the beliefs [N, T, S_f] of all slots; ``done`` [N, T - 1, F] led from each to the next."""
        model, slots = self._model, len(self._likelihoods)
        lls = [np.stack(tables, axis=1) for tables in zip(*self._likelihoods, strict=True)]
        priors = [reference.log(p)[:, np.newaxis] for p in self._prior]
        linked = np.zeros((self._agents, slots + 1), bool)
        if done is not None:
            linked[:, 1:-1] = (done >= 0).all(axis=2)
        earlier, later = linked[:, :-1, np.newaxis], linked[:, 1:, np.newaxis]
        weight = np.where(later & self._marginal, 0.5, 1.0)
        qs: Beliefs = [np.full((self._agents, slots, n), 1.0 / n) for n in model.num_states]
        for _ in range(model.options.num_iter):
            logits = [self._seen(lls, qs, f) for f in range(len(qs))]
            for f, logit in enumerate(logits):
                message = np.broadcast_to(priors[f], logit.shape).copy()
                if done is not None:
                    past = self._past([q[:, :-1] for q in qs], done, f, self._tables)
                    past = reference.log(past) if self._marginal else past
                    message[:, 1:] = np.where(earlier[:, 1:], past, message[:, 1:])
                    future = np.where(later[:, :-1], self._future(qs, done, f), 0.0)
                    logit[:, :-1] += weight[:, :-1] * future
                logit += weight * message
            shifted = [np.exp(x - x.max(axis=-1, keepdims=True)) for x in logits]
            qs = [e / e.sum(axis=-1, keepdims=True) for e in shifted]
        return qs

    def _seen(self, lls: Sequence[Float], qs: Beliefs, f: int) -> Float:
        out = np.zeros_like(qs[f])
        for ll, deps in zip(lls, self._model.A_deps, strict=True):
            if f not in deps:
                continue
            operands: list[Any] = [ll, [0, 1, *(d + 2 for d in deps)]]
            operands += [x for d in deps if d != f for x in (qs[d], [0, 1, d + 2])]
            out += np.einsum(*operands, [0, 1, f + 2])
        return out

    def _past(self, qs: Beliefs, done: Int, f: int, tables: Sequence[Float]) -> Float:
        """Return tables[f] of each action applied to beliefs [N, T, S] about the slots before."""
        out = np.zeros((*done.shape[:2], self._model.num_states[f]))
        deps = self._model.B_deps[f]
        for u in np.unique(done[..., f][done[..., f] >= 0]):
            mine = done[..., f] == u
            operands: list[Any] = [tables[f][u], [1, *range(2, 2 + len(deps))]]
            operands += [x for i, d in enumerate(deps) for x in (qs[d][mine], [0, 2 + i])]
            out[mine] = np.einsum(*operands, [0, 1], optimize=len(deps) > 1)
        return out

    def _future(self, qs: Beliefs, done: Int, f: int) -> Float:
        """Return what the beliefs about the slots after say of factor ``f``, [N, T - 1, S_f]."""
        out = np.zeros((*done.shape[:2], self._model.num_states[f]))
        for child, deps in enumerate(self._model.B_deps):
            if f not in deps:
                continue
            keep = 2 + deps.index(f)
            for u in np.unique(done[..., child][done[..., child] >= 0]):
                mine = done[..., child] == u
                table, future = self._tables[child][u], qs[child][:, 1:][mine]
                if len(deps) == 1:
                    out[mine] += self._heard(table[np.newaxis], future)
                    continue
                operands: list[Any] = [table, [1, *range(2, 2 + len(deps))]]
                for i, d in enumerate(deps):
                    operands += [] if d == f else [qs[d][:, :-1][mine], [0, 2 + i]]
                out[mine] += self._heard(np.einsum(*operands, [0, 1, keep], optimize=True), future)
        return out

    def _heard(self, table: Float, future: Float) -> Float:
        """Return the message [K, S_f] of beliefs [K, S] through tables [K or 1, S, S_f]."""
        if self._marginal:
            table = table / np.maximum(table.sum(axis=2, keepdims=True), reference.EPSILON)
        message = future @ table[0] if len(table) == 1 else np.einsum("kj,kjs->ks", future, table)
        return reference.log(message) if self._marginal else np.asarray(message)
