"""``edge-agent metrics``: the daemon's status as Prometheus metrics, printed once or served over HTTP.

It is a separate process that queries the control socket, so the daemon needs no memory for it. Names and
units follow the Prometheus conventions: base units (seconds, bytes, ratios), names of counters end in
``_total``.
"""

from __future__ import annotations

import argparse
import platform
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.adapters.control import ask
from edge_agent.commands.output import add_output_options, print_json
from edge_agent.commands.status import add_socket_option
from edge_agent.errors import PlatformError
from edge_agent.version import __version__

if TYPE_CHECKING:
    from prometheus_client.core import Metric

COUNTERS = {
    "ticks": "Ticks",
    "steps": "Agent-steps",
    "observations": "Observations",
    "actions": "Actions published",
    "missed": "Ticks that were skipped because an earlier one was late",
    "contradictions": "Observations that the model gives no probability",
}
GAUGES = {
    "agents": ("agents", "Agents", 1.0),
    "stale": ("stale_agents", "Agents without an observation for longer than stale_s", 1.0),
    "suspended": ("suspended", "Whether the population is suspended", 1.0),
    "jitter_p99_ms": ("tick_jitter_p99_seconds", "Delay of a tick, 99th percentile", 1e-3),
    "latency_p50_ms": ("latency_p50_seconds", "Time from observation to action, median", 1e-3),
    "latency_p99_ms": ("latency_p99_seconds", "Time from observation to action, 99th percentile", 1e-3),
    "history_records": ("history_records", "Records in the history", 1.0),
}
"""By key of the status: the metric's name, its help text, and the factor that makes base units of it."""

PEER_GAUGES = {
    "here": ("here", "Devices of the fleet that are online"),
    "members": ("members", "Members of this device's coalition"),
    "agreed_s": ("agreement_seconds", "Time until the last coalition was confirmed"),
}
PEER_COUNTERS = {
    "joined": "Coalitions joined",
    "left": "Coalitions that ended",
    "sent": "Evidence records sent",
    "resent": "Evidence records sent again",
    "received": "Evidence records received",
    "duplicates": "Evidence records received more than once",
    "lost": "Evidence records that came too late or never",
}
REPUTATION_SCALE = 1000.0


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("metrics", help="print or serve Prometheus metrics")
    parser.add_argument(
        "--listen",
        type=int,
        metavar="PORT",
        help="serve the metrics over HTTP on this port until interrupted",
    )
    parser.add_argument("--address", default="127.0.0.1", metavar="ADDRESS", help="address to listen on")
    add_socket_option(parser)
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the metrics, or serve them."""
    if arguments.json:
        print_json(ask(arguments.socket, {"ask": "status"}))
        return 0
    try:
        from prometheus_client import CollectorRegistry, generate_latest, start_http_server
    except ImportError as error:
        raise PlatformError("prometheus-client is not installed; install edge-agent[metrics]") from error

    registry = CollectorRegistry()
    registry.register(_Collector(arguments.socket))
    if arguments.listen is None:
        sys.stdout.write(generate_latest(registry).decode())
        return 0
    try:
        server, _thread = start_http_server(arguments.listen, arguments.address, registry)
    except OSError as error:
        raise PlatformError(f"{arguments.address}:{arguments.listen}: {error.strerror}") from error
    print(f"serving http://{arguments.address}:{server.server_port}/metrics", flush=True)
    threading.Event().wait()
    return 0


class _Collector:
    """Asks the daemon at each scrape; a daemon that does not answer is the metric ``edge_agent_up 0``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reason: str | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        status = self._status()
        yield _gauge("up", "Whether the daemon answers", status is not None)
        yield _build()
        if status is None:
            return
        yield from _device(status)
        yield from _populations(status["populations"])
        if status["peers"] is not None:
            yield from _peers(status["peers"])

    def _status(self) -> dict[str, Any] | None:
        """Return the daemon's status; None, and a new reason on standard error, if it does not answer."""
        try:
            status = ask(self._path, {"ask": "status"})
        except PlatformError as error:
            if str(error) != self._reason:
                print(error, file=sys.stderr, flush=True)
            self._reason = str(error)
            return None
        self._reason = None
        return status


def _build() -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    info = GaugeMetricFamily(
        "edge_agent_build_info",
        "Always 1; the labels say what is installed",
        labels=["version", "python_version", "machine"],
    )
    info.add_metric([__version__, platform.python_version(), platform.machine()], 1.0)
    return info


def _device(status: dict[str, Any]) -> Iterator[Metric]:
    yield _gauge("resident_memory_bytes", "Resident memory of the daemon", status["rss_bytes"])
    yield _gauge("memory_budget_bytes", "Memory budget of the daemon", status["budget_bytes"])
    yield _gauge("arena_used_bytes", "Memory allocated from the arena", status["arena_used_bytes"])
    yield _gauge("uptime_seconds", "Time since the daemon started", status["uptime_s"])
    yield _gauge("governor_rung", "Rung of the governor; 0: nothing is reduced", status["governor"]["rung"])
    online = status["broker"]["state"] == "online"
    yield _gauge("broker_online", "Whether the daemon is connected to its broker", online)


def _populations(populations: dict[str, Any]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    for key, help_text in COUNTERS.items():
        counter = CounterMetricFamily(f"edge_agent_{key}", help_text, labels=["population"])
        for name, entry in populations.items():
            counter.add_metric([name], entry[key])
        yield counter
    for key, (metric, help_text, factor) in GAUGES.items():
        gauge = GaugeMetricFamily(f"edge_agent_{metric}", help_text, labels=["population"])
        for name, entry in populations.items():
            gauge.add_metric([name], entry[key] * factor)
        yield gauge
    faults = CounterMetricFamily("edge_agent_faults", "Readings ignored", labels=["population", "kind"])
    for name, entry in populations.items():
        for kind, count in entry["faults"].items():
            faults.add_metric([name, kind], count)
    yield faults


def _peers(peers: dict[str, Any]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    for key, (metric, help_text) in PEER_GAUGES.items():
        yield _gauge(f"peers_{metric}", help_text, peers[key])
    for key, help_text in PEER_COUNTERS.items():
        yield CounterMetricFamily(f"edge_agent_peers_{key}", help_text, float(peers[key]))
    refused = CounterMetricFamily(
        "edge_agent_peers_refused", "Messages from peers that were ignored", labels=["device", "offence"]
    )
    for device, kinds in peers["refusals"].items():
        for offence, count in kinds.items():
            refused.add_metric([device, offence], count)
    yield refused
    reputation = GaugeMetricFamily(
        "edge_agent_peers_reputation_ratio", "Share of its promises that a peer kept", labels=["device"]
    )
    for device, entry in peers["roster"].items():
        reputation.add_metric([device], entry["reputation"] / REPUTATION_SCALE)
    yield reputation


def _gauge(name: str, help_text: str, value: float) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"edge_agent_{name}", help_text, float(value))
