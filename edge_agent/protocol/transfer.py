"""Transfers a bundle in blocks over MQTT. It resumes after any interruption and stores only verified blocks.

Theory of operation. The device requests a few blocks at a time (``up/fetch``) and the hub sends each
(``down/block``). A block is written to its place in the file if its SHA-256 matches the signed document.
After a power cut the blocks in the file are found by hashing, and only the missing ones are requested.
Without an answer the request is repeated with growing delays up to `RETRY_CAP`. Wrong blocks are counted.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass

from edge_agent.wire.blocks import Cut

WINDOW = 4
RETRY = 5.0
RETRY_CAP = 300.0


@dataclass(frozen=True, slots=True)
class Ask:
    """Effect: publish a request for these blocks."""

    digest: str
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """Effect: write the block at ``index * cut.block`` of the bundle's unfinished file."""

    cut: Cut
    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Complete:
    """Effect: every block is in the file."""

    digest: str


TransferEffect = Ask | Write | Complete


class Transfer:
    """The fetching of one bundle.

    Parameters
    ----------
    cut : Cut
        What to fetch.
    had : collection of int
        Blocks that are in the file already.
    rng : random.Random
        Spreads repeated requests.
    """

    def __init__(self, cut: Cut, had: Collection[int], rng: random.Random) -> None:
        self.cut = cut
        self.wrong = 0
        self.deadline: float | None = None
        self._missing = [i for i in range(len(cut.blocks)) if i not in had]
        self._asked: set[int] = set()
        self._retry = RETRY
        self._rng = rng

    @property
    def had(self) -> int:
        """How many blocks are in the file."""
        return len(self.cut.blocks) - len(self._missing)

    def start(self, now: float) -> list[TransferEffect]:
        """Ask for the first blocks, or again for those that did not come."""
        self._asked.clear()
        return self._ask(now)

    def block(self, index: int, data: bytes, now: float) -> list[TransferEffect]:
        """Take a block in."""
        if index not in self._missing:
            return []
        if not self.cut.fits(index, data):
            self.wrong += 1
            return []
        self._missing.remove(index)
        self._asked.discard(index)
        self._retry = RETRY
        return [Write(self.cut, index, data), *self._ask(now)]

    def tick(self, now: float) -> list[TransferEffect]:
        """Ask again if nothing came in time."""
        if self.deadline is None or now < self.deadline:
            return []
        self._retry = min(2 * self._retry, RETRY_CAP)
        return self.start(now)

    def _ask(self, now: float) -> list[TransferEffect]:
        if not self._missing:
            self.deadline = None
            return [Complete(self.cut.digest)]
        self.deadline = now + self._retry * self._rng.uniform(0.75, 1.25)
        wanted = [i for i in self._missing[: 2 * WINDOW] if i not in self._asked]
        wanted = wanted[: WINDOW - len(self._asked)]
        # Asking in pairs: half as many requests, and the next two travel while these are written.
        if not wanted or (len(self._asked) > WINDOW // 2 and len(wanted) < len(self._missing)):
            return []
        self._asked.update(wanted)
        return [Ask(self.cut.digest, tuple(wanted))]
