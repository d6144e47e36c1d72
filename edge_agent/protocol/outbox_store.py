"""Entries and transactions of an outbox, and the port of its durable store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One message: number, Unix time it was made, priority (0 is highest), compressed body."""

    seq: int
    t: float
    priority: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """One transaction: what to add, which ranges of numbers to remove, which thinned ranges to note or
    forget.
    """

    append: tuple[OutboxEntry, ...] = ()
    remove: tuple[Range, ...] = ()
    skipped: tuple[Range, ...] = ()
    reported: tuple[Range, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """How a transaction ended; ``failed`` is the reason if nothing of it happened."""

    failed: str = ""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a store holds: its name, the highest number ever used (0: none), entries and bytes."""

    name: str
    last: int
    entries: int
    size: int


class OutboxStore(Protocol):
    """Where entries are durable. `write` may take its time elsewhere; one transaction at a time."""

    def contents(self) -> Contents:
        """Return what is there."""

    def write(self, batch: Batch) -> None:
        """Begin a transaction: all of it or nothing."""

    def written(self) -> Written | None:
        """Return how the transaction ended, once; None while it is under way."""

    def read(self, first: int, last: int, limit: int) -> Sequence[OutboxEntry]:
        """Return durable entries with ``first <= seq <= last``, ascending, at most ``limit``."""

    def oldest(self, limit: int, before: float | None) -> Sequence[Range]:
        """Return (number, bytes) of the oldest entries that may be given up, ascending.

        Those of the least important priority (never 0); with ``before``, those made before that Unix time.
        """

    def skipped(self, limit: int) -> Sequence[Range]:
        """Return ranges of numbers that were thinned out and not reported yet, ascending."""


def merged(ranges: Sequence[Range]) -> tuple[Range, ...]:
    """Return the same numbers as few ascending ranges."""
    out: list[list[int]] = []
    for first, last in sorted(ranges):
        if out and first <= out[-1][1] + 1:
            out[-1][1] = max(out[-1][1], last)
        else:
            out.append([first, last])
    return tuple((first, last) for first, last in out)
