"""Assembles the fitted model as pymdp's arrays, with the joined factors of the template, and writes it."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.atomic_file import replaced
from edge_agent.engine.binding import Modality
from edge_agent.errors import ConfigError, PlatformError
from edge_agent.wire import npz
from edge_convert.fit.layout import Layout, joint_transition, marginal, spread
from edge_convert.fit.parameters import Parameters
from edge_convert.fit.template import Template

MAX_POLICIES = 4096
UNMOVED = "none"
FloatArray = NDArray[np.float64]


def build(
    template: Template,
    plan: Layout,
    parameters: Parameters,
    modalities: Sequence[Modality],
    counts: Sequence[Sequence[int]],
    where: str,
) -> dict[str, NDArray[Any]]:
    """Return the arrays of the model file; ``counts`` are of each modality's bins in the training readings.

    Raises
    ------
    ConfigError
        There would be more than ``MAX_POLICIES`` policies.
    """
    groups = _groups(template, plan)
    place = {f: number for number, group in enumerate(groups) for f in group}
    arrays: dict[str, NDArray[Any]] = {}
    A_deps = []
    for m, table in enumerate(parameters.likelihoods):
        deps = sorted({place[f] for f in plan.sees[m]})
        seen = [f for number in deps for f in groups[number]]
        shape = [math.prod(plan.sizes(groups[number])) for number in deps]
        arrays[f"A_{m}"] = spread(table, plan.sees[m], seen, plan).reshape(len(table), *shape).copy()
        preference = template.modality[m].preference
        arrays[f"C_{m}"] = np.array(preference) if preference else np.zeros(len(table))
        A_deps.append(deps)
    B_deps = []
    for number, group in enumerate(groups):
        arrays[f"B_{number}"] = _transition(plan, parameters, group)
        parents = plan.factors[group[0]].parents if len(group) == 1 else group[:1]
        B_deps.append([place[f] for f in parents])
        arrays[f"D_{number}"] = _start(plan, parameters, group)
    arrays["policies"] = _policies(template, plan, groups, where)
    arrays["A_deps"], arrays["B_deps"] = np.array(json.dumps(A_deps)), np.array(json.dumps(B_deps))
    arrays["policy_len"] = np.int64(template.policy_len)  # type: ignore[assignment]
    arrays["gamma"], arrays["alpha"] = np.array(template.gamma), np.array(template.alpha)
    meta = _meta(template, plan, groups, modalities)
    for entry, row in zip(meta["modalities"], counts, strict=True):
        entry["seen"] = list(row)
    arrays["meta"] = np.array(json.dumps(meta, ensure_ascii=False))
    return arrays


def write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write the model file as a whole; equal arrays give an equal file.

    Raises
    ------
    PlatformError
        The disk refuses.
    """
    data = npz.write({name: np.asarray(array) for name, array in arrays.items()})
    try:
        with replaced(path) as file:
            file.write(data)
    except OSError as error:
        raise PlatformError(f"{path}: {error.strerror}") from error


def _groups(template: Template, plan: Layout) -> list[tuple[int, ...]]:
    """Return the factors of each factor of the model, in the order of the template's."""
    numbers = {factor.name: f for f, factor in enumerate(plan.factors)}
    joined = {numbers[name]: join for join in template.join for name in join.factors}
    groups: list[tuple[int, ...]] = []
    for f in range(len(plan.factors)):
        join = joined.get(f)
        group = (f,) if join is None else tuple(numbers[name] for name in join.factors)
        if group not in groups:
            groups.append(group)
    return groups


def _transition(plan: Layout, parameters: Parameters, group: Sequence[int]) -> FloatArray:
    """Return B of a factor of the model, [next, before, *other parents, action]."""
    if len(group) == 1:
        return parameters.transitions[group[0]]
    tables = {f: parameters.transitions[f] for f in group}
    control = _control(plan, group)
    actions = [{}] if control is None else [{control: u} for u in range(plan.actions[control])]
    return np.stack([joint_transition(tables, group, plan, action) for action in actions], axis=-1)


def _control(plan: Layout, group: Sequence[int]) -> int | None:
    return next((plan.factors[f].control for f in group if plan.factors[f].control is not None), None)


def _start(plan: Layout, parameters: Parameters, group: Sequence[int]) -> FloatArray:
    for number, component in enumerate(plan.components):
        if group[0] in component.factors:
            start = marginal(parameters.starts[number][None], group, component.factors, plan)
            return np.asarray(start.ravel() / start.sum())
    raise LookupError(group)


def _policies(
    template: Template, plan: Layout, groups: Sequence[Sequence[int]], where: str
) -> NDArray[np.int64]:
    """Return all sequences of actions (P, T, F); factors with the same control take the same action."""
    controls = [_control(plan, group) for group in groups]
    used = sorted({c for c in controls if c is not None})
    count = math.prod(plan.actions[c] for c in used) ** template.policy_len
    if count > MAX_POLICIES:
        raise ConfigError(
            f"{where}: policy_len: found {template.policy_len}, which makes {count} policies; "
            f"expected at most {MAX_POLICIES}"
        )
    steps = [
        [0 if c is None else action[used.index(c)] for c in controls]
        for action in itertools.product(*(range(plan.actions[c]) for c in used))
    ]
    return np.array(list(itertools.product(steps, repeat=template.policy_len)), np.int64)


def _meta(
    template: Template, plan: Layout, groups: Sequence[Sequence[int]], modalities: Sequence[Modality]
) -> dict[str, Any]:
    names = {tuple(join.factors): join.name for join in template.join}
    factors, controls = [], []
    for group in groups:
        own = tuple(plan.factors[f].name for f in group)
        states = itertools.product(*(template.states(template.factor[f]) for f in group))
        factors.append({"name": names.get(own, own[0]), "states": [", ".join(state) for state in states]})
        control = _control(plan, group)
        if control is None:
            controls.append({"name": f"{factors[-1]['name']}: {UNMOVED}", "values": [UNMOVED]})
        else:
            entry = template.control[control]
            controls.append({"name": entry.name, "values": list(entry.values)})
    return {
        "modalities": [_modality(modality) for modality in modalities],
        "factors": factors,
        "controls": controls,
        "tick_seconds": template.tick_seconds,
    }


def _modality(modality: Modality) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": modality.name, "unit": modality.unit}
    if modality.edges:
        entry["edges"] = list(modality.edges)
    if modality.labels:
        entry["labels"] = list(modality.labels)
    return entry
