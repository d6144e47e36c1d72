"""What a population hands to the kernel of its model: tensors with their tables, ln E, scratch rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.kernel_tables import tables
from edge_agent.engine.model import Model


def strip_rows(model: Model) -> int:
    """Scratch rows of a strip: beliefs, priors, and the larger of what inference and planning need."""
    states = sum(model.num_states)
    widest = max(t.width for t in (*model.A, *model.B))
    joint = sum(a.width for a, deps in zip(model.A, model.A_deps, strict=True) if len(deps) > 1)
    patterns = max(len(mixed.pattern) for mixed in model.mixed)
    inference = 2 * states + max(2 * widest + patterns, 4 * states + joint)
    if model.alike.patterns:  # and, for agents with soft outcomes, what states came out as
        inference = max(inference + states, 4 * states + model.alike.rows)
    return max(inference, model.plan(model.policy_len, True).rows, states + max(model.num_controls))


def log_habits(model: Model) -> NDArray[np.float32]:
    """Return ln E."""
    if model.E is None:
        return np.zeros(len(model.policies), np.float32)
    return np.log(np.maximum(model.E.astype(np.float64), 1e-16)).astype(np.float32)


def tensor(model: Model, index: int, room: NDArray[np.float32]) -> tuple[Any, ...]:
    """Return what the kernel takes of ``model.tensors[index]``; its tables are written into ``room``."""
    stored = model.tensors
    one = stored[index]
    start = sum(3 * len(t.palette) for t in stored[:index])
    values, common = tables(one)
    part = room[start : start + values.size]
    part[:] = values.ravel()
    f = index - len(model.A)
    states = model.num_states[f] if 0 <= f < len(model.B) else 0
    return (
        one.rows,
        one.width,
        states,
        one.background if one.sparse else 0.0,
        common,
        one.palette,
        one.codes,
        one.columns,
        one.starts,
        part,
        *model.mixed[index],
    )
