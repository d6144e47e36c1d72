"""Evidence for peers: the likelihood of a tick's observations as a vector of 8-bit codes a factor.

Theory of operation. Devices that look at the same thing share what they saw, not what they believe: the
likelihood P(o | s) of their observations as a function of the states of one factor, relative to its largest
value, in quarter-power codes (``quantize``). Fusing messages is multiplying likelihoods, in any order. Only
modalities that depend on that factor alone have such a vector, whatever the other factors are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_agent.engine.input_checks import outcomes
from edge_agent.engine.quantize import Float, belief_codes
from edge_agent.engine.stored_model import StoredModel
from edge_agent.errors import ModelError, ObservationError


def codes(likelihoods: Float) -> NDArray[np.uint8]:
    """Return the codes uint8 [..., S] of likelihood vectors [..., S]; none may be zero everywhere.

    Raises
    ------
    ObservationError
    """
    if not np.isfinite(likelihoods).all() or (likelihoods < 0).any() or (likelihoods.max(axis=-1) <= 0).any():
        raise ObservationError("evidence: a likelihood vector is not finite, negative, or zero everywhere")
    return belief_codes(likelihoods)


def message(model: StoredModel, factor: int, observations: ArrayLike) -> NDArray[np.uint8]:
    """Return the codes uint8 (n, S_f) of `likelihood`, with its arguments and errors."""
    return codes(likelihood(model, factor, observations))


def likelihood(model: StoredModel, factor: int, observations: ArrayLike) -> Float:
    """Return what ``observations`` int (n, M) say about ``factor``: P(o | s), the largest 1, (n, S_f).

    Raises
    ------
    ModelError
        No modality depends on the factor alone.
    ObservationError
        An outcome is out of range, or no state explains an agent's outcomes.
    """
    modalities = [m for m, deps in enumerate(model.A_deps) if deps == (factor,)]
    if not modalities:
        raise ModelError(f"A_deps: no modality depends on factor {factor} alone, so none can be shared")
    count = len(np.asarray(observations))
    table = outcomes(model, observations, np.arange(count), count)
    logs = np.zeros((count, model.num_states[factor]))
    for m in modalities:
        off = (table[:, m] < -1) | (table[:, m] >= model.num_obs[m])
        if off.any():
            agent = int(np.flatnonzero(off)[0])
            raise ObservationError(
                f"observations: agent {agent}, modality {m}: {table[agent, m]}, "
                f"expected -1 to {model.num_obs[m] - 1}"
            )
        with np.errstate(divide="ignore"):
            matrix = np.log(model.A[m].matrix().astype(np.float64))
        logs += np.where(table[:, m : m + 1] < 0, 0.0, matrix[table[:, m]])
    top = logs.max(axis=1, keepdims=True)
    if np.isinf(top).any():
        agent = int(np.flatnonzero(np.isinf(top[:, 0]))[0])
        raise ObservationError(f"observations: agent {agent}: no state of factor {factor} explains them")
    return np.asarray(np.exp(logs - top))
