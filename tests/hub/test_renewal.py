"""The service signs documents anew before they end, while no rollout runs: a real broker and database."""

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import bodies, documents, messages, signatures
from edge_agent.wire.documents import Trust
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics
from edge_hub.connection import Connection
from edge_hub.database.engine import Database
from edge_hub.database.telemetry import Numbers
from edge_hub.jobs.bundle_cache import BundleCache
from edge_hub.jobs.rollouts import RolloutRunner

KEY = signatures.generate("hub")
EXPIRES_S = 20.0


class Broker:
    """What a broker retains for devices."""

    def __init__(self, port: int) -> None:
        self.arguments = argparse.Namespace(
            broker=f"127.0.0.1:{port}", fleet="lab", username=None, password_file=None
        )
        self.arguments = argparse.Namespace(**vars(self.arguments), ca=None, certificate=None, key=None)
        self.link = Connection(self.arguments, ("edge/v1/lab/+/down/desired",))
        self.documents: dict[str, dict[str, object]] = {}

    def retain(self, device: str, version: int, left: float, reported: int) -> None:
        topics, now = DeviceTopics("lab", device), time.time()
        document = {"fleet": "lab", "device": device, "version": version, "issued": now - 60.0}
        document |= {"expires": now + left, "parameters": {"telemetry_seconds": version}}
        signed = documents.signed(document, documents.DESIRED, [KEY])
        self.link.publish(topics.desired, messages.encode(Message(signed)), retain=True)
        report = {"version": reported, "populations": {}, "rollouts": {}}
        self.link.publish(topics.reported, messages.encode(Message(report)), retain=True)

    def hear(self) -> None:
        trust = Trust("lab", (KEY.public.raw,))
        for message in self.link.messages(0.1):
            body = messages.decode(message.payload).body
            document = trust.opened(body, documents.DESIRED, bodies.DESIRED)
            self.documents[str(document["device"])] = document

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, self.documents
            self.hear()


@pytest.fixture
def broker(mosquitto: Mosquitto) -> Iterator[Broker]:
    made = Broker(mosquitto.port)
    yield made
    made.link.close()


def test_what_is_awaited_is_signed_anew_and_the_rest_stays(
    database: Database, broker: Broker, tmp_path: Path
) -> None:
    broker.retain("away", 7, left=-1.0, reported=6)
    broker.retain("soon", 7, left=EXPIRES_S / 4, reported=6)
    broker.retain("fresh", 7, left=100 * EXPIRES_S, reported=6)
    broker.retain("done", 7, left=EXPIRES_S / 4, reported=7)
    with database.write() as connection:
        Numbers().find_devices(connection, [("lab", name) for name in ("away", "soon", "fresh", "done")])
    arguments = argparse.Namespace(**vars(broker.arguments), state=tmp_path, expires=EXPIRES_S)
    runner = RolloutRunner(database, BundleCache(database, tmp_path / "cache"), arguments, [KEY])
    runner.start()
    try:
        broker.until(lambda: {broker.documents.get(n, {}).get("version", 7) for n in ("away", "soon")} != {7})
        broker.until(lambda: all(broker.documents[name]["version"] != 7 for name in ("away", "soon")))
        first = broker.documents.copy()
        for name in ("away", "soon"):
            assert float(str(first[name]["expires"])) > time.time()
            assert first[name]["parameters"] == {"telemetry_seconds": 7}
        assert [first[name]["version"] for name in ("fresh", "done")] == [7, 7]
        broker.until(lambda: broker.documents["away"] != first["away"])  # and again, as long as it is away
    finally:
        runner.stop()
