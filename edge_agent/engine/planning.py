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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError

COPY, ADD, EXPAND, JOINT, ENTROPY, DOT, LISTED, GATHER, NOVELTY, PRODUCT, OUTCOMES = range(11)
WORDS = 8
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


@dataclass(frozen=True)
class Folds:
    """Per modality group: its parents, ``utility`` [1 or T, joint states], ``ambiguity`` [joint states]."""

    groups: tuple[tuple[int, ...], ...]
    utility: tuple[NDArray[np.float32], ...]
    ambiguity: tuple[NDArray[np.float32], ...]


class Merged(NamedTuple):
    """Classes of the states of a group's parents, and the group's tensors and folds over joint classes.

    ``tensors``: the kernel's number of each modality's tensor; see ``merging``. ``steps``: which parents are
    summed out one after the other (``plan_steps``); tensors and folds are then laid out with the parents of
    the first step last, those of the second before them, and so on, and a row of a tensor is an outcome with
    all that is left after the first step. Empty: all in one step.
    """

    classes: tuple[NDArray[np.intp], ...]
    tensors: dict[int, int]
    utility: NDArray[np.float32]
    ambiguity: NDArray[np.float32]
    steps: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class PolicyTree:
    """What planning needs of a model; ``policies`` int [P, T, F], ``merged`` an entry a modality group.

    ``utility``, ``states_info_gain``: whether they count; ``novelty``: the kernel's number of the tensor with
    the information gain on the parameters of each of A and B, empty for none; ``inductive``: whether there
    are inductive values.
    """

    num_states: tuple[int, ...]
    num_obs: tuple[int, ...]
    num_controls: tuple[int, ...]
    A_deps: tuple[tuple[int, ...], ...]
    B_deps: tuple[tuple[int, ...], ...]
    policies: NDArray[np.int64]
    folds: Folds
    merged: tuple[Merged | None, ...]
    node_budget: int
    utility: bool = True
    states_info_gain: bool = True
    novelty: Mapping[int, int] = field(default_factory=dict)
    inductive: bool = False


class _Ref(NamedTuple):
    register: int
    offset: int = 0


_Op = tuple[int | _Ref, ...]


