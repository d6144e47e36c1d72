"""Fixed-point iteration that forks is found, and exact inference offered; a model that does not fork is not
suspected.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.wire import npz
from edge_convert.measure import agent_fidelity, forks
from edge_convert.readers import pymdp_npz

AGENTS = Path(__file__).parents[2] / "golden" / "agents"


def balanced(tmp_path: Path) -> Path:
    """Write a model whose iteration stands on a ridge: two factors, and outcomes that say only whether they
    agree.

    From a uniform prior each belief stays uniform; half precision tips it to one of two answers.
    """
    rng = np.random.default_rng(0)
    same = np.stack([np.eye(2) * 0.98 + 0.01, np.eye(2)[::-1] * 0.98 + 0.01])
    arrays = {
        "A_0": same / same.sum(axis=0),
        "B_0": np.full((2, 2, 2), 0.5),
        "B_1": np.full((2, 2, 1), 0.5),
        "D_0": np.array([0.5001, 0.4999]),
        "D_1": np.array([0.5, 0.5]),
        "C_0": rng.normal(size=2),
    }
    arrays["B_0"][:, :, 0] = [[0.50005, 0.50005], [0.49995, 0.49995]]
    arrays["B_0"][:, :, 1] = [[0.49996, 0.49996], [0.50004, 0.50004]]
    path = tmp_path / "ridge.npz"
    path.write_bytes(npz.write(arrays))
    return path


def test_a_fork_is_found_and_exact_inference_has_one_answer(tmp_path: Path) -> None:
    source = pymdp_npz.read(balanced(tmp_path))
    history = agent_fidelity.measure(source, source.model("m"), None, "", 0).history
    found = forks.look(source.arrays, [history])
    assert found is not None
    assert found.forked > 0
    assert found.max_kl > forks.APART
    assert found.exact_kl is not None
    assert found.exact_kl < 1e-3
    assert "--inference exact has one answer" in found.words()
    assert forks.look(source.inferring("exact").arrays, [history]) is None


def test_the_user_is_told_of_a_fork(command: Any, tmp_path: Path) -> None:
    path = balanced(tmp_path)
    status, result, error = command("convert", path, "-o", tmp_path / "a.eab")
    assert "--inference exact has one answer" in (error if status else result["forks"])
    status, result, _ = command("convert", path, "-o", tmp_path / "a.eab", "--inference", "exact")
    assert status == 0
    assert "forks" not in result


@pytest.mark.parametrize("name", ["sampling_mode_full_two_factors", "env_tmaze", "legacy_defaults"])
def test_a_model_with_one_fixed_point_is_not_suspected(name: str) -> None:
    source = pymdp_npz.read(AGENTS / f"{name}.npz")
    assert source.trace is not None
    assert forks.look(source.arrays, [agent_fidelity.TraceHistory.of_trace(source.trace)]) is None
