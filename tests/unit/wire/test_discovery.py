"""The announcement against Home Assistant's own rules, written down here as its documentation and its
``components/mqtt/schemas.py``, ``sensor.py`` and ``discovery.py`` state them.
"""

import json
import re
from typing import Annotated, Any, Literal

import jinja2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_agent.wire import bodies, discovery
from edge_agent.wire.messages import Message, encode
from edge_agent.wire.topics import DeviceTopics

TOPICS = DeviceTopics("lab", "pi-1")
UNITS = {"data_size": {"B", "kB", "MB", "GB"}, "duration": {"ms", "s", "min", "h", "d"}, None: {None}}
NAMES = st.from_regex(r"[a-z_.-]{1,4}", fullmatch=True)
Topic = Annotated[str, Field(pattern=r"^[^+#]+$")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Device(Strict):
    identifiers: list[str] = Field(min_length=1)
    name: str
    manufacturer: str
    model: str
    sw_version: str


class Origin(Strict):
    name: str
    sw_version: str


class Sensor(Strict):
    platform: Literal["sensor"]
    unique_id: str
    name: str
    value_template: str
    expire_after: int = Field(gt=0)
    entity_category: Literal["diagnostic"]  # "config" is not allowed for a sensor
    encoding: Literal["latin-1"]
    device_class: str | None = None
    state_class: Literal["measurement", "total", "total_increasing"] | None = None
    unit_of_measurement: str | None = None


class Removed(Strict):
    platform: Literal["sensor"]


class Availability(Strict):
    topic: Topic
    value_template: str


class Discovery(Strict):
    device: Device
    origin: Origin
    components: dict[str, Sensor | Removed]
    state_topic: Topic
    availability: list[Availability] = Field(min_length=1)
    qos: Literal[0, 1, 2]


def announced(*populations: str) -> Discovery:
    components, count = discovery.fitting(discovery.diagnostics(TOPICS, p, 10.0) for p in ("", *populations))
    assert count == 1 + len(populations)
    message = discovery.announcement(TOPICS, "1.2", "pi4b-1gb", components, {})
    return Discovery.model_validate_json(discovery.encode(message))


def test_the_topic_is_one_that_home_assistant_hears() -> None:
    matcher = r"(?P<component>\w+)/(?:(?P<node_id>[a-zA-Z0-9_-]+)/)?(?P<object_id>[a-zA-Z0-9_-]+)/config"
    topic = discovery.topic("homeassistant", TOPICS).removeprefix("homeassistant/")
    found = re.fullmatch(matcher, topic)
    assert found is not None
    assert found.groupdict() == {"component": "device", "node_id": "lab", "object_id": "pi-1"}


def test_it_follows_the_schema_and_units_fit_their_class() -> None:
    message = announced("rooms", "halls.2")
    assert message.state_topic == TOPICS.state
    sensors = [c for c in message.components.values() if isinstance(c, Sensor)]
    assert len(sensors) == len(message.components) == len({s.unique_id for s in sensors}) == 3 + 2 * 6
    for sensor in sensors:
        assert sensor.unit_of_measurement in UNITS[sensor.device_class]
        assert sensor.expire_after > 2 * 10


def rendered(template: str, state: object) -> str:
    """Render as Home Assistant does, with an undefined value as an error."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    return environment.from_string(template).render(value_json=state)


def test_every_template_takes_a_value_out_of_the_state() -> None:
    keys = ["agents", "silent", "decisions", "contradictions", "faults", "latency_p99_ms"]
    state = {"rss": 7, "rung": 7, "backlog": 7, "populations": {"ro-om.s": dict.fromkeys(keys, 7)}}
    for sensor in announced("ro-om.s").components.values():
        assert isinstance(sensor, Sensor)
        assert rendered(sensor.value_template, state) == "7"


@pytest.mark.parametrize("state", [{}, {"populations": {}}, {"populations": {"rooms": {}}}, {"rss": 1}])
def test_what_a_state_lacks_is_unknown_and_no_error(state: dict[str, Any]) -> None:
    for id_, sensor in announced("rooms").components.items():
        assert isinstance(sensor, Sensor)
        if not id_.endswith(":rss"):
            assert rendered(sensor.value_template, state) == "None"


@pytest.mark.parametrize(
    ("state", "available"), [({}, "online"), ({"online": True}, "online"), ({"online": False}, "offline")]
)
def test_the_device_is_available_until_a_state_denies_it(state: dict[str, Any], available: str) -> None:
    message = announced("rooms")
    assert message.availability[0].topic == message.state_topic
    assert rendered(message.availability[0].value_template, state) == available


@pytest.mark.parametrize("online", [True, False])
def test_the_device_is_available_until_its_will_denies_it(online: bool) -> None:
    running = {"online": ("0" * 64, 3)}
    body = bodies.birth(online, "online", "1.2", "b00", "ä", running, 7, 194)  # rss: bytes 0xc2
    payload = encode(Message(body, t=1.0)).decode("latin-1")
    source = announced("rooms").availability[1]
    assert source.topic == TOPICS.birth
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    shown = environment.from_string(source.value_template).render(value=payload)
    assert shown == ("online" if online else "offline")


@given(st.lists(st.tuples(NAMES, NAMES, NAMES), min_size=2, max_size=2, unique=True))
@example([("home", "x", "air_b"), ("home", "x_air", "b")])
@example([("a_b", "c", "d"), ("a", "b_c", "d")])
@example([("a", "b", "rss"), ("a", "b_rss", "agents")])
def test_names_that_differ_make_ids_that_differ(names: list[tuple[str, str, str]]) -> None:
    found = [
        set(discovery.component_ids(DeviceTopics(fleet, device), population))
        for fleet, device, population in names
    ]
    assert not found[0] & found[1]
    assert not found[0] & set(discovery.component_ids(DeviceTopics(*names[1][:2])))
    devices = {names[0][:2], names[1][:2]}
    identifiers = {
        identifier
        for fleet, device in devices
        for message in [discovery.announcement(DeviceTopics(fleet, device), "1", "p", {}, {})]
        for identifier in message["device"]["identifiers"]
    }
    assert len(identifiers) == len(devices)


def test_what_is_gone_is_announced_with_its_platform_alone() -> None:
    gone = dict.fromkeys((*discovery.component_ids(TOPICS, "halls"), "lab:pi-1:rooms:agents"), "sensor")
    rooms = discovery.diagnostics(TOPICS, "rooms", 10.0)
    message = discovery.announcement(TOPICS, "1", "p", rooms, gone)
    found = Discovery.model_validate_json(discovery.encode(message)).components
    removed = {id_ for id_, component in found.items() if isinstance(component, Removed)}
    assert removed == set(discovery.component_ids(TOPICS, "halls"))


@pytest.mark.parametrize("key", ["device", "origin", "components"])
def test_the_schema_refuses_what_home_assistant_would(key: str) -> None:
    message = discovery.announcement(TOPICS, "1", "p", discovery.diagnostics(TOPICS, "rooms", 10.0), {})
    del message[key]
    with pytest.raises(ValidationError):
        Discovery.model_validate_json(json.dumps(message))
