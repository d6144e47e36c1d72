"""Events of several web workers by way of Redis: one asks the database, all tell their viewers the same.

Theory of operation. Of the workers over one database one has the lease ``events``. It asks the database for
what changed and publishes it, numbered, to a channel of Redis; every worker, it too, takes events from there
into its ring. So all rings have the same name and numbers, and a viewer that comes to another worker goes on
where it was (``Last-Event-ID``). Numbers begin with the time in milliseconds, above those of every publisher
before, so a worker that missed some tells its viewers to load anew. While nobody watches at any worker,
nobody asks the database: a worker with viewers says so under a key that ends by itself.

While Redis is away each worker asks the database for itself, as without a channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from edge_agent.errors import ConfigError, EdgeAgentError
from edge_hub.api.feed import tell_changes
from edge_hub.api.hub import Hub
from edge_hub.database.leases import RENEW_S, Lease
from edge_hub.jobs.changes import POLL_S, Changes

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.client import PubSub

log = logging.getLogger("edge_hub")

LEASE = "events"
NAME = "edge-hub:events"
WATCHED = "edge-hub:watched"
WATCHED_S = 5
ANSWER_S = 5.0
RETRY_S = 1.0
LATE_S = 2.0
"""How long a viewer that comes from another worker waits for what that one was faster to give it."""

Batch = tuple[str, int, list[tuple[str, bytes]]]
"""The ring's name, the number of the first event, and (kind, JSON) of each."""
_batches = msgspec.msgpack.Decoder(Batch)


class Channel:
    """This worker's part of a channel.

    Parameters
    ----------
    url : str
        ``redis://[USER:PASSWORD@]HOST[:PORT][/NUMBER]``, or ``rediss://`` for TLS.

    Raises
    ------
    ConfigError
        The address can't be read.
    """

    def __init__(self, url: str, now: Callable[[], float] = time.time) -> None:
        if not url.startswith(("redis://", "rediss://")):
            raise ConfigError("--channels: found another address, expected redis://HOST:PORT")
        from redis import RedisError  # only hubs with several web workers need it
        from redis.asyncio import Redis

        self._errors = (RedisError, OSError, TimeoutError)
        self._now = now
        try:
            self._redis: Redis = Redis.from_url(
                url, socket_connect_timeout=ANSWER_S, socket_timeout=ANSWER_S, health_check_interval=2
            )
        except ValueError as error:
            raise ConfigError("--channels: found an address that can't be read") from error
        found = self._redis.connection_pool.connection_kwargs
        self.name = f"redis {found.get('host', 'localhost')}:{found.get('port', 6379)}"
        self.connected = False

    async def run(self, hub: Hub) -> None:
        """Take events from the channel, and publish them where this worker has the lease, until cancelled."""
        said = ""
        alone: asyncio.Task[None] | None = None
        try:
            while True:
                try:
                    async with self._redis.pubsub() as channel:
                        await channel.subscribe(NAME)
                        await _ended(alone)
                        alone, said = None, ""
                        hub.broadcast.late_s = LATE_S
                        await self._together(hub, channel)
                except* self._errors as group:
                    self.connected = False
                    error = _first(group)
                    if str(error) != said:  # once for each reason, not once for each attempt
                        said = str(error)
                        log.warning("%s: %s; this worker asks the database for itself", self.name, said)
                if alone is None:
                    hub.broadcast.late_s = 0.0
                    hub.broadcast.rename()
                    alone = asyncio.create_task(tell_changes(hub))
                await asyncio.sleep(RETRY_S)
        finally:
            await _ended(alone)
            await self._redis.aclose()

    async def _together(self, hub: Hub, channel: PubSub) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(hub, channel))
            tasks.create_task(self._publish(hub))

    async def _follow(self, hub: Hub, channel: PubSub) -> None:
        while True:
            message = await channel.get_message(timeout=POLL_S)
            if hub.broadcast.viewers:
                await self._redis.set(WATCHED, 1, ex=WATCHED_S)
            if message is None:
                continue
            if message["type"] == "subscribe":  # from now on nothing is missed
                self.connected = True
                continue
            try:
                hub.broadcast.follow(*_batches.decode(message["data"]))
            except msgspec.DecodeError as error:
                log.warning("%s: %s is no hub's message: %s", self.name, NAME, error)

    async def _publish(self, hub: Hub) -> None:
        lease = Lease(hub.database, LEASE)
        try:
            while True:
                if await _acquired(hub, lease):
                    await self._publish_while_held(hub, lease)
                await asyncio.sleep(RENEW_S)
        finally:
            with contextlib.suppress(EdgeAgentError):
                lease.give_back()

    async def _publish_while_held(self, hub: Hub, lease: Lease) -> None:
        changes, renewed = Changes(hub.database), time.monotonic()
        name, number, watched = hub.broadcast.new_name(), 0, False
        while lease.held:
            await asyncio.sleep(POLL_S)
            if time.monotonic() - renewed >= RENEW_S:
                renewed = time.monotonic()
                await _acquired(hub, lease)
            if not (hub.broadcast.viewers or await self._redis.exists(WATCHED)):
                watched = False
                continue
            events: list[tuple[str, Any]] = []
            try:
                if not watched:
                    changes.start()
                    await hub.run(changes.poll)
                    events, watched = [("resync", {})], True
                    number = max(number, int(self._now() * 1000), hub.broadcast.last + 1)
                events += await hub.run(changes.poll)
            except EdgeAgentError as error:
                log.warning("events: %s", error)
            if events and lease.held:
                encoded = [(kind, msgspec.json.encode(value)) for kind, value in events]
                await self._redis.publish(NAME, msgspec.msgpack.encode((name, number, encoded)))
                number += len(events)


async def _acquired(hub: Hub, lease: Lease) -> bool:
    try:
        return await hub.run(lease.acquire)
    except EdgeAgentError as error:
        log.warning("lease %s: %s", LEASE, error)
        return False


async def _ended(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
