"""A real daemon explains a decision on request; what it says is Bayes' rule and the expected free energy."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.broker.lab import Lab, last_line, wait_for
from tests.support import fan

pytestmark = pytest.mark.broker


@pytest.fixture
def lab(tmp_path: Any, mosquitto: Any) -> Any:
    made = Lab(tmp_path, mosquitto.port)
    yield made
    assert {made.stop(name) for name in list(made.processes)} <= {0}


def explained(lab: Lab, capsys: Any, agent: str, code: int = 0) -> dict[str, Any]:
    words = ["--to", "pi1", "--argument", f"agent={json.dumps(agent)}", "--sign", str(lab.key), "--json"]
    assert lab.hub("command", "explain", *words, "--wait", "0.3", "--answers", "30") == code
    return last_line(capsys)


def entropy(p: Any) -> float:
    return float(-np.sum(p[p > 0] * np.log(p[p > 0])))


def test_a_decision_is_explained_by_the_formulas(lab: Lab, capsys: Any) -> None:
    lab.boot("pi1")
    wait_for(lab, capsys, 1)
    found = explained(lab, capsys, "rooms-1")["result"]
    arrays = fan.model().arrays()
    A, B, C = (np.asarray(x[0]) for x in (arrays.A, arrays.B, arrays.C))
    (air,) = found["factors"]
    assert (air["name"], air["states"]) == ("air", ["good", "bad"])
    before, after = np.array(air["before"]), np.array(air["after"])
    assert found["observed"] == ["co2 800.. ppm"]
    assert before.sum() == pytest.approx(1.0, abs=1e-4)
    assert after[1] > before[1]
    posterior = A[1] * before
    assert after == pytest.approx(posterior / posterior.sum(), abs=2e-3)  # beliefs are kept in 8 bits
    worth = {}
    for option in found["options"]:
        action = ["off", "on"].index(option["actions"][0])
        state = B[:, :, action] @ after
        outcome = A @ state
        gain = entropy(outcome) - float(sum(state[s] * entropy(A[:, s]) for s in range(2)))
        assert option["utility"] == pytest.approx(float(outcome @ C), abs=1e-3)
        assert option["information_gain"] == pytest.approx(gain, abs=1e-3)
        worth[option["actions"][0]] = float(outcome @ C) + gain
    assert found["chosen"] == [max(worth, key=lambda name: worth[name])]
    weights = np.exp(arrays.gamma * np.array([worth["off"], worth["on"]]))
    told = {option["actions"][0]: option["posterior"] for option in found["options"]}
    assert [told["off"], told["on"]] == pytest.approx(weights / weights.sum(), abs=2e-3)


def test_who_is_not_there_is_not_explained(lab: Lab, capsys: Any) -> None:
    lab.boot("pi1")
    wait_for(lab, capsys, 1)
    answer = explained(lab, capsys, "attic", code=1)
    assert answer["ok"] is False
    assert "agent: found 'attic', expected one like 'rooms-0'" in answer["reason"]
