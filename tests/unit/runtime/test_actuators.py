"""Which actions are sent: the same for a few agents, which are compared one by one, as for many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.config.agent_names import AgentNames
from edge_agent.config.records import ActConfig, PopulationConfig
from edge_agent.engine.binding import Control, Output
from edge_agent.runtime.population import actuators
from edge_agent.runtime.population.actuators import SAFE, Actuator

SIZE = 3
NAMES = AgentNames.of(PopulationConfig(name="rooms", bundle="b", size=SIZE))
turns = st.lists(
    st.tuples(
        st.lists(
            st.tuples(st.integers(0, SIZE - 1), st.sampled_from([0, 1, 2, SAFE])), unique_by=lambda p: p[0]
        ),
        st.floats(0.0, 2.0),
        st.booleans(),
    ),
    max_size=12,
)


def sent(config: ActConfig, dwell_s: float, steps: list[tuple[list[tuple[int, int]], float, bool]]) -> object:
    """Return what an actuator sends in some turns, and what it knows after them."""
    columns = [np.zeros(SIZE, np.int16), np.zeros(SIZE, np.int16)]
    acted_at = np.zeros(SIZE)
    output = Output(Control("fan", ("off", "low", "high")), 0, None, (0,))
    actuator = Actuator(config, output, NAMES, *columns, acted_at, dwell_s)
    out: list[tuple[float, int, str]] = []
    now = 100.0
    for chosen, passed, taken in steps:
        now += passed

        def sink(_act: ActConfig, _name: str, agent: int, payload: str, at=now, taken=taken) -> bool:
            out.append((at, agent, payload))
            return bool(taken)

        agents = np.array([agent for agent, _ in chosen], np.intp)
        actuator.act(agents, np.array([action for _, action in chosen], np.int16), sink, now)
        actuator.release(sink, now)
    return out, [column.tolist() for column in columns], acted_at.tolist(), actuator.delayed


@settings(deadline=None)
@given(turns, st.booleans(), st.sampled_from(["", "low", "stop"]), st.sampled_from([0.0, 1.5]))
def test_a_few_agents_are_told_what_many_would_be(
    steps: list[tuple[list[tuple[int, int]], float, bool]], on_change: bool, safe: str, dwell_s: float
) -> None:
    config = ActConfig(control="fan", topic="z/{agent}/set", on_change=on_change, safe=safe)
    one_by_one = sent(config, dwell_s, steps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(actuators, "FEW", 0)
        assert sent(config, dwell_s, steps) == one_by_one
