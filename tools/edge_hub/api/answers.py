"""Equal questions, one computation: what is read often is computed once per moment and sent to all.

Theory of operation. An answer to a GET that depends on its address alone is kept for `FRESH_S`; who asks the
same while it is being computed waits for that. A write in this process forgets all of them, so that whoever
writes reads it back. An answer carries an ETag (a digest of its bytes) and is packed once.
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
from litestar import Request, Response

FRESH_S = 0.25
KEPT = 500
PACKED_BYTES = 1024
"""Answers that are shorter are sent as they are."""


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
        self._kept: dict[str, asyncio.Future[Answer]] = {}

    def forget(self) -> None:
        """Forget all: something was written."""
        self._kept = {}

    async def get(self, key: str, compute: Callable[[], Awaitable[Any]]) -> Answer:
        """Return the answer to ``key``, computed by ``compute`` unless there is a fresh one."""
        kept = self._kept
        known = kept.get(key)
        if known is not None and (not known.done() or known.result().until > self._clock()):
            return await asyncio.shield(known)
        if len(kept) >= KEPT:
            kept.clear()
        future = kept[key] = asyncio.get_running_loop().create_future()
        try:
            answer = _made(await compute(), self._clock() + FRESH_S)
        except BaseException as error:
            if kept.get(key) is future:
                del kept[key]
            future.set_exception(error)
            future.exception()  # whoever asked hears it from here
            raise
        self.computed += 1
        future.set_result(answer)
        return answer


def _made(value: Any, until: float) -> Answer:
    body = value if isinstance(value, bytes) else msgspec.json.encode(value)
    packed = gzip.compress(body, 5, mtime=0) if len(body) >= PACKED_BYTES else b""
    return Answer(body, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"', packed, until)


def respond(request: Request[Any, Any, Any], answer: Answer) -> Response[Any]:
    """Return an answer: 304 if the caller has it, packed if it can read that."""
    headers = {"ETag": answer.etag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding"}
    known = request.headers.get("if-none-match", "")
    if known and (
        known == "*" or answer.etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]
    ):
        return Response(b"", status_code=304, headers=headers)
    body = answer.body
    if answer.packed and "gzip" in request.headers.get("accept-encoding", ""):
        body = answer.packed
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type="application/json", headers=headers)
