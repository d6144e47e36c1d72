"""``edge-convert fit`` finds the process that readings were drawn from, and refuses what it cannot use."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.wire import readings as readings_file
from edge_agent.wire import readings_csv
from edge_agent.wire.readings import ModalityNames, Readings
from edge_convert.cli import main
from edge_convert.fit.estimate import log_likelihood
from edge_convert.fit.parameters import Parameters
from tests.support.fit_worlds import drawn, prepared, recorded, structure, toml

TEMPLATE = """
tick_seconds = 60.0
policy_len = 2
[[control]]
name = "pump"
values = ["stop", "run"]
[[factor]]
name = "tank"
states = ["empty", "half", "full"]
control = "pump"
[[modality]]
name = "level"
sees = ["tank"]
labels = ["a", "b", "c", "d"]
preference = [-4.0, 0.0, 0.0, -1.0]
"""
A = np.array([[0.85, 0.1, 0.0], [0.1, 0.7, 0.05], [0.05, 0.15, 0.15], [0.0, 0.05, 0.8]])
STOP = np.array([[0.95, 0.2, 0.05], [0.05, 0.75, 0.2], [0.0, 0.05, 0.75]])
RUN = np.array([[0.5, 0.05, 0.0], [0.4, 0.6, 0.05], [0.1, 0.35, 0.95]])
B = np.stack([STOP, RUN], axis=-1)
LABELS = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a template and readings of a tank whose pump runs by chance."""
    folder = tmp_path_factory.mktemp("tank")
    random = np.random.default_rng(1)
    actions = np.repeat(random.integers(0, 2, 1000), 6)[:6000]
    _, bins = drawn(random, A, B, 6000, actions)
    bins[random.random(6000) < 0.1] = -1
    recorded(folder / "day.npz", {"level": bins}, 60.0, ("pump", ("stop", "run"), actions), {"level": LABELS})
    (folder / "tank.toml").write_text(TEMPLATE)
    return folder


