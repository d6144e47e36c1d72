"""The daemon with a real Home Assistant: its entities and its log (``make test-homeassistant``).

The daemons say their state once in `TELEMETRY_S` seconds, which is longer than a test waits: what is seen
earlier was said for a reason.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from edge_agent.testing.mosquitto import Mosquitto
from tests.daemon_process import PATIENCE_S, DaemonProcess, until
from tests.homeassistant.installation import HomeAssistant

pytestmark = pytest.mark.timeout(1200)

TELEMETRY_S = 2 * PATIENCE_S
CONFIG = """
[device]
name = "{device}"
fleet = "lab"
state_dir = "state"
socket = "s"
telemetry_s = {seconds}
spare_kb = 1024
[broker]
host = "127.0.0.1"
port = {port}
home_assistant = "{prefix}"
"""
POPULATION = """
[[population]]
name = "{name}"
bundle = "fan.eab"
size = {size}
agents = "{name}-{{index}}"
rate_hz = 1
[[population.observe]]
modality = "co2"
topic = "{name}/{{agent}}"
pointer = "/co2"
silence = "unchanged"
[[population.act]]
control = "fan"
topic = "{name}/{{agent}}/set"
"""
DEVICE = {
    "memory": ("data_size", "B", "measurement"),
    "outbox": ("data_size", "B", "measurement"),
    "governor": (None, None, None),
}
ROOMS = {
    "rooms_agents": (None, None, "measurement"),
    "rooms_silent_agents": (None, None, "measurement"),
    "rooms_decisions": (None, None, "total_increasing"),
    "rooms_contradictions": (None, None, "total_increasing"),
    "rooms_bad_readings": (None, None, "total_increasing"),
    "rooms_latency": ("duration", "ms", "measurement"),
}
SHOWN = """
[population.home_assistant]
agents = 2
interval_s = 1
override_s = {}
"""
SENSORS = {f"rooms_{n}_{what}" for n in (0, 1) for what in ("fan", "air")}
GONE = "unavailable"


class Site:
    """Home Assistant, a broker, and daemons."""

    def __init__(self, folder: Path, broker: Mosquitto, home_assistant: HomeAssistant) -> None:
        self._folder, self.broker = folder, broker
        self.home_assistant = home_assistant
        self.daemons: list[DaemonProcess] = []

    def configuration(self, device: str, prefix: str = "homeassistant", **sizes: int) -> str:
        text = CONFIG.format(device=device, port=self.broker.port, prefix=prefix, seconds=TELEMETRY_S)
        return text + "".join(POPULATION.format(name=name, size=size) for name, size in sizes.items())

    def daemon(self, device: str, more: str = "", **sizes: int) -> DaemonProcess:
        made = DaemonProcess(self._folder / device, self.configuration(device, **sizes) + more)
        self.daemons.append(made)
        made.start()
        return made

    def shown(self, device: str, platform: str = "sensor") -> dict[str, dict[str, Any]]:
        """Return the entities of a device by their names without the device's."""
        start = f"{platform}.{device}_"
        states = self.home_assistant.states()
        return {id_.removeprefix(start): entity for id_, entity in states.items() if id_.startswith(start)}

    def values(self, device: str) -> dict[str, str]:
        return {name: entity["state"] for name, entity in self.shown(device).items()}

    def sees(self, device: str, names: set[str], available: bool = True) -> Callable[[], bool]:
        """Return whether exactly these entities are there, all of them available or none."""

        def seen() -> bool:
            found = self.values(device)
            return found.keys() == names and all((value != GONE) == available for value in found.values())

        return seen


