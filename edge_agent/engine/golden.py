"""Golden vectors: inputs and the exact outputs of this engine, run at load before a bundle may act.

A bundle's ``golden.npz`` holds a short run of a few agents: outcomes drawn at random (some missing), belief
codes
after it, the actions of every tick, and G from the last beliefs. The engine gives the same bits everywhere,
so they are compared exactly: a damaged kernel, a wrong compiler flag or a misread payload does not pass.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.engine.population import Population
from edge_agent.engine.stored_model import StoredModel
from edge_agent.errors import BundleError, EdgeAgentError
from edge_agent.wire import npz
from edge_agent.wire.bundle_kinds import GOLDEN

TICKS = 8
AGENTS = 5
MAX_AGENTS = 256


def make(model: StoredModel, seed: int = 0) -> bytes:
    """Return the content of ``golden.npz`` for ``model``; the same model and seed give the same bytes."""
    generator = np.random.default_rng(seed)
    observations = np.stack(
        [generator.integers(0, n, size=(TICKS, AGENTS)) for n in model.num_obs], axis=-1
    ).astype(np.int16)
    observations[generator.random(observations.shape) < 0.1] = -1
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, observations=observations, **_run(model, observations))
    return out.getvalue()


def check(model: StoredModel, data: bytes | memoryview) -> None:
    """Run the golden vectors.

    Raises
    ------
    BundleError
        They cannot be read, or an output differs: the message names it.
    """
    try:
        expected = npz.parse(data, GOLDEN, BundleError)
        observations = expected.pop("observations")
        if observations.ndim != 3 or 0 in observations.shape or observations.shape[1] > MAX_AGENTS:
            raise BundleError(f"{GOLDEN}: observations of shape {observations.shape}")
        found = _run(model, observations)
    except (KeyError, EdgeAgentError) as error:
        raise BundleError(f"{GOLDEN}: cannot be run ({error})") from error
    for name, value in found.items():
        if name not in expected:
            raise BundleError(f"{GOLDEN}: {name} is missing")
        if expected[name].shape != value.shape or expected[name].tobytes() != value.tobytes():
            raise BundleError(f"{GOLDEN}: {name} is not what this engine computes")


def _run(model: StoredModel, observations: NDArray[Any]) -> dict[str, NDArray[Any]]:
    agents = Population(model, observations.shape[1], seed=1)
    actions = np.stack([agents.step(tick) for tick in observations])
    return {
        "belief_codes": agents.codes(),
        "actions": actions.astype(np.int16),
        "expected_free_energy": agents.expected_free_energy,
    }