def groups_of(A_deps: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """Return the distinct parent lists of modalities, in order of appearance."""
    return tuple(dict.fromkeys(A_deps))


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
        self.ops: list[_Op] = []
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
        self.vectors = [self._vectors(g) for g in range(len(tree.folds.groups))]

    def _vectors(self, group: int) -> list[tuple[int, list[int] | None]]:
        """Write a group's vector a step, or one for all: its place, and the states that it lists."""
        merged = self.tree.merged[group]
        utility, ambiguity = (
            merged[2:4] if merged else (self.tree.folds.utility[group], self.tree.folds.ambiguity[group])
        )
        out: list[tuple[int, list[int] | None]] = []
        gain = utility if self.tree.utility else np.zeros_like(utility)
        for vector in gain - ambiguity if self.states_gain else gain:
            values, counts = np.unique(vector, return_counts=True)
            background = values[counts.argmax()]
            listed = np.flatnonzero(vector != background)
            start = len(self.fold)
            if LISTED_COST * len(listed) + 1 < len(vector) and not (merged and merged.steps):
                self.fold += [float(background), *(vector[listed] - background).tolist()]
                out.append((start, listed.tolist()))
            else:
                self.fold += vector.tolist()
                out.append((start, None))
        return out

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
            total = _Ref(self.values, members[0]) if leaf else _Ref(self._register(1))
            self._sum(total, ([] if value is None else [value]) + terms)
            if leaf:
                for p in members[1:]:
                    self.ops.append((COPY, _Ref(self.values, p), total))
            else:
                self.branch(members, depth + 1, beliefs, total.register)

    def _sum(self, total: _Ref, parts: list[int]) -> None:
        if len(parts) == 1:
            self.ops.append((COPY, total, _Ref(parts[0])))
            return
        self.ops.append((ADD, total, _Ref(parts[0]), _Ref(parts[1])))
        for part in parts[2:]:
            self.ops.append((ADD, total, total, _Ref(part)))

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
        expand: _Op = (EXPAND, tensor, u * states, states, _Ref(source), _Ref(out))
        own = []
        if (f,) in self.tree.folds.groups:
            value = self._register(1)
            start, listed = self._vector(self.tree.folds.groups.index((f,)), depth)
            if listed is None:
                self.ops.append((*expand, start, _Ref(value)))
            else:
                self.ops.append((*expand, -1, _Ref(value)))
                self._dot(start, listed, 0, out, value)
            self._entropies((f,), out, value)
            own = [value, *self._novelties((f,), out)]
        else:
            self.ops.append((*expand, -1, 0))
        if self.parameters_gain and tensor in self.tree.novelty:
            own.append(self._novelty(tensor, u * states, states, source))
        if self.tree.inductive:
            own.append(self._register(1))
            place = _Ref(self.penalties, sum(self.tree.num_states[:f]))
            self.ops.append((PRODUCT, states, place, _Ref(out), _Ref(own[-1]), 1))
        self.beliefs[key] = out
        self.own_terms[out] = own
        return out

    def _novelty(self, tensor: int, row: int, rows: int, source: int) -> int:
        """Return the register of the information gain on a tensor's parameters."""
        value = self._register(1)
        number = self.tree.novelty[tensor]
        self.ops.append((NOVELTY, tensor, number, row, rows, _Ref(source), _Ref(value)))
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
            self._dot(*self._vector(group, depth), math.prod(sizes), source, value)
            self._entropies(deps, source, value, merged.tensors if merged else None)
            self.terms[key] = [value, *self._novelties(deps, source)]
        return self.terms[key]

    def _in_steps(self, group: int, merged: Merged, depth: int, sources: list[int], sizes: list[int]) -> int:
        """Return the register of the value of a group whose parents are summed out in steps."""
        *steps, last = merged.steps
        rest, parts, seen = math.prod(sizes), list[int](), list[int]()
        start, _ = self._vector(group, depth)
        for step in steps:
            n = math.prod(sizes[i] for i in step)
            rest, seen = rest // n, [*seen, *(sources[i] for i in step)]
            key = (group, start, *seen)
            if key not in self.partial:
                source = self._joint_of(step, sources, sizes)
                self.partial[key] = self._partial(merged, start, parts, source, n, rest)
            parts = self.partial[key]
        source, value = self._joint_of(last, sources, sizes), self._register(1)
        self.ops.append((PRODUCT, rest, _Ref(parts[0]), _Ref(source), _Ref(value), 1))
        for m, part in zip(merged.tensors, parts[1:], strict=False):
            self.ops.append((OUTCOMES, rest, _Ref(part), _Ref(source), self.tree.num_obs[m], _Ref(value)))
        return value

    def _partial(
        self, merged: Merged, start: int, parts: list[int], source: int, n: int, rest: int
    ) -> list[int]:
        """Return registers of the fold and of each modality, [rest] and [outcomes, rest], after a step."""
        out = [self._register(rest)]
        if parts:
            self.ops.append((PRODUCT, n, _Ref(parts[0]), _Ref(source), _Ref(out[0]), rest))
        else:
            self.ops.append((DOT, start, n, _Ref(source), _Ref(out[0]), rest))
        for i, (m, tensor) in enumerate(merged.tensors.items() if self.states_gain else ()):
            rows = self.tree.num_obs[m] * rest
            out.append(self._register(rows))
            if parts:
                self.ops.append((PRODUCT, n, _Ref(parts[1 + i]), _Ref(source), _Ref(out[-1]), rows))
            else:
                self.ops.append((EXPAND, tensor, 0, rows, _Ref(source), _Ref(out[-1]), -1, 0))
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
        if self.states_gain:
            for m, parents in enumerate(self.tree.A_deps):
                if parents == deps:
                    self.ops.append((ENTROPY, tensors[m] if tensors else m, _Ref(source), _Ref(value)))

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
            self.ops.append((GATHER, _Ref(out), count, _Ref(source), self.class_lists[group, axis]))
            self.gathered[key] = out
        return self.gathered[key]

    def _dot(self, start: int, listed: list[int] | None, size: int, source: int, value: int) -> None:
        if listed is None:
            self.ops.append((DOT, start, size, _Ref(source), _Ref(value), 1))
            return
        self.ops.append((LISTED, start, len(listed), _Ref(source), _Ref(value), len(self.lists)))
        self.lists += listed

    def _joint(self, sources: list[int], sizes: list[int]) -> int:
        current, size = sources[0], sizes[0]
        for source, n in zip(sources[1:], sizes[1:], strict=True):
            out = self._register(size * n)
            self.ops.append((JOINT, _Ref(out), _Ref(current), size, _Ref(source), n))
            current, size = out, size * n
        return current

    def _vector(self, group: int, depth: int) -> tuple[int, list[int] | None]:
        vectors = self.vectors[group]
        return vectors[depth if len(vectors) > 1 else 0]

    def finish(self) -> Program:
        """Give registers rows: roots and G keep theirs, the others live from first to last use."""
        last: dict[int, int] = {}
        for i, op in enumerate(self.ops):
            for word in op:
                if isinstance(word, _Ref):
                    last[word.register] = i
        states = sum(self.tree.num_states)
        kept = {*range(len(self.tree.num_states)), self.values, self.penalties}
        rows = dict(enumerate(itertools.accumulate((0, *self.tree.num_states[:-1]))))
        rows[self.values] = states + max(self.tree.num_controls)  # the kernel's marginals go before G
        end = rows[self.values] + len(self.tree.policies)
        if self.tree.inductive:
            rows[self.penalties] = end
            end += states
        space = _Space(end)
        ends: dict[int, list[int]] = {}
        for register, i in last.items():
            ends.setdefault(i, []).append(register)
        out = np.zeros((len(self.ops), WORDS), dtype=np.int32)
        for i, op in enumerate(self.ops):
            for j, word in enumerate(op):
                if isinstance(word, _Ref):
                    if word.register not in rows:
                        rows[word.register] = space.take(self.sizes[word.register])
                    out[i, j] = rows[word.register] + word.offset
                else:
                    out[i, j] = word
            for register in ends.get(i, []):
                if register not in kept:
                    space.give(rows[register], self.sizes[register])
        fold, lists = np.array(self.fold, np.float32), np.array(self.lists, np.int32)
        penalties = rows.get(self.penalties, -1)
        return Program(out, fold, lists, rows[self.values], space.end, self.nodes, penalties)


class _Space:
    """First-fit rows above ``end``; ``end`` is the highest row ever used."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.gaps: list[tuple[int, int]] = []

    def take(self, size: int) -> int:
        for i, (start, length) in enumerate(self.gaps):
            if length >= size:
                self.gaps[i : i + 1] = [(start + size, length - size)] if length > size else []
                return start
        start = self.end
        if self.gaps and sum(self.gaps[-1]) == self.end:  # grow the last gap rather than leave it
            start = self.gaps.pop()[0]
        self.end = start + size
        return start

    def give(self, start: int, size: int) -> None:
        merged: list[tuple[int, int]] = []
        for s, n in sorted([*self.gaps, (start, size)]):
            if merged and sum(merged[-1]) == s:
                merged[-1] = (merged[-1][0], merged[-1][1] + n)
            else:
                merged.append((s, n))
        self.gaps = merged
