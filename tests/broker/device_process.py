"""A simulated device as a process: ``device_process.py [HOST:]PORT DEVICE FOLDER PUBLIC_KEY OLD_DIGEST``."""

import sys
from pathlib import Path

from edge_agent.adapters.bundle_folder import BundleFolder
from edge_agent.adapters.loop import Loop
from edge_agent.adapters.mqtt import MqttSettings
from edge_agent.adapters.mqtt_loop import LoopMqttClient
from edge_agent.adapters.outbox_sqlite import SqliteOutboxStore
from edge_agent.adapters.state_file import StateFile
from edge_agent.adapters.system_clock import SystemClock
from edge_agent.protocol.outbox import Outbox, OutboxSettings
from edge_agent.protocol.rollout import Health
from edge_agent.protocol.session import SessionSettings
from edge_agent.testing.device import SimulatedDevice
from edge_agent.wire import bundle, signatures
from edge_agent.wire.documents import Trust
from edge_agent.wire.topics import DeviceTopics


def main(address: str, name: str, folder: str, key: str, old: str) -> None:
    host, _, port = address.rpartition(":")
    loop = Loop()
    client = LoopMqttClient(MqttSettings(host or "127.0.0.1", name, int(port)), loop)
    topics = DeviceTopics("lab", name)
    clock = SystemClock()
    blocks = BundleFolder(Path(folder))
    hub = signatures.load_public(Path(key))

    def verify(digest: str) -> str:
        found = bundle.read(blocks.finish(digest))
        if found.digest != digest:
            return "not the bundle that was asked for"
        return "" if found.signer is not None and found.signer.raw == hub.raw else "not signed by the hub"

    def health(digest: str, seconds: float) -> Health:
        evaluation = bundle.read(blocks.path(digest)).manifest["evaluation"]
        steps = int(seconds * 1000)
        return Health(steps, steps // 10, 0, int(steps * evaluation["contradiction_rate"]), 1.0, 1.0, steps)

    store = SqliteOutboxStore(Path(folder) / "outbox.db", loop.wake)
    outbox = Outbox(
        OutboxSettings(flush_seconds=0.05, confirm=True, confirm_seconds=2.0), topics.telemetry, store
    )
    device = SimulatedDevice(
        topics,
        client,
        clock,
        blocks,
        StateFile(Path(folder) / "follower.json"),
        Trust("lab", (hub.raw,)),
        {"rooms": (old, 10)},
        verify,
        health,
        outbox,
        settings=SessionSettings(backoff_base=0.1, backoff_cap=0.5),
    )
    device.telemetry.seconds = 0.02
    device.start()
    while True:
        device.run_once()
        client.flush()
        loop.wait(min(device.deadline, client.deadline))


if __name__ == "__main__":
    main(*sys.argv[1:])
