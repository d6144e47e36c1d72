"""Home Assistant components of agents: decisions, likeliest states, and selects that override a decision.

Theory of operation. Each agent publishes its state as JSON on a topic of its own
(``up/state/POPULATION/INDEX``, `wire.home_assistant_bodies.AGENT_STATE`). A control is an enum sensor with
the agent's decision. A named hidden factor is an enum sensor with its likeliest state, and the probability as
an attribute. A control that accepts overrides is a select as well: ``auto``, or a value; it publishes on
``in/POPULATION/override`` (`wire.home_assistant_bodies.OVERRIDE`). Names come from models and may hold any
characters: in templates they are string literals of Jinja, which reads the escapes that JSON writes. Sources:
home-assistant.io, "MQTT Sensor", "MQTT Select".

An identifier is FLEET:DEVICE:POPULATION:KIND+NUMBER:AGENT; no part but the last contains ``:``. It keeps the
agent's name, so that an entity stays with its agent when agents are added or sorted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edge_agent.wire.discovery import ENCODING, EXPIRES_AFTER, Components
from edge_agent.wire.topics import DeviceTopics

MAX_OPTIONS = 200
"""States of a factor; with more, its sensor is not an enum."""
REFRESH_S = 60.0
"""An agent's state is published again after so many seconds without a change."""


@dataclass(frozen=True, slots=True)
class ControlEntity:
    """A control: ``values`` are those that it can have, ``overrides`` the options of its select."""

    name: str
    values: Sequence[str]
    overrides: Sequence[str]


@dataclass(frozen=True, slots=True)
class FactorEntity:
    """A named hidden factor: its number, its name, and its states, which may be called by their numbers."""

    number: int
    name: str
    states: Sequence[str]


@dataclass(frozen=True, slots=True)
class AgentEntities:
    """What is shown of each agent of a population; ``interval_s`` is the least time between two states."""

    population: str
    controls: Sequence[ControlEntity]
    factors: Sequence[FactorEntity]
    interval_s: float

    @property
    def per_agent(self) -> int:
        """Number of entities of one agent."""
        selects = sum(bool(control.overrides) for control in self.controls)
        return len(self.controls) + len(self.factors) + selects


def auto_option(values: Sequence[str]) -> str:
    """Return the option that ends an override: auto, unless a value of the control is called so."""
    return "auto" if "auto" not in values else "auto (agent)"


def agent_components(topics: DeviceTopics, shown: AgentEntities, agent: str, index: int) -> Components:
    """Return the components of one agent."""
    return dict(_components(topics, shown, agent, index))


def _components(
    topics: DeviceTopics, shown: AgentEntities, agent: str, index: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    state = topics.agent_state(shown.population, index)
    base = f"{topics.fleet}:{topics.device}:{shown.population}"
    taken = {control.name for control in shown.controls}

    def common(kind: str, name: str) -> dict[str, Any]:
        return {
            "unique_id": f"{base}:{kind}:{agent}",
            "name": f"{agent} {name}",
            "state_topic": state,
            "json_attributes_topic": state,
            "encoding": ENCODING,
        }

    def sensor(kind: str, name: str, options: Sequence[str]) -> dict[str, Any]:
        found = common(kind, name) | {
            "platform": "sensor",
            "expire_after": round(EXPIRES_AFTER * max(REFRESH_S, shown.interval_s)) + 1,
        }
        if len(options) <= MAX_OPTIONS:
            found |= {"device_class": "enum", "options": list(dict.fromkeys(options))}
        return found

    for number, control in enumerate(shown.controls):
        found = sensor(f"decision{number}", control.name, control.values)
        found["value_template"] = _read("decision", control.name)
        found["json_attributes_template"] = _attribute("sent", control.name)
        yield found["unique_id"], found
        if control.overrides:
            found = common(f"override{number}", f"{control.name} override")
            found |= {
                "platform": "select",
                "options": list(dict.fromkeys(control.overrides)),
                "value_template": _read("override", control.name),
                "json_attributes_template": _attribute("until", control.name),
                "command_topic": topics.override(shown.population),
                "command_template": _command(agent, control.name),
                "qos": 1,
            }
            yield found["unique_id"], found
    for factor in shown.factors:
        name = f"{factor.name} state" if factor.name in taken else factor.name
        found = sensor(f"factor{factor.number}", name, factor.states)
        place = f"value_json.get('belief', {{}}).get({_literal(factor.name)}, {{}})"
        found["value_template"] = f"{{{{ {place}.get('state') }}}}"
        found["json_attributes_template"] = (
            f"{{{{ {{'probability': {place}.get('probability')}} | tojson }}}}"
        )
        yield found["unique_id"], found


def _command(agent: str, control: str) -> str:
    body = f"'agent': {_literal(agent)}, 'control': {_literal(control)}, 'value': value"
    return f"{{{{ {{{body}}} | tojson }}}}"


def _read(key: str, name: str) -> str:
    return f"{{{{ value_json.get('{key}', {{}}).get({_literal(name)}) }}}}"


def _attribute(key: str, name: str) -> str:
    return f"{{{{ {{'{key}': value_json.get('{key}', {{}}).get({_literal(name)})}} | tojson }}}}"


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
