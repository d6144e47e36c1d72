"""Malformed messages that a device must survive."""

from __future__ import annotations

import random
from typing import Any

from edge_agent.wire import documents, messages, signatures
from edge_agent.wire.messages import Message

BOMBS = (1_000_000, 5_000_000)
"""Bytes of messages that nobody should have to hold."""


def payload(rng: random.Random, hub: signatures.SecretKey, device: str) -> bytes:
    """Return noise, half a message, wrong types, or a stranger's signature."""
    stranger = signatures.SecretKey(rng.randbytes(32), "stranger")
    document = {
        "fleet": rng.choice(["lab", "other", 7]),
        "device": rng.choice([device, "other", None]),
        "id": str(rng.random()),
        "name": "reset",
        "version": rng.randrange(-5, 2**40),
        "issued": 0.0,
        "expires": rng.choice([0.0, 1e12, "never"]),
        "bundles": rng.choice([{}, {"x": 1}, {"0" * 64: {"size": 2**60}}, []]),
        "populations": rng.choice([{}, {"rooms": {"bundle": "0" * 64}}, {"rooms": 1}, 5]),
    }
    body: dict[str, Any] = rng.choice(
        [
            documents.signed(document, documents.DESIRED, [stranger]),
            documents.signed(document, documents.COMMAND, [stranger]),
            {
                "doc": rng.randbytes(20),
                "signatures": [{"key": hub.public.raw, "signature": rng.randbytes(64)}],
            },
            {"doc": "text", "signatures": 5},
            {"bundle": "0" * 64, "index": rng.randrange(-3, 3), "data": rng.randbytes(50)},
            {"bundle": 1, "index": "x", "data": None},
            {"outbox": "x", "ranges": rng.choice([[[1, 2]], [5], "all", [[2**63, None]]])},
            {"obs": rng.randbytes(12), "shape": rng.choice([[3, 2], [-1], 7]), "dtype": "int16"},
            {},
        ]
    )
    found = messages.encode(Message(body))
    match rng.randrange(4):
        case 0:
            found = found[: rng.randrange(len(found))]
        case 1:
            found = rng.randbytes(rng.randrange(1, 200))
        case 2:
            changed = bytearray(found)
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            found = bytes(changed)
    return found
