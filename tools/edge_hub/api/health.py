"""Whether the service lives, whether it can work, and its figures for Prometheus."""

from __future__ import annotations

from collections import Counter
from typing import Any

from litestar import Request, Response, get
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from edge_agent.errors import PlatformError
from edge_hub.api.access import PUBLIC
from edge_hub.api.hub import Hub, hub_of
from edge_hub.database import alerts, devices
from edge_hub.domain import filters

SILENT_S = 300


@get("/healthz", opt={"role": PUBLIC}, include_in_schema=True, summary="Whether the process lives")
async def healthz() -> dict[str, str]:
    """Answer."""
    return {"status": "ok"}


@get("/readyz", opt={"role": PUBLIC}, summary="Whether the service can work")
async def readyz(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
    """Return 200 if database and broker are there, else 503 and which is not."""
    hub = hub_of(request)
    troubles = [text for ask in hub.troubles if (text := ask())]
    try:
        await hub.run(hub.database.check)
    except PlatformError:
        troubles.append("the database does not answer")
    status = 503 if troubles else 200
    return Response({"status": "not ready" if troubles else "ok", "troubles": troubles}, status_code=status)


@get(
    "/metrics",
    opt={"role": "viewer", "scope": "metrics"},
    summary="Figures for Prometheus",
    media_type="text/plain",
)
async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return the figures of the hub and of its fleets."""
    hub = hub_of(request)
    body = await hub.run(_metrics, hub)
    return Response(body, media_type="text/plain; version=0.0.4; charset=utf-8")


class _Fleet:
    """Collects the hub's figures at the moment that they are asked for."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def collect(self) -> list[Metric]:
        """Return all figures."""
        hub = self._hub
        figures: dict[str, float] = {
            "event_viewers": hub.broadcast.viewers,
            "event_resyncs_total": hub.broadcast.resyncs,
            "answers_computed_total": hub.answers.computed,
        }
        for gauge in hub.gauges:
            figures |= gauge()
        found: list[Metric] = [
            GaugeMetricFamily(f"edge_hub_{name}", name.replace("_", " "), value)
            for name, value in sorted(figures.items())
        ]
        for key in ("devices", "online", "agents"):
            family = GaugeMetricFamily(f"edge_fleet_{key}", f"{key} of a fleet", labels=["fleet"])
            for row in devices.summary(hub.database):
                family.add_metric([row["fleet"]], row[key])
            found.append(family)
        silent = GaugeMetricFamily(
            "edge_fleet_silent",
            f"devices that are connected and not heard for {SILENT_S} s",
            labels=["fleet"],
        )
        wanted = filters.parse(f"online silent>{SILENT_S}")
        counted = Counter(fleet for fleet, _ in devices.numbers_of(hub.database, wanted, hub.now()))
        for row in devices.summary(hub.database):
            silent.add_metric([row["fleet"]], counted[row["fleet"]])
        return [*found, silent, *_alerts(hub)]


def _alerts(hub: Hub) -> list[Metric]:
    """Return open alerts and what became of their notices."""
    figures = alerts.figures(hub.database)
    open_ = GaugeMetricFamily("edge_fleet_alerts", "alerts that are open", labels=["rule", "severity"])
    counted = GaugeMetricFamily(
        "edge_fleet_alert_devices", "devices of open alerts", labels=["rule", "severity"]
    )
    for rule, severity, number, total in figures["open"]:
        open_.add_metric([rule, severity], number)
        counted.add_metric([rule, severity], total)
    notices = GaugeMetricFamily("edge_hub_alert_notices", "notices of alerts by state", labels=["state"])
    for state, number in figures["deliveries"].items():
        notices.add_metric([state], number)
    return [open_, counted, notices]


def _metrics(hub: Hub) -> bytes:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(_Fleet(hub))
    return generate_latest(registry)


HANDLERS = [healthz, readyz, metrics]
