"""A role adds to its holder's preferences, and only while it is held."""

from __future__ import annotations

import pytest

from edge_agent.errors import ConfigError
from edge_agent.protocol.peers.objectives import Role
from edge_agent.protocol.peers.preferences import adjusted

OWN = {"temperature": (0.0, 1.0, 0.0), "noise": (0.5, -0.5)}


def test_a_role_shifts_what_it_names_and_nothing_else() -> None:
    role = Role("heater", "heat", preferences={"temperature": (0.0, 0.0, 2.5), "smoke": (1.0,)})
    assert adjusted(OWN, role) == {"temperature": [0.0, 1.0, 2.5], "noise": [0.5, -0.5]}


def test_without_a_role_the_own_preferences_are_back() -> None:
    assert adjusted(OWN, None) == {name: list(values) for name, values in OWN.items()}


@pytest.mark.parametrize("bad", [(1.0, 2.0), (0.0, float("nan"), 0.0)])
def test_preferences_that_do_not_fit_are_named(bad: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"role 'heater': preferences for 'temperature'.*expected 3 finite"):
        adjusted(OWN, Role("heater", "heat", preferences={"temperature": bad}))
