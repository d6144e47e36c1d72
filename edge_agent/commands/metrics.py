"""``edge-agent metrics``: the daemon's status as Prometheus metrics, printed once or served over HTTP.

It is a process of its own that asks over the control socket, so the daemon pays nothing for it.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.adapters.control import ask
from edge_agent.commands.output import add_output_options, print_json
from edge_agent.commands.status import add_socket_option
from edge_agent.errors import PlatformError

if TYPE_CHECKING:
    from prometheus_client.core import Metric

COUNTERS = ("ticks", "steps", "observations", "actions", "missed", "contradictions")
GAUGES = {
    "agents": "Agents",
    "stale": "Agents that were not heard from for too long",
    "suspended": "Whether the population is suspended",
    "jitter_p99_ms": "How late ticks begin, 99th percentile, milliseconds",
    "latency_p50_ms": "From observation to action, median, milliseconds",
    "latency_p99_ms": "From observation to action, 99th percentile, milliseconds",
    "history_records": "Records in the history",
}

PEER_GAUGES = {
    "here": "Devices of the fleet that are here",
    "members": "Members of the coalition this device is in",
    "agreed_s": "Seconds until the last coalition was agreed on",
}
PEER_COUNTERS = {
    "joined": "Coalitions this device was in",
    "left": "Coalitions that ended",
    "sent": "Evidence sent",
    "resent": "Evidence sent again",
    "received": "Evidence received",
    "duplicates": "Evidence received that was known",
    "lost": "Evidence that came too late, or never",
}


def add(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser("metrics", help="print or serve Prometheus metrics")
    parser.add_argument("--listen", type=int, metavar="PORT", help="serve them over HTTP until interrupted")
    parser.add_argument("--address", default="127.0.0.1", metavar="ADDRESS", help="where to listen")
    add_socket_option(parser)
    add_output_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the metrics, or serve them."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest, start_http_server
    except ImportError as error:
        raise PlatformError("prometheus-client is not installed; install edge-agent[metrics]") from error

    if arguments.json:
        print_json(ask(arguments.socket, {"ask": "status"}))
        return 0
    registry = CollectorRegistry()
    registry.register(_Collector(arguments.socket))
    if arguments.listen is None:
        sys.stdout.write(generate_latest(registry).decode())
        return 0
    start_http_server(arguments.listen, arguments.address, registry)
    threading.Event().wait()
    return 0


class _Collector:
    """Asks the daemon at every scrape."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        status = ask(self._path, {"ask": "status"})
        for name, help_text in (
            ("rss_bytes", "Bytes of the daemon in memory"),
            ("budget_bytes", "Bytes of its budget"),
            ("arena_used_bytes", "Bytes given out by the arena"),
            ("uptime_s", "Seconds since the start"),
        ):
            yield GaugeMetricFamily(f"edge_agent_{name}", help_text, status[name])
        yield GaugeMetricFamily("edge_agent_governor_rung", "0: everything", status["governor"]["rung"])
        online = status["broker"]["state"] == "online"
        yield GaugeMetricFamily("edge_agent_broker_online", "Whether the broker answers", int(online))
        populations = status["populations"]
        for key in COUNTERS:
            counter = CounterMetricFamily(f"edge_agent_{key}", f"{key} so far", labels=["population"])
            for name, entry in populations.items():
                counter.add_metric([name], entry[key])
            yield counter
        for key, help_text in GAUGES.items():
            gauge = GaugeMetricFamily(f"edge_agent_{key}", help_text, labels=["population"])
            for name, entry in populations.items():
                gauge.add_metric([name], float(entry[key]))
            yield gauge
        faults = CounterMetricFamily(
            "edge_agent_faults", "Readings that were ignored", labels=["population", "kind"]
        )
        for name, entry in populations.items():
            for kind, count in entry["faults"].items():
                faults.add_metric([name, kind], count)
        yield faults
        if status["peers"] is not None:
            yield from _peers(status["peers"])


def _peers(peers: dict[str, Any]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    for key, help_text in PEER_GAUGES.items():
        yield GaugeMetricFamily(f"edge_agent_peers_{key}", help_text, float(peers[key]))
    for key, help_text in PEER_COUNTERS.items():
        yield CounterMetricFamily(f"edge_agent_peers_{key}", help_text, float(peers[key]))
    refused = CounterMetricFamily(
        "edge_agent_peers_refused", "Messages that were ignored", labels=["device", "offence"]
    )
    for device, kinds in peers["refusals"].items():
        for offence, count in kinds.items():
            refused.add_metric([device, offence], count)
    yield refused
    reputation = GaugeMetricFamily(
        "edge_agent_peers_reputation", "By kept promises, 0 to 1000", labels=["device"]
    )
    for device, entry in peers["roster"].items():
        reputation.add_metric([device], entry["reputation"])
    yield reputation
