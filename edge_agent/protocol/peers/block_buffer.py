"""Cuts a checkpoint into signed blocks, and reassembles it from blocks in any order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from edge_agent.wire.loan import BLOCK_BYTES, LoanMessage, signed
from edge_agent.wire.signatures import PublicKey, SecretKey


def cut(head: LoanMessage, checkpoint: bytes, key: SecretKey) -> Iterator[LoanMessage]:
    """Yield ``head`` with the checkpoint's blocks, each with the signature over the whole."""
    head = replace(head, size=len(checkpoint), digest=hashlib.sha256(checkpoint).digest())
    head = replace(head, signature=key.sign(signed(head)))
    parts = max(1, -(-len(checkpoint) // BLOCK_BYTES))
    for part in range(parts):
        data = checkpoint[part * BLOCK_BYTES : (part + 1) * BLOCK_BYTES]
        yield replace(head, part=part, parts=parts, data=data)


class BlockBuffer:
    """What has arrived of one checkpoint. Blocks that don't belong to ``head`` are refused."""

    def __init__(self, head: LoanMessage) -> None:
        self._head = replace(head, part=0, data=b"")
        self._blocks: dict[int, bytes] = {}

    def add(self, message: LoanMessage) -> bool:
        """Take a block; return whether it belongs here."""
        if replace(message, part=0, data=b"") != self._head:
            return False
        self._blocks[message.part] = message.data
        return True

    def checkpoint(self) -> bytes | None:
        """Return the whole, once it is there and is what was signed."""
        if len(self._blocks) != self._head.parts:
            return None
        whole = b"".join(self._blocks[part] for part in range(self._head.parts))
        fits = len(whole) == self._head.size and hashlib.sha256(whole).digest() == self._head.digest
        return whole if fits else None


def genuine(message: LoanMessage, key: PublicKey | None) -> bool:
    """Whether the checkpoint that ``message`` is about was signed by the owner of ``key``."""
    return key is not None and key.verifies(signed(message), message.signature)
