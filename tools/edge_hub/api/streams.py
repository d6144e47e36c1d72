"""The same events as Server-Sent Events and over a WebSocket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from litestar import Request, WebSocket, get, websocket
from litestar.params import QueryParameter
from litestar.response import Stream

from edge_hub.api.broadcast import Broadcast, Event
from edge_hub.api.hub import Hub, hub_of
from edge_hub.api.problems import ProblemError

MAX_VIEWERS = 5000
READ = {"role": "viewer", "scope": "events"}


def sse(ring: Broadcast, events: list[Event]) -> bytes:
    """Return events as Server-Sent Events."""
    return b"".join(
        [
            b"id: %b\nevent: %b\ndata: %b\n\n" % (ring.id(e.number).encode(), e.kind.encode(), e.data)
            for e in events
        ]
    )


def lines(ring: Broadcast, events: list[Event]) -> bytes:
    """Return events as a JSON array of ``{id, event, data}``."""
    found = [
        b'{"id":"%b","event":"%b","data":%b}' % (ring.id(e.number).encode(), e.kind.encode(), e.data)
        for e in events
    ]
    return b"[" + b",".join(found) + b"]"


@get(
    "/events",
    opt=READ,
    summary="Events as they happen",
    description="Server-Sent Events: devices, registry, rollout, replies, bundle, alert; "
    "resync: load all again.",
    media_type="text/event-stream",
)
async def get_events(
    request: Request[Any, Any, Any],
    last_id: Annotated[str, QueryParameter(name="last_id", max_length=40)] = "",
) -> Stream:
    """Stream events; ``Last-Event-ID`` or ``last_id`` goes on where a connection was lost."""
    hub = hub_of(request)
    if hub.broadcast.viewers >= MAX_VIEWERS:
        raise ProblemError(503, f"{MAX_VIEWERS} streams are open already.", {"Retry-After": "10"})
    wanted = request.headers.get("last-event-id", "") or last_id
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(_sse(hub, wanted), media_type="text/event-stream", headers=headers)


async def _sse(hub: Hub, wanted: str) -> AsyncIterator[bytes]:
    ring = hub.broadcast
    ring.viewers += 1
    try:
        cursor = await ring.resume(wanted) if wanted else ring.last
        if cursor is None:
            cursor = ring.last
            yield _resync(ring, cursor)
        else:
            yield b"retry: 1000\n: %b\n\n" % ring.id(cursor).encode()
        while True:
            if not await ring.wait(cursor):
                yield b": quiet\n\n"
                continue
            data, cursor = ring.events_after(cursor, sse)
            yield data or _resync(ring, cursor)
    finally:
        ring.viewers -= 1


def _resync(ring: Broadcast, cursor: int) -> bytes:
    return b"id: %b\nevent: resync\ndata: {}\n\n" % ring.id(cursor).encode()


@websocket("/events/socket", opt=READ)
async def events_socket(socket: WebSocket[Any, Any, Any]) -> None:
    """Send arrays of ``{id, event, data}``; the query's ``last_id`` goes on where a connection was lost."""
    hub = hub_of(socket)
    ring = hub.broadcast
    if ring.viewers >= MAX_VIEWERS:
        await socket.close(code=1013)
        return
    await socket.accept()
    wanted = str(socket.query_params.get("last_id", ""))[:40]
    ring.viewers += 1
    try:
        cursor = await ring.resume(wanted) if wanted else ring.last
        if cursor is None:
            cursor = ring.last
            await socket.send_data(_resync_line(ring, cursor), mode="text")
        while True:
            if not await ring.wait(cursor):
                await socket.send_data("[]", mode="text")
                continue
            data, cursor = ring.events_after(cursor, lines)
            await socket.send_data(data.decode() or _resync_line(ring, cursor), mode="text")
    finally:
        ring.viewers -= 1


def _resync_line(ring: Broadcast, cursor: int) -> str:
    return f'[{{"id":"{ring.id(cursor)}","event":"resync","data":{{}}}}]'


HANDLERS = [get_events, events_socket]