def fitted(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    arguments = [str(folder / "day.npz"), "--template", str(folder / "tank.toml")]
    assert main(["fit", *arguments, "-o", str(folder / "tank.npz"), "--json", *more]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def test_it_finds_the_process_that_the_readings_come_from(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = fitted(place, capsys, "--starts", "3")
    with np.load(place / "tank.npz") as model:
        np.testing.assert_allclose(model["A_0"], A, atol=0.06)
        np.testing.assert_allclose(model["B_0"], B, atol=0.12)
        assert model["C_0"].tolist() == [-4.0, 0.0, 0.0, -1.0]
        assert model["policies"].shape == (4, 2, 1)
    assert report["ticks"] == {"training": 4800, "held_out": 1200}
    assert report["agents"] == 1
    # The held-out readings are as likely as under the true process, and likelier than by histograms.
    template = toml(place / "again.toml", TEMPLATE)
    _, segments = prepared(place / "day.npz", template)
    true = Parameters([A], [B], [np.array([1.0, 1e-9, 1e-9])], {})
    held = [type(s)(s.bins[4800:], s.actions[4800:], s.values[4800:]) for s in segments]
    observed = sum(int((s.bins >= 0).sum()) for s in held)
    figures = report["nats_per_tick"]
    best = log_likelihood(true, structure(template), held) / observed
    assert figures["held_out"] == pytest.approx(best, abs=0.02)
    assert figures["held_out"] > figures["histograms"] + 0.1


def test_the_converter_takes_the_model(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fitted(place, capsys, "--starts", "1")
    assert main(["convert", str(place / "tank.npz"), "-o", str(place / "tank.eab"), "--json"]) == 0
    evaluation = json.loads(capsys.readouterr().out)["evaluation"]
    assert evaluation["clear_agreement"] == 1.0


def test_an_action_that_never_stood_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(2)
    _, bins = drawn(random, A, B, 300)
    recorded(tmp_path / "day.npz", {"level": bins}, 60.0, labels={"level": LABELS})
    (tmp_path / "tank.toml").write_text(TEMPLATE)
    arguments = [str(tmp_path / "day.npz"), "--template", str(tmp_path / "tank.toml")]
    assert main(["fit", *arguments, "-o", str(tmp_path / "m.npz"), "--starts", "1"]) == 0
    assert "control pump: run never stood" in capsys.readouterr().err


def test_a_table_gives_the_same_model_as_the_recording(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readings_csv.write(tmp_path / "day.csv", readings_file.read(place / "day.npz"))
    template = ["--template", str(place / "tank.toml"), "--starts", "1"]
    assert main(["fit", str(tmp_path / "day.csv"), *template, "-o", str(tmp_path / "csv.npz")]) == 0
    assert main(["fit", str(place / "day.npz"), *template, "-o", str(tmp_path / "npz.npz")]) == 0
    assert (tmp_path / "csv.npz").read_bytes() == (tmp_path / "npz.npz").read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tick_seconds = 60.0", "tick_seconds = -1", "tick_seconds: found -1"),
        ("tick_seconds = 60.0", "tick_seconds = 60.0\nspeed = 1", "speed: unknown key"),
        ('sees = ["tank"]', 'sees = ["pond"]', "modality[0].sees: found 'pond', expected one of tank"),
        ('control = "pump"', 'control = "valve"', "factor[0].control: found 'valve', expected one of pump"),
        ('"half", "full"]', '"half", "half"]', "factor[0].states: found ['empty', 'half', 'half']"),
        ("preference = [-4.0,", "preference = [", "modality[0].preference: found 3, expected 4"),
        ("policy_len = 2", "policy_len = 2\nheld_out = 'soon'", "held_out: found 'soon'"),
        ('"d"]', '"e"]', "level: found 'd'; expected one of a, b, c, e"),
        ('name = "level"', 'name = "depth"', "found modalities level; expected depth among them"),
        ('["stop", "run"]', '["stop", "go"]', "control pump: found 'run'; expected one of stop, go"),
        ("[[control]]", "[[control", "not TOML"),
        ("tick_seconds = 60.0", "tick_seconds = 600000.0", "ticks before held_out"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    template = tmp_path / "t.toml"
    assert old in TEMPLATE
    template.write_text(TEMPLATE.replace(old, new))
    output = tmp_path / "model.npz"
    assert main(["fit", str(place / "day.npz"), "--template", str(template), "-o", str(output)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert str(tmp_path) in error or str(place) in error
    assert not output.exists()


def test_a_band_of_an_unknown_modality_is_one_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = tmp_path / "t.toml"
    bands = TEMPLATE.replace('states = ["empty", "half", "full"]', 'of = "lvel"\nbands = [1.0, 2.0]')
    template.write_text(bands.replace('sees = ["tank"]', 'sees = ["tank"]\nalike = [["under 1", "1 to 2"]]'))
    output = str(tmp_path / "model.npz")
    assert main(["fit", str(place / "day.npz"), "--template", str(template), "-o", output]) == 2
    error = capsys.readouterr().err
    assert error == f"edge-convert: {template}: factor[0].of: found 'lvel', expected one of level\n"


BAND = """
tick_seconds = 60.0
[[factor]]
name = "tank"
states = ["low", "high"]
[[modality]]
name = "level"
sees = ["tank"]
"""


def bins_only(path: Path) -> list[int]:
    """Write what the flight recorder holds of a level with two edges: bins and ticks; return the bins."""
    random = np.random.default_rng(3)
    sticky = np.array([[0.9, 0.1], [0.1, 0.9]])[..., None]
    _, codes = drawn(random, np.array([[0.8, 0.0], [0.2, 0.3], [0.0, 0.7]]), sticky, 500)
    readings_file.write(
        path,
        Readings(
            ("one",),
            (ModalityNames("level", "m", (1.5, 2.5)),),
            (),
            np.arange(500) * 60.0,
            *[np.zeros(500, np.int64)] * 2,
            np.full(500, np.nan),
            codes,
            np.zeros(0),
            *[np.zeros(0, np.int64)] * 3,
            60.0,
            "ticks",
        ),
    )
    return [int(code) for code in codes]


def test_bins_of_a_flight_recording_keep_their_edges(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = bins_only(tmp_path / "day.npz")
    (tmp_path / "tank.toml").write_text(BAND)
    report = fitted(tmp_path, capsys)
    training = codes[: report["ticks"]["training"]]
    seen = [training.count(bin_) for bin_ in range(3)]
    with np.load(tmp_path / "tank.npz") as model:
        meta = json.loads(str(model["meta"]))
        np.testing.assert_allclose(model["A_0"], [[0.8, 0.0], [0.2, 0.3], [0.0, 0.7]], atol=0.12)
    assert meta["modalities"] == [{"name": "level", "unit": "m", "edges": [1.5, 2.5], "seen": seen}]
    assert report["nats_per_tick"]["held_out"] > report["nats_per_tick"]["histograms"]
    (tmp_path / "tank.toml").write_text(BAND + "edges = [1.0]\n")
    line = ["fit", str(tmp_path / "day.npz"), "--template", str(tmp_path / "tank.toml")]
    assert main([*line, "-o", str(tmp_path / "no.npz")]) == 2
    assert "level: found the bins of a device's model only" in capsys.readouterr().err


def test_the_page_has_the_pipelines_template() -> None:
    root = Path(__file__).parents[3]
    page = (root / "docs" / "how-to" / "readings.md").read_text("utf-8")
    shown = page.partition("cat >water.toml <<'EOF'\n")[2].partition("EOF\n")[0]
    assert tomllib.loads(shown) == tomllib.loads((root / "examples/pipeline/water.toml").read_text("utf-8"))
