"""A model file says what learns; the bundle carries it, and a population learns with it."""

from pathlib import Path

import numpy as np
import pytest

from edge_agent import Model
from edge_agent.engine.counts.concentrations import Concentrations
from edge_agent.errors import ModelError
from edge_convert.cli import main
from edge_convert.readers import pymdp_npz

A = np.array([[0.8, 0.3], [0.2, 0.7]])
B = np.stack([np.array([[0.9, 0.2], [0.1, 0.8]]), np.array([[0.5, 0.5], [0.5, 0.5]])], axis=-1)
GIVEN = {
    "A_0": A,
    "B_0": B,
    "learn": np.array('["A", "B"]'),
    "pA_0": 5 * A,
    "pB_0": 4 * B + 0.5,
    "lr_pB": np.array(0.5),
}


def written(folder: Path, **change) -> Path:
    path = folder / "model.npz"
    np.savez(path, **{key: value for key, value in (GIVEN | change).items() if value is not None})
    return path


def test_a_converted_bundle_carries_what_learns(tmp_path: Path) -> None:
    bundle = tmp_path / "model.eab"
    assert main(["convert", str(written(tmp_path)), "-o", str(bundle)]) == 0
    model = Model.load(bundle)
    carried = Concentrations.carried(model)
    assert carried.learned == (("A", 0), ("B", 0))
    assert (carried.lr_pA, carried.lr_pB) == (1.0, 0.5)
    assert carried.A[0].matrix() == pytest.approx(5 * A)
    blocks = np.moveaxis(carried.B[0].matrix().reshape(2, 2, 2), 0, -1)
    assert blocks == pytest.approx(4 * B + 0.5)


def test_a_file_that_does_not_learn_gives_the_bundle_it_gave(tmp_path: Path) -> None:
    plain = pymdp_npz.read(written(tmp_path, learn=None, pA_0=None, pB_0=None, lr_pB=None)).model("m")
    assert plain.learning is None
    learns = pymdp_npz.read(written(tmp_path)).model("m")
    assert all((a.codes == b.codes).all() for a, b in zip(plain.tensors, learns.tensors, strict=True))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"learn": np.array('["C"]')}, r'learn is \[.C.\], expected a list of "A", "B", "D"'),
        ({"learn": np.array("A")}, "learn is not JSON"),
        ({"pA_0": None}, "pA_0 is missing, of what learns"),
        ({"pA_0": np.ones((3, 2))}, r"pA_0"),
        ({"pA_0": -A}, "pA_0"),
        ({"lr_pB": np.array(0.0)}, "lr_pB: 0.0, expected a number above 0"),
    ],
)
def test_bad_files_are_refused_by_name(tmp_path: Path, change, line: str) -> None:
    with pytest.raises(ModelError, match=f"model.npz: .*{line}"):
        pymdp_npz.read(written(tmp_path, **change))
