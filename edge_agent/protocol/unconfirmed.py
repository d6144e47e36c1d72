"""Telemetry that a broker acknowledged and the hub has not confirmed yet.

Theory of operation. A broker can acknowledge a message and lose it: Mosquitto does when it is killed. So an
entry stays on the disk until the hub confirms that it has stored it. An unconfirmed entry is sent again when
`OVERTAKEN` later entries were confirmed, on every connect, and after ``seconds`` without any confirmation.
The hub's confirmation may arrive before the broker's acknowledgement; it is then stored until the
acknowledgement arrives.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from edge_agent.protocol.outbox_store import Range

UNCONFIRMED = 2000
"""At most so many entries are out at a time."""
OVERTAKEN = 100


class Held(NamedTuple):
    """An entry: its number, bytes, the thinned ranges it reported, and as which one it was acknowledged."""

    seq: int
    size: int
    skipped: tuple[Range, ...]
    order: int


class Unconfirmed:
    """What is held; ``seconds`` is how long the hub may be silent."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._held: dict[int, Held] = {}
        self._early: set[int] = set()
        self._again_at: float | None = None

    @property
    def full(self) -> bool:
        """Whether no more entries may go out."""
        return len(self._held) >= UNCONFIRMED

    @property
    def numbers(self) -> Collection[int]:
        """The numbers that are held."""
        return self._held.keys()

    def skipped(self) -> Iterator[Range]:
        """Yield the thinned ranges that held entries reported."""
        return (range_ for held in self._held.values() for range_ in held.skipped)

    def hold(self, held: Held) -> bool:
        """Hold an entry that the broker acknowledged; return False if the hub confirmed it already."""
        if held.seq in self._early:
            self._early.discard(held.seq)
            return False
        self._held[held.seq] = held
        return True

    def confirm(self, ranges: Iterable[Range], in_flight: Collection[int]) -> tuple[list[Held], list[int]]:
        """Process a confirmation; return the free entries, and the numbers to be sent again."""
        free: list[Held] = []
        for first, last in ranges:
            numbers = [seq for seq in self._held if first <= seq <= last]
            free += [self._held.pop(seq) for seq in numbers]
            self._early.update(seq for seq in in_flight if first <= seq <= last)
        if free:
            self._again_at = None
        newest = max((held.order for held in free), default=0)
        late = [seq for seq, held in self._held.items() if held.order < newest - OVERTAKEN]
        for seq in late:
            del self._held[seq]
        return free, late

    @property
    def empty(self) -> bool:
        """Whether nothing is held."""
        return not self._held

    def overdue(self, now: float) -> list[int]:
        """Return the numbers to be sent again because the hub has been silent; they are held no longer."""
        if not self._held:
            return []
        if self._again_at is None:
            self._again_at = now + self._seconds
        return self.release() if now >= self._again_at else []

    def release(self) -> list[int]:
        """Hold nothing any more; return the numbers that were."""
        numbers = list(self._held)
        self._held.clear()
        self._again_at = None
        return numbers

    def forget(self) -> None:
        """Begin anew with another outbox, whose numbers mean something else."""
        self.release()
        self._early.clear()
