"""The options of an agent: what is allowed, and how they travel."""

import json
from pathlib import Path

import numpy as np
import pytest

from edge_agent.engine import reference
from edge_agent.engine.arrays import model_arrays
from edge_agent.engine.model import Model
from edge_agent.engine.options import BEFORE_OPTIONS, AgentOptions
from edge_agent.errors import ModelError
from edge_convert.readers import pymdp_npz

A, B = [np.eye(2)], [np.stack([np.eye(2), np.eye(2)[::-1]], axis=-1)]
FILE = Path("model.npz")  # what messages call it


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"sampling_mode": "best"}, "sampling_mode: 'best', expected one of full, marginal"),
        ({"action_selection": "random"}, "action_selection: 'random', expected one of deterministic, stoch"),
        ({"inference_algo": "bp"}, "inference_algo: 'bp', expected one of fpi, exact, mmp, vmp"),
        ({"inference_horizon": 129}, "inference_horizon: 129, expected an integer from 1 to 128"),
        ({"inference_algo": "mmp", "sophisticated": True}, "sophisticated: True, expected false with"),
        (
            {"inference_algo": "vmp", "on_contradiction": "reset"},
            "on_contradiction: 'reset', expected 'keep' with 'vmp'",
        ),
        ({"on_contradiction": 1}, "on_contradiction: 1, expected one of keep, reset"),
        ({"gamma": -1.0}, "gamma: -1.0, expected a number from 0 to 1e+06"),
        ({"alpha": float("nan")}, "alpha: nan, expected a number from 0 to 1e+06"),
        ({"num_iter": 0}, "num_iter: 0, expected an integer from 1 to 256"),
        ({"num_iter": 2.0}, "num_iter: 2.0, expected an integer from 1 to 256"),
        ({"use_utility": 1}, "use_utility: 1, expected true or false"),
        ({"inductive_threshold": 2}, "inductive_threshold: 2, expected a number from 0 to 1"),
        ({"inductive_epsilon": 0}, "inductive_epsilon: 0, expected a number above 0, at most 1"),
        ({"colour": "red"}, "options: colour is unknown, expected sampling_mode, "),
    ],
)
def test_an_option_that_is_not_allowed_is_named(stated, message: str) -> None:
    with pytest.raises(ModelError) as error:
        AgentOptions.from_plain(stated)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_options_travel_as_json() -> None:
    options = AgentOptions("marginal", "stochastic", 2, 0, use_utility=False, num_iter=3)
    assert AgentOptions.from_plain(json.loads(json.dumps(options.plain()))) == options
    assert AgentOptions.from_plain(json.loads(json.dumps(options.changed()))) == options
    assert AgentOptions().changed() == {}


def test_without_a_stated_option_the_default_is_pymdps() -> None:
    arrays = pymdp_npz.source_of(FILE, {"A_0": A[0], "B_0": B[0]}).arrays
    assert arrays.options == AgentOptions()
    assert (arrays.options.sampling_mode, arrays.options.on_contradiction) == ("full", "keep")


def test_npz_states_options_by_name() -> None:
    stated = {
        "sampling_mode": np.array("marginal"),
        "use_inductive": np.array(True),
        "num_iter": np.array(4),
        "gamma": np.array(0.0),
    }
    found = pymdp_npz.source_of(FILE, {"A_0": A[0], "B_0": B[0], **stated}).arrays.options
    assert found == AgentOptions("marginal", gamma=0.0, use_inductive=True, num_iter=4)
    with pytest.raises(ModelError, match=r"num_iter is int64 \(2,\), expected one value"):
        pymdp_npz.source_of(FILE, {"A_0": A[0], "B_0": B[0], "num_iter": np.array([1, 2])})


def test_a_bundle_keeps_options_and_their_tables() -> None:
    options = AgentOptions("marginal", use_param_info_gain=True, use_inductive=True, inductive_depth=2)
    model = Model.from_arrays(
        A, B, options=options, pA=[np.ones((2, 2))], pB=[np.ones((2, 2, 2))], H=[np.array([0, 1])]
    )
    assert set(model.novelty) == {0, 1}
    assert [w.tolist() for w in model.ways] == [[[0, 1], [1, 1]]]
    again = Model(name="again", meta={}, **_fields(model.entries()))
    assert (again.options, again.digest) == (options, model.digest)


def test_a_stored_model_plans_as_its_source() -> None:
    options = AgentOptions(use_param_info_gain=True, use_inductive=True, inductive_depth=2)
    generator = np.random.default_rng(0)
    counts = {"pA": [generator.gamma(2.0, size=(2, 2))], "pB": [generator.gamma(2.0, size=(2, 2, 2))]}
    arrays = model_arrays(A, B, policy_len=2, options=options, H=[np.array([0, 1])], **counts)
    qs = [np.array([0.7, 0.3])]
    np.testing.assert_allclose(
        reference.expected_free_energy(Model.quantized(arrays).arrays(), qs),
        reference.expected_free_energy(arrays, qs),
        atol=1e-5,
    )


def test_a_bundle_without_options_means_what_it_meant() -> None:
    entries = Model.from_arrays(A, B, gamma=3.0).entries()
    text = json.loads(entries["model.json"])
    del text["options"]
    entries["model.json"] = json.dumps(text | {"gamma": 3.0, "alpha": 5.0}).encode()
    found = Model(name="old", meta={}, **_fields(entries))
    assert found.rules == 1
    assert found.options.plain() == BEFORE_OPTIONS.plain() | {"gamma": 3.0, "alpha": 5.0}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"use_param_info_gain": True}, "use_param_info_gain: there are no counts, expected pA, pB or both"),
        ({"pA": [np.ones((3, 2))]}, r"pA_0: shape \(3, 2\), expected \(2, 2\)"),
        ({"pB": [-np.ones((2, 2, 2))]}, r"pB_0: entry \(0, 0, 0\) is -1, expected a count from 0"),
        ({"H": [np.array([0.5, 0])]}, r"H_0: entry \(0,\) is 0.5, expected 0 or 1"),
        ({"I": [np.array([1, 0])]}, r"I_0: shape \(2,\), expected \(2, 2\)"),
        ({"I": []}, "I: no tensor, expected at least one"),
    ],
)
def test_tables_of_options_are_checked(given: dict, message: str) -> None:
    options = AgentOptions(**{name: given.pop(name) for name in tuple(given) if name.startswith("use_")})
    with pytest.raises(ModelError, match=message):
        Model.from_arrays(A, B, options=options, **given)


def _fields(entries):
    from edge_agent.engine import payload

    return payload.fields(entries)