class Commands:
    """A client at the broker: it publishes readings and keeps the commands to the fans."""

    def __init__(self, port: int) -> None:
        self.received: list[tuple[str, str]] = []
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = lambda _client, _data, message: self.received.append(
            (message.topic, message.payload.decode())
        )
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("rooms/+/set")
        self._client.loop_start()
        assert subscribed.wait(10)

    def publish(self, topic: str, text: str) -> None:
        self._client.publish(topic, text, qos=1).wait_for_publish(10)

    def fan(self, agent: str) -> list[str]:
        return [text for topic, text in self.received if topic == f"rooms/{agent}/set"]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def own(lines: str) -> list[str]:
    """Return the warnings and errors that are about MQTT, templates or us."""
    bad = re.compile(
        r"^\S+ \S+ (WARNING|ERROR|CRITICAL) .*(mqtt|template|sensor|\b(edge|lab)\b)", re.IGNORECASE
    )
    return [line for line in lines.splitlines() if bad.search(line)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    broker = Mosquitto(tmp_path_factory.mktemp("broker"))
    broker.start()
    home_assistant = HomeAssistant()
    try:
        home_assistant.start()
        home_assistant.connect(broker.port)
        yield Site(tmp_path_factory.mktemp("devices"), broker, home_assistant)
    finally:
        home_assistant.remove()
        broker.stop()


@pytest.fixture
def commands(site: Site) -> Iterator[Commands]:
    made = Commands(site.broker.port)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _nothing_is_left(site: Site) -> Iterator[None]:
    """End the daemons, and look for complaints, after each test."""
    before = len(site.home_assistant.log())
    yield
    while site.daemons:
        site.daemons.pop().stop()
    assert own(site.home_assistant.log()[before:]) == []


def test_entities_are_available_before_the_second_interval_and_have_their_classes(site: Site) -> None:
    site.daemon("one", rooms=3)
    until(site.sees("one", {*DEVICE, *ROOMS}), "its entities are available")
    shown = site.shown("one")
    assert shown["rooms_agents"]["state"] == "3"
    assert shown["governor"]["state"] == "full"
    assert int(shown["memory"]["state"]) > 10_000_000
    for name, expected in (DEVICE | ROOMS).items():
        attributes = shown[name]["attributes"]
        keys = ("device_class", "unit_of_measurement", "state_class")
        assert tuple(attributes.get(key) for key in keys) == expected, name


def test_an_orderly_stop_is_seen_before_the_values_expire(site: Site) -> None:
    daemon = site.daemon("stops", rooms=3)
    until(site.sees("stops", {*DEVICE, *ROOMS}), "its entities are available")
    daemon.stop()
    until(site.sees("stops", {*DEVICE, *ROOMS}, available=False), "its entities are unavailable")
    daemon.start()
    until(site.sees("stops", {*DEVICE, *ROOMS}), "its entities are available again")


def test_a_population_that_was_removed_between_two_runs_is_gone(site: Site) -> None:
    daemon = site.daemon("shrinks", rooms=3, halls=2)
    until(lambda: "halls_agents" in site.values("shrinks"), "both populations are there")
    daemon.stop()
    daemon.configure(site.configuration("shrinks", rooms=3))
    daemon.start()
    until(site.sees("shrinks", {*DEVICE, *ROOMS}), "one of them is there")


def test_a_population_that_the_running_daemon_loses_is_gone(site: Site) -> None:
    daemon = site.daemon("reloads", rooms=3, halls=2)
    until(lambda: site.values("reloads").get("halls_agents") == "2", "both populations are there")
    daemon.configure(site.configuration("reloads", rooms=3))
    daemon.hang_up()
    until(site.sees("reloads", {*DEVICE, *ROOMS}), "one of them is there")


def test_names_that_read_alike_are_told_apart(site: Site) -> None:
    site.daemon("x", air_b=2)
    site.daemon("x_air", b=3)

    def agents() -> list[str]:
        values = site.home_assistant.states().items()
        return sorted(e["state"] for id_, e in values if re.fullmatch(r"sensor\.x_air_b_agents(_2)?", id_))

    until(lambda: agents() == ["2", "3"], "both are there")


def test_home_assistant_starts_again_while_the_daemon_runs(site: Site) -> None:
    site.daemon("stays", rooms=3)
    until(site.sees("stays", {*DEVICE, *ROOMS}), "its entities are available")
    site.home_assistant.stop()
    site.home_assistant.start()
    until(site.sees("stays", {*DEVICE, *ROOMS}), "its entities are available again")


def test_a_population_that_went_while_home_assistant_was_down_is_gone(site: Site) -> None:
    daemon = site.daemon("sheds", rooms=3, halls=2)
    until(lambda: site.values("sheds").get("halls_agents") == "2", "both populations are there")
    site.home_assistant.stop()
    daemon.stop()
    daemon.configure(site.configuration("sheds", rooms=3))
    daemon.start()
    site.home_assistant.start()
    until(site.sees("sheds", {*DEVICE, *ROOMS}), "one of them is there")


def test_a_device_that_is_taken_back_is_gone(site: Site) -> None:
    daemon = site.daemon("leaves", rooms=3)
    until(site.sees("leaves", {*DEVICE, *ROOMS}), "its entities are available")
    daemon.stop()
    daemon.configure(site.configuration("leaves", prefix="", rooms=3))
    daemon.start()
    until(site.sees("leaves", set()), "nothing of it is there")


def test_a_state_of_an_older_version_is_no_error(site: Site) -> None:
    daemon = site.daemon("old", rooms=3)
    until(site.sees("old", {*DEVICE, *ROOMS}), "its entities are available")
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", site.broker.port)
    client.loop_start()
    client.publish("edge/v1/lab/old/up/state", b'{"rss": 7, "populations": {}}').wait_for_publish(5)
    until(lambda: site.values("old").get("memory") == "7", "the state is shown")
    assert site.values("old")["rooms_agents"] == "unknown"
    client.disconnect()
    client.loop_stop()
    daemon.stop()


def test_agents_are_shown_with_their_decisions_and_likeliest_states(site: Site, commands: Commands) -> None:
    site.daemon("shows", SHOWN.format(600), rooms=3)
    until(site.sees("shows", {*DEVICE, *ROOMS, *SENSORS}), "its entities are available")
    for _ in range(3):
        commands.publish("rooms/rooms-0", '{"co2": 1500}')
        until(lambda: site.values("shows")["rooms_0_air"] == "bad", "the likeliest state is shown")
    until(lambda: site.values("shows")["rooms_0_fan"] == "on", "the decision is shown")
    shown = site.shown("shows")
    fan, air = shown["rooms_0_fan"]["attributes"], shown["rooms_0_air"]["attributes"]
    assert (fan["device_class"], fan["options"], fan["sent"]) == ("enum", ["off", "on"], "on")
    assert (air["device_class"], air["options"]) == ("enum", ["good", "bad"])
    assert 0.5 < air["probability"] <= 1.0
    assert site.shown("shows", "select").keys() == {"rooms_0_fan_override", "rooms_1_fan_override"}
    selects = [f"select.shows_rooms_{number}_fan_override" for number in (0, 1)]
    entities = [*(f"sensor.shows_{name}" for name in (*SENSORS, *DEVICE, *ROOMS)), *selects]
    until(lambda: site.home_assistant.categories().keys() >= {*entities}, "the registry is written")
    categories = site.home_assistant.categories()
    for entity in entities:
        diagnostic = entity.removeprefix("sensor.shows_") in (*DEVICE, *ROOMS)
        assert categories[entity] == ("diagnostic" if diagnostic else None), entity


def test_an_override_replaces_the_decision_until_it_is_taken_back(site: Site, commands: Commands) -> None:
    site.daemon("obeys", SHOWN.format(600), rooms=3)
    select = "select.obeys_rooms_0_fan_override"
    until(lambda: site.home_assistant.states().get(select, {}).get("state") == "auto", "the select is there")
    assert site.home_assistant.states()[select]["attributes"]["options"] == ["auto", "off", "on"]
    commands.publish("rooms/rooms-0", '{"co2": 500}')
    until(lambda: commands.fan("rooms-0") == ["off"], "it has decided")
    site.home_assistant.call("select/select_option", {"entity_id": select, "option": "on"})
    until(lambda: commands.fan("rooms-0") == ["off", "on"], "the value is sent")
    until(lambda: site.home_assistant.states()[select]["state"] == "on", "the override is shown")
    shown = site.home_assistant.states()
    assert shown[select]["attributes"]["until"]
    assert shown["sensor.obeys_rooms_0_fan"]["state"] == "off"  # what it decided
    until(lambda: site.shown("obeys")["rooms_0_fan"]["attributes"]["sent"] == "on", "what was sent is shown")
    site.home_assistant.call("select/select_option", {"entity_id": select, "option": "auto"})
    until(lambda: commands.fan("rooms-0") == ["off", "on", "off"], "its own decision is sent")
    until(lambda: site.home_assistant.states()[select]["state"] == "auto", "the end is shown")


def test_an_override_ends_by_itself_and_survives_a_kill(site: Site, commands: Commands) -> None:
    daemon = site.daemon("keeps", SHOWN.format(600), rooms=3)
    select = "select.keeps_rooms_0_fan_override"
    until(lambda: site.home_assistant.states().get(select, {}).get("state") == "auto", "the select is there")
    topic = "edge/v1/lab/keeps/in/rooms/override"
    body = '{"agent": "rooms-0", "control": "fan", "value": "on", "seconds": %d}'
    commands.publish(topic, body % 500)
    until(lambda: site.home_assistant.states()[select]["state"] == "on", "the override is shown")
    until(lambda: (daemon.folder / "state/overrides.json").exists(), "it is written down")
    daemon.kill()
    until(lambda: site.home_assistant.states()[select]["state"] == GONE, "the kill is seen")
    daemon.start()
    until(lambda: site.home_assistant.states()[select]["state"] == "on", "the override goes on")
    commands.publish(topic, body % 3)
    until(lambda: site.home_assistant.states()[select]["state"] == "auto", "it has ended by itself")


def test_a_value_that_cannot_be_is_refused_in_one_line(site: Site, commands: Commands) -> None:
    daemon = site.daemon("refuses", SHOWN.format(600), rooms=3)
    select = "select.refuses_rooms_0_fan_override"
    until(lambda: site.home_assistant.states().get(select, {}).get("state") == "auto", "the select is there")
    topic = "edge/v1/lab/refuses/in/rooms/override"
    commands.publish(topic, '{"agent": "rooms-0", "control": "fan", "value": "up"}')
    line = f"{topic}: value: found 'up', expected one of auto, off, on"
    until(lambda: line in (daemon.folder / "log").read_text(), "the line is in the log")
    site.home_assistant.call("select/select_option", {"entity_id": select, "option": "on"})
    until(lambda: site.home_assistant.states()[select]["state"] == "on", "the next value is taken")


def test_a_kill_is_seen_before_one_and_a_half_intervals(site: Site) -> None:
    """`until` gives up after half an interval."""
    daemon = site.daemon("dies", SHOWN.format(600), rooms=3)
    names = {*DEVICE, *ROOMS, *SENSORS}
    until(site.sees("dies", names), "its entities are available")
    daemon.kill()
    until(site.sees("dies", names, available=False), "its entities are unavailable", 1.5 * TELEMETRY_S)
    daemon.start()
    until(site.sees("dies", names), "its entities are available again")


def test_agents_that_are_no_longer_shown_are_gone(site: Site) -> None:
    daemon = site.daemon("hides", SHOWN.format(600), rooms=3)
    until(site.sees("hides", {*DEVICE, *ROOMS, *SENSORS}), "its entities are available")
    daemon.configure(site.configuration("hides", rooms=3))
    daemon.hang_up()
    until(site.sees("hides", {*DEVICE, *ROOMS}), "the sensors of agents are gone")
    until(lambda: not site.shown("hides", "select"), "the selects are gone")
