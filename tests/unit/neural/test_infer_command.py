"""``edge-agent infer`` runs a network's bundle over a recording, on both runtimes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_agent.cli import main
from edge_agent.neural.inference import infer
from edge_agent.neural.network import NeuralModel


@pytest.mark.parametrize("target", ["litert", "onnxruntime"])
def test_outputs_and_actions_are_written(
    bundle_file: Callable[..., Path], target: str, tmp_path: Path
) -> None:
    path, trace, out = bundle_file("policy", target), tmp_path / "t.npz", tmp_path / "o.npz"
    x = np.random.default_rng(4).normal(size=(7, 6)).astype(np.float32)
    np.savez(trace, x=x)
    assert main(["infer", str(path), "--trace", str(trace), "-o", str(out)]) == 0
    with np.load(out) as written:
        wanted = infer(NeuralModel.load(path), x)
        assert set(written.files) == {"y_0", "y_1", "act"} == set(wanted)
        assert all(np.array_equal(written[name], array) for name, array in wanted.items())


def test_a_recording_of_another_kind_is_bad_input(
    bundle_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "t.npz"
    np.savez(trace, obs=np.zeros((3, 1), int))
    status = main(
        ["infer", str(bundle_file("policy", "litert")), "--trace", str(trace), "-o", str(tmp_path / "o")]
    )
    assert (status, "expected an array x" in capsys.readouterr().err) == (2, True)
    assert not (tmp_path / "o").exists()
