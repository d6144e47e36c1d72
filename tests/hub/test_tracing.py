"""Spans, as OpenTelemetry's own exporter for tests receives them."""

import argparse
import asyncio
import json
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from edge_agent.errors import ConfigError
from edge_agent.testing.mosquitto import Mosquitto
from edge_agent.wire import messages
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics
from edge_hub import tracing
from edge_hub.broker import Broker
from edge_hub.cli import main
from edge_hub.connection import Connection
from edge_hub.database import rollouts, traceparents
from edge_hub.database.engine import Database
from edge_hub.database.telemetry import Numbers
from edge_hub.ingest import decode
from edge_hub.ingest.worker import Worker
from edge_hub.jobs.bundle_cache import BundleCache
from edge_hub.jobs.director import Director
from edge_hub.jobs.rollouts import RolloutRunner
from edge_hub.rollout import FleetRollout, Member
from tests.broker.conftest import until
from tests.hub.service import Service
from tests.unit.hub.link import HUB, write_bundle

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    yield exporter
    tracing.use(None)
    provider.shutdown()


def test_a_request_is_a_span_of_its_callers_trace(service: Service, spans: InMemorySpanExporter) -> None:
    caller = service.as_role("viewer")
    caller.headers["traceparent"] = f"00-{TRACE}-b7ad6b7169203331-01"
    assert caller.get("/devices", params={"filter": "secret"}).status_code == 200
    assert caller.get("/devices/lab/none").status_code == 404
    end = time.monotonic() + 30
    while len(spans.get_finished_spans()) < 2:
        assert time.monotonic() < end
    found = {span.name: span for span in spans.get_finished_spans()}
    assert found.keys() == {"GET /api/v1/devices", "GET /api/v1/devices/{fleet}/{name}"}
    first = found["GET /api/v1/devices"]
    assert f"{first.context.trace_id:032x}" == TRACE
    assert dict(first.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/api/v1/devices",
        "http.response.status_code": 200,
    }
    missing = dict(found["GET /api/v1/devices/{fleet}/{name}"].attributes or {})
    assert missing["http.response.status_code"] == 404


def test_a_batch_is_a_span(database: Database, spans: InMemorySpanExporter) -> None:
    worker = Worker(database, Broker("127.0.0.1", 1))
    payload = messages.encode(Message({"outbox": "x"}, seq=1, t=1.0))
    batch = [decode.telemetry("lab", "a", payload, 1.0)]
    asyncio.run(worker._stored(batch, [], [(1.0, "t", "no message", b"x")]))
    (span,) = spans.get_finished_spans()
    assert (span.name, dict(span.attributes or {})) == ("ingest batch", {"messages": 1, "rejected": 1})


def test_the_slowest_decisions_of_a_batch_are_a_span(database: Database, spans: InMemorySpanExporter) -> None:
    worker = Worker(database, Broker("127.0.0.1", 1))

    def said(device: str, latency: float) -> bytes:
        counters = {"rooms": {"steps": 3, "latency_p99_ms": latency}}
        return messages.encode(Message({"outbox": device, "populations": counters}, seq=1, t=5.0))

    found = {"a": 2.0, "b": 40.0, "c": 1e300, "d": math.nan, "e": -3.0}
    batch = [decode.telemetry("lab", name, said(name, ms), 100.0) for name, ms in found.items()]
    asyncio.run(worker._stored(batch, [], []))
    decision, whole = spans.get_finished_spans()
    assert (decision.name, whole.name) == ("decision", "ingest batch")
    assert dict(decision.attributes or {}) == {"fleet": "lab", "device": "b", "population": "rooms"}
    assert (decision.start_time, decision.end_time) == (99_960_000_000, 100_000_000_000)
    assert decision.parent is not None
    assert decision.parent.span_id == whole.context.span_id


def broker_arguments(mosquitto: Mosquitto, folder: Path) -> argparse.Namespace:
    files = {"username": None, "password_file": None, "ca": None, "certificate": None, "key": None}
    broker = {"broker": f"127.0.0.1:{mosquitto.port}", "fleet": "lab", "state": folder, "expires": 3600.0}
    return argparse.Namespace(**files, **broker)


class Device:
    """Commits whatever document it is sent, in a thread."""

    def __init__(self, arguments: argparse.Namespace, name: str, digest: str) -> None:
        self.topics, self.digest = DeviceTopics("lab", name), digest
        self.link = Connection(arguments, (self.topics.desired,))
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while not self.ended.is_set():
            for message in self.link.messages(0.1):
                document = json.loads(messages.decode(message.payload).body["doc"])
                populations = {"rooms": {"bundle": self.digest}}
                report = {"version": document["version"], "populations": populations, "rollouts": {}}
                self.link.publish(self.topics.reported, messages.encode(Message(report)), retain=True)

    def close(self) -> None:
        self.ended.set()
        self.thread.join()
        self.link.close()


