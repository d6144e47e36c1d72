"""The check of ``doctor`` for retained messages; for RabbitMQ see ``tests/brokers``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.adapters.mqtt import MqttSettings
from edge_agent.adapters.retained_check import retained_messages
from edge_agent.testing.mosquitto import Mosquitto

pytestmark = pytest.mark.broker


def ask(broker: Mosquitto, **settings: Any) -> tuple[bool, str]:
    finding = retained_messages(MqttSettings("127.0.0.1", "lab-dev", broker.port, **settings), "lab", "dev")
    return finding.good, finding.found


def test_mosquitto_has_them_and_nothing_is_left(device: Any) -> None:
    device.start()
    found = device.command("doctor", "--config", "device.toml", "--json").stdout
    (finding,) = (f for f in json.loads(found)["findings"] if f["what"] == "retained messages")
    assert finding["good"] is True
    device.client.subscribe("edge/v1/lab/peer/dev/doctor", 1)
    device.client.publish("edge/v1/lab/peer/dev/doctor", b"after", 1)
    device.until(lambda: b"after" in device.said("edge/v1/lab/peer/dev/doctor"))
    assert device.said("edge/v1/lab/peer/dev/doctor")[-1:] == [b"after"]
    assert device.status()["broker"]["state"] == "online"  # it was not pushed aside


def test_a_wrong_password_is_said(make_mosquitto: Callable[..., Mosquitto]) -> None:
    broker = make_mosquitto("allow_anonymous false")
    good, found = ask(broker, username="dev", password="wrong")
    assert not good
    assert found.startswith("not tried: ")
    assert "uthoriz" in found


def test_a_broker_that_has_none_is_found(make_mosquitto: Callable[..., Mosquitto]) -> None:
    broker = make_mosquitto("allow_anonymous true", "retain_available false")
    finding = retained_messages(MqttSettings("127.0.0.1", "lab-dev", broker.port), "lab", "dev")
    assert not finding.good
    assert "Retain not supported" in finding.found
    assert finding.remedy.startswith("use a broker that has them")


def test_an_acl_that_forbids_it_is_named(make_mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic read #\n")
    good, found = ask(make_mosquitto("allow_anonymous true", f"acl_file {tmp_path}/acl"))
    assert not good
    assert "edge/v1/lab/peer/dev/doctor: refused" in found
