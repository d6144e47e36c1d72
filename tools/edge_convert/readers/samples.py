"""Calibration and evaluation files: ``.npz`` with ``x`` for networks, ``obs`` (and ``act``) for agents.

A recording of several runs after each other says so by ``restarts``, int [R]: the ticks before which every
agent began anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ConfigError, ObservationError
from edge_agent.wire import npz

HELD_OUT = 5  # without a file of its own, every fifth calibration sample is kept for evaluation


class Split(NamedTuple):
    """float32 samples [n, *shape]: what ranges come from, and what figures come from."""

    calibration: NDArray[np.float32]
    evaluation: NDArray[np.float32]
    origin: str


class Trace(NamedTuple):
    """Recorded observations int [T, N, M] (-1: not observed), and executed actions int [T, N, F] if known.

    ``restarts`` are the ticks before which every agent starts again from D.
    """

    obs: NDArray[np.int64]
    act: NDArray[np.int64] | None
    restarts: frozenset[int] = frozenset()


def split(calibration: Path | None, evaluation: Path | None, shape: tuple[int, ...]) -> Split:
    """Read what a network needs.

    Raises
    ------
    ConfigError
        There is no calibration data: ranges are never made of random numbers.
    ObservationError
        A file is damaged, or its samples are not the network's.
    """
    if calibration is None:
        raise ConfigError(
            "--calibration: missing; int8 ranges come from data, expected an .npz with x [n, *shape]"
        )
    x = inputs(calibration, shape)
    if evaluation is not None:
        return Split(x, inputs(evaluation, shape), str(evaluation.name))
    if len(x) < HELD_OUT:
        raise ConfigError(
            f"{calibration}: x has {len(x)} samples, expected at least {HELD_OUT} or --evaluate"
        )
    held = np.arange(len(x)) % HELD_OUT == HELD_OUT - 1
    return Split(x[~held], x[held], f"every fifth sample of {calibration.name}, held out of the calibration")


def inputs(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return ``x`` float32 [n, *shape] of a file."""
    arrays = npz.read(path, ObservationError)
    if "x" not in arrays:
        raise ObservationError(f"{path}: x is missing, found {', '.join(arrays)}")
    x = arrays["x"]
    if x.dtype.kind not in "fiu" or x.shape[1:] != shape or not x.size:
        wanted = ", ".join(str(n) for n in ("n", *shape))
        raise ObservationError(f"{path}: x is {x.dtype} {x.shape}, expected float32 ({wanted})")
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        raise ObservationError(f"{path}: x: sample {bad[0][0]} is not finite")
    return x.astype(np.float32)


def trace(path: Path, num_obs: tuple[int, ...], num_controls: tuple[int, ...]) -> Trace:
    """Return the recorded history of one or more agents.

    Raises
    ------
    ObservationError
        The file is damaged, or an outcome or action is not the model's.
    """
    arrays = npz.read(path, ObservationError)
    if "obs" not in arrays:
        raise ObservationError(f"{path}: obs is missing, found {', '.join(arrays)}")
    obs = _history(path, "obs", arrays["obs"], num_obs, -1)
    act = _history(path, "act", arrays["act"], num_controls, 0) if "act" in arrays else None
    if act is not None and act.shape[:2] != obs.shape[:2]:
        raise ObservationError(
            f"{path}: act is {act.shape}, expected {obs.shape[:2]} and one action a factor"
        )
    return Trace(obs, act, _restarts(path, arrays.get("restarts"), len(obs)))


def _restarts(path: Path, array: NDArray[Any] | None, ticks: int) -> frozenset[int]:
    if array is None:
        return frozenset()
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise ObservationError(f"{path}: restarts is {array.dtype} {array.shape}, expected integers (R,)")
    outside = array[(array < 0) | (array >= ticks)]
    if len(outside):
        raise ObservationError(f"{path}: restarts: found tick {outside[0]}, expected 0 to {ticks - 1}")
    return frozenset(array.tolist())


def _history(
    path: Path, name: str, array: NDArray[Any], counts: tuple[int, ...], lowest: int
) -> NDArray[np.int64]:
    if (
        array.dtype.kind not in "iu"
        or array.ndim not in (2, 3)
        or array.shape[-1] != len(counts)
        or not array.size
    ):
        raise ObservationError(
            f"{path}: {name} is {array.dtype} {array.shape}, "
            f"expected integers (T, {len(counts)}) or (T, N, {len(counts)})"
        )
    history = array.astype(np.int64).reshape(len(array), -1, len(counts))
    bad = np.argwhere((history < lowest) | (history >= np.array(counts)))
    if len(bad):
        t, n, i = bad[0].tolist()
        raise ObservationError(
            f"{path}: {name}: step {t}, agent {n}, column {i} is {history[t, n, i]}, "
            f"expected {lowest} to {counts[i] - 1}"
        )
    return history
