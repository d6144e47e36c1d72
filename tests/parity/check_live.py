"""What only a real pymdp can tell: each option of its constructors is treated, actions are mapped as there.

``make parity`` runs this in each environment; pytest in the project's own does not collect it.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.engine.binding import Binding
from edge_agent.errors import ModelError
from edge_convert import export_pymdp
from edge_convert.pymdp.pymdp_options import JAX, LEGACY, METHODS, Treatment
from edge_convert.readers import pymdp_npz

agent_module = pytest.importorskip("pymdp.agent")
MODERN = dataclasses.is_dataclass(agent_module.Agent)
if MODERN:
    import jax_agents
    from pymdp.legacy.agent import Agent as LegacyAgent
else:
    LegacyAgent = agent_module.Agent


def parameters(owner: type) -> set[str]:
    return set(inspect.signature(owner).parameters)


def test_every_option_of_the_legacy_agent_is_treated() -> None:
    assert parameters(LegacyAgent) - set(LEGACY) == set()


@pytest.mark.skipif(not MODERN, reason="pymdp 0.x has no JAX agent")
def test_every_option_and_attribute_of_the_jax_agent_is_treated() -> None:
    attributes = {field.name for field in dataclasses.fields(agent_module.Agent)}
    assert (parameters(agent_module.Agent) | attributes) - set(JAX) == set()
    assert set(JAX) == parameters(agent_module.Agent) | attributes


def test_what_decides_is_still_called_so() -> None:
    for name in METHODS[:3]:
        assert callable(getattr(agent_module.Agent, name))
        assert callable(getattr(LegacyAgent, name))


@pytest.mark.parametrize("table", [JAX, LEGACY], ids=["jax", "legacy"])
def test_a_refusal_says_what_it_finds_and_the_remedy(table: dict[str, Treatment]) -> None:
    for name, treatment in table.items():
        assert (treatment.fate == "refused") == (treatment.found is not None), name
        assert treatment.words, name


@pytest.mark.skipif(not MODERN, reason="pymdp 0.x has no such option")
def test_flattened_actions_are_mapped_back_as_pymdp_does(tmp_path: Path) -> None:
    import jax.numpy as jnp

    agent, _ = jax_agents.CASES["B_action_dependencies"]()
    source = pymdp_npz.read(export_pymdp(agent, tmp_path / "a.npz", traces=0))
    binding = Binding(source.meta, source.arrays.num_obs, source.arrays.num_controls, "a.eab")
    assert [len(output.control.values) for output in binding.outputs] == list(agent.num_controls_multi)
    for action in np.unique(source.arrays.policies[:, 0], axis=0):
        expected = np.asarray(agent.decode_multi_actions(jnp.asarray(action)[None]))[0]
        found = [
            int(action[output.column]) if output.part is None else int(output.part[action[output.column]])
            for output in binding.outputs
        ]
        assert found == expected.tolist()


@pytest.mark.skipif(not MODERN, reason="pymdp 0.x has no such option")
def test_what_is_allowed_is_written_down(tmp_path: Path) -> None:
    agent, _ = jax_agents.CASES["preprocess_fn"]()
    with pytest.raises(ModelError, match=r"preprocess_fn is set: .* \(allow=\('preprocess_fn',\)"):
        export_pymdp(agent, tmp_path / "a.npz")
    assert not (tmp_path / "a.npz").exists()
    source = pymdp_npz.read(export_pymdp(agent, tmp_path / "a.npz", allow=("preprocess_fn",), traces=3))
    assert source.allowed == ("preprocess_fn",)
    assert source.trace is not None
    assert source.trace.meta["without"] == ["preprocess_fn"]
    with pytest.raises(ModelError, match="allow: 'preproces_fn' is no option"):
        export_pymdp(agent, tmp_path / "a.npz", allow=("preproces_fn",))


@pytest.mark.skipif(not MODERN, reason="pymdp 0.x has no JAX agent")
def test_observations_that_the_user_gives_are_the_traces(tmp_path: Path) -> None:
    agent, _ = jax_agents.CASES["sampling_mode_full_two_factors"]()
    seen = np.array([[0, 1], [4, -1], [2, 2]])
    source = pymdp_npz.read(export_pymdp(agent, tmp_path / "a.npz", observations=seen))
    assert source.trace is not None
    assert source.trace.obs.tolist() == seen.tolist()
    assert source.trace.meta["process"] == "given"
    with pytest.raises(ModelError, match="observations: step 0, modality 1 is 3, expected -1 to 2"):
        export_pymdp(agent, tmp_path / "a.npz", observations=[[0, 3]])


@pytest.mark.skipif(not MODERN, reason="pymdp 0.x has no JAX agent")
def test_distributions_are_observations_too(tmp_path: Path) -> None:
    agent, _ = jax_agents.CASES["categorical_obs"]()
    seen = [np.full((4, 5), 0.2), np.tile([0.5, 0.5, 0.0], (4, 1))]
    source = pymdp_npz.read(export_pymdp(agent, tmp_path / "a.npz", observations=seen))
    assert source.trace is not None
    np.testing.assert_allclose(source.trace.soft[1], seen[1])
    seen[1][2, 0] = 0.7
    with pytest.raises(ModelError, match=r"observations\[1\]: step 2 is no distribution"):
        export_pymdp(agent, tmp_path / "a.npz", observations=seen)


@pytest.mark.skipif(not MODERN, reason="pymdp 0.x has no JAX agent")
def test_an_option_that_no_table_knows_is_refused_by_name(tmp_path: Path) -> None:
    class Agent(agent_module.Agent):  # as a later pymdp might have it
        dream: Any = dataclasses.field(default=False, metadata={"static": True})

        def __init__(self, *given: Any, dream: bool = False, **named: Any) -> None:
            self.dream = dream
            super().__init__(*given, **named)

    Agent.__module__ = "pymdp.agent"
    A, B, C, D = jax_agents.tensors(7, (4,), (5,), ([0],), (3,))
    with pytest.raises(ModelError, match=r"agent: dream=True: this exporter knows pymdp 1\.0\.0"):
        export_pymdp(Agent(A, B, C, D, dream=True), tmp_path / "a.npz")
    export_pymdp(Agent(A, B, C, D, dream=False), tmp_path / "a.npz", traces=2)


@pytest.mark.skipif(MODERN, reason="the legacy environment's")
def test_a_legacy_agent_is_left_as_it_was(tmp_path: Path) -> None:
    import legacy_agents

    agent, _ = legacy_agents.CASES["legacy_defaults"]()
    agent.infer_states([1])
    before = [q.copy() for q in agent.qs]
    drawn = np.random.get_state()[1].copy()  # noqa: NPY002
    source = pymdp_npz.read(export_pymdp(agent, tmp_path / "a.npz", traces=30))
    assert json.loads(json.dumps(source.meta)) == {}
    assert all(np.array_equal(p, q) for p, q in zip(before, agent.qs, strict=True))
    assert np.array_equal(drawn, np.random.get_state()[1])  # noqa: NPY002
