"""Writes the kernel's planning program: every node of the policy tree is expanded once.

Theory of operation. Policies that begin alike share their first nodes, and a factor whose parents went the
same way shares its beliefs even between policies that differ elsewhere. So nodes are memoised by what made
them: a belief node by (factor, control, belief nodes of its parents), a term of the expected free energy by
(modality group, step, belief nodes it looks at).

A modality group is the modalities with the same parents: their utility and ambiguity fold into one vector
(``Folds``), and only the entropy of the predicted outcomes is left to compute. Where most of its values are
the same, that is the background and only the others are listed, as in tensors: beliefs sum to 1. The
information gain on the parameters of A and B is an operation of its own, and so is the inductive value, whose
rows the kernel writes before the program runs (they depend on where an agent believes it is, not on the
policy).

The program is a list of operations on rows (kernel/model.h), written depth first; rows are shared out like
registers, so scratch memory is that of one branch of the tree.

Sources: Da Costa et al. 2020, section 6 (expected free energy); Friston et al. 2021, "Sophisticated
inference" (policies as a tree).
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.integer_weights import packed_rows
from edge_agent.engine.plan_products import Product
from edge_agent.engine.policy_tree import Merged, PolicyTree
from edge_agent.engine.row_allocation import Op, Ref, with_rows
from edge_agent.errors import ModelError

COPY, ADD, EXPAND, JOINT, ENTROPY, DOT, LISTED, GATHER, NOVELTY, PRODUCT, OUTCOMES = range(11)
PACK, XLOG2X, GROUP_ENTROPY, EXPAND_PACKED = range(11, 15)  # integers and products
XLOG2X_UNIT = math.log(2) / 2**23  # of the kernel's x log2 x, in nats
LISTED_COST = 1.15  # of a listed entry beside a dense one, as storage.ENTRY_COST


class Program(NamedTuple):
    """``ops`` int32 [n, 8], ``fold`` float32 and ``lists`` int32 for the kernel; ``values``: row of G[0].

    ``penalties``: row of the inductive value of the first state, -1 where there is none.
    """

    ops: NDArray[np.int32]
    fold: NDArray[np.float32]
    lists: NDArray[np.int32]
    values: int
    rows: int
    nodes: int
    penalties: int = -1

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.ops.nbytes + self.fold.nbytes + self.lists.nbytes


_Vector = tuple[int, list[int] | None]
"""Where it is in ``fold``, and the states that it lists."""


class _ProductTerms(NamedTuple):
    """Of a factor's product: its tensor, and where ``fold`` has the entropies of its rows.

    ``shared``: the part of these that all controls have, ``own``: what each has besides; None for nothing.
    """

    number: int
    product: Product
    shared: _Vector | None
    own: list[_Vector | None]


def program(tree: PolicyTree, horizon: int, epistemic: bool) -> Program:
    """Write the program for the first ``horizon`` steps of every policy.

    Raises
    ------
    ModelError
        The tree has more nodes than the budget; the message says how many steps would fit.
    """
    try:
        return _written(tree, horizon, epistemic)
    except ModelError as error:
        for fewer in range(horizon - 1, 0, -1):
            try:
                nodes = _written(tree, fewer, epistemic).nodes
            except ModelError:
                continue
            raise ModelError(f"{error}; policies of {fewer} steps would fit, with {nodes} nodes") from error
        raise ModelError(f"{error}; not even policies of one step would fit") from error


def _written(tree: PolicyTree, horizon: int, epistemic: bool) -> Program:
    writer = _Writer(tree, horizon, epistemic)
    writer.branch(list(range(len(tree.policies))), 0, tuple(range(len(tree.num_states))), None)
    return writer.finish()


class _Writer:
    """Emits operations on virtual registers, then gives registers their rows."""

    def __init__(self, tree: PolicyTree, horizon: int, epistemic: bool) -> None:
        self.tree, self.horizon = tree, horizon
        self.states_gain, self.parameters_gain = epistemic and tree.states_info_gain, epistemic
        self.sizes = list(tree.num_states)  # registers 0 to F - 1 are the beliefs at the root
        self.values = self._register(len(tree.policies))
        self.ops: list[Op] = []
        states = sum(tree.num_states)
        self.penalties = self._register(states) if tree.inductive else -1
        self.beliefs: dict[tuple[int, ...], int] = {}
        self.own_terms: dict[int, list[int]] = {}  # of a belief node, by its register
        self.terms: dict[tuple[int, ...], list[int]] = {}
        self.nodes = 0
        self.fold: list[float] = []
        self.lists: list[int] = []
        self.partial: dict[tuple[int, ...], list[int]] = {}
        self.joints: dict[tuple[int, ...], int] = {}
        self.gathered: dict[tuple[int, int, int], int] = {}
        self.class_lists: dict[tuple[int, int], int] = {}
        self.packed: dict[int, int] = {}
        self.places: dict[int, int] = {}
        self.terms_of_rows: dict[tuple[int, int], tuple[int, int | None]] = {}
        self.needed = {f for deps in tree.A_deps if len(deps) > 1 for f in deps}  # after the last step
        self.needed |= {f for m, (f, *_) in enumerate(tree.A_deps) if m in tree.novelty}
        self.needed |= set(range(len(tree.num_states))) if tree.inductive else set()
        self.vectors = [self._vectors(g) for g in range(len(tree.folds.groups))]
        self.products = {f: self._product_terms(f, *product) for f, product in tree.products.items()}

    def _vectors(self, group: int) -> list[list[_Vector]]:
        """Write a group's utility less its ambiguity, a step or for all; a control, or for all."""
        merged, deps = self.tree.merged[group], self.tree.folds.groups[group]
        utility, ambiguity = (
            merged[2:4] if merged else (self.tree.folds.utility[group], self.tree.folds.ambiguity[group])
        )
        gain = utility if self.tree.utility else np.zeros_like(utility)
        vectors = gain - ambiguity if self.states_gain else gain
        if len(deps) == 1 and deps[0] in self.tree.products:
            carried = self.tree.products[deps[0]][1].carried
            return [[self._vector(v.astype(np.float32)) for v in carried(one)] for one in vectors]
        return [[self._vector(v, not (merged and merged.steps))] for v in vectors]

    def _vector(self, vector: NDArray[np.float32], lists: bool = True) -> _Vector:
        """Write a vector: its place, and the states that it lists, where that is less and ``lists``."""
        values, counts = np.unique(vector, return_counts=True)
        background = values[counts.argmax()]
        listed = np.flatnonzero(vector != background)
        start = len(self.fold)
        if LISTED_COST * len(listed) + 1 < len(vector) and lists:
            self.fold += [float(background), *(vector[listed] - background).tolist()]
            return start, listed.tolist()
        self.fold += vector.tolist()
        return start, None

    def _register(self, size: int) -> int:
        self.sizes.append(size)
        return len(self.sizes) - 1

    def branch(self, policies: list[int], depth: int, parents: tuple[int, ...], value: int | None) -> None:
        """Expand the children of one prefix, in the order in which policies name them."""
        children: dict[tuple[int, ...], list[int]] = {}
        for p in policies:
            children.setdefault(tuple(self.tree.policies[p, depth].tolist()), []).append(p)
        for action, members in children.items():
            beliefs = tuple(self._belief(f, u, depth, parents) for f, u in enumerate(action))
            terms = [t for g in range(len(self.tree.folds.groups)) for t in self._terms(g, depth, beliefs)]
            alone = {f for (f, *others) in self.tree.folds.groups if not others}
            terms += [t for f, b in enumerate(beliefs) if f not in alone for t in self.own_terms.get(b, [])]
            leaf = depth + 1 == self.horizon
            total = Ref(self.values, members[0]) if leaf else Ref(self._register(1))
            self._sum(total, ([] if value is None else [value]) + terms)
            if leaf:
                for p in members[1:]:
                    self.ops.append((COPY, Ref(self.values, p), total))
            else:
                self.branch(members, depth + 1, beliefs, total.register)

    def _sum(self, total: Ref, parts: list[int]) -> None:
        if len(parts) == 1:
            self.ops.append((COPY, total, Ref(parts[0])))
            return
        self.ops.append((ADD, total, Ref(parts[0]), Ref(parts[1])))
        for part in parts[2:]:
            self.ops.append((ADD, total, total, Ref(part)))

    def _belief(self, f: int, u: int, depth: int, parents: tuple[int, ...]) -> int:
        sources = [parents[d] for d in self.tree.B_deps[f]]
        key = (f, u, depth, *sources)
        if key in self.beliefs:
            return self.beliefs[key]
        self.nodes += 1
        if self.nodes > self.tree.node_budget:
            raise ModelError(f"policies: the tree has over {self.tree.node_budget} nodes, the node budget")
        source = self._joint(sources, [self.tree.num_states[d] for d in self.tree.B_deps[f]])
        states = self.tree.num_states[f]
        out = self._register(states)
        tensor = len(self.tree.A_deps) + f
        expand: Op = (
            self._expansion(tensor),
            tensor,
            u * states,
            states,
            Ref(self._operand(tensor, source)),
            Ref(out),
        )
        own = []
        if f in self.products:
            if depth + 1 < self.horizon or f in self.needed:
                self.ops.append((*expand, -1, 0))
            own = [self._outcomes(f, u, depth, source)]
        elif (f,) in self.tree.folds.groups:
            value = self._register(1)
            start, listed = self._at_depth(self.tree.folds.groups.index((f,)), depth)[0]
            if listed is None:
                self.ops.append((*expand, start, Ref(value)))
            else:
                self.ops.append((*expand, -1, Ref(value)))
                self._dot((start, listed), 0, out, value)
            self._entropies((f,), out, value)
            own = [value]
        else:
            self.ops.append((*expand, -1, 0))
        own += self._novelties((f,), out)
        if self.parameters_gain and tensor in self.tree.novelty:
            own.append(self._novelty(tensor, u * states, states, source))
        if self.tree.inductive:
            own.append(self._register(1))
            place = Ref(self.penalties, sum(self.tree.num_states[:f]))
            self.ops.append((PRODUCT, states, place, Ref(out), Ref(own[-1]), 1))
        self.beliefs[key] = out
        self.own_terms[out] = own
        return out

    def _expansion(self, tensor: int) -> int:
        return EXPAND_PACKED if tensor in self.tree.integers else EXPAND

    def _operand(self, tensor: int, source: int) -> int:
        """Return the register that the tensor is applied to: ``source``, or its integers."""
        if tensor not in self.tree.integers:
            return source
        if source not in self.packed:
            self.packed[source] = self._register(packed_rows(self.sizes[source]))
            self.ops.append((PACK, self.sizes[source], Ref(source), Ref(self.packed[source])))
        return self.packed[source]

    def _product_terms(self, f: int, number: int, product: Product) -> _ProductTerms:
        if not self.states_gain or not product.times.size:
            return _ProductTerms(number, product, None, [None] * product.controls)
        shared, extra = product.usual(), []
        for times, constant in zip(product.times, product.constant, strict=True):
            extra.append(self._weights(float(constant), times - shared))
        return _ProductTerms(number, product, self._weights(0.0, shared), extra)

    def _weights(self, constant: float, times: NDArray[np.int64]) -> _Vector | None:
        rows = np.flatnonzero(times)
        start = len(self.fold)
        if not len(rows) and not constant:
            return None
        self.fold += [constant, *(-XLOG2X_UNIT * times[rows]).tolist()]
        return start, rows.tolist()

    def _outcomes(self, f: int, u: int, depth: int, source: int) -> int:
        """Return the register of what a factor alone promises, from the beliefs before its transition."""
        number, product, shared, own = self.products[f]
        value = self._register(1)
        group = self.tree.folds.groups.index((f,))
        self._dot(self._at_depth(group, depth)[u], product.tensor.width, source, value)
        if not self.states_gain:
            return value
        if not product.times.size:
            self.ops.append((GROUP_ENTROPY, number, Ref(self._operand(number, source)), Ref(value), u))
            return value
        if (f, source) not in self.terms_of_rows:
            terms = self._register(product.tensor.rows)
            self.ops.append((XLOG2X, number, 0, product.tensor.rows, Ref(source), Ref(terms)))
            total = None if shared is None else self._register(1)
            if shared is not None and total is not None:
                self._dot(shared, 0, terms, total)
            self.terms_of_rows[f, source] = terms, total
        terms, total = self.terms_of_rows[f, source]
        if total is not None:
            self.ops.append((ADD, Ref(value), Ref(value), Ref(total)))
        vector = own[u]
        if vector is not None:
            extra = self._register(1)
            self._dot(vector, 0, terms, extra)
            self.ops.append((ADD, Ref(value), Ref(value), Ref(extra)))
        return value

    def _novelty(self, tensor: int, row: int, rows: int, source: int) -> int:
        """Return the register of the information gain on a tensor's parameters."""
        value = self._register(1)
        number = self.tree.novelty[tensor]
        self.ops.append((NOVELTY, tensor, number, row, rows, Ref(source), Ref(value)))
        return value

    def _novelties(self, deps: tuple[int, ...], source: int) -> list[int]:
        return [
            self._novelty(m, 0, self.tree.num_obs[m], source)
            for m, parents in enumerate(self.tree.A_deps)
            if self.parameters_gain and parents == deps and m in self.tree.novelty
        ]

    def _terms(self, group: int, depth: int, beliefs: tuple[int, ...]) -> list[int]:
        deps = self.tree.folds.groups[group]
        sources = [beliefs[d] for d in deps]
        merged = self.tree.merged[group]
        if len(deps) == 1:
            return self.own_terms[sources[0]]
        key = (group, depth, *sources)
        if key not in self.terms:
            sizes = [self.tree.num_states[d] for d in deps]
            if merged:
                sizes = [int(c.max()) + 1 for c in merged.classes]
                sources = [
                    self._classes(group, i, c, s)
                    for i, (c, s) in enumerate(zip(merged.classes, sources, strict=True))
                ]
            if merged and merged.steps:
                self.terms[key] = [self._in_steps(group, merged, depth, sources, sizes)]
                return self.terms[key]
            source = self._joint(sources, sizes)
            value = self._register(1)
            self._dot(self._at_depth(group, depth)[0], math.prod(sizes), source, value)
            self._entropies(deps, source, value, merged.tensors if merged else None)
            self.terms[key] = [value, *self._novelties(deps, source)]
        return self.terms[key]

    def _in_steps(self, group: int, merged: Merged, depth: int, sources: list[int], sizes: list[int]) -> int:
        """Return the register of the value of a group whose parents are summed out in steps."""
        *steps, last = merged.steps
        rest, parts, seen = math.prod(sizes), list[int](), list[int]()
        start, _ = self._at_depth(group, depth)[0]
        for step in steps:
            n = math.prod(sizes[i] for i in step)
            rest, seen = rest // n, [*seen, *(sources[i] for i in step)]
            key = (group, start, *seen)
            if key not in self.partial:
                source = self._joint_of(step, sources, sizes)
                self.partial[key] = self._partial(merged, start, parts, source, n, rest)
            parts = self.partial[key]
        source, value = self._joint_of(last, sources, sizes), self._register(1)
        self.ops.append((PRODUCT, rest, Ref(parts[0]), Ref(source), Ref(value), 1))
        for m, part in zip(merged.tensors, parts[1:], strict=False):
            self.ops.append((OUTCOMES, rest, Ref(part), Ref(source), self.tree.num_obs[m], Ref(value)))
        return value

    def _partial(
        self, merged: Merged, start: int, parts: list[int], source: int, n: int, rest: int
    ) -> list[int]:
        """Return registers of the fold and of each modality, [rest] and [outcomes, rest], after a step."""
        out = [self._register(rest)]
        if parts:
            self.ops.append((PRODUCT, n, Ref(parts[0]), Ref(source), Ref(out[0]), rest))
        else:
            self.ops.append((DOT, start, n, Ref(source), Ref(out[0]), rest))
        for i, (m, tensor) in enumerate(merged.tensors.items() if self.states_gain else ()):
            rows = self.tree.num_obs[m] * rest
            out.append(self._register(rows))
            if parts:
                self.ops.append((PRODUCT, n, Ref(parts[1 + i]), Ref(source), Ref(out[-1]), rows))
            else:
                beliefs = Ref(self._operand(tensor, source))
                self.ops.append((self._expansion(tensor), tensor, 0, rows, beliefs, Ref(out[-1]), -1, 0))
        return out

    def _joint_of(self, step: tuple[int, ...], sources: list[int], sizes: list[int]) -> int:
        """Return the register of the joint beliefs of the parents of one step."""
        key = tuple(sources[i] for i in step)
        if key not in self.joints:
            self.joints[key] = self._joint(list(key), [sizes[i] for i in step])
        return self.joints[key]

    def _entropies(
        self, deps: tuple[int, ...], source: int, value: int, tensors: dict[int, int] | None = None
    ) -> None:
        for m, parents in enumerate(self.tree.A_deps):
            if self.states_gain and parents == deps:
                tensor = tensors[m] if tensors else m
                beliefs = Ref(self._operand(tensor, source))
                kind = GROUP_ENTROPY if tensor in self.tree.integers else ENTROPY
                self.ops.append((kind, tensor, beliefs, Ref(value), 0))

    def _classes(self, group: int, axis: int, classes: NDArray[np.intp], source: int) -> int:
        """Return the register of the beliefs ``source`` added up by class."""
        count = int(classes.max()) + 1
        if count == len(classes):
            return source
        if (group, axis) not in self.class_lists:
            self.class_lists[group, axis] = len(self.lists)
            ends = np.concatenate([[0], np.cumsum(np.bincount(classes))])
            self.lists += [*ends.tolist(), *np.argsort(classes, kind="stable").tolist()]
        key = (group, axis, source)
        if key not in self.gathered:
            out = self._register(count)
            self.ops.append((GATHER, Ref(out), count, Ref(source), self.class_lists[group, axis]))
            self.gathered[key] = out
        return self.gathered[key]

    def _dot(self, vector: _Vector, size: int, source: int, value: int) -> None:
        start, listed = vector
        if listed is None:
            self.ops.append((DOT, start, size, Ref(source), Ref(value), 1))
            return
        if start not in self.places:
            self.places[start] = len(self.lists)
            self.lists += listed
        self.ops.append((LISTED, start, len(listed), Ref(source), Ref(value), self.places[start]))

    def _joint(self, sources: list[int], sizes: list[int]) -> int:
        current, size = sources[0], sizes[0]
        for source, n in zip(sources[1:], sizes[1:], strict=True):
            out = self._register(size * n)
            self.ops.append((JOINT, Ref(out), Ref(current), size, Ref(source), n))
            current, size = out, size * n
        return current

    def _at_depth(self, group: int, depth: int) -> list[_Vector]:
        vectors = self.vectors[group]
        return vectors[depth if len(vectors) > 1 else 0]

    def finish(self) -> Program:
        """Give registers rows: roots and G keep theirs, the others live from first to last use."""
        states = sum(self.tree.num_states)
        rows = dict(enumerate(itertools.accumulate((0, *self.tree.num_states[:-1]))))
        rows[self.values] = states + max(self.tree.num_controls)  # the kernel's marginals go before G
        end = rows[self.values] + len(self.tree.policies)
        if self.tree.inductive:
            rows[self.penalties] = end
            end += states
        ops, end = with_rows(self.ops, self.sizes, rows, end)
        fold, lists = np.array(self.fold, np.float32), np.array(self.lists, np.int32)
        penalties = rows.get(self.penalties, -1)
        return Program(ops, fold, lists, rows[self.values], end, self.nodes, penalties)
