"""The components of agents against Home Assistant's own rules, as its documentation and its
``components/mqtt/sensor.py`` and ``select.py`` state them.
"""

import json
from typing import Annotated, Any, Literal

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from edge_agent.wire import agent_discovery, discovery
from edge_agent.wire.agent_discovery import AgentEntities, ControlEntity, FactorEntity
from edge_agent.wire.topics import DeviceTopics

TOPICS = DeviceTopics("lab", "pi-1")
FAN = ControlEntity("fan", ("off", "low"), ("auto", "off", "low"))
AIR = FactorEntity(0, "air", ("fresh", "stale"))
ROOMS = AgentEntities("rooms", (FAN,), (AIR,), 5.0)
NASTY = "a\"b'c\\d{{ 1 }}{%é€\U0001f600"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Entity(Strict):
    unique_id: str
    name: str
    state_topic: str
    value_template: str
    json_attributes_topic: str
    json_attributes_template: str
    encoding: Literal["latin-1"]


class EnumSensor(Entity):
    platform: Literal["sensor"]
    device_class: Literal["enum"]
    options: list[str] = Field(min_length=1)  # and no unit or state class beside them
    expire_after: int = Field(gt=0)


class PlainSensor(Entity):
    platform: Literal["sensor"]
    expire_after: int = Field(gt=0)


class Select(Entity):
    platform: Literal["select"]
    options: list[str] = Field(min_length=1)
    command_topic: Annotated[str, Field(pattern=r"^[^+#]+$")]
    command_template: str
    qos: Literal[0, 1, 2]


COMPONENTS = TypeAdapter(dict[str, EnumSensor | PlainSensor | Select])


def components(shown: AgentEntities, agent: str) -> dict[str, Any]:
    made = agent_discovery.agent_components(TOPICS, shown, agent, 3)
    return COMPONENTS.validate_json(discovery.encode(made))


def render(template: str, **values: Any) -> str:
    """Render as Home Assistant does, with an undefined value as an error."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    return environment.from_string(template).render(values)


def test_an_agent_has_a_decision_a_select_and_a_state_that_are_no_diagnostics() -> None:
    decision, select, state = components(ROOMS, "meeting").values()
    assert isinstance(decision, EnumSensor)
    assert isinstance(select, Select)
    assert isinstance(state, EnumSensor)
    assert (decision.name, decision.options) == ("meeting fan", ["off", "low"])
    assert (select.name, select.options) == ("meeting fan override", ["auto", "off", "low"])
    assert (state.name, state.options) == ("meeting air", ["fresh", "stale"])
    assert ROOMS.per_agent == 3


def test_a_control_without_overrides_has_no_select() -> None:
    shown = AgentEntities("rooms", (ControlEntity("fan", ("off", "low"), ()),), (), 5.0)
    (decision,) = components(shown, "meeting").values()
    assert isinstance(decision, EnumSensor)
    assert shown.per_agent == 1


def test_a_factor_of_very_many_states_lists_no_options() -> None:
    many = FactorEntity(0, "place", [str(n) for n in range(agent_discovery.MAX_OPTIONS + 1)])
    (place,) = components(AgentEntities("rooms", (), (many,), 5.0), "a").values()
    assert isinstance(place, PlainSensor)


@pytest.mark.parametrize("name", ["fan", NASTY])
def test_templates_take_the_values_out_of_the_state_whatever_names_hold(name: str) -> None:
    control = ControlEntity(name, ("off", NASTY), ("auto", "off", NASTY))
    shown = AgentEntities("rooms", (control,), (FactorEntity(1, name, ("x", NASTY)),), 5.0)
    state = {
        "decision": {name: NASTY},
        "sent": {name: "off"},
        "override": {name: NASTY},
        "until": {name: "2026-01-01T00:00:00+00:00"},
        "belief": {name: {"state": "x", "probability": 0.75}},
    }
    decision, select, factor = components(shown, NASTY).values()
    assert render(decision.value_template, value_json=state) == NASTY
    assert json.loads(render(decision.json_attributes_template, value_json=state)) == {"sent": "off"}
    assert render(select.value_template, value_json=state) == NASTY
    until = json.loads(render(select.json_attributes_template, value_json=state))
    assert until == {"until": "2026-01-01T00:00:00+00:00"}
    assert render(factor.value_template, value_json=state) == "x"
    assert json.loads(render(factor.json_attributes_template, value_json=state)) == {"probability": 0.75}
    command = render(select.command_template, value=NASTY)
    command.encode("latin-1")  # how Home Assistant encodes it
    assert json.loads(command) == {"agent": NASTY, "control": name, "value": NASTY}


def test_what_a_state_lacks_is_unknown_and_no_error() -> None:
    for entity in components(ROOMS, "a").values():
        assert render(entity.value_template, value_json={}) == "None"
        assert isinstance(json.loads(render(entity.json_attributes_template, value_json={})), dict)


def test_a_factor_is_told_apart_from_a_control_of_its_name() -> None:
    shown = AgentEntities("rooms", (FAN,), (FactorEntity(0, "fan", ("off", "low")),), 5.0)
    names = [entity.name for entity in components(shown, "a").values()]
    assert len(set(names)) == len(names)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "a:b"]), st.text(":ab1", min_size=1)), min_size=2, unique=True)
)
def test_agents_that_differ_have_ids_that_differ(agents: list[tuple[str, str]]) -> None:
    found = [
        id_
        for population, agent in agents
        for id_ in components(AgentEntities(population.replace(":", "-"), (FAN,), (AIR,), 5.0), agent)
    ]
    assert len(set(found)) == len(found)


def test_auto_is_no_value_of_the_control() -> None:
    assert agent_discovery.auto_option(["off", "low"]) == "auto"
    assert agent_discovery.auto_option(["auto", "off"]) not in ("auto", "off")
