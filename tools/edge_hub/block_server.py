"""Sends blocks of bundles to the devices that ask for them.

Theory of operation. A device asks for blocks by index and asks again for those that do not arrive. Requests
that come faster than the broker accepts blocks are ignored: otherwise one device could fill the hub's memory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge_agent.errors import PeerError
from edge_agent.wire import blocks, bodies, messages
from edge_agent.wire.messages import Message
from edge_agent.wire.topics import DeviceTopics
from edge_hub.connection import Connection

BLOCKS_PER_REQUEST = 8
MOST_UNSENT = 32
"""Blocks for one device that the broker has not acknowledged, 4 MB."""


class BlockServer:
    """Answers block requests on one connection.

    Parameters
    ----------
    link : Connection
        Where blocks are published.
    path : callable
        Digest → file of the bundle; the file does not exist if the hub does not have the bundle.
    """

    def __init__(self, link: Connection, path: Callable[[str], Path]) -> None:
        self._link = link
        self._path = path

    def answer(self, device: DeviceTopics, payload: bytes) -> None:
        """Publish the requested blocks; none if the bundle is unknown or too much is waiting already.

        Raises
        ------
        PeerError
            The request is malformed, or a block is beyond the end of the bundle.
        """
        body = messages.decode(payload).body
        bodies.check(bodies.FETCH, body, "fetch")
        digest = body["bundle"]
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise PeerError(f"fetch: {digest!r} is not a SHA-256 in hex")
        path = self._path(digest)
        if not path.exists() or self._link.unsent(device.block) >= MOST_UNSENT:
            return
        with path.open("rb") as file:
            for index in body["blocks"][:BLOCKS_PER_REQUEST]:
                file.seek(index * blocks.BLOCK_BYTES)
                data = file.read(blocks.BLOCK_BYTES)
                if not data:
                    raise PeerError(f"fetch: block {index} of {digest[:12]}, which is shorter")
                block = {"bundle": digest, "index": index, "data": data}
                self._link.post(device.block, messages.encode(Message(block)))
