"""The trial scores by its formulas, treats controllers alike, and says what the documentation says."""

import json
from pathlib import Path

import numpy as np
import pytest

import fault_report
import fault_trial
import readings
from agent import load
from air import AIR_CHANGES
from controllers import Threshold
from edge_agent import Model, Population
from evaluate import HELD_OUT_DAYS
from fault_trial import BundleAgents, Course, Results, fault_ticks, result, run
from rooms import Rooms
from safeguards import CO2
from sensor_faults import FAULTS, FaultySensor

DATA = readings.load(readings.DATA)


@pytest.fixture(scope="module")
def results(office_eab: Path) -> Results:
    return fault_trial.compare(Model.load(office_eab), DATA)


def test_the_score_is_a_count_from_the_fault_on() -> None:
    random = np.random.default_rng(3)
    ticks, faults, rooms = 50, 3, 4
    occupied = random.uniform(size=(ticks, faults, rooms)) < 0.6
    ppm = random.uniform(600.0, 1400.0, (ticks, faults, rooms))
    watts = random.uniform(0.0, 100.0, (ticks, faults, rooms))
    begin = [0, 20, 45]
    above, energy = [], []
    for f in range(faults):
        inside = bad = 0
        joule = 0.0
        for t in range(begin[f], ticks):
            for r in range(rooms):
                inside += int(occupied[t, f, r])
                bad += int(occupied[t, f, r] and ppm[t, f, r] > 1000.0)
                joule += watts[t, f, r] * 960.0
        above.append(bad / inside)
        days = (ticks - begin[f]) * 960.0 / 86_400.0
        energy.append(joule / 3600.0 / rooms / days)
    found = result(Course(occupied, ppm, watts), np.array(begin))
    for spread, wanted in ((found.above, above), (found.wh_per_day, energy)):
        assert (spread.least, spread.median, spread.most) == pytest.approx(tuple(sorted(wanted)))


def test_exactly_the_limit_is_not_above_it() -> None:
    here = np.ones((1, 1, 2), bool)
    found = result(Course(here, np.array([[[1000.0, 1000.1]]]), np.zeros((1, 1, 2))), np.array([0]))
    assert found.above.median == 0.5


def test_faults_begin_at_every_second_hour() -> None:
    times = Rooms(DATA, 1).times
    ticks = fault_ticks(times)
    assert len(ticks) == 55
    wanted = np.datetime64("2015-02-04T20:00:00") + np.timedelta64(2, "h") * np.arange(55)
    late = (times[ticks] - wanted) / np.timedelta64(1, "m")
    assert late.min() >= 0
    assert late.max() < 17
    held_out = np.searchsorted(times, np.unique(DATA.days())[-HELD_OUT_DAYS])
    assert ticks[-1] > held_out > ticks[0]


def test_copies_are_the_same_rooms_with_fans_of_their_own() -> None:
    one, three = Rooms(DATA, 4, 2), Rooms(DATA, 4, 2, copies=3)
    np.testing.assert_array_equal(np.tile(one.observe(), (3, 1)), three.observe())
    for _ in range(80):
        one.act(np.full(4, 0))
        three.act(np.repeat([0, 1, 2], 4))
    np.testing.assert_array_equal(one.co2, three.co2[:4])
    assert (np.diff(three.co2.reshape(3, 4), axis=0) < 0).all()
    np.testing.assert_array_equal(three.volume_m3, np.tile(one.volume_m3, 3))


def test_a_run_is_the_rooms_own_course() -> None:
    begin = np.array([30, 300])
    rooms = Rooms(DATA, 3, 1, copies=2)
    course = run(Threshold(), FaultySensor("none", np.repeat(begin, 3), DATA.hours, 0), rooms, 2)
    alone, rule = Rooms(DATA, 3, 1), Threshold()
    energy = np.zeros(3)
    for t in range(len(alone.times) - 1):
        levels = rule.decide(alone.observe(), alone.now)
        alone.act(levels)
        # 100 W at 4 air changes in 72 m3, by the square of the flow.
        energy += 100.0 * (AIR_CHANGES[levels] / 4.0) ** 2 * alone.volume_m3 / 72.0
        for copy in range(2):
            np.testing.assert_array_equal(course.ppm[t, copy], alone.co2)
            np.testing.assert_array_equal(course.occupied[t, copy], alone.occupied())
    np.testing.assert_allclose(course.watts.sum(axis=0), [energy, energy])


def test_a_silent_sensor_is_not_observed_and_the_others_are(office_eab: Path, office_npz: Path) -> None:
    model, edges = Model.load(office_eab), [m["edges"] for m in load(office_npz)["meta"]["modalities"]]
    rooms = Rooms(DATA, 6, 4)
    agents, stepped = BundleAgents(model, 6), Population(model, 6)
    chosen = set()
    for _ in range(200):
        observations = rooms.observe()
        bins = np.full((6, len(edges)), -1)
        for column in range(observations.shape[1]):
            bins[:, column] = np.digitize(observations[:, column], edges[column])
        bins[3:, CO2] = -1
        observations[3:, CO2] = np.nan
        levels = agents.decide(observations, rooms.now)
        np.testing.assert_array_equal(levels, stepped.step(bins)[:, 0])
        chosen |= set(levels[3:].tolist())
        rooms.act(levels)
    assert len(chosen) > 1


def test_a_schedule_needs_no_sensor(results: Results) -> None:
    assert {str(row["schedule"]) for row in results.values()} == {str(results["none"]["schedule"])}


def test_the_findings_of_the_documentation(results: Results) -> None:
    above = {f: {n: p["week"].above.median for n, p in row.items()} for f, row in results.items()}
    energy = {f: {n: p["week"].wh_per_day.median for n, p in row.items()} for f, row in results.items()}
    # Better than the rules without safeguards where readings are wrong now and then, ...
    assert energy["erratic"]["agents"] < energy["erratic"]["threshold"] / 4
    assert above["erratic"]["agents"] < above["erratic"]["threshold"] + 0.02
    assert energy["noisy"]["agents"] < energy["noisy"]["threshold"]
    # ... about as good as the jump filter, and much worse than any safeguard where the sensor is gone.
    assert energy["erratic"]["agents"] < energy["erratic"]["jump filter"] * 1.1
    for fault in ("falling", "frozen", "silent"):
        for filtered in ("jump filter", "mean filter"):
            assert above[fault]["agents"] > above[fault][filtered] + 0.1


def test_the_command_prints_every_fault_with_every_controller(
    office_eab: Path, results: Results, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fault_report, "compare", lambda *_: results)
    assert fault_report.main([str(office_eab), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed.keys() == FAULTS.keys()
    for fault, row in results.items():
        for name, parts in row.items():
            for when, part in parts.items():
                cell = printed[fault][name][when]
                assert cell["above"]["median"] == part.above.median
                assert cell["wh_per_day"]["most"] == part.wh_per_day.most
    assert fault_report.main([str(office_eab)]) == 0
    text = capsys.readouterr().out
    silent = results["silent"]["agents"]["week"].above
    assert f"{silent.median:.1%} ({silent.least:.1%} to {silent.most:.1%})" in text
    assert all(f"{fault}: {meaning}" in text for fault, (meaning, _) in FAULTS.items())


def test_a_file_that_is_no_bundle_is_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "office.eab"
    path.write_text("no bundle")
    assert fault_report.main([str(path)]) != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line
