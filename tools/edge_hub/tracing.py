"""Traces by OpenTelemetry, if somebody asked for them: requests, batches of ingest, commands, rollouts.

Theory of operation. `set_up` loads the SDK, which the extra ``edge-hub[otlp]`` installs, and sends spans to a
collector in the background. Without it `span` does nothing and nothing is loaded. What a request begins and a
device ends later, perhaps in another process, carries the request's ``traceparent`` (W3C Trace Context) in
the database; `record` makes its span when the device has answered. Boards make no spans.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from edge_agent.errors import ConfigError
from edge_agent.version import __version__

_tracer: Any = None


def set_up(address: str) -> None:
    """Send traces to a collector; ``address`` is that of its OTLP/HTTP, without ``/v1/traces``.

    Raises
    ------
    ConfigError
        The address is not http or https, or the libraries are missing.
    """
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"--otlp: found {address!r}, expected http://… or https://…")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(f"--otlp: {error.name} is missing; pip install 'edge-hub[otlp]'") from error
    provider = TracerProvider(resource=Resource.create({"service.name": "edge-hub"}))
    exporter = OTLPSpanExporter(endpoint=f"{address.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    use(provider)


def use(provider: Any) -> None:
    """Make spans with a tracer of this provider; None makes none."""
    global _tracer
    _tracer = provider.get_tracer("edge_hub", __version__) if provider is not None else None


def enabled() -> bool:
    """Whether spans are made."""
    return _tracer is not None


@contextmanager
def span(name: str, attributes: Mapping[str, Any], carrier: Mapping[str, str] | None = None) -> Iterator[Any]:
    """Hold a span; yields it, or None where no spans are made.

    ``carrier`` are the headers of a request whose caller may have begun the trace (``traceparent``).
    """
    if _tracer is None:
        yield None
        return
    with _tracer.start_as_current_span(name, context=_context(carrier), attributes=dict(attributes)) as made:
        yield made


def traceparent() -> str:
    """Return the span that is open here as a W3C ``traceparent``, "" if none is."""
    if _tracer is None:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", "")


def record(
    name: str,
    begin: float,
    end: float,
    attributes: Mapping[str, Any],
    carrier: Mapping[str, str] | None = None,
    error: str | None = None,
) -> None:
    """Make a span of what is over, in the carrier's trace, or without one under the span that is open here.

    ``begin`` and ``end`` are Unix seconds; ``error`` says why it failed, None if it did not.
    """
    if _tracer is None:
        return
    from opentelemetry.trace import Status, StatusCode

    start = round(begin * 1e9)
    made = _tracer.start_span(name, _context(carrier), attributes=dict(attributes), start_time=start)
    if error is not None:
        made.set_status(Status(StatusCode.ERROR, error))
    made.end(round(max(begin, end) * 1e9))


def _context(carrier: Mapping[str, str] | None) -> Any:
    """Return the trace that a carrier names, None without one: then it is the one that is open."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(carrier) if carrier else None


def event(name: str, attributes: Mapping[str, Any]) -> None:
    """Note something on the span that is open in this thread."""
    if _tracer is not None:
        from opentelemetry.trace import get_current_span

        get_current_span().add_event(name, dict(attributes))
