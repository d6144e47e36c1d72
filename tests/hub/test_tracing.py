"""Spans, as OpenTelemetry's own exporter for tests receives them."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from edge_agent.errors import ConfigError
from edge_agent.wire import messages
from edge_agent.wire.messages import Message
from edge_hub import tracing
from edge_hub.broker import Broker
from edge_hub.cli import main
from edge_hub.database.engine import Database
from edge_hub.ingest import decode
from edge_hub.ingest.worker import Worker
from tests.hub.service import Service

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
    asyncio.run(worker._stored(batch, [(1.0, "t", "no message", b"x")]))
    (span,) = spans.get_finished_spans()
    assert (span.name, dict(span.attributes or {})) == ("ingest batch", {"messages": 1, "rejected": 1})


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
