"""Bundles in blocks: cuts a bundle into blocks, and checks received blocks by their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_agent.errors import PeerError
from edge_agent.wire.bundle import MAX_BYTES

BLOCK_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class Cut:
    """How a bundle's file is cut: its digest, name, size in bytes, bytes per block, SHA-256 (hex) of each
    block.
    """

    digest: str
    name: str
    size: int
    block: int
    blocks: tuple[str, ...]
    url: str = ""

    def length(self, index: int) -> int:
        """Return the bytes in one block."""
        return min(self.block, self.size - index * self.block)

    def fits(self, index: int, data: bytes) -> bool:
        """Whether ``data`` is block ``index``."""
        return 0 <= index < len(self.blocks) and hashlib.sha256(data).hexdigest() == self.blocks[index]

    def entry(self) -> dict[str, Any]:
        """Return what stands in the desired document under the digest."""
        entry: dict[str, Any] = {
            "name": self.name,
            "size": self.size,
            "block": self.block,
            "blocks": list(self.blocks),
        }
        return entry | ({"url": self.url} if self.url else {})


def cut(digest: str, name: str, data: bytes | memoryview, url: str = "", block: int = BLOCK_BYTES) -> Cut:
    """Cut the bytes of a bundle's file."""
    hashes = tuple(hashlib.sha256(data[i : i + block]).hexdigest() for i in range(0, len(data), block))
    return Cut(digest, name, len(data), block, hashes, url)


def of_entry(digest: str, entry: Mapping[str, Any]) -> Cut:
    """Return the cut that an entry of a desired document describes.

    Raises
    ------
    PeerError
        A field is missing, of another type or out of bounds, or the number of blocks does not fit the size.
    """
    match entry:
        case {"name": str(name), "size": int(size), "block": int(block), "blocks": list(hashes)}:
            pass
        case _:
            raise PeerError(f"bundles.{digest}: expected {{name, size, block, blocks}}")
    url = entry.get("url", "")
    if not isinstance(url, str):
        raise PeerError(f"bundles.{digest}.url is {type(url).__name__}, expected str")
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise PeerError(f"bundles: {digest!r} is not a SHA-256 in hex")
    if not 0 < size <= MAX_BYTES or not 0 < block <= BLOCK_BYTES:
        raise PeerError(f"bundles.{digest}: size {size} in blocks of {block}, expected at most {MAX_BYTES}")
    if len(hashes) != -(-size // block) or not all(isinstance(h, str) for h in hashes):
        raise PeerError(f"bundles.{digest}: {len(hashes)} block digests, expected {-(-size // block)}")
    return Cut(digest, name, size, block, tuple(hashes), url)
