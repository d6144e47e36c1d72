"""``Idempotency-Key`` on writes: a repetition gets the first one's answer, and nothing is done twice.

Theory of operation. A middleware behind the one that finds the caller; keys are the caller's own. The key is
taken in the database before the request goes on, with a digest of method, path and body, and the answer is
kept beside it. The same key with another request is refused (422), the same while the first is at work too
(409). Answers of 500 and above are not kept: that request may be tried again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from edge_hub.api import problems
from edge_hub.api.hub import Hub
from edge_hub.database import idempotency
from edge_hub.database.accounts import Caller

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_KEY = 128
MAX_BODY = 1024 * 1024
_KEEP_HEADERS = (b"content-type", b"location", b"etag")


class Idempotent:
    """Wraps an application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        headers = dict(scope.get("headers", ())) if scope["type"] == "http" else {}
        key = headers.get(b"idempotency-key", b"").decode("latin-1")
        caller: Caller | None = scope.get("user")
        if not key or caller is None or scope["method"] not in ("POST", "PUT", "PATCH", "DELETE"):
            await self._app(scope, receive, send)
            return
        if len(key) > MAX_KEY or not key.isprintable():
            await _refuse(scope, send, 400, f"Idempotency-Key: expected at most {MAX_KEY} printed characters")
            return
        body = await _read(receive)
        if body is None:
            await _refuse(
                scope, send, 413, f"body: expected at most {MAX_BODY} bytes with an Idempotency-Key"
            )
            return
        who = f"{caller.via} {caller.name}"
        address = f"{scope['method']} {scope['path']}?{scope['query_string'].decode('latin-1')}\n"
        digest = hashlib.sha256(address.encode() + body).hexdigest()
        hub: Hub = scope["litestar_app"].state.hub
        known = await hub.run(idempotency.begin, hub.database, who, key, digest, hub.now())
        if known is None:
            await self._first(hub, scope, body, send, who, key)
        elif known.request != digest and known.request:
            await _refuse(scope, send, 422, "Idempotency-Key: was used for another request")
        elif known.status == idempotency.RUNNING:
            await _refuse(scope, send, 409, "Idempotency-Key: the first request is still at work")
        else:
            head, _, kept = known.body.partition(b"\n\n")
            sent = [tuple(line.split(b": ", 1)) for line in head.split(b"\n") if line]
            sent += [(b"idempotent-replay", b"true"), (b"content-length", str(len(kept)).encode())]
            await send({"type": "http.response.start", "status": known.status, "headers": sent})
            await send({"type": "http.response.body", "body": kept})

    async def _first(self, hub: Hub, scope: Scope, body: bytes, send: Send, who: str, key: str) -> None:
        status, given, kept = 0, False, False
        head: list[bytes] = []
        parts: list[bytes] = []

        async def receive() -> Message:
            nonlocal given
            if given:
                return {"type": "http.disconnect"}
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def keep(message: Message) -> None:
            nonlocal status, head, kept
            if message["type"] == "http.response.start":
                status = message["status"]
                head = [name + b": " + value for name, value in message["headers"] if name in _KEEP_HEADERS]
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))
                if not message.get("more_body", False) and status < 500:
                    answer = b"\n".join(head) + b"\n\n" + b"".join(parts)
                    await hub.run(idempotency.finish, hub.database, who, key, status, answer)
                    kept = True
            await send(message)

        try:
            await self._app(scope, receive, keep)
        finally:
            if not kept:
                await hub.run(idempotency.give_up, hub.database, who, key)


async def _read(receive: Receive) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


async def _refuse(scope: Scope, send: Send, status: int, detail: str) -> None:
    body = problems.document(status, detail, scope["path"])
    headers = [(b"content-type", problems.MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
