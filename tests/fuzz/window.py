"""Models of agents that infer over a window of ticks, and the state that a checkpoint may give them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

from edge_agent import Population
from edge_agent.engine import payload, snapshot
from edge_agent.engine.arrays import ModelArrays, model_arrays
from edge_agent.engine.model import Model
from edge_agent.engine.options import AgentOptions

HEAD = 9
TICKS = 4


def decode(data: bytes) -> None:
    """The first bytes are sizes and options; the rest, repeated, are the tensors, and the state of one agent
    that is restored.
    """
    model = Model.quantized(_arrays(data))
    together, alone = Population(model, 3), Population(model, 1)
    _same(model, together, alone)
    state = np.frombuffer(bytes(islice(cycle(data or b"\1"), model.state_rows)), np.uint8)[np.newaxis]
    action, energy = np.zeros((1, len(model.B)), np.uint8), np.zeros(1, np.float32)
    alone.restore(snapshot.pack(payload.digest(model), 0, 1, 0, state, action, energy))
    three = np.repeat(state, 3, axis=0), np.repeat(action, 3, axis=0), np.repeat(energy, 3)
    together.restore(snapshot.pack(payload.digest(model), 0, 1, 0, *three))
    _same(model, together, alone)


def _same(model: Model, together: Population, alone: Population) -> None:
    for tick in range(TICKS):
        observed = np.array([[tick % (n + 1) - 1 for n in model.num_obs]], np.int16)
        agents = together.step(np.repeat(observed, together.size, axis=0))
        assert (agents == alone.step(observed)).all(), "an agent decides as it does alone"
    assert together.codes([2]).tobytes() == alone.codes().tobytes()
    assert np.isfinite(together.free_energy).all()
    values, posterior = together.evaluate()
    assert np.isfinite(values).all()
    assert (np.abs(posterior.sum(axis=1) - 1.0) <= 1e-3).all()
    for f in range(len(model.B)):
        assert np.isfinite(together.beliefs(f)).all()


def _arrays(data: bytes) -> ModelArrays:
    head = data[:HEAD].ljust(HEAD, b"\0")
    weights = np.frombuffer(data[HEAD:] or b"\1", np.uint8).astype(np.float64)
    states = [1 + byte % 5 for byte in head[: 1 + head[2] % 2]]
    controls, outcomes = 1 + head[3] % 4, 1 + head[4] % 5
    options = AgentOptions(
        inference_algo="vmp" if head[5] % 2 else "mmp",
        inference_horizon=head[6] % 12,
        num_iter=head[7] % 8,
        gamma=head[8] / 16.0,
    )
    factors = list(range(len(states)))
    parents = [factors if f == 0 and head[5] & 2 else [f] for f in factors]
    A = [_columns(weights, outcomes, *states), _columns(weights[::-1], 3, states[-1])]
    B = [
        _columns(weights, states[f], *(states[d] for d in parents[f]), controls if f == 0 else 1)
        for f in factors
    ]
    return model_arrays(A, B, A_deps=[factors, factors[-1:]], B_deps=parents, options=options)


def _columns(weights: NDArray[np.float64], *shape: int) -> NDArray[np.float64]:
    """Return probabilities along the first axis; a column without weight is the first row's."""
    columns = np.resize(weights, shape)
    columns[0] += columns.sum(axis=0) == 0.0
    return np.asarray(columns / columns.sum(axis=0))


def _head(*, kind: int = 0, horizon: int = 3, iterations: int = 4) -> bytes:
    return bytes((3, 2, 1, 2, 3, kind, horizon, iterations, 32))


def seed() -> bytes:
    """Return one input that is right."""
    return _head() + bytes(range(1, 60))


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from."""
    yield seed()
    yield _head(kind=1) + bytes(range(1, 200, 7))
    yield _head(kind=2, horizon=11) + b"\1\0\0\0\0\7"
    yield _head(kind=3, horizon=2) + b"\xff\0\1"
    yield _head(horizon=1) + b"\1"
    yield _head(horizon=0)
