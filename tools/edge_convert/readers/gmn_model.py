"""From a GMN graph to the arrays of an agent.

State nodes are factors, observation nodes modalities, in the order of the file. An observation depends on the
states whose edges lead to it, or to the likelihood that generates it, in the order of those edges; on all
states where there is no such edge. A transition belongs to the state that it has an edge to, or else to the
first state with an edge to it; actions with an edge to it are that state's controls. What is not given:

- likelihood: uniform, the observation says nothing; transition: the identity, whatever is done;
- preference: 1 nat for ``preferred_observation``, 0 for the others; none, if there is no preference;
- belief: uniform.

Arrays that are not given may have `MAX_NUMBERS` together: a few bytes of text should not take all memory.

A node that belongs to a state or an observation and has no edge belongs to the only one there is. ``policy``
may have ``policy_len`` and ``gamma``.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ModelError
from edge_convert.readers import gmn
from edge_convert.readers.agent_source import AgentSource, agent_source
from edge_convert.readers.gmn import Graph, Node

MAX_NUMBERS = 1 << 20
Float = NDArray[np.float64]


def read(path: Path) -> AgentSource:
    """Return the agent in a GMN file.

    Raises
    ------
    ModelError
        One line that names the file, the node, and the rule that is broken.
    """
    return _Reading(path, gmn.read(path)).source()


class _Reading:
    def __init__(self, path: Path, graph: Graph) -> None:
        self._path = path
        self._graph = graph
        self._states = self._of("state")
        self._observations = self._of("observation")
        self._numbers = 0
        for kind, nodes in (("state", self._states), ("observation", self._observations)):
            if not nodes:
                raise ModelError(f"{path}: no {kind} node, expected at least one")

    def source(self) -> AgentSource:
        likelihoods = self._owners("likelihood", self._observations)
        transitions = self._owners("transition", self._states)
        preferences = self._owners("preference", self._observations)
        beliefs = self._owners("belief", self._states)
        controls = {state.id: self._controls(state, transitions.get(state.id)) for state in self._states}
        A_deps = [self._parents(o, likelihoods.get(o.id)) for o in self._observations]
        B_deps = [self._state_parents(s, transitions.get(s.id)) for s in self._states]
        policy = self._of("policy")
        settings = policy[0].properties if policy else {}
        return agent_source(
            self._path,
            [
                self._likelihood(o, likelihoods.get(o.id), d)
                for o, d in zip(self._observations, A_deps, strict=True)
            ],
            [
                self._transition(s, transitions.get(s.id), d, next(iter(controls[s.id].values()), 1))
                for s, d in zip(self._states, B_deps, strict=True)
            ],
            [self._preference(o, preferences.get(o.id)) for o in self._observations],
            [self._belief(s, beliefs.get(s.id)) for s in self._states],
            meta={
                "modalities": [{"name": o.id} for o in self._observations],
                "factors": [{"name": s.id} for s in self._states],
                "controls": [{"name": "+".join(controls[s.id]) or s.id} for s in self._states],
            },
            A_deps=A_deps,
            B_deps=B_deps,
            policy_len=settings.get("policy_len", 1),
            gamma=settings.get("gamma", 16.0),
        )

    # Who belongs to whom.

    def _of(self, kind: str) -> list[Node]:
        return [node for node in self._graph.nodes.values() if node.type == kind]

    def _linked(self, node: Node, kind: str, *, into: bool = True, out: bool = True) -> list[Node]:
        """Return nodes of a kind with an edge to ``node`` (into) or from it (out), in the edges' order."""
        found = [self._graph.nodes[e.source] for e in self._graph.edges if into and e.target == node.id]
        found += [self._graph.nodes[e.target] for e in self._graph.edges if out and e.source == node.id]
        return list({other.id: other for other in found if other.type == kind}.values())

    def _owners(self, kind: str, owners: list[Node]) -> dict[str, Node]:
        """Return the node of ``kind`` of each owner, by the owner's id."""
        result: dict[str, Node] = {}
        for node in self._of(kind):
            owner_kind = owners[0].type
            linked = self._linked(node, owner_kind, into=False) or self._linked(node, owner_kind)
            if not linked and len(owners) > 1:
                raise ModelError(
                    f"{node.where}: {kind} {node.id} has no edge to one of {len(owners)} {owner_kind} nodes"
                )
            owner = (linked or owners)[0]
            if owner.id in result:
                raise ModelError(
                    f"{node.where}: {owner_kind} {owner.id} has a {kind} already, {result[owner.id].id}"
                )
            result[owner.id] = node
        return result

    def _controls(self, state: Node, transition: Node | None) -> dict[str, int]:
        """Return the actions that control a state, and how many values each has."""
        linked = self._linked(state, "action")
        linked += [] if transition is None else self._linked(transition, "action")
        if not linked and len(self._states) == 1:
            linked = [node for node in self._of("action") if not self._linked(node, "state")]
        actions = list({node.id: node for node in linked}.values())
        if len(actions) > 1:
            names = ", ".join(node.id for node in actions)
            raise ModelError(f"{state.where}: state {state.id} is controlled by {names}, expected one action")
        return {node.id: self._count(node, "num_actions") for node in actions}

    def _parents(self, observation: Node, likelihood: Node | None) -> list[int]:
        order = [state.id for state in self._states]
        linked = [] if likelihood is None else self._linked(likelihood, "state")
        linked = linked or self._linked(observation, "state")
        return [order.index(node.id) for node in linked] or list(range(len(order)))

    def _state_parents(self, state: Node, transition: Node | None) -> list[int]:
        order = [node.id for node in self._states]
        linked = [] if transition is None else self._linked(transition, "state", out=False)
        return [order.index(node.id) for node in linked] or [order.index(state.id)]

    # The arrays.

    def _count(self, node: Node, key: str) -> int:
        value = node.properties.get(key)
        if type(value) is not int or value < 1:
            raise ModelError(
                f"{node.where}: {node.type} {node.id}: {key} is {value!r}, expected an integer from 1"
            )
        return value

    def _states_of(self, deps: list[int]) -> list[int]:
        return [self._count(self._states[d], "num_states") for d in deps]

    def _likelihood(self, observation: Node, node: Node | None, deps: list[int]) -> Float:
        outcomes = self._count(observation, "num_observations")
        shape = (outcomes, *self._states_of(deps))
        if node is None or "matrix" not in node.properties:
            return np.full(self._made_up(observation, shape), 1.0 / outcomes)
        return self._array(node, "matrix", shape)

    def _transition(self, state: Node, node: Node | None, deps: list[int], controls: int) -> Float:
        count = self._count(state, "num_states")
        shape = (count, *self._states_of(deps), controls)
        if node is not None and "matrix" in node.properties:
            given = np.ndim(node.properties["matrix"])
            if given == len(shape) - 1 and controls == 1:
                return self._array(node, "matrix", shape[:-1])[..., None]
            return self._array(node, "matrix", shape)
        own = self._states.index(state)
        if own not in deps:
            raise ModelError(f"{state.where}: state {state.id} does not depend on itself, and has no matrix")
        made_up = self._made_up(state, shape)
        identity = np.eye(count).reshape([count] + [count if d == own else 1 for d in deps] + [1])
        return np.broadcast_to(identity, made_up).copy()

    def _preference(self, observation: Node, node: Node | None) -> Float:
        outcomes = self._count(observation, "num_observations")
        if node is None or not {"vector", "preferred_observation"} & set(node.properties):
            return np.zeros(self._made_up(observation, (outcomes,)))
        if "vector" in node.properties:
            return self._array(node, "vector", (outcomes,))
        wanted = node.properties["preferred_observation"]
        if type(wanted) is not int or not 0 <= wanted < outcomes:
            raise ModelError(
                f"{node.where}: preference {node.id}: preferred_observation is {wanted!r}, "
                f"expected 0 to {outcomes - 1}"
            )
        preference = np.zeros(self._made_up(observation, (outcomes,)))
        preference[wanted] = 1.0
        return preference

    def _belief(self, state: Node, node: Node | None) -> Float:
        count = self._count(state, "num_states")
        if node is None or "vector" not in node.properties:
            return np.full(self._made_up(state, (count,)), 1.0 / count)
        return self._array(node, "vector", (count,))

    def _made_up(self, node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return ``shape``, of an array that the file does not give, if there is room for it."""
        self._numbers += math.prod(shape)
        if self._numbers > MAX_NUMBERS:
            raise ModelError(
                f"{node.where}: {node.type} {node.id}: {shape} without a matrix or vector of its own, "
                f"expected at most {MAX_NUMBERS} numbers that the file does not give"
            )
        return shape

    def _array(self, node: Node, key: str, shape: tuple[int, ...]) -> Float:
        value: Any = node.properties[key]
        try:
            array = np.array(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ModelError(f"{node.where}: {node.type} {node.id}: {key} is no array of numbers") from error
        if array.shape != shape:
            raise ModelError(
                f"{node.where}: {node.type} {node.id}: {key} has shape {array.shape}, expected {shape}"
            )
        return array
