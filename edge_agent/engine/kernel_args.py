"""What a population hands to the kernel of its model: tensors with their tables, options, ln E, scratch
rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edge_agent.engine._kernel as _kernel
from edge_agent.engine.integer_weights import packed_rows
from edge_agent.engine.isa import chosen
from edge_agent.engine.kernel_tables import background_of, base_tables, floats, logarithm, tables
from edge_agent.engine.kernel_weights import integer_weights, spread_of, weight_count
from edge_agent.engine.options import TIE
from edge_agent.engine.sparse import EPSILON
from edge_agent.engine.stored_model import StoredModel
from edge_agent.engine.tick_base import TickBase
from edge_agent.engine.window_plan import scratch_rows
from edge_agent.errors import ConfigError
from edge_agent.memory.arena import Column


def strip_rows(model: StoredModel) -> int:
    """Scratch rows of a strip: beliefs, priors, and the larger of what inference and planning need."""
    states = sum(model.num_states)
    widest = max(t.width for t in (*model.A, *model.B))
    over_states, over_classes = model.contractions
    patterns = max(len(mixed.pattern) for mixed in model.mixed)
    packing = [  # beliefs and prediction of lanes with the same control, and the former's integers
        b.width + packed_rows(b.width) + n
        for i, (b, n) in enumerate(zip(model.B, model.num_states, strict=True), len(model.A))
        if i in model.integers
    ]
    predicting = 2 * widest + max(patterns, *packing, 0)
    reset = model.options.on_contradiction == "reset"
    settling = 3 * states + over_states.rows
    if model.outcome_classes.patterns:  # and, for agents with soft outcomes, what states came out as
        settling = states + max(settling, 5 * int(model.outcome_classes.classes.sum()) + over_classes.rows)
    if model.elimination.rows:  # tables, and once more in double precision for a lane
        settling = model.elimination.rows + model.elimination.rows // 16 + 1
    if reset:  # an even prior
        settling += states
    beside = 2 * states if len(model.B) == 1 else states if reset else 0  # prediction and outcome, or outcome
    if model.slots:
        settling = scratch_rows(states, widest, len(model.A), over_states.tables, model.slots)
    inference = 2 * states + max(predicting, beside + max(predicting, settling))
    return max(inference, model.plan(model.policy_len, True).rows, states + max(model.num_controls))


def table_floats(model: StoredModel) -> int:
    """Return the floats of the tables of all tensors."""
    return sum(floats(t, i < len(model.A)) for i, t in enumerate(model.tensors))


def search_nodes(model: StoredModel) -> int:
    """Nodes that a sophisticated search has memory for, 0 without one."""
    return model.options.si_max_nodes if model.options.sophisticated else 0


def scratch_floats(model: StoredModel) -> int:
    """Return the scratch floats of one thread, whole cache lines."""
    floats = _kernel.thread_floats(
        sum(model.num_states),
        model.state_rows,
        sum(model.num_obs),
        len(model.A),
        len(model.B),
        max(16, chosen().lanes),
        strip_rows(model),
        len(model.policies),
        search_nodes(model),
    )
    return -(-floats // 16) * 16


def log_habits(model: StoredModel) -> NDArray[np.float32]:
    """Return ln E."""
    if model.E is None:
        return np.zeros(len(model.policies), np.float32)
    least = 1e-16 if model.rules == 1 else EPSILON
    return np.log(np.maximum(model.E.astype(np.float64), least)).astype(np.float32)


def lanes(size: int) -> int:
    """Return the lanes per storage tile of a population of ``size`` agents."""
    return 4 if size <= 4 else 16 if size <= 16 else 64


def columns(
    model: StoredModel, size: int, threads: int, redecides: bool, changing: bool
) -> tuple[Column, ...]:
    """Return what a population needs of the arena. See ``Population.columns``."""
    if not 1 <= size <= 2**31 - 1:
        raise ConfigError(f"agents: {size}, expected 1 to {2**31 - 1}")
    if not 1 <= threads <= 64:
        raise ConfigError(f"threads: {threads}, expected 1 to 64")
    wide, rows = lanes(size), model.state_rows
    tiles = -(-size // wide)
    scratch = scratch_floats(model)
    if changing:
        scratch = max(scratch, scratch_floats(changed(model)))
    return (
        Column("belief", (tiles, rows, wide), np.uint8),
        *(TickBase.columns(tiles, rows, wide) if redecides else ()),
        Column("action", (tiles, len(model.B), wide), np.uint8),
        Column("free_energy", (size,), np.float32),
        Column("tables", (table_floats(model),), np.float32),
        Column("weights", (weight_count(model),), np.int16),
        Column("scratch", (threads, scratch), np.float32),
    )


def changed(model: StoredModel) -> StoredModel:
    """Return the model as the kernel computes with those that take its place: nothing is made of their
    tensors at load.
    """
    return model if model.changing else replace(model, changing=True)


def core(
    model: StoredModel, arrays: Mapping[str, NDArray[Any]], size: int, threads: int, seed: int
) -> _kernel.Core:
    """Return the kernel's side of a population, with ``arrays`` by name."""
    weights = integer_weights(model, arrays["weights"])
    return _kernel.Core(
        chosen().name,
        tuple((*tensor(model, i, arrays["tables"]), *w[:3]) for i, w in enumerate(weights)),
        model.A_deps,
        model.B_deps,
        model.outcome_classes,
        np.concatenate(model.D),
        None if model.E is None else log_habits(model),
        np.ascontiguousarray(model.policies[:, 0].astype(np.uint8)),
        options(model),
        (model.elimination.ops, model.elimination.lists, model.elimination.rows),
        tuple((c.ops, c.lists, c.places, *c.counts, c.tables) for c in model.contractions),
        window(model),
        arrays["belief"],
        arrays["action"],
        arrays["free_energy"],
        arrays["scratch"],
        strip_rows(model),
        lanes(size),
        size,
        threads,
        seed & (2**64 - 1),
        spread_of(weights),
    )