def test_a_rollout_is_a_span_with_its_progress(
    database: Database, mosquitto: Mosquitto, tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    arguments = broker_arguments(mosquitto, tmp_path)
    cache = BundleCache(database, tmp_path / "cache")
    digest = write_bundle(tmp_path / "new.eab")
    cache.path(digest).parent.mkdir(parents=True, exist_ok=True)
    cache.path(digest).write_bytes((tmp_path / "new.eab").read_bytes())
    rollout = FleetRollout("new-1", digest, "new", "rooms", [["a"], ["b"]], {"a": Member(), "b": Member()})
    row = {"id": "new-1", "fleet": "lab", "population": "rooms", "bundle": digest, "status": "running"}
    row |= {"created_by": "ann", "group_name": "", "filter": ""}
    with database.write() as connection:
        rollouts.add(connection, **row, created=time.time(), state=rollout.state())
        with tracing.span("request", {}):
            traceparents.keep(connection, "new-1")
    made = [Device(arguments, name, digest) for name in "ab"]
    runner = RolloutRunner(database, cache, arguments, [HUB])
    runner.start()
    try:
        end = time.monotonic() + 60
        while not (found := {span.name: span for span in spans.get_finished_spans()}).get("rollout"):
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        runner.stop()
        for device in made:
            device.close()
    span, asked = found["rollout"], found["request"]
    assert dict(span.attributes or {}) == {"rollout.id": "new-1", "fleet": "lab"}
    assert span.parent is not None
    assert span.parent.span_id == asked.context.span_id
    ended = [one for one in spans.get_finished_spans() if one.name == "rollout device"]
    assert {one.parent.span_id for one in ended if one.parent} == {span.context.span_id}
    told = [dict(one.attributes or {}) for one in ended]
    assert sorted((one["device"], one["state"]) for one in told) == [("a", "committed"), ("b", "committed")]
    progress = [dict(event.attributes or {}) for event in span.events]
    assert {event.name for event in span.events} == {"progress"}
    waves = [event["wave"] for event in progress]
    assert (waves == sorted(waves), {1, 2} <= set(waves)) == (True, True)
    assert progress[-1]["status"] == "done"


def test_a_devices_answer_is_part_of_the_trace_that_asked(
    service: Service, mosquitto: Mosquitto, tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    database, arguments = service.hub.database, broker_arguments(mosquitto, tmp_path)
    with database.write() as connection:
        Numbers().find_devices(connection, [("lab", "a"), ("lab", "b")])
    director = Director(database, BundleCache(database, tmp_path / "cache"), arguments, [HUB])
    director.start()
    service.hub.sender = director
    topics = {name: DeviceTopics("lab", name) for name in "ab"}
    try:
        with Connection(arguments, tuple(one.command for one in topics.values())) as link:
            until(lambda: not director.trouble())
            caller = service.as_role("operator")
            caller.headers["traceparent"] = f"00-{TRACE}-b7ad6b7169203331-01"
            wanted = {"fleet": "lab", "name": "reset", "filter": "", "arguments": {"population": "rooms"}}
            id_ = caller.post("/commands", json=wanted).json()["id"]
            answered: set[str] = set()

            def answers() -> bool:
                for message in link.messages(0.1):
                    name = message.topic.split("/")[3]
                    answered.add(name)
                    body = {"id": id_, "ok": name == "a", "reason": "" if name == "a" else "no such agent"}
                    link.publish(topics[name].reply(id_), messages.encode(Message(body)))
                return answered == {"a", "b"}

            until(answers)
            until(lambda: len([s for s in spans.get_finished_spans() if s.name == "command reset"]) == 2)
    finally:
        director.stop()
    found = {span.name: span for span in spans.get_finished_spans()}
    asked = found["POST /api/v1/commands"]
    commands = [span for span in spans.get_finished_spans() if span.name == "command reset"]
    for span in commands:
        assert f"{span.context.trace_id:032x}" == TRACE
        assert span.parent is not None
        assert span.parent.span_id == asked.context.span_id
        assert 0 < span.end_time - span.start_time < 600e9
    seen = {(span.attributes or {})["device"]: span.status for span in commands}
    assert seen["a"].is_ok
    assert (seen["b"].is_ok, seen["b"].description) == (False, "no such agent")


def test_without_a_collector_nothing_is_traced(service: Service) -> None:
    assert not tracing.enabled()
    assert service.as_role("viewer").get("/devices").status_code == 200
    with tracing.span("x", {}) as made:
        assert made is None


def test_a_wrong_address_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", str(tmp_path / "hub.db"), "--state", str(tmp_path), "--otlp", "collector:4318"]
    assert main(["serve", *words]) == 2
    assert "--otlp: found 'collector:4318', expected http://… or https://…" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="otlp"):
        tracing.set_up("")
