"""The template's model is a valid POMDP, predicts days it has not seen, and does what an office does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent import load
from air import OUTDOOR_PPM
from edge_convert.cli import main
from readings import DATA

OFFICE = Path(__file__).parents[3] / "examples" / "office"
EARLIER = -5.627
"""Nats per held-out reading of the earlier training program, which this command replaces."""


@pytest.fixture(scope="module")
def arrays(office_npz: Path) -> dict[str, Any]:
    return load(office_npz)


def test_every_column_is_a_distribution_of_the_declared_shape(arrays: dict[str, Any]) -> None:
    states = [arrays["D_0"].shape[0], arrays["D_1"].shape[0]]
    meta = arrays["meta"]
    for i, deps in enumerate(arrays["A_deps"]):
        assert arrays[f"A_{i}"].shape[1:] == tuple(states[d] for d in deps)
        assert arrays[f"C_{i}"].shape == arrays[f"A_{i}"].shape[:1]
        assert len(meta["modalities"][i]["edges"]) == len(arrays[f"C_{i}"]) - 1
        assert meta["modalities"][i]["edges"] == sorted(meta["modalities"][i]["edges"])
    for f, deps in enumerate(arrays["B_deps"]):
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


def test_held_out_days_are_predicted_as_well_as_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / "one.npz", tmp_path / "two.npz"]
    for path in paths:
        template = str(OFFICE / "office.toml")
        assert main(["fit", str(DATA), "--template", template, "-o", str(path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out.partition("}\n{")[0] + "}")
    figures = report["nats_per_tick"]
    assert figures["held_out"] > EARLIER - 0.05
    assert figures["held_out"] > figures["histograms"] + 1.0
    assert report["readings"] == 4 * 509
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_what_was_learned_is_what_an_office_does(arrays: dict[str, Any]) -> None:
    states, B = arrays["meta"]["factors"][0]["states"], arrays["B_0"]
    dark = dict(zip(states, arrays["A_1"][0], strict=True))
    assert dark["empty, under 562.4 ppm"] > 0.7 > 0.1 > dark["full, under 562.4 ppm"]
    # From any state more air means fresher air: the expected band falls with the level.
    band = np.tile(np.arange(len(states) // 3), 3)
    expected = np.einsum("s,stu->tu", band, B)
    assert (np.diff(expected[band >= 3], axis=1) < 0).all()


def test_dissatisfied_share_is_that_of_cr_1752(arrays: dict[str, Any]) -> None:
    edges = np.array([OUTDOOR_PPM, 562.4, 671.8, 781.2, 890.6, 1000.0])
    excess = (edges[:-1] + edges[1:]) / 2 - OUTDOOR_PPM
    share = 3.95 * np.exp(-15.15 * excess**-0.25)
    comfort = arrays["A_5"][1].reshape(3, 7)
    np.testing.assert_allclose(comfort[1:], [[*share, 1, 1]] * 2, atol=1e-4)
    assert (comfort[0] == 0).all()
