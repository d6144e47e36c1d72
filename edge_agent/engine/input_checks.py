"""Checks of what callers hand to a population: every error names agent and modality (or factor).

The common case, an integer array of the right shape, does not come here: the kernel checks it itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.engine.stored_model import StoredModel
from edge_agent.errors import ConfigError, ObservationError

Int = NDArray[np.int64]


def outcomes(
    model: StoredModel, observations: ArrayLike, agents: Int | None, size: int, *, ticks: bool = False
) -> Int:
    """Return observations as int64 (n, M), or (K, n, M) with ``ticks``; whole floats are not taken."""
    count = size if agents is None else len(agents)
    try:
        array = np.asarray(observations)
    except ValueError as error:
        raise ObservationError(f"observations: {error}") from error
    wanted = (count, len(model.A))
    if array.shape[1 if ticks else 0 :] != wanted or array.ndim != 2 + ticks:
        text = ("K, " if ticks else "") + f"{wanted[0]}, {wanted[1]}"
        raise ObservationError(f"observations: shape {array.shape}, expected ({text})")
    if array.dtype.kind in "iu" or array.size == 0:
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        for place in np.argwhere(~np.isfinite(array))[:1]:
            agent = place[-2] if agents is None else agents[place[-2]]
            raise ObservationError(
                f"observations: agent {agent}, modality {place[-1]}: {array[tuple(place)]}, "
                "expected an outcome (-1: not observed)"
            )
    raise ObservationError(f"observations: {array.dtype}, expected integers (-1: not observed)")


def executed_actions(model: StoredModel, actions: ArrayLike, shape: tuple[int, int]) -> Int:
    """Return executed actions as int64 (K, n, F); -1 is "none"."""
    array = np.asarray(actions)
    wanted = (*shape, len(model.B))
    if array.dtype.kind not in "iu" or array.shape != wanted:
        raise ObservationError(f"actions: {array.dtype} of shape {array.shape}, expected integers {wanted}")
    executed: Int = np.ascontiguousarray(array, dtype=np.int64)
    bad = np.argwhere((executed < -1) | (executed >= np.array(model.num_controls)))
    if len(bad):
        k, i, f = bad[0].tolist()
        raise ObservationError(
            f"actions: agent {i}, factor {f}: {executed[k, i, f]}, expected -1 to {model.num_controls[f] - 1}"
        )
    return executed


def refuse_window(model: StoredModel, found: str) -> None:
    """Refuse what the window of agents that infer over one has no room for."""
    if model.slots:
        algorithm = model.options.inference_algo
        raise ConfigError(f"inference_algo {algorithm!r}: found {found}, expected outcomes and actions alone")


def evidence_tables(
    model: StoredModel, evidence: Mapping[int, ArrayLike] | None, shape: tuple[int, ...], agents: Int | None
) -> tuple[Any, ...] | None:
    """Return uint8 (K, n, S_f) or None a factor."""
    if not evidence:
        return None
    refuse_window(model, "evidence from outside")
    out: list[Any] = [None] * len(model.B)
    for f, values in evidence.items():
        if f not in range(len(model.B)):
            raise ObservationError(f"evidence: factor {f}, expected 0 to {len(model.B) - 1}")
        array = np.asarray(values)
        wanted = (*shape, model.num_states[f])
        if array.dtype != np.uint8 or array.shape not in (wanted, wanted[1:]):
            raise ObservationError(
                f"evidence: factor {f}: {array.dtype} of shape {array.shape}, expected uint8 {wanted}"
            )
        array = array.reshape(wanted)
        silent = np.argwhere(array.max(axis=-1) == 0)
        if len(silent):
            i = int(silent[0][1])
            raise ObservationError(
                f"evidence: agent {i if agents is None else agents[i]}, factor {f}: no state is possible"
            )
        out[f] = array
    return tuple(out)


def soft_tables(
    model: StoredModel, soft: Mapping[int, ArrayLike] | None, shape: tuple[int, ...], agents: Int | None
) -> tuple[Any, ...] | None:
    """Return float32 (K, n, O_m) or None a modality."""
    if not soft:
        return None
    refuse_window(model, "distributions over outcomes")
    out: list[Any] = [None] * len(model.A)
    for m, values in soft.items():
        if m not in range(len(model.A)):
            raise ObservationError(f"soft: modality {m}, expected 0 to {len(model.A) - 1}")
        array = np.asarray(values, dtype=np.float32)
        wanted = (*shape, model.num_obs[m])
        if array.shape not in (wanted, wanted[1:]):
            raise ObservationError(f"soft: modality {m}: shape {array.shape}, expected {wanted}")
        array = array.reshape(wanted)
        sums = array.sum(axis=-1)
        good = np.isfinite(array).all(axis=-1) & (array >= 0).all(axis=-1)
        good &= (np.abs(sums - 1.0) <= 1e-4) | (sums == 0)
        if not good.all():
            i = int(np.argwhere(~good)[0][1])
            raise ObservationError(
                f"soft: agent {i if agents is None else agents[i]}, modality {m}: not a distribution"
            )
        out[m] = array
    return tuple(out)


def factor_beliefs(beliefs: ArrayLike, agents: Int, f: int, states: int) -> NDArray[np.float64]:
    """Return beliefs about factor ``f`` as float64 (n, states)."""
    values = np.asarray(beliefs, dtype=np.float64)
    if values.shape != (len(agents), states):
        raise ObservationError(f"beliefs: shape {values.shape}, expected ({len(agents)}, {states})")
    off = ~np.isfinite(values).all(axis=1) | (values < 0).any(axis=1)
    off |= np.abs(values.sum(axis=1) - 1.0) > 1e-4
    if off.any():
        raise ObservationError(f"beliefs: agent {agents[off][0]}, factor {f}: not a distribution")
    return values


def start_codes(start: ArrayLike, count: int, rows: int) -> NDArray[np.uint8]:
    """Return belief codes to start from, uint8 (count, rows)."""
    codes = np.ascontiguousarray(start, dtype=np.uint8)
    if codes.shape != (count, rows):
        raise ObservationError(f"start: shape {codes.shape}, expected ({count}, {rows})")
    return codes
