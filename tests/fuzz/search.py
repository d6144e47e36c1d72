"""Models and options of agents that search (sophisticated inference), as a bundle may bring them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edge_agent import Population
from edge_agent.engine.arrays import ModelArrays, model_arrays
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions

HEAD = 13
MOST_NODES = 255


def decode(data: bytes) -> None:
    """The first bytes are sizes and options; the rest, repeated, are the tensors."""
    model = Model.quantized(_arrays(data))
    agents, alone = Population(model, 3), Population(model, 1)
    for outcome in (0, model.num_obs[0] - 1):
        observed = np.full((1, len(model.num_obs)), outcome, np.int16)
        together = agents.step(np.repeat(observed, agents.size, axis=0))
        one = alone.step(observed)
        assert (together == one).all(), "an agent decides as it does alone"
    values, posterior = agents.evaluate()
    lone_values, lone_posterior = alone.evaluate()
    assert np.isfinite(values).all()
    assert (posterior >= 0.0).all()
    assert (posterior.sum(axis=1) <= 1.001).all()
    assert (values == lone_values).all()
    assert (posterior == lone_posterior).all()


def _arrays(data: bytes) -> ModelArrays:
    head = data[:HEAD].ljust(HEAD, b"\0")
    weights = np.frombuffer(data[HEAD:] or b"\1", np.uint8).astype(np.float64)
    states = [1 + byte % 5 for byte in head[: 1 + head[2] % 2]]
    controls, outcomes = 1 + head[3] % 4, 1 + head[4] % 5
    options = AgentOptions(
        sophisticated=True,
        si_horizon=head[5] % 6,
        si_max_nodes=min(head[6], MOST_NODES),
        si_max_branching=head[7] % 40,
        si_policy_prune_threshold=head[8] / 255.0,
        si_observation_prune_threshold=head[9] / 255.0,
        si_entropy_stop_threshold=head[10] / 64.0,
        si_prune_penalty=float(head[11]) * 8.0,
        gamma=head[12] / 16.0,
    )
    A = [_columns(weights, outcomes, *states)]
    B = [_columns(weights, n, n, controls if f == 0 else 1) for f, n in enumerate(states)]
    C = [np.resize(weights, outcomes) / 32.0 - 4.0]
    return model_arrays(A, B, C, A_deps=[list(range(len(states)))], options=options)


def _columns(weights: NDArray[np.float64], *shape: int) -> NDArray[np.float64]:
    """Return probabilities along the first axis; a column without weight is the first row's."""
    columns = np.resize(weights, shape)
    columns[0] += columns.sum(axis=0) == 0.0
    return np.asarray(columns / columns.sum(axis=0))


def _head(*, horizon: int = 2, nodes: int = 200, branching: int = 20) -> bytes:
    return bytes((3, 2, 1, 2, 3, horizon, nodes, branching, 4, 4, 0, 64, 32))


def seed() -> bytes:
    """Return one input that is right."""
    return _head() + bytes(range(1, 60))


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from."""
    yield seed()
    yield _head(horizon=5) + b"\1\0\0\0\0\7"
    yield _head(nodes=3) + bytes(range(1, 200, 7))
    yield _head(branching=1) + b"\1"
    yield _head(horizon=0)
