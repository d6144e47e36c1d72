"""Compares the decisions of int8 agents with those of the float64 reference in the same rooms.

The reference receives the observations of a device's rooms, tick by tick, and the actions that were taken, so
that both have beliefs about the same past. Then its choice is compared with the device's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine import reference
from edge_agent.engine.arrays import ModelArrays
from playback import Answer


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
    model: ModelArrays, meta: dict[str, Any], answers: Sequence[Answer], rooms: Sequence[int]
) -> tuple[float, int]:
    """Compare decisions.

    Parameters
    ----------
    model : ModelArrays
        The float model. The level of ventilation is the action of each of its factors.
    meta : dict
        Its names and bin edges.
    answers : sequence of Answer
        What a device's rooms observed and were told, tick by tick.
    rooms : sequence of int
        Which of its rooms to look at.

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
        for answer in answers:
            qs, _ = reference.infer(model, prior, bins(answer.observed[room], meta).tolist())
            scores = reference.expected_free_energy(model, qs, horizon=answer.horizon)
            best = int(reference.policy_posterior(model, scores).argmax())
            level = int(answer.levels[room])
            same += int(model.policies[best, 0, 0] == level)
            prior = reference.predict(model, qs, [level] * len(prior))
    count = len(answers) * len(rooms)
    return (same / count if count else 0.0), count
