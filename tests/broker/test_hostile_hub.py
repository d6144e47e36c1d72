"""Daemons with a real broker, a hub that signs impossible documents, and damaged state files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from edge_agent.adapters.starts import LIMIT
from edge_agent.wire import blocks, bundle, documents, messages, signatures
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics
from tests.broker.conftest import until
from tests.broker.lab import Lab, wait_for
from tests.support import fan

pytestmark = pytest.mark.broker
TOPICS = DeviceTopics("lab", "pi")


class Hub:
    """Signs anything, and hears what the device says."""

    def __init__(self, lab: Lab) -> None:
        self.secret = signatures.load_secret(lab.key)
        self.heard: dict[str, list[dict[str, Any]]] = {}
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", lab.port)
        self._client.subscribe("edge/v1/lab/pi/up/#", 1)
        self._client.loop_start()

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        self.heard.setdefault(message.topic, []).append(messages.decode(message.payload).body)

    def desire(self, version: int, **other: Any) -> None:
        now = time.time()
        document = {"fleet": "lab", "device": "pi", "version": version, "issued": now, "expires": now + 600.0}
        self._say(TOPICS.desired, documents.signed(document | other, documents.DESIRED, [self.secret]), True)

    def order(self, id_: str) -> None:
        document = {
            "fleet": "lab",
            "device": "pi",
            "id": id_,
            "name": "reset",
            "expires": time.time() + 600.0,
        }
        self._say(TOPICS.command, documents.signed(document, documents.COMMAND, [self.secret]))

    def _say(self, topic: str, body: dict[str, Any], retain: bool = False) -> None:
        sent = self._client.publish(topic, messages.encode(Message(body)), 1, retain)
        sent.wait_for_publish(10.0)

    def forget(self) -> None:
        """Clear the retained document."""
        self._client.publish(TOPICS.desired, b"", 1, True).wait_for_publish(10.0)

    def last(self, topic: str) -> dict[str, Any]:
        return self.heard.get(topic, [{}])[-1]

    def refused(self) -> dict[str, Any]:
        found: dict[str, Any] = self.last(TOPICS.reported).get("refused", {})
        return found

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def hub(lab: Lab) -> Iterator[Hub]:
    made = Hub(lab)
    yield made
    made.close()


UNREPORTABLE: list[tuple[int, dict[str, Any], str]] = [
    (2**64, {}, "version: found an integer of 65 bits"),
    (20, {"parameters": {"x": 2**64 + 1}}, "parameters.x: found an integer of 65 bits"),
    (20, {"parameters": {"x": "\ud800"}}, "parameters.x: found a text that is not Unicode"),
    (20, {"parameters": {"\udc00": 1}}, "a key is"),
    (20, {"parameters": {"telemetry_seconds": 10**400}}, "telemetry_seconds: found an integer of"),
    (20, {"parameters": {"telemetry_seconds": 1e308}}, "telemetry_seconds: found 1e+308"),
    (20, {"populations": {"a/#": {"bundle": "x"}}}, "populations: found 'a/#'"),
    (20, {"gates": {"steps": 10**400}}, "gates.steps: found an integer of"),
]


def test_what_cannot_be_reported_is_refused_before_it_is_kept(lab: Lab, hub: Hub, capsys: Any) -> None:
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    hub.desire(10, parameters={"telemetry_seconds": 2})
    until(lambda: hub.last(TOPICS.reported).get("version") == 10)
    for version, other, reason in UNREPORTABLE:
        hub.desire(version, **other)
        until(lambda reason=reason: reason in hub.refused().get("reason", ""))
        assert hub.refused()["version"] == (20 if version == 20 else 0)
        assert hub.last(TOPICS.reported)["version"] == 10
    lab.kill("pi")  # the last one is retained
    hub.heard.clear()
    lab.boot("pi")
    until(lambda: "gates.steps" in hub.refused().get("reason", ""))
    assert hub.last(TOPICS.reported)["parameters"] == {"telemetry_seconds": 2}
    hub.desire(21)
    until(lambda: hub.last(TOPICS.reported).get("version") == 21)
    assert "Traceback" not in lab.log("pi")


def test_commands_whose_ids_end_no_topic_are_not_answered_and_kill_nobody(
    lab: Lab, hub: Hub, capsys: Any
) -> None:
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    unusable = ("#", "a+b", "a/b", "\ud800", "a\0", "\x1f", "x" * 65, "")
    for id_ in unusable:
        hub.order(id_)
    hub.order("good")
    until(lambda: TOPICS.reply("good") in hub.heard)
    lab.kill("pi")
    for id_ in unusable:
        hub.order(id_)  # waits in the session
    lab.boot("pi")
    hub.order("better")
    until(lambda: TOPICS.reply("better") in hub.heard)
    replies = {topic for topic in hub.heard if topic.startswith(TOPICS.reply(""))}
    assert replies == {TOPICS.reply("good"), TOPICS.reply("better")}
    assert "a command was refused and cannot be answered: id: " in lab.log("pi")
    assert "Traceback" not in lab.log("pi")
    capsys.readouterr()
    assert lab.hub("command", "status", "--sign", str(lab.key), "--json", "--wait", "0.3") == 0
    counters = json.loads(capsys.readouterr().out.splitlines()[-1])["result"]["hub"]["commands"]
    assert (counters["refused"], counters["run"]) == (len(unusable), 2)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"agents": ["a", "b+"]}, "config.agents[1]: found 'b+'"),
        ({"size": 2, "act": [{"control": "fan", "topic": "z/#"}]}, "config.act[0].topic: found 'z/#'"),
        (
            {"size": 2, "observe": [{"modality": "co2", "topic": "z\0"}]},
            "config.observe[0].topic: found a NUL",
        ),
    ],
)
def test_a_population_with_impossible_topics_is_refused_on_arrival(
    lab: Lab, hub: Hub, capsys: Any, config: dict[str, Any], reason: str
) -> None:
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    made = lab.bundle("halls", fan.model(fan.SEEN, 1.2))
    digest = bundle.read(made).digest
    cut = blocks.cut(digest, "halls", made.read_bytes(), made.as_uri())
    hub.desire(1, bundles={digest: cut.entry()}, populations={"halls": {"bundle": digest, "config": config}})

    def rollout() -> dict[str, Any]:
        found: dict[str, Any] = hub.last(TOPICS.reported).get("rollouts", {}).get("halls", {})
        return found

    until(lambda: rollout().get("stage") == "rolled-back")
    assert reason in rollout()["reason"]
    assert lab.processes["pi"].poll() is None


def adopted(lab: Lab, hub: Hub, capsys: Any) -> Path:
    """Return the state file of a device that has taken version 8 over and was killed."""
    lab.boot("pi")
    wait_for(lab, capsys, 1)
    hub.desire(8)
    until(lambda: hub.last(TOPICS.reported).get("version") == 8)
    lab.kill("pi")
    hub.forget()
    hub.heard.clear()
    return lab.folder / "pi" / "state" / "follower.json"


def test_a_state_that_was_cut_is_said_and_an_old_document_is_not_taken_again(
    lab: Lab, hub: Hub, capsys: Any
) -> None:
    kept = adopted(lab, hub, capsys)
    data = kept.read_bytes()
    kept.write_bytes(data[: len(data) // 2])
    lab.boot("pi")
    until(lambda: hub.last(TOPICS.birth).get("online") is True)
    (line,) = hub.last(TOPICS.birth)["lost_state"]
    assert line == "follower.json: damaged; set aside as follower.json.damaged"
    assert line in lab.log("pi")
    assert kept.with_name("follower.json.damaged").read_bytes() == data[: len(data) // 2]
    hub.desire(3)
    until(lambda: hub.refused().get("version") == 3)
    assert "expected 8 or more" in hub.refused()["reason"]
    hub.desire(9)
    until(lambda: hub.last(TOPICS.reported).get("version") == 9)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"{")])
def test_a_state_and_its_floor_both_gone_are_said(
    lab: Lab, hub: Hub, capsys: Any, damage: Callable[[Path], object]
) -> None:
    kept = adopted(lab, hub, capsys)
    for path in (kept, kept.with_name("follower.floor.json")):
        damage(path)
    lab.boot("pi")
    until(lambda: hub.last(TOPICS.birth).get("online") is True)
    said = " ".join(hub.last(TOPICS.birth)["lost_state"])
    assert "follower.json" in said
    assert "follower.floor.json" in said
    assert "follower.floor.json" in lab.log("pi")
    lab.kill("pi")
    hub.heard.clear()
    lab.boot("pi")
    until(lambda: hub.last(TOPICS.birth).get("online") is True)
    assert "lost_state" not in hub.last(TOPICS.birth)


def test_a_state_that_starts_fail_with_is_set_aside_and_the_device_is_reachable_again(
    lab: Lab, hub: Hub, capsys: Any
) -> None:
    kept = adopted(lab, hub, capsys)
    state = json.loads(kept.read_text())
    halls = json.loads(HALLS) | {"bundle": str(lab.first)}
    kept.write_text(json.dumps(state | {"added": {"halls": halls}}))
    for _ in range(LIMIT):
        lab.boot("pi")
        assert lab.processes.pop("pi").wait(60.0) == 1
    assert lab.log("pi").count("ZeroDivisionError") >= LIMIT
    assert kept.exists()
    lab.boot("pi")
    until(lambda: hub.last(TOPICS.birth).get("online") is True)
    (line,) = hub.last(TOPICS.birth)["lost_state"]
    assert line == "follower.json: 3 starts with it failed; set aside as follower.json.damaged"
    assert line in lab.log("pi")
    assert json.loads(kept.with_name("follower.json.damaged").read_text())["added"]
    assert list(hub.last(TOPICS.birth)["populations"]) == ["rooms"]
    hub.desire(8)  # what the starts failed with is not tried again
    until(lambda: "expected 9 or more" in hub.refused().get("reason", ""))
    hub.desire(9)
    until(lambda: hub.last(TOPICS.reported).get("version") == 9)


HALLS = """{"name": "halls", "size": 2, "agents": "{population}-{index}", "seed": 0, "step": "rate",
"rate_hz": 0, "threads": 1, "priority": 5, "history_kb": 16, "bulk": false, "observe": [], "act": [],
"share": []}"""
"""A population as no version of the checker lets it pass: no period can be made of its rate."""


def test_a_state_of_another_device_is_set_aside(lab: Lab, hub: Hub, capsys: Any) -> None:
    kept = adopted(lab, hub, capsys)
    state = json.loads(kept.read_text())
    kept.write_text(json.dumps(state | {"owner": "lab/other"}))
    lab.boot("pi")
    until(lambda: hub.last(TOPICS.birth).get("online") is True)
    assert "kept by 'lab/other', expected 'lab/pi'" in hub.last(TOPICS.birth)["lost_state"][0]


def test_a_state_of_a_later_version_is_set_aside(lab: Lab, hub: Hub, capsys: Any) -> None:
    kept = adopted(lab, hub, capsys)
    state = json.loads(kept.read_text())
    kept.write_text(json.dumps(state | {"v": 99}))
    lab.boot("pi")
    until(lambda: hub.last(TOPICS.birth).get("online") is True)
    assert "v: found 99, expected 1" in hub.last(TOPICS.birth)["lost_state"][0]
    hub.desire(3)
    until(lambda: "expected 8 or more" in hub.refused().get("reason", ""))


def test_what_the_hub_added_and_no_longer_fits_gives_way_to_what_is_configured(
    lab: Lab, hub: Hub, capsys: Any
) -> None:
    kept = adopted(lab, hub, capsys)
    state = json.loads(kept.read_text())
    halls = json.loads(HALLS) | {"bundle": str(lab.first), "rate_hz": 1.0, "size": 100_000_000}
    kept.write_text(json.dumps(state | {"added": {"halls": halls}}))
    lab.boot("pi")
    until(lambda: hub.last(TOPICS.birth).get("online") is True)
    assert list(hub.last(TOPICS.birth)["populations"]) == ["rooms"]
    assert "bytes are missing; the configured bundles run" in lab.log("pi")
    until(lambda: hub.last(TOPICS.reported).get("version") == 8)
    assert hub.last(TOPICS.reported)["rollouts"]["halls"]["stage"] == "rolled-back"
