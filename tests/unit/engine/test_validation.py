"""A model that breaks a rule is refused with a line that names tensor, index and rule."""

import numpy as np
import pytest

from edge_agent.engine.model import Model
from edge_agent.errors import ModelError

A = np.eye(3) * 0.7 + 0.1
B = np.stack([np.eye(3)] * 2, axis=-1)


def with_entry(tensor, index, value):
    out = tensor.copy()
    out[index] = value
    return out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"A": [with_entry(A, (1, 2), np.nan)]}, r"A_0: entry \(1, 2\) is nan"),
        ({"A": [with_entry(A, (0, 0), -0.1)]}, r"A_0: entry \(0, 0\) is -0.1, expected a probability"),
        ({"A": [with_entry(A, (0, 1), 0.5)]}, r"A_0: column \(1,\) sums to 1.4, expected 1"),
        ({"B": [with_entry(B, (0, 1, 1), 1.0)]}, r"B_0: column \(1, 1\) sums to 2"),
        ({"A": [A[:, :2]]}, r"A_0: shape \(3, 2\), expected \(3, 3\)"),
        ({"B": [B[:, :2]]}, r"B_0: shape \(3, 2, 2\)"),
        ({"A": []}, "A: no tensor"),
        ({"A": ["x"]}, "A_0: not an array of numbers"),
        ({"C": [[1, 2]]}, r"C_0: shape \(2,\), expected \(3,\)"),
        ({"C": [[1, 2, np.inf]]}, r"C_0: entry \(2,\) is inf"),
        ({"D": [[0.5, 0.5]]}, r"D_0: shape \(2,\)"),
        ({"D": [[0.5, 0.2, 0.2]]}, r"D_0: column .* sums to 0.9"),
        ({"E": [0.5, 0.2]}, r"E: column .* sums to 0.7"),
        ({"policies": [[[2]]]}, r"policies: entry \(0, 0, 0\) is 2, expected 0 to 1 for factor 0"),
        ({"policies": [[0]]}, "policies: int64 of shape"),
        ({"A_deps": [[1]]}, r"A_deps\[0\]: \[1\]"),
        ({"B_deps": [[0, 0]]}, r"B_deps\[0\]: \[0, 0\]"),
        ({"B_deps": []}, "B_deps: 0 lists, expected 1"),
        ({"policy_len": 0}, "policy_len: 0"),
        ({"policy_len": 10**9}, "policy_len: 1000000000, at most 64"),
        ({"policy_len": 30}, "policy_len: 30 makes"),
        ({"A": [[]]}, r"A_0: shape \(0,\), expected at least one entry a dimension"),
        ({"A": [A] * 65}, "model: 1 factors and 65 modalities, at most 16 and 64"),
        ({"B": [np.stack([np.eye(3)] * 251, axis=-1)]}, "B_0: 251 controls, at most 250"),
        ({"A": [np.full((32_768, 3), 1 / 32_768)]}, "A_0: 32768 outcomes, at most 32767"),
        ({"C": [[1, 2, 3]] * 2}, "C: 2 tensors, expected 1, one a modality"),
        ({"policies": np.zeros((1, 65, 1), int)}, "policies: 1 of 65 steps, at most 65536 of 64"),
        ({"gamma": -1.0}, "gamma: -1.0"),
        ({"alpha": float("nan")}, "alpha: nan"),
    ],
)
def test_rules(arguments, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Model.from_arrays(**({"A": [A], "B": [B]} | arguments))


def test_float32_exports_are_taken() -> None:
    generator = np.random.default_rng(0)
    tensor = generator.dirichlet(np.ones(500), size=500).T.astype(np.float32)
    Model.from_arrays([tensor], [np.eye(500)[:, :, np.newaxis]])
