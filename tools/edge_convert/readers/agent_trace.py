"""What a live agent saw, believed and did: the trace that ``export_pymdp`` keeps beside the model.

===================  ==========================  =======================================================
key                  shape                       what
===================  ==========================  =======================================================
``trace_obs``        int [T, M]                  outcomes; -1 where the modality is in ``trace_soft_m``
``trace_soft_m``     float [T, O_m]              distributions over outcomes, of agents that take those
``trace_qs_f``       float [T, S_f]              the agent's posterior after each observation
``trace_G``          float [T, P]                negative expected free energies
``trace_q_pi``       float [T, P]                the agent's posterior over policies
``trace_act``        int [T, F]                  what the agent chose
``trace_executed``   int [T, F]                  what was executed; in part at random, to get about
``trace_restarts``   int [R]                     the steps before which the agent began again from D
``trace_meta``       JSON object                 where it comes from: version, process, seed, options left out
===================  ==========================  =======================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.arrays import ModelArrays
from edge_agent.errors import ModelError

PREFIX = "trace_"
_SLACK = 1e-3  # of the sum of a distribution in float32


@dataclass(frozen=True)
class AgentTrace:
    """A live agent's steps; shapes stand in the module's head."""

    obs: NDArray[np.int64]
    qs: tuple[NDArray[np.float32], ...]
    G: NDArray[np.float32]
    q_pi: NDArray[np.float32]
    act: NDArray[np.int64]
    executed: NDArray[np.int64]
    restarts: frozenset[int]
    soft: Mapping[int, NDArray[np.float32]] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the keys of an npz."""
        out: dict[str, NDArray[Any]] = {
            "trace_obs": self.obs.astype(np.int32),
            "trace_G": self.G.astype(np.float32),
            "trace_q_pi": self.q_pi.astype(np.float32),
            "trace_act": self.act.astype(np.int16),
            "trace_executed": self.executed.astype(np.int16),
            "trace_restarts": np.array(sorted(self.restarts), np.int32),
            "trace_meta": np.array(json.dumps(self.meta, sort_keys=True)),
        }
        out |= {f"trace_qs_{f}": q.astype(np.float32) for f, q in enumerate(self.qs)}
        return out | {f"trace_soft_{m}": o.astype(np.float32) for m, o in self.soft.items()}


def read(path: Path, arrays: Mapping[str, NDArray[Any]], model: ModelArrays) -> AgentTrace | None:
    """Return the trace among the arrays of an npz, None where there is none.

    Raises
    ------
    ModelError
        The message names the file, the key, what was found and what was expected.
    """
    if not any(key.startswith(PREFIX) for key in arrays):
        return None
    if "trace_obs" not in arrays:
        raise ModelError(f"{path}: trace_obs is missing, while other keys of a trace are there")
    ticks = len(arrays["trace_obs"]) if arrays["trace_obs"].ndim else 0
    policies = len(model.policies)
    soft = {
        m: _distributions(path, arrays, f"trace_soft_{m}", (ticks, n)).astype(np.float32)
        for m, n in enumerate(model.num_obs)
        if f"trace_soft_{m}" in arrays
    }
    meta = json.loads(str(arrays["trace_meta"])) if "trace_meta" in arrays else {}
    trace = AgentTrace(
        obs=_integers(path, arrays, "trace_obs", (ticks, len(model.num_obs)), -1, model.num_obs),
        qs=tuple(
            _distributions(path, arrays, f"trace_qs_{f}", (ticks, n)) for f, n in enumerate(model.num_states)
        ),
        G=_floats(path, arrays, "trace_G", (ticks, policies)),
        q_pi=_distributions(path, arrays, "trace_q_pi", (ticks, policies)),
        act=_integers(path, arrays, "trace_act", (ticks, len(model.num_controls)), 0, model.num_controls),
        executed=_integers(
            path, arrays, "trace_executed", (ticks, len(model.num_controls)), 0, model.num_controls
        ),
        restarts=frozenset(
            _integers(path, arrays, "trace_restarts", None, 0, (max(ticks, 1),)).ravel().tolist()
        ),
        soft=soft,
        meta=meta,
    )
    known = trace.arrays()
    for key in arrays:
        if key.startswith(PREFIX) and key not in known:
            raise ModelError(f"{path}: {key} is not a key of traces (trace_obs, trace_act, trace_q_pi ...)")
    return trace


def _array(
    path: Path, arrays: Mapping[str, NDArray[Any]], key: str, kinds: str, shape: tuple[int, ...] | None
) -> NDArray[Any]:
    if key not in arrays:
        raise ModelError(f"{path}: {key} is missing, while trace_obs is there")
    array = arrays[key]
    wanted = "one dimension" if shape is None else str(shape)
    if array.dtype.kind not in kinds or (array.ndim != 1 if shape is None else array.shape != shape):
        raise ModelError(f"{path}: {key} is {array.dtype} {array.shape}, expected {wanted}")
    return array


def _integers(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    key: str,
    shape: tuple[int, ...] | None,
    lowest: int,
    counts: tuple[int, ...],
) -> NDArray[np.int64]:
    array = _array(path, arrays, key, "iu", shape).astype(np.int64)
    bad = np.argwhere((array < lowest) | (array >= np.array(counts)))
    if len(bad):
        where = tuple(bad[0].tolist())
        raise ModelError(
            f"{path}: {key}: entry {where} is {array[where]}, expected {lowest} to below {counts}"
        )
    return array


def _floats(
    path: Path, arrays: Mapping[str, NDArray[Any]], key: str, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    array = _array(path, arrays, key, "f", shape)
    if not np.isfinite(array).all():
        raise ModelError(f"{path}: {key} is not finite everywhere")
    return array.astype(np.float32)


def _distributions(
    path: Path, arrays: Mapping[str, NDArray[Any]], key: str, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    array = _floats(path, arrays, key, shape)
    off = np.argwhere(np.abs(array.sum(axis=-1) - 1.0) > _SLACK)
    if len(off):
        t = int(off[0][0])
        raise ModelError(f"{path}: {key}: step {t} sums to {array[t].sum():.6g}, expected 1")
    return array
