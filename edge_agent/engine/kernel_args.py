"""What a population hands to the kernel of its model: tensors with their tables, options, ln E, scratch
rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.kernel_tables import background_of, logarithm, tables
from edge_agent.engine.options import TIE
from edge_agent.engine.sparse import EPSILON
from edge_agent.engine.stored_model import StoredModel


def strip_rows(model: StoredModel) -> int:
    """Scratch rows of a strip: beliefs, priors, and the larger of what inference and planning need."""
    states = sum(model.num_states)
    widest = max(t.width for t in (*model.A, *model.B))
    joint = sum(a.width for a, deps in zip(model.A, model.A_deps, strict=True) if len(deps) > 1)
    patterns = max(len(mixed.pattern) for mixed in model.mixed)
    predicting, reset = 2 * widest + patterns, model.options.on_contradiction == "reset"
    settling = 3 * states + joint
    if model.outcome_classes.patterns:  # and, for agents with soft outcomes, what states came out as
        settling = states + max(settling, model.outcome_classes.rows)
    if model.elimination.rows:  # tables, and once more in double precision for a lane
        settling = model.elimination.rows + model.elimination.rows // 16 + 1
    if reset:  # an even prior
        settling += states
    beside = 2 * states if len(model.B) == 1 else states if reset else 0  # prediction and outcome, or outcome
    inference = 2 * states + max(predicting, beside + max(predicting, settling))
    return max(inference, model.plan(model.policy_len, True).rows, states + max(model.num_controls))


def search_nodes(model: StoredModel) -> int:
    """Nodes that a sophisticated search has memory for, 0 without one."""
    return model.options.si_max_nodes if model.options.sophisticated else 0


def log_habits(model: StoredModel) -> NDArray[np.float32]:
    """Return ln E."""
    if model.E is None:
        return np.zeros(len(model.policies), np.float32)
    least = 1e-16 if model.rules == 1 else EPSILON
    return np.log(np.maximum(model.E.astype(np.float64), least)).astype(np.float32)


def options(model: StoredModel) -> tuple[Any, ...]:
    """Return what the kernel takes of the agent's options, and of inductive planning."""
    chosen = model.options
    flat = [np.zeros(0, np.uint8), *(w.ravel() for w in model.ways)]
    rows = [np.zeros(0, np.uint16)]
    if model.ways:
        from edge_agent.engine.induction import nearer  # the daemon's memory: few models need it

        rows += [nearer(w) for w in model.ways]
    return (
        chosen.gamma,
        chosen.alpha,
        TIE if model.rules > 1 else 0.0,
        logarithm(chosen.inductive_epsilon),
        chosen.num_iter,
        model.rules,
        int(chosen.inference_algo == "exact"),
        int(chosen.on_contradiction == "reset"),
        np.concatenate(rows),
        np.concatenate(flat),
        np.cumsum([w.size for w in flat[:-1]], dtype=np.int64),
        (
            search_nodes(model),
            chosen.si_max_branching,
            chosen.si_policy_prune_threshold,
            chosen.si_observation_prune_threshold,
            chosen.si_entropy_stop_threshold,
            chosen.si_neg_efe_stop_threshold,
            chosen.si_prune_penalty,
        ),
    )


def tensor(model: StoredModel, index: int, room: NDArray[np.float32]) -> tuple[Any, ...]:
    """Return what the kernel takes of ``model.tensors[index]``; its tables are written into ``room``."""
    stored = model.tensors
    one = stored[index]
    start = sum(3 * len(t.palette) for t in stored[:index])
    values, common = tables(one, model.rules)
    part = room[start : start + values.size]
    part[:] = values.ravel()
    f = index - len(model.A)
    states = model.num_states[f] if 0 <= f < len(model.B) else 0
    return (
        one.rows,
        one.width,
        states,
        one.codes.itemsize,
        model.belief_bits[f] // 8 if states else 1,
        background_of(one, model.rules),
        common,
        one.palette,
        one.codes,
        one.columns,
        one.starts,
        part,
        *model.mixed[index],
    )
