"""GMN: both notations give the same agent, defaults are as documented, and mistakes are named by line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.errors import ModelError
from edge_convert.readers import gmn_model

EXPLORER = """
# a comment
[nodes]
location: state {num_states: 3}
seen: observation {num_observations: 3}
move: action {num_actions: 2}
eyes: likelihood {matrix: [[0.8, 0.1, 0], [0.2, 0.8, 0.5], [0, 0.1, 0.5]]}
legs: transition
home: preference {preferred_observation: 2}
start: belief {vector: [1, 0, 0]}
plans: policy {policy_len: 2, gamma: 4.0}

[edges]
location -> eyes: depends_on
eyes -> seen: generates
location -> legs: depends_on
move -> legs: depends_on
home -> seen: depends_on
start -> location: depends_on
"""
NODES = [
    {"id": "location", "type": "state", "properties": {"num_states": 3}},
    {"id": "seen", "type": "observation", "properties": {"num_observations": 3}},
    {"id": "move", "type": "action", "properties": {"num_actions": 2}},
]


def read(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "model.gmn"
    path.write_text(text)
    return gmn_model.read(path).arrays


def test_text_gives_the_arrays_it_says(tmp_path: Path) -> None:
    arrays = read(tmp_path, EXPLORER)
    assert arrays.A[0].tolist() == [[0.8, 0.1, 0], [0.2, 0.8, 0.5], [0, 0.1, 0.5]]
    assert np.array_equal(arrays.B[0], np.stack([np.eye(3)] * 2, axis=-1))  # the identity, whatever is done
    assert arrays.C[0].tolist() == [0, 0, 1]
    assert arrays.D[0].tolist() == [1, 0, 0]
    assert (arrays.policies.shape, arrays.gamma) == ((4, 2, 1), 4.0)


def test_json_and_text_give_the_same_agent(tmp_path: Path) -> None:
    text = read(tmp_path, EXPLORER)
    graph = {
        "nodes": [
            *NODES,
            {
                "id": "eyes",
                "type": "likelihood",
                "properties": {"matrix": [[0.8, 0.1, 0], [0.2, 0.8, 0.5], [0, 0.1, 0.5]]},
            },
            {"id": "legs", "type": "transition"},
            {"id": "home", "type": "preference", "properties": {"vector": [0, 0, 1]}},
            {"id": "start", "type": "belief", "properties": {"vector": [1, 0, 0]}},
            {"id": "plans", "type": "policy", "properties": {"policy_len": 2, "gamma": 4.0}},
        ],
        "edges": [
            {"source": "location", "target": "eyes", "type": "depends_on"},
            {"source": "eyes", "target": "seen", "type": "generates"},
            {"source": "location", "target": "legs", "type": "depends_on"},
            {"source": "move", "target": "legs", "type": "depends_on"},
            {"source": "home", "target": "seen", "type": "depends_on"},
            {"source": "start", "target": "location", "type": "depends_on"},
        ],
    }
    notation = read(tmp_path, json.dumps(graph))
    for letter in "ABCD":
        assert np.array_equal(getattr(text, letter)[0], getattr(notation, letter)[0])


def test_what_is_not_given_has_its_default(tmp_path: Path) -> None:
    arrays = read(tmp_path, json.dumps({"nodes": NODES, "edges": []}))
    assert np.allclose(arrays.A[0], 1 / 3)
    assert np.array_equal(arrays.B[0][..., 1], np.eye(3))
    assert arrays.C[0].tolist() == [0, 0, 0]
    assert np.allclose(arrays.D[0], 1 / 3)


def test_several_factors_are_told_apart_by_edges(tmp_path: Path) -> None:
    arrays = read(
        tmp_path,
        """
        [nodes]
        place: state {num_states: 3}
        weather: state {num_states: 2}
        view: observation {num_observations: 2}
        sign: observation {num_observations: 3}
        walk: action {num_actions: 4}
        lens: likelihood {matrix: [[[0.9,0.5],[0.9,0.5],[0.9,0.5]],[[0.1,0.5],[0.1,0.5],[0.1,0.5]]]}
        drift: transition {matrix: [[0.7, 0.2], [0.3, 0.8]]}
        [edges]
        place -> lens: depends_on
        weather -> lens: depends_on
        lens -> view: generates
        place -> sign: generates
        weather -> drift: depends_on
        drift -> weather: updates
        walk -> place: influences
        """,
    )
    assert arrays.A_deps == ((0, 1), (0,))
    assert [b.shape for b in arrays.B] == [(3, 3, 4), (2, 2, 1)]
    assert arrays.B[1][..., 0].tolist() == [[0.7, 0.2], [0.3, 0.8]]


def test_a_gmn_file_converts(command: Any, tmp_path: Path) -> None:
    source = tmp_path / "explorer.txt"
    source.write_text(EXPLORER)
    status, result, _ = command("convert", source, "-o", tmp_path / "e.eab")
    assert status == 0
    assert result["evaluation"]["action_agreement"] == 1.0
    assert command("inspect", tmp_path / "e.eab")[1]["io"]["factors"] == [{"name": "location"}]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("location: state", "location: stat", "line 4: type 'stat', expected one of state, observation"),
        ("location: state", "location state", "line 4: found 'location state"),
        ("{num_states: 3}", "", "line 4: state location: num_states is None, expected an integer from 1"),
        ("{num_states: 3}", "{num_states: [}", "line 4: properties '{num_states: [}' cannot be read"),
        ("num_states: 3", "num_states: 4", "likelihood eyes: matrix has shape (3, 3), expected (3, 4)"),
        ("[0, 0.1, 0.5]]", "[0, 0.1]]", "likelihood eyes: matrix is no array of numbers"),
        ("0.8, 0.1, 0]", "0.9, 0.1, 0]", "A_0: column (0,) sums to 1.1"),
        (
            "preferred_observation: 2",
            "preferred_observation: 3",
            "preferred_observation is 3, expected 0 to 2",
        ),
        ("legs: transition", "eyes: transition", "line 8: node eyes stands there twice"),
        ("home -> seen", "home -> sen", "edge home -> sen: there is no node sen"),
        (
            "eyes -> seen: generates",
            "eyes -> seen: shows",
            "edge eyes -> seen: type 'shows', expected one of",
        ),
        ("seen: observation", "seen: state", "no observation node"),
        ("policy_len: 2", "policy_len: two", "policy_len: 'two', expected an integer from 1"),
        (
            "legs: transition",
            "ears: likelihood\nlegs: transition",
            "observation seen has a likelihood already",
        ),
        (
            "legs: transition",
            "heard: observation {num_observations: 2}\nears: likelihood\nlegs: transition",
            "ears has no edge to",
        ),
        (
            "move -> legs: depends_on",
            "move -> legs: depends_on\n[nodes]\nturn: action {num_actions: 2}\n[edges]\n"
            "turn -> legs: depends_on",
            "state location is controlled by move, turn, expected one action",
        ),
        ("num_actions: 2", "num_actions: 2000000000000", "(3, 3, 2000000000000) without a matrix"),
    ],
)
def test_mistake_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in EXPLORER
    with pytest.raises(ModelError) as caught:
        read(tmp_path, EXPLORER.replace(old, new).lstrip("\n").replace("# a comment", "# a comment\n"))
    assert words in str(caught.value)
    assert "model.gmn" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        ({"nodes": {}, "edges": []}, "nodes: found dict, expected a list"),
        ({"nodes": [3], "edges": []}, "nodes[0]: found int, expected an object"),
        ({"nodes": [{"id": 3, "type": "state"}], "edges": []}, "nodes[0]: id: found 3, expected a string"),
        ({"nodes": [{"id": "a", "type": "state", "properties": []}], "edges": []}, "properties: found list"),
        ({"nodes": NODES, "edges": [{"source": "a"}]}, "edges[0]: target: found None, expected a string"),
    ],
)
def test_json_of_another_form_is_refused(tmp_path: Path, graph: Any, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        read(tmp_path, json.dumps(graph))
    assert words in str(caught.value)
