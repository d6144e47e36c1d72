"""Float agents infer by Bayes' rule, plan by the formula, and keep better air than on-off for less energy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evaluate
import readings
from agent import FloatAgents, digitize, load
from controllers import OnOff, Schedule
from rooms import Rooms

DATA = readings.load(readings.DATA)


@pytest.fixture(scope="module")
def arrays(office_npz: Path) -> dict[str, Any]:
    return load(office_npz)


def test_beliefs_and_expected_free_energy_are_those_of_the_formulas(arrays: dict[str, Any]) -> None:
    agents = FloatAgents(arrays, 1)
    bins = np.array([[9, 3, 4, 2, 0, -1]])
    agents.step(bins)
    room = arrays["D_0"].copy()
    for i in range(4):
        room *= arrays[f"A_{i}"][bins[0, i]]
    room /= room.sum()
    np.testing.assert_allclose(agents.beliefs[0][0], room, atol=1e-9)

    def log(x: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(x, 1e-300))

    for p, policy in enumerate(arrays["policies"]):
        value, states = 0.0, [room, np.array([1.0, 0.0, 0.0])]
        for action in policy:
            states = [arrays[f"B_{f}"][:, :, action[f]] @ states[f] for f in range(2)]
            for i, (f,) in enumerate(arrays["A_deps"]):
                A = arrays[f"A_{i}"]
                seen = A @ states[f]
                # Information gain as the mean divergence of posterior from prior: another form of it.
                for o in range(len(seen)):
                    if seen[o] > 0:
                        posterior = A[o] * states[f] / seen[o]
                        value += seen[o] * (posterior * (log(posterior) - log(states[f]))).sum()
                value += seen @ arrays[f"C_{i}"]
        assert agents.neg_efe[0, p] == pytest.approx(value, abs=1e-8)


def test_a_report_that_contradicts_the_command_is_believed(arrays: dict[str, Any]) -> None:
    agents = FloatAgents(arrays, 2)
    agents.step(np.array([[0, 0, 0, 0, 0, -1], [0, 0, 0, 0, 0, -1]]))
    agents.step(np.array([[0, 0, 0, 0, 2, -1], [0, 0, 0, 0, -1, -1]]))
    assert agents.beliefs[1][0, 2] > 0.99
    assert agents.beliefs[1][1, 0] > 0.99


def test_bins_are_half_open_and_the_rest_is_unobserved(arrays: dict[str, Any]) -> None:
    edges = arrays["meta"]["modalities"][0]["edges"]
    bins = digitize(arrays["meta"], np.array([[edges[0], 0, 0, 0, 0], [edges[0] - 0.01, 0, 0, 0, 2]]))
    assert bins[:, 0].tolist() == [1, 0]
    assert bins[:, 4].tolist() == [0, 2]
    assert bins[:, 5].tolist() == [-1, -1]
    silent = digitize(arrays["meta"], np.array([[np.nan, 0, 0, 0, 0], [edges[0], 0, np.nan, 0, 2]]))
    assert silent[:, 0].tolist() == [-1, 1]
    assert silent[1].tolist()[1:5] == [bins[0, 1], -1, bins[0, 3], 2]


def test_agents_air_for_people_and_not_for_empty_rooms(arrays: dict[str, Any]) -> None:
    light, dark = 450.0, 0.0
    agents = FloatAgents(arrays, 2)
    for _ in range(3):
        levels = agents.decide(
            np.array([[1050.0, light, 22.0, 24.0, 0.0], [1050.0, dark, 20.0, 24.0, 0.0]]), DATA.times[0]
        )
    assert levels[0] > 0
    assert levels[1] == 0


def test_agents_beat_on_off_at_comfort_and_energy_in_days_they_have_not_seen(arrays: dict[str, Any]) -> None:
    since = np.datetime64("2015-02-09")
    scores = []
    for controller in (FloatAgents(arrays, 30), OnOff(), Schedule()):
        rooms = Rooms(DATA, 30, 5)
        evaluate.run(rooms, controller)
        scores.append(rooms.score(since))
    agents, on_off, schedule = scores
    assert agents.comfort > on_off.comfort + 0.05
    assert agents.kwh < on_off.kwh
    assert agents.kwh < schedule.kwh / 5
