"""The daemon with malformed messages on every topic it subscribes to. ``make faults-link`` runs the long
form."""

from __future__ import annotations

import os
import random
from typing import Any

import psutil
import pytest

from edge_agent.wire import signatures
from edge_agent.wire.topics import DeviceTopics
from tests.broker.noise import BOMBS, payload

pytestmark = pytest.mark.broker
COUNT = 100_000 if os.environ.get("EDGE_AGENT_FAULTS") == "long" else 2_000
SEED = int(os.environ.get("EDGE_AGENT_SEED", "1"))
TOPICS = DeviceTopics("lab", "dev")
HEARD = (
    TOPICS.desired,
    TOPICS.command,
    TOPICS.block,
    TOPICS.confirm,
    TOPICS.bulk_in("rooms"),
    "z/room-0",
)


def test_noise_on_every_topic_is_counted_and_changes_nothing(device: Any) -> None:
    key = device.folder / "hub.key"
    signatures.save(signatures.generate("hub"), key)
    path = device.folder / "device.toml"
    text = path.read_text().replace('step = "arrival"', 'step = "arrival"\nbulk = true')
    path.write_text(f'{text}\n[hub]\nkeys = ["{key}.pub"]\nconfirm = true\n')
    for size in BOMBS:
        for topic in HEARD:
            device.client.publish(topic, bytes(size), 1, retain=True).wait_for_publish(30)
    device.start()  # into bombs that are waiting
    device.drive(1, 1500, "on")
    process = psutil.Process(device.process.pid)
    before = process.memory_info().rss

    rng, secret = random.Random(SEED), signatures.load_secret(key)
    print(f"seed {SEED}")
    for number in range(COUNT):
        sent = device.client.publish(rng.choice(HEARD), payload(rng, secret, "dev"), 1, rng.random() < 0.1)
        if number % 20 == 19:
            sent.wait_for_publish(30)
    device.drive(1, 300, "off")
    device.drive(1, 1500, "on")

    def heard() -> int:
        status = device.status()
        hub, rooms = status["hub"], status["populations"]["rooms"]
        assert (hub["desired"]["version"], hub["desired"]["adopted"], hub["commands"]["run"]) == (0, 0, 0)
        counted = hub["malformed"] + hub["commands"]["forged"] + hub["desired"]["refused"]
        return int(counted + status["telemetry"]["malformed"] + sum(rooms["faults"].values()))

    # Retained commands are ignored, blocks of bundles that nobody asked for too; the newest of a turn stays.
    device.until(lambda: heard() > COUNT / 3, 60.0)
    assert process.memory_info().rss - before < 4_000_000
    assert device.process.poll() is None
