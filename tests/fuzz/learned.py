"""What a device says that it learned, up to the merge on the hub.

The first byte says what the rest is: a message as it comes, or the cells of a piece, which are compressed
here, since a fuzzer makes no zlib stream.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from edge_agent.errors import EdgeAgentError
from edge_agent.wire import learned, messages
from edge_agent.wire.increments import Counts, Increments
from edge_agent.wire.messages import Message
from edge_hub.domain import learning
from edge_hub.domain.learning import SentEpoch
from edge_hub.ingest import decode as ingest

BUNDLE = "ab" * 32
TENSORS = (Counts("A_0", (3, 4), 12), Counts("B_0", (2, 4, 4), 24))
SHAPES = {tensor.name: tensor.shape for tensor in TENSORS}


def decode(data: bytes) -> None:
    """Take a message in as the hub does, and add it to what two other devices sent."""
    rest = data[1:]
    if data[:1] == b"c":
        body = _body(1) | {"listed": len(rest) // 12, "data": zlib.compress(rest[: len(rest) // 12 * 12])}
        rest = messages.encode(Message(body, seq=1))
    piece = ingest.learned("f", "d", rest, 1.5e9).piece
    sent = [SentEpoch(f"d{n}", 1, 1, [learned.from_body(_body(n))]) for n in range(2)]
    found = learning.gather([*sent, SentEpoch("d", 1, piece.whole.pieces, [piece])], SHAPES, BUNDLE)
    for robust in (True, False):
        with suppress(EdgeAgentError):  # of other shapes, or one of several pieces: two devices are left
            learning.merged(found, 3, robust)


def _increments(seed: int) -> Increments:
    units = np.zeros(44, np.int64)
    units[np.random.default_rng(seed).integers(0, 44, 5)] = 1 << 24
    return Increments(BUNDLE, TENSORS, 1 << 20, units)


def _body(seed: int) -> messages.Body:
    return learned.to_bodies(_increments(seed), "rooms", BUNDLE, 1_400_000_000)[0]


def seed() -> bytes:
    """Return one input that is right."""
    return b"m" + messages.encode(Message(_body(1), seq=1, t=1.5e9))


def seeds() -> Iterator[bytes]:
    """Yield inputs to start from."""
    yield seed()
    extra = {"outbox": "x", "historical": True, "skipped": [[1, 2]], "shift": 3}
    yield b"m" + messages.encode(Message(_body(2) | extra, "id", 7, 1.5e9))
    yield b"c" + zlib.decompress(_body(1)["data"])
    yield b"c" + bytes(24)
