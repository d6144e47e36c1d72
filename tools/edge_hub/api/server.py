"""A process of the service: the web interface, and with it what this process was asked to do besides.

Theory of operation. uvicorn has the main thread. Ingest has a thread with a loop of its own, so that a commit
never delays an answer; commands, rollouts and maintenance have a thread each. A part that ends by a defect
ends the process, with status 1: whoever started it (systemd, a container) starts it again, and nothing is
half alive.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
import uvloop

from edge_agent.errors import EXIT_DONE, EXIT_FAILED
from edge_agent.wire.documents import Trust
from edge_agent.wire.signatures import SecretKey
from edge_hub.api import app
from edge_hub.api.channel import Channel
from edge_hub.api.feed import tell_changes
from edge_hub.api.hub import Hub
from edge_hub.api.request_limits import TimedRequests
from edge_hub.broker import Broker
from edge_hub.database.engine import Database
from edge_hub.enrolment import Enrolment
from edge_hub.ingest.process import collect_cycles, set_up_collector
from edge_hub.ingest.registrar import Registrar
from edge_hub.ingest.worker import Worker
from edge_hub.jobs.alerts import AlertRunner
from edge_hub.jobs.bundle_cache import BundleCache
from edge_hub.jobs.deliveries import Sender
from edge_hub.jobs.director import Director
from edge_hub.jobs.maintenance import Maintenance, Retention
from edge_hub.jobs.rollouts import RolloutRunner
from edge_hub.notify import Notifier
from edge_hub.openid import OpenIdProvider

log = logging.getLogger("edge_hub")

HEADER_S = 30
MAX_CONNECTIONS = 8000


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process does; see ``edge-hub serve --help``. ``arguments`` say where the broker is."""

    host: str
    port: int
    arguments: argparse.Namespace
    ingest: bool = True
    group: str = ""
    keep: Retention = field(default_factory=Retention)
    certificate: Path | None = None
    certificate_key: Path | None = None
    proxies: str = ""
    release_trust: Callable[[str], Trust | None] = lambda _fleet: None
    openid: OpenIdProvider | None = None
    channel: Channel | None = None
    notifier: Notifier | None = None
    enrolment: Enrolment | None = None


class Ingest:
    """Worker and registrar in a thread of their own."""

    def __init__(self, database: Database, broker: Broker, fleet: str, group: str) -> None:
        self.worker = Worker(database, broker, fleet, group)
        self.registrar = Registrar(database, broker, fleet)
        self.failed: Callable[[], None] = lambda: None
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="edge-hub-ingest")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Store what was taken, and end."""
        with contextlib.suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())
        self._thread.join()

    def trouble(self) -> str:
        """Return what is wrong, "" for nothing."""
        if self.worker.database_away:
            return "ingest: the database does not answer"
        return "" if self.worker.subscriber.online else "ingest: the broker does not answer"

    def gauges(self) -> dict[str, float]:
        """Return the figures for Prometheus."""
        counters = self.worker.counters
        return {
            "messages_stored_total": counters.stored,
            "messages_rejected_total": counters.rejected,
            "ingest_batches_total": counters.batches,
            "ingest_store_seconds_total": counters.store_seconds,
            "ingest_retries_total": counters.retries,
            "devices_without_birth": self.registrar.unborn,
        }

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self._together())
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        except Exception:
            log.exception("ingest")
            self.failed()
        finally:
            self._loop.close()

    async def _together(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.worker.run())
            group.create_task(self.registrar.run())
            group.create_task(collect_cycles())


def run(database: Database, broker: Broker, settings: Settings, keys: list[SecretKey]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    hub = Hub(database, secure=settings.certificate is not None or bool(settings.proxies))
    server = uvicorn.Server(_config(hub, settings))
    status = EXIT_DONE

    def failed() -> None:
        nonlocal status
        status = EXIT_FAILED
        server.should_exit = True

    arguments = settings.arguments
    bundles = BundleCache(database, Path(arguments.state) / "cache")
    director = Director(database, bundles, arguments, keys)
    hub.troubles.append(director.trouble)
    hub.sender = director if keys else None
    hub.release_trust = settings.release_trust
    hub.openid = settings.openid
    hub.enrolment = settings.enrolment
    maintenance = Maintenance(database, settings.keep)
    notifier = settings.notifier or Notifier({})
    hub.alert_targets = tuple(notifier.targets)
    alerts = AlertRunner(database, notifier.targets)
    notices = Sender(database, alerts.lease, notifier)
    alerts.failed = notices.failed = failed
    hub.gauges.append(alerts.gauges)
    parts: list[Ingest | Director | RolloutRunner | Maintenance | AlertRunner | Sender] = [
        director,
        maintenance,
        alerts,
        notices,
    ]
    if settings.ingest:
        set_up_collector()
        ingest = Ingest(database, broker, arguments.fleet, settings.group)
        ingest.failed = failed
        hub.troubles.append(ingest.trouble)
        hub.gauges.append(ingest.gauges)
        parts.append(ingest)
    if keys:
        runner = RolloutRunner(database, bundles, arguments, keys)
        hub.gauges.append(lambda: {"rollouts_running": runner.running})
        parts.append(runner)
    if (channel := settings.channel) is not None:
        hub.gauges.append(lambda: {"channel_connected": channel.connected})
    for part in parts:
        part.start()
    try:
        uvloop.run(_serve(server, hub, settings.channel))
    finally:
        for part in reversed(parts):
            part.stop()
    return status


async def _serve(server: uvicorn.Server, hub: Hub, channel: Channel | None) -> None:
    task = asyncio.create_task(tell_changes(hub) if channel is None else channel.run(hub))
    try:
        await server.serve()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _config(hub: Hub, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app.make(hub),
        host=settings.host,
        port=settings.port,
        loop="none",
        http=TimedRequests,
        lifespan="on",
        ws="websockets-sansio",
        ws_max_size=4096,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=HEADER_S,
        timeout_graceful_shutdown=3,
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=64 * 1024,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.certificate_key,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=settings.proxies or None,
    )
