"""Messages from the hub to devices: commands out, answers in, blocks of bundles on request.

Theory of operation. One connection of its own, beside ingest. Commands are signed with the hub's keys and
answered on ``up/reply``; only answers that are waited for are kept, so every process of a service may listen.
Blocks are served from the database whether or not a rollout is running: a device that was offline comes for
its bundle when it is back. With several processes one serves, the one with the lease `blocks`.
"""

from __future__ import annotations

import argparse
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from edge_agent.errors import EdgeAgentError, PeerError, PlatformError
from edge_agent.wire import bodies, messages, topics
from edge_agent.wire.signatures import SecretKey
from edge_agent.wire.topics import DeviceTopics
from edge_hub import hub_messages, tracing
from edge_hub.block_server import BlockServer
from edge_hub.connection import Connection, Incoming
from edge_hub.database import commands, leases, traceparents
from edge_hub.database.engine import Database
from edge_hub.jobs.bundle_cache import BundleCache

log = logging.getLogger("edge_hub")

LEASE = "blocks"
RETRY_S = 1.0


class Director:
    """A thread with a connection.

    Parameters
    ----------
    database : Database
        Where commands and answers are kept.
    bundles : BundleCache
        The bundles' files.
    arguments : argparse.Namespace
        Where the broker is; see `edge_hub.connection.add_arguments`.
    keys : sequence of SecretKey
        What signs commands; empty: nothing is sent.
    """

    def __init__(
        self,
        database: Database,
        bundles: BundleCache,
        arguments: argparse.Namespace,
        keys: Sequence[SecretKey],
    ) -> None:
        self._database = database
        self._bundles = bundles
        self._arguments = arguments
        self._keys = keys
        self._lease = leases.Lease(database, LEASE)
        self._asked = 0.0
        self._link: Connection | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edge-hub-director")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for it."""
        self._stopped.set()
        self._thread.join()

    def send(self, command: dict[str, Any], devices: list[str]) -> None:
        """Sign a command and send it to devices.

        Raises
        ------
        PlatformError
            The broker is not there.
        """
        link = self._link
        if link is None:
            raise PlatformError("broker: not connected")
        for name in devices:
            link.post(*hub_messages.command(name, command, self._keys))

    def trouble(self) -> str:
        """Return what is wrong, "" for nothing."""
        return "" if self._link is not None else "the broker does not answer"

    def _run(self) -> None:
        fleet = self._arguments.fleet
        filters = (f"edge/v1/{fleet}/+/up/reply/+", f"edge/v1/{fleet}/+/up/fetch")
        said = ""
        while not self._stopped.is_set():
            try:
                with Connection(self._arguments, filters) as link:
                    self._link, said = link, ""
                    blocks = BlockServer(link, self._bundles.path)
                    while not self._stopped.is_set():
                        for message in link.messages(0.2):
                            self._handle(blocks, message)
            except EdgeAgentError as error:
                if str(error) != said:  # once for each reason, not once for each attempt
                    log.warning("%s; trying again", error)
                    said = str(error)
                self._stopped.wait(RETRY_S)
            finally:
                self._link = None

    def _handle(self, blocks: BlockServer, message: Incoming) -> None:
        try:
            address = topics.parse(message.topic)
            if address.channel == "up/fetch":
                if self._serves():
                    blocks.answer(DeviceTopics(address.fleet, address.device), message.payload)
            else:
                body = messages.decode(message.payload).body
                bodies.check(bodies.REPLY, body, message.topic)
                reason, result = str(body.get("reason", ""))[:1000], body.get("result", {})
                ok, now = body["ok"], time.time()
                if commands.answer(self._database, body["id"], address.device, ok, reason, result, now):
                    self._trace(body["id"], address.device, None if ok else reason, now)
        except PeerError as error:
            log.warning("%s", error)  # malformed: no answer, and no block
        except PlatformError as error:
            log.warning("%s is ignored: %s", message.topic, error)

    def _trace(self, id_: str, device: str, error: str | None, now: float) -> None:
        """Make the span of a command from when it was sent until a device answered."""
        if tracing.enabled() and (sent := commands.begun(self._database, id_)):
            fleet, name, created = sent
            attributes = {"command.id": id_, "fleet": fleet, "device": device}
            carrier = traceparents.of(self._database, id_)
            tracing.record(f"command {name}", created, now, attributes, carrier, error)

    def _serves(self) -> bool:
        """Return whether this process holds the lease; the database is asked once per second."""
        now = time.monotonic()
        if now - self._asked > leases.RENEW_S:
            self._asked = now
            self._lease.acquire()
        return self._lease.held
