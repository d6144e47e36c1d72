"""The learned model is a valid POMDP, is learned from the readings, and predicts days it has not seen."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import learn
import model
import readings
import train


@pytest.fixture(scope="module")
def result() -> train.Result:
    return train.train(readings.load(readings.DATA))


def test_every_column_is_a_distribution_of_the_declared_shape(result: train.Result) -> None:
    arrays = result.arrays
    states = [arrays["D_0"].shape[0], arrays["D_1"].shape[0]]
    A_deps, B_deps = json.loads(arrays["A_deps"]), json.loads(arrays["B_deps"])
    meta = json.loads(arrays["meta"])
    for i, deps in enumerate(A_deps):
        assert arrays[f"A_{i}"].shape[1:] == tuple(states[d] for d in deps)
        assert arrays[f"C_{i}"].shape == arrays[f"A_{i}"].shape[:1]
        assert len(meta["modalities"][i]["edges"]) == len(arrays[f"C_{i}"]) - 1
        assert meta["modalities"][i]["edges"] == sorted(meta["modalities"][i]["edges"])
    for f, deps in enumerate(B_deps):
        assert arrays[f"B_{f}"].shape == (states[f], *(states[d] for d in deps), 3)
        assert len(meta["factors"][f]["states"]) == states[f]
        assert meta["controls"][f]["values"] == ["off", "low", "high"]
    for key in [key for key in arrays if key[:2] in ("A_", "B_", "D_") and "deps" not in key]:
        assert (arrays[key] >= 0).all(), key
        np.testing.assert_allclose(arrays[key].sum(axis=0), 1.0, atol=1e-12, err_msg=key)
    assert np.prod(states) <= 64
    policies = arrays["policies"]
    assert policies.shape == (3 ** int(arrays["policy_len"]), int(arrays["policy_len"]), 2)
    assert (policies[..., 0] == policies[..., 1]).all(), "the room and the fan take one control"


def test_held_out_days_are_predicted_better_than_by_histograms(result: train.Result) -> None:
    assert result.held_out > result.histograms + 1.0


def test_learning_goes_up(result: train.Result) -> None:
    assert result.course[-1] > result.course[0] + 0.1
    # Expectation maximisation with priors climbs the posterior, not the likelihood: allow a small step back.
    assert all(b > a - 0.02 for a, b in itertools.pairwise(result.course))


def test_what_was_learned_is_what_an_office_does(result: train.Result) -> None:
    meta, A, B = json.loads(result.arrays["meta"]), result.arrays["A_1"], result.arrays["B_0"]
    states = meta["factors"][0]["states"]
    dark = dict(zip(states, A[0], strict=True))
    assert dark["empty, under 562.4 ppm"] > 0.7 > 0.1 > dark["full, under 562.4 ppm"]
    assert result.emission == sorted(result.emission)
    # From any state more air means fresher air: the expected band falls with the level.
    band = np.tile(np.arange(len(states) // 3), 3)
    expected = np.einsum("s,stu->tu", band, B)
    stale = band >= 3
    assert (np.diff(expected[stale], axis=1) < 0).all()


def test_the_physical_transition_is_that_of_the_mass_balance() -> None:
    edges = np.array([500.0, 600.0, 700.0])
    # No spread to speak of, no emission, a fast exchange: everything ends in the lowest band.
    fast = learn.air_transition(edges, np.zeros(1), np.zeros(1), 50.0, 1.0)
    np.testing.assert_allclose(fast[0], 1.0, atol=1e-6)
    # Emission that holds 650 ppm, and time enough to get there.
    steady = learn.air_transition(edges, np.array([250.0 * 10.0]), np.zeros(1), 10.0, 2.0)
    np.testing.assert_allclose(steady[2], 1.0, atol=1e-6)
    # A decay to four fifths takes the upper half of 600 to 700 ppm, 250 to 300 over outdoor air, above 600.
    rate = np.log(5.0 / 4.0)
    half = learn.air_transition(edges, np.zeros(1), np.zeros(1), rate, 1.0)
    assert half[1, 2, 0] == pytest.approx(0.5, abs=0.01)


def test_the_file_is_deterministic_and_comes_back(tmp_path: Path, result: train.Result) -> None:
    for name in ("one.npz", "two.npz"):
        assert train.main(["-o", str(tmp_path / name)]) == 0
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    back = model.load(tmp_path / "one.npz")
    np.testing.assert_array_equal(back["B_0"], result.arrays["B_0"])
    assert back["meta"] == json.loads(result.arrays["meta"])


def test_the_report_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["-o", str(tmp_path / "office.npz"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["readings"] == 509
    assert report["held_out"] > report["histograms"]


def test_dissatisfied_share_of_cr_1752() -> None:
    # The report's categories: 15, 20 and 30 percent at 460, 660 and 1190 ppm over outdoor air.
    share = model.dissatisfied(400.0 + np.array([460.0, 660.0, 1190.0]))
    np.testing.assert_allclose(share, [0.15, 0.20, 0.30], atol=0.01)
