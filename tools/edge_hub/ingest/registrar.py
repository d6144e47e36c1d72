"""The registrar: births and reports into the registry. Of several workers one does it, by a lease.

Theory of operation. Births and reports are retained, and a shared subscription is not given what is retained.
So one worker, the one with the lease ``registrar``, subscribes to them on a connection of its own; when it is
gone, the next one gets all of them anew from the broker. Those that it has written down already are
recognised by their digest and cost nothing.

A broker that drops retained messages (``max_queued_messages`` of Mosquitto) says nothing. So devices that are
heard and have no birth are counted (`unborn`), and once the broker has been quiet they are named in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from hashlib import blake2b

from edge_agent.errors import EdgeAgentError, PeerError, PlatformError
from edge_agent.wire import topics
from edge_hub.broker import Broker
from edge_hub.database import devices, leases, sql, telemetry
from edge_hub.database.devices import Birth
from edge_hub.database.engine import Database
from edge_hub.database.telemetry import Numbers, Rejected
from edge_hub.ingest import registry_messages
from edge_hub.ingest.mqtt_stream import Publish
from edge_hub.ingest.subscriber import Subscriber

log = logging.getLogger("edge_hub")

BATCH = 2000
RETRY_S = 0.5
QUIET_S = 5.0
LEASE = "registrar"


class Registrar:
    """Writes births and reports down while it holds the lease."""

    def __init__(
        self,
        database: Database,
        broker: Broker,
        fleet: str = "+",
        now: Callable[[], float] = time.time,
    ) -> None:
        filters = tuple(f"edge/v1/{fleet}/+/up/{channel}" for channel in ("birth", "reported"))
        self._lease = leases.Lease(database, LEASE)
        self.unborn = 0
        self._subscriber = Subscriber(broker, filters, f"edge-hub-registrar-{self._lease.holder}", clean=True)
        self._database = database
        self._numbers = Numbers()
        self._now = now
        self._known: dict[bytes, bytes] = {}

    async def run(self) -> None:
        """Work whenever the lease is ours, until cancelled."""
        try:
            while True:
                if self._take_lease():
                    await self._hold()
                await asyncio.sleep(leases.RENEW_S)
        finally:
            with contextlib.suppress(EdgeAgentError):
                self._lease.give_back()

    async def _hold(self) -> None:
        """Work while the lease can be renewed."""
        tasks = [asyncio.create_task(self._subscriber.run()), asyncio.create_task(self._write())]
        self._known.clear()  # another may have written meanwhile
        try:
            while self._lease.held:
                await asyncio.sleep(leases.RENEW_S)
                self._take_lease()
                for task in tasks:
                    if task.done():
                        task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _take_lease(self) -> bool:
        try:
            return self._lease.acquire()
        except PlatformError as error:
            log.warning("lease %s: %s", LEASE, error)
            return False

    async def _write(self) -> None:
        while True:
            try:
                async with asyncio.timeout(QUIET_S):
                    taken = await self._subscriber.receive(BATCH)
            except TimeoutError:
                self._count_unborn()
                continue
            await self._stored(taken.messages)
            self._subscriber.acknowledge((m.mid for m in taken.messages), taken.connection)

    async def _stored(self, messages: Iterable[Publish]) -> None:
        while True:
            try:
                return self.store(messages)
            except PlatformError as error:
                log.warning("registry: %s; trying again", error)
                await asyncio.sleep(RETRY_S)

    def store(self, messages: Iterable[Publish]) -> None:
        """Write down what is new in some messages.

        Raises
        ------
        PlatformError
            The database is not there; nothing has changed.
        """
        births: dict[tuple[str, str], Birth] = {}
        reports: dict[tuple[str, str], str] = {}
        rejected: list[Rejected] = []
        fresh: dict[bytes, bytes] = {}
        now = self._now()
        for message in messages:
            digest = blake2b(message.payload, digest_size=16).digest()
            if not message.payload and not message.oversize:
                continue  # a retained message was cleared
            if fresh.get(message.topic, self._known.get(message.topic)) == digest:
                continue
            try:
                address = _address(message)
                name = (address.fleet, address.device)
                if address.channel == "up/birth":
                    births[name] = registry_messages.birth(*name, message.payload, now)
                else:
                    reports[name] = registry_messages.reported(message.payload)[0]
            except PeerError as error:
                rejected.append((now, message.topic.decode("utf-8", "replace"), str(error), message.payload))
            fresh[message.topic] = digest
        try:
            self._commit(births, reports, rejected)
        except EdgeAgentError:
            self._numbers.forget()
            raise
        self._known |= fresh

    def _commit(
        self,
        births: dict[tuple[str, str], Birth],
        reports: dict[tuple[str, str], str],
        rejected: list[Rejected],
    ) -> None:
        if births or reports:
            with self._database.write() as connection:
                self._numbers.find_devices(connection, {*births, *reports})
                numbers = self._numbers.devices
                devices.note_births(connection, numbers, list(births.values()))
                devices.note_reported(connection, {numbers[name]: body for name, body in reports.items()})
        if rejected:
            telemetry.put_aside(self._database, rejected)

    def _count_unborn(self) -> None:
        query = "SELECT count(*) FROM devices WHERE born = 0 AND NOT forgotten"
        try:
            with self._database.read() as connection:
                found = int(sql.one(connection, query))
        except PlatformError:
            return
        if found > self.unborn:
            log.warning(
                "%d devices are heard whose birth messages the broker did not deliver; "
                "Mosquitto needs max_queued_messages 0 and max_queued_bytes 0",
                found,
            )
        self.unborn = found


def _address(message: Publish) -> topics.Address:
    if message.oversize:
        raise PeerError(f"message: {message.oversize} bytes")
    try:
        address = topics.parse(message.topic.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise PeerError("topic: not UTF-8") from error
    registry_messages.check_name(address.fleet, "fleet")
    registry_messages.check_name(address.device, "device")
    return address
