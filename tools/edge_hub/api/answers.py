"""Equal questions, one computation: what is read often is computed once per moment and sent to all.

Theory of operation. An answer to a GET that depends on its address alone is kept for `FRESH_S`; who asks the
same while it is being computed waits for that. A write by a request forgets all of them, so that whoever
writes reads it back; so do events, so that whoever hears of a change reads it. An answer carries an ETag (a
digest of its bytes) and is packed once.

Whoever got an answer, and asks the same with the same credentials within `FRESH_S`, gets what is kept from
`Repeated`, a middleware before authentication and guards: they let exactly this request through a moment ago.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Response
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

FRESH_S = 0.25
KEPT = 500
PACKED_BYTES = 1024
"""Answers that are shorter are sent as they are."""
_MEDIA_TYPE = "application/json"

Address = tuple[bytes, bytes]
"""Path and query, as they were sent."""
Credentials = tuple[bytes, bytes]
"""The headers ``Authorization`` and ``Cookie``."""


@dataclass(slots=True)
class Answer:
    """A body with its ETag, and packed where that pays."""

    body: bytes
    etag: str
    packed: bytes
    until: float


class Answers:
    """The answers of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.computed = 0
        self._clock = clock
        self._kept: dict[Address, asyncio.Future[Answer]] = {}
        self._given: dict[tuple[Address, Credentials], tuple[float, float]] = {}

    def forget(self) -> None:
        """Forget all: something was written."""
        self._kept = {}
        self._given = {}

    async def get(self, address: Address, compute: Callable[[], Awaitable[Any]]) -> Answer:
        """Return the answer to ``address``, computed by ``compute`` unless there is a fresh one."""
        kept = self._kept
        known = kept.get(address)
        if known is not None and (not known.done() or known.result().until > self._clock()):
            return await asyncio.shield(known)
        if len(kept) >= KEPT:
            kept.clear()
        future = kept[address] = asyncio.get_running_loop().create_future()
        try:
            answer = _made(await compute(), self._clock() + FRESH_S)
        except BaseException as error:
            if kept.get(address) is future:
                del kept[address]
            future.set_exception(error)
            future.exception()  # whoever asked hears it from here
            raise
        self.computed += 1
        future.set_result(answer)
        return answer

    def give(self, scope: HTTPScope, answer: Answer, expires: float) -> None:
        """Note that this request was let through to this answer, by credentials that are valid until then."""
        address = address_of(scope)
        if self._fresh(address) is not answer:
            return  # something was written meanwhile, or it took long
        if len(self._given) >= KEPT:
            self._given.clear()
        self._given[address, _credentials(dict(scope["headers"]))] = (self._clock() + FRESH_S, expires)

    def again(self, address: Address, credentials: Credentials, wall: float) -> Answer | None:
        """Return the fresh answer that these credentials got already, None if there is none.

        ``wall`` is the time in Unix seconds.
        """
        until, expires = self._given.get((address, credentials), (0.0, 0.0))
        return self._fresh(address) if until > self._clock() and expires > wall else None

    def _fresh(self, address: Address) -> Answer | None:
        known = self._kept.get(address)  # one that failed is not kept
        if known is None or not known.done() or known.result().until <= self._clock():
            return None
        return known.result()


def _made(value: Any, until: float) -> Answer:
    body = value if isinstance(value, bytes) else msgspec.json.encode(value)
    packed = gzip.compress(body, 5, mtime=0) if len(body) >= PACKED_BYTES else b""
    return Answer(body, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"', packed, until)


def respond(scope: HTTPScope, answer: Answer) -> Response[Any]:
    """Return an answer: 304 if the caller has it, packed if it can read that."""
    status, headers, body = _sent(answer, dict(scope["headers"]))
    media_type = _MEDIA_TYPE if body else None
    return Response(body, status_code=status, media_type=media_type, headers=headers)


def address_of(scope: HTTPScope) -> Address:
    """Return what a request asks for."""
    return scope["raw_path"], scope["query_string"]


class Repeated:
    """Middleware that sends a kept answer again, to whoever was let through to it a moment ago."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the request through."""
        answer = None
        if scope["type"] == ScopeType.HTTP and scope["method"] == "GET":
            hub = scope["litestar_app"].state.hub
            headers = dict(scope["headers"])
            answer = hub.answers.again(address_of(scope), _credentials(headers), hub.now())
        if answer is None:
            await self._app(scope, receive, send)
            return
        status, named, body = _sent(answer, headers)
        sent = [(name.lower().encode(), value.encode()) for name, value in named.items()]
        if body:
            sent += [(b"content-type", _MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def _credentials(headers: dict[bytes, bytes]) -> Credentials:
    return headers.get(b"authorization", b""), headers.get(b"cookie", b"")


def _sent(answer: Answer, asked: dict[bytes, bytes]) -> tuple[int, dict[str, str], bytes]:
    headers = {"ETag": answer.etag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding"}
    known = asked.get(b"if-none-match", b"").decode("latin-1")
    if known and (
        known == "*" or answer.etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]
    ):
        return 304, headers, b""
    if answer.packed and b"gzip" in asked.get(b"accept-encoding", b""):
        return 200, headers | {"Content-Encoding": "gzip"}, answer.packed
    return 200, headers, answer.body
