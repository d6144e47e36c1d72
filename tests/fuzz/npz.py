"""Arrays in .npz files: models (pymdp), recorded observations, and traces."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np

from edge_agent.engine import trace
from edge_agent.errors import EdgeAgentError
from edge_agent.wire import npz
from edge_convert.readers import pymdp_npz
from tests.fuzz.files import light, written


def decode(data: bytes) -> None:
    """Read the arrays, then as a model, then as observations."""
    arrays = npz.parse(data, "fuzzed.npz", EdgeAgentError)
    if "obs" in arrays and arrays["obs"].size < 10_000:
        trace.run(light(), arrays["obs"], arrays.get("act"))
    else:
        with written(data, "fuzzed.npz") as path:
            pymdp_npz.read(path)


def _model(**more: object) -> bytes:
    return npz.write(
        {
            "A_0": np.array([[0.9, 0.2], [0.1, 0.8]]),
            "B_0": np.array([[[1.0, 0.1], [1.0, 0.1]], [[0.0, 0.9], [0.0, 0.9]]]),
        }
        | {name: np.asarray(value) for name, value in more.items()}
    )


def seed() -> bytes:
    """Return one input that is right."""
    return _model()


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from."""
    yield seed()
    yield _model(C_0=[0.0, 1.0], D_0=[0.5, 0.5], A_deps="[[0]]", B_deps="[[0]]", policy_len=2, gamma=4.0)
    yield _model(E=[0.5, 0.5], policies=np.array([[[0]], [[1]]]), meta='{"modalities": [{"name": "lux"}]}')
    yield npz.write({"obs": np.array([[0], [1], [-1]]), "act": np.array([[0], [1], [1]])})
    out = io.BytesIO()
    np.savez_compressed(out, obs=np.zeros((4, 2, 1), np.int8))
    yield out.getvalue()
