"""What changed in the database, said to a process's own viewers."""

from __future__ import annotations

import asyncio
import logging

from edge_agent.errors import EdgeAgentError
from edge_hub.api.hub import Hub
from edge_hub.jobs.changes import POLL_S, Changes

log = logging.getLogger("edge_hub")


async def tell_changes(hub: Hub) -> None:
    """Ask the database for what changed, while anybody watches.

    What changed while nobody watched is not known: the first to watch again loads all again.
    """
    changes = Changes(hub.database)
    watched = False
    while True:
        await asyncio.sleep(POLL_S)
        if not hub.broadcast.viewers:
            watched = False
            continue
        try:
            if not watched:
                changes.start()
                await hub.run(changes.poll)
                hub.broadcast.say("resync", {})
                watched = True
            for kind, value in await hub.run(changes.poll):
                hub.broadcast.say(kind, value)
        except EdgeAgentError as error:
            log.warning("events: %s", error)