def window(model: StoredModel) -> tuple[Any, ...]:
    """Return what the kernel takes of inference over a window: slots, whether variational, sums of B."""
    return model.slots, int(model.options.inference_algo == "vmp"), model.inverse_sums


def options(model: StoredModel) -> tuple[Any, ...]:
    """Return what the kernel takes of the agent's options, and of inductive planning."""
    agent = model.options
    flat = [np.zeros(0, np.uint8), *(w.ravel() for w in model.ways)]
    rows = [np.zeros(0, np.uint16)]
    if model.ways:
        from edge_agent.engine.induction import nearer  # the daemon's memory: few models need it

        rows += [nearer(w) for w in model.ways]
    return (
        agent.gamma,
        agent.alpha,
        TIE if model.rules > 1 else 0.0,
        logarithm(agent.inductive_epsilon),
        agent.num_iter,
        model.rules,
        int(agent.inference_algo == "exact"),
        int(agent.on_contradiction == "reset"),
        np.concatenate(rows),
        np.concatenate(flat),
        np.cumsum([w.size for w in flat[:-1]], dtype=np.int64),
        (
            search_nodes(model),
            agent.si_max_branching,
            agent.si_policy_prune_threshold,
            agent.si_observation_prune_threshold,
            agent.si_entropy_stop_threshold,
            agent.si_neg_efe_stop_threshold,
            agent.si_prune_penalty,
        ),
    )


def tensor(model: StoredModel, index: int, room: NDArray[np.float32]) -> tuple[Any, ...]:
    """Return what the kernel takes of ``model.tensors[index]``; its tables are written into ``room``."""
    stored = model.tensors
    one = stored[index]
    likelihoods = len(model.A)
    start = sum(floats(t, i < likelihoods) for i, t in enumerate(stored[:index]))
    part = room[start : start + floats(one, index < likelihoods)]
    background, common = background_of(one, model.rules), 0.0
    if not len(one.base):
        values, common = tables(one, model.rules)
        part[:] = values.ravel()
    elif index < likelihoods:
        part[:], background, common = base_tables(one)
    f = index - len(model.A)
    states = model.num_states[f] if 0 <= f < len(model.B) else 0
    return (
        one.rows,
        one.width,
        states,
        one.codes.itemsize,
        model.belief_bits[f] // 8 if states else 1,
        background,
        common,
        one.palette,
        one.codes,
        one.columns,
        one.starts,
        one.base,
        part,
        *model.mixed[index],
    )
