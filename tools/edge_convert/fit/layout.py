"""How the factors of a template depend on each other: joint states, and components that are independent.

Factors that depend on one another, or that a modality sees together, form a component. Each component is one
chain over the combinations of its factors' states, so inference in it is exact; components do not influence
each other and are fitted one by one. In a joint state the first factor has the slowest index.
"""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ConfigError
from edge_convert.fit.template import Template

MAX_STATES = 512
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Factor:
    """A factor by numbers: states, factors that its next state depends on (itself first), its control."""

    name: str
    size: int
    parents: tuple[int, ...]
    control: int | None


@dataclass(frozen=True, slots=True)
class Component:
    """Numbers of the factors, modalities and controls that belong together."""

    factors: tuple[int, ...]
    modalities: tuple[int, ...]
    controls: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The whole structure.

    Attributes
    ----------
    factors : tuple of Factor
    sees : tuple of tuple of int
        Factors of each modality.
    actions : tuple of int
        Values of each control.
    components : tuple of Component
    """

    factors: tuple[Factor, ...]
    sees: tuple[tuple[int, ...], ...]
    actions: tuple[int, ...]
    components: tuple[Component, ...]

    def sizes(self, factors: Sequence[int]) -> tuple[int, ...]:
        """Return the number of states of each of ``factors``."""
        return tuple(self.factors[f].size for f in factors)

    def moves(self, factor: Factor) -> int:
        """Return how many actions a factor has; 1 without a control."""
        return 1 if factor.control is None else self.actions[factor.control]


def layout(template: Template, where: str) -> Layout:
    """Return the structure of a template.

    Raises
    ------
    ConfigError
        A component has more than ``MAX_STATES`` joint states.
    """
    numbers = {factor.name: number for number, factor in enumerate(template.factor)}
    controls = {control.name: number for number, control in enumerate(template.control)}
    factors = tuple(
        Factor(
            factor.name,
            len(template.states(factor)),
            (number, *(numbers[name] for name in factor.depends_on)),
            controls[factor.control] if factor.control else None,
        )
        for number, factor in enumerate(template.factor)
    )
    sees = tuple(tuple(numbers[name] for name in modality.sees) for modality in template.modality)
    groups = _groups(len(factors), [*(factor.parents for factor in factors), *sees])
    components = []
    for group in groups:
        states = math.prod(factors[f].size for f in group)
        if states > MAX_STATES:
            names = ", ".join(factors[f].name for f in group)
            raise ConfigError(
                f"{where}: factor: found {states} combinations of the states of {names}, which depend on "
                f"each other; expected at most {MAX_STATES}"
            )
        moved = sorted({factors[f].control for f in group} - {None}, key=lambda c: -1 if c is None else c)
        components.append(
            Component(
                group,
                tuple(m for m, seen in enumerate(sees) if seen[0] in group),
                tuple(c for c in moved if c is not None),
            )
        )
    actions = tuple(len(control.values) for control in template.control)
    return Layout(factors, sees, actions, tuple(components))


def _groups(count: int, edges: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Return the connected parts of ``count`` nodes, each in order."""
    group = list(range(count))
    for edge in edges:
        joined = {group[node] for node in edge}
        group = [min(joined) if g in joined else g for g in group]
    return [tuple(n for n in range(count) if group[n] == g) for g in sorted(set(group))]


def spread(table: FloatArray, seen: Sequence[int], component: Sequence[int], plan: Layout) -> FloatArray:
    """Return a table over the states of ``seen`` [O, *sizes] over the joint states, float64 (O, S)."""
    order = sorted(range(len(seen)), key=lambda axis: component.index(seen[axis]))
    ordered = table.transpose(0, *(1 + axis for axis in order))
    shape = [plan.factors[f].size if f in seen else 1 for f in component]
    full = ordered.reshape(len(table), *shape)
    return np.asarray(np.broadcast_to(full, (len(table), *plan.sizes(component))).reshape(len(table), -1))


def marginal(joint: FloatArray, kept: Sequence[int], component: Sequence[int], plan: Layout) -> FloatArray:
    """Return the sums of (O, S) over the factors that are not ``kept``, [O, *sizes of kept]."""
    full = joint.reshape(len(joint), *plan.sizes(component))
    dropped = tuple(1 + n for n, f in enumerate(component) if f not in kept)
    left = [f for f in component if f in kept]
    return np.asarray(full.sum(axis=dropped).transpose(0, *(1 + left.index(f) for f in kept)))


def joint_transition(
    tables: Mapping[int, FloatArray], component: Sequence[int], plan: Layout, action: Mapping[int, int]
) -> FloatArray:
    """Return P(next joint state | joint state) for one action of each control, float64 (S, S).

    ``tables`` are B of the factors, [next, itself, *other parents, action].
    """
    before = dict(zip(component, string.ascii_lowercase, strict=False))
    after = dict(zip(component, string.ascii_uppercase, strict=False))
    terms, operands = [], []
    for f in component:
        factor = plan.factors[f]
        chosen = 0 if factor.control is None else action[factor.control]
        operands.append(tables[f][..., chosen])
        terms.append(after[f] + "".join(before[parent] for parent in factor.parents))
    result = "".join(after[f] for f in component) + "".join(before[f] for f in component)
    states = math.prod(plan.sizes(component))
    return np.asarray(np.einsum(",".join(terms) + "->" + result, *operands).reshape(states, states))


def transition_counts(pairs: FloatArray, f: int, component: Sequence[int], plan: Layout) -> FloatArray:
    """Return how often factor ``f`` moved, [next, itself, *other parents], of joint counts (S', S)."""
    sizes = plan.sizes(component)
    full = pairs.reshape(*sizes, *sizes)
    parents = plan.factors[f].parents
    count = len(component)
    kept = [component.index(f), *(count + component.index(parent) for parent in parents)]
    dropped = tuple(axis for axis in range(2 * count) if axis not in kept)
    left = [axis for axis in range(2 * count) if axis in kept]
    return np.asarray(full.sum(axis=dropped).transpose([left.index(axis) for axis in kept]))
