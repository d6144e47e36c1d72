"""What becomes of pymdp's options: the page for its users says what the code does; refusals are one line."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_agent.engine.options import TIE, AgentOptions
from edge_agent.errors import ModelError
from edge_convert.measure import gate
from edge_convert.measure.decisions import CLEAR
from edge_convert.pymdp import policy_search, pymdp_options
from edge_convert.pymdp.pymdp_options import JAX, LEGACY

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "pymdp.md"
ROWS = re.findall(r"^\| (`.*?) \| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
DERIVED = {"action_maps", "num_obs", "num_modalities", "num_states", "num_factors", "num_controls_multi"}


def said_of(option: str) -> str:
    """Return what the page's table says of an option."""
    found = [words for names, words in ROWS if option in re.findall(r"`(\w+)`", names)]
    assert len(found) == 1, option
    return found[0]


@pytest.mark.parametrize("option", sorted(set(JAX) - DERIVED))
def test_the_page_says_what_becomes_of_each_option(option: str) -> None:
    treatment = JAX[option]
    assert ("refused" in said_of(option)) == (treatment.fate == "refused")
    assert ("no effect" in said_of(option)) == (treatment.fate == "no effect")


def test_what_is_carried_by_its_name_is_an_option_of_the_engine_or_of_the_file() -> None:
    arrays = {"A_dependencies", "B_dependencies", "policies", "categorical_obs"}
    carried = {name for name, treatment in JAX.items() if treatment is pymdp_options.CARRIED}
    searched = {"sophisticated", *(f"si_{name}" for name in policy_search.CARRIED)}
    assert carried - arrays == set(AgentOptions.names()) - {"inference_algo", "on_contradiction"} - searched


def test_the_page_names_what_is_refused_of_legacy_agents() -> None:
    text = PAGE.read_text("utf-8")
    for name, treatment in LEGACY.items():
        if treatment.fate == "refused":
            assert re.search(rf"`{name}\b", text), name
    for name in (
        *pymdp_options.TRIED[:1],
        "policy_search",
        "infer_states",
        "infer_policies",
        "sample_action",
    ):
        assert f"`{name}" in text


def test_the_pages_limits_are_the_gates() -> None:
    text = PAGE.read_text("utf-8")
    for limit in gate.agent_limits(None, None, None):
        assert re.search(
            rf"^\| `{limit.figure}` .*\| {limit.bound:g}, `{limit.option}` \|$", text, re.MULTILINE
        )
    assert f"leads by more than {CLEAR:g} in probability" in text
    assert f"{gate.AIM_KL:g} nats, goes to 16 bits" in text
    assert "no more than 1e-4 of its probability" in text
    assert TIE == 1e-4


def test_a_name_in_allow_that_is_no_option_is_refused() -> None:
    agent = SimpleNamespace(batch_size=1, preprocess_fn=len)
    with pytest.raises(ModelError, match="allow: 'preproces' is no option of this agent"):
        pymdp_options.check(agent, JAX, ("preproces",), None)
    assert pymdp_options.check(agent, JAX, ("preprocess_fn", "learn_A"), None) == ("preprocess_fn",)


def test_a_policy_search_is_refused_by_its_name() -> None:
    def search(agent: object) -> None:
        """Search."""

    agent = SimpleNamespace(batch_size=1)
    with pytest.raises(ModelError, match=r"^agent: policy_search=.*search: the engine has pymdp.planning.si"):
        pymdp_options.check(agent, JAX, (), search)
    assert pymdp_options.check(agent, JAX, ("policy_search",), search) == ("policy_search",)


def sophisticated(**changed: Any) -> Any:
    """Return a function that closed over the options of a search, as that of pymdp 1.0.4 does."""
    infer_fn = predict_fn = SimpleNamespace(__module__="pymdp.planning.si")
    horizon, max_nodes, max_branching, topk_obsspace = 3, 500, 10, 10_000
    policy_prune_threshold, observation_prune_threshold, entropy_stop_threshold = 0.1, 0.2, 0.3
    neg_efe_stop_threshold, kl_threshold, prune_penalty, gamma = 1e10, -1, 512, 4

    def search_fn(agent: Any) -> Any:
        return (
            *(horizon, max_nodes, max_branching, topk_obsspace, infer_fn, predict_fn, kl_threshold, gamma),
            *(policy_prune_threshold, observation_prune_threshold, entropy_stop_threshold),
            *(neg_efe_stop_threshold, prune_penalty),
        )

    cells = dict(zip(search_fn.__code__.co_freevars, search_fn.__closure__ or (), strict=True))
    for name, value in changed.items():
        cells[name].cell_contents = value
    search_fn.__module__, search_fn.__qualname__ = policy_search.SEARCH
    return search_fn


def test_a_sophisticated_search_is_carried_with_its_options() -> None:
    agent = SimpleNamespace(batch_size=1, A=[np.zeros((1, 4, 2))])
    search = sophisticated()
    assert pymdp_options.check(agent, JAX, (), search) == ()
    found = AgentOptions.from_plain(policy_search.options(agent, search))
    assert found == AgentOptions(
        sophisticated=True,
        gamma=4.0,
        si_horizon=3,
        si_max_nodes=500,
        si_policy_prune_threshold=0.1,
        si_observation_prune_threshold=0.2,
        si_entropy_stop_threshold=0.3,
    )
    with pytest.raises(ModelError, match=r"^agent: policy_search=si_policy_search\.<"):
        pymdp_options.check(SimpleNamespace(), LEGACY, (), search)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"infer_fn": len}, "infer_fn is your own"),
        ({"predict_fn": len}, "predict_fn is your own"),
        ({"kl_threshold": 0.1}, "kl_threshold=0.1 merges nodes; use kl_threshold=-1"),
        ({"topk_obsspace": 3}, "topk_obsspace=3 leaves outcomes out, expected at least 4"),
    ],
)
def test_what_a_search_has_that_the_engine_lacks_is_refused(changed: Any, message: str) -> None:
    agent = SimpleNamespace(batch_size=1, A=[np.zeros((1, 4, 2))])
    with pytest.raises(ModelError, match=f"^agent: policy_search: {message}"):
        policy_search.options(agent, sophisticated(**changed))
