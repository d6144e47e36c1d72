"""Asks the float64 reference what it would have decided in the rooms where int8 agents did decide.

The reference is told what a device's rooms observed, tick by tick, and which actions were really taken, so
that both hold beliefs about the same past; then its own choice is compared with the device's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine import reference
from edge_agent.engine.arrays import ModelArrays


def bins(values: NDArray[np.float32], meta: dict[str, Any]) -> NDArray[np.int64]:
    """Return the outcome of every reading [..., M]; NaN becomes -1, not observed."""
    codes = np.stack(
        [
            np.searchsorted(modality["edges"], values[..., number], side="right")
            for number, modality in enumerate(meta["modalities"])
        ],
        axis=-1,
    )
    return np.where(np.isnan(values), -1, codes)


def agreement(
    model: ModelArrays, observed: NDArray[np.int64], decided: NDArray[np.int64], rooms: Sequence[int]
) -> tuple[float, int]:
    """Compare decisions.

    Parameters
    ----------
    model : ModelArrays
        The float model. The level of ventilation is the action of each of its factors.
    observed : int64 array (T, N, M)
        Outcomes; -1 is not observed.
    decided : int64 array (T, N)
        Levels that the device chose.
    rooms : sequence of int
        Which of the N rooms to look at.

    Returns
    -------
    float
        Share of decisions in which both chose the same level.
    int
        Decisions compared.
    """
    same = 0
    for room in rooms:
        prior = list(model.D)
        for observation, level in zip(observed[:, room], decided[:, room], strict=True):
            decision = reference.step(model, prior, observation.tolist())
            same += int(decision.act[0] == level)
            prior = reference.predict(model, decision.qs, [int(level)] * len(prior))
    count = len(observed) * len(rooms)
    return same / count, count
