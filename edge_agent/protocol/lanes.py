"""The order in which an outbox sends: stored entries oldest first, interleaved with current ones.

Theory of operation. A lane contains the numbers still to be sent, as ranges, and one chunk of entries read
ahead. Entries stored before the connection are in the historical lane, new entries in the live lane.
`HISTORICAL_PER_LIVE` historical entries are sent per live entry, so the backlog drains and live entries are
not delayed. Numbers increase within a lane. Entries that a broker lost return to the historical lane.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from edge_agent.protocol.outbox_store import OutboxEntry, OutboxStore, Range, merged

HISTORICAL_PER_LIVE = 3
_CHUNK = 32


@dataclass(slots=True)
class _Lane:
    """Ranges still to be read, and the entries read ahead."""

    ranges: deque[list[int]] = field(default_factory=deque)
    ahead: deque[OutboxEntry] = field(default_factory=deque)

    def next(self, store: OutboxStore) -> OutboxEntry | None:
        while not self.ahead and self.ranges:
            first, last = self.ranges[0]
            found = store.read(first, last, _CHUNK)
            self.ahead.extend(found)
            if len(found) < _CHUNK:
                self.ranges.popleft()
            else:
                self.ranges[0][0] = found[-1].seq + 1
        return self.ahead[0] if self.ahead else None

    def add(self, first: int, last: int) -> None:
        if self.ranges:  # an outbox leaves no number out: what comes follows what is there
            self.ranges[-1][1] = last
        else:
            self.ranges.append([first, last])

    def unsent(self) -> Iterator[Range]:
        for entry in self.ahead:
            yield entry.seq, entry.seq
        yield from ((first, last) for first, last in self.ranges)


class Lanes:
    """Both lanes; everything up to number ``last`` is historical at the start."""

    def __init__(self, last: int) -> None:
        self._historical, self._live = _Lane(), _Lane()
        self._historical.add(1, last)
        self._since_live = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to send."""
        lanes = (self._historical, self._live)
        return not any(lane.ahead or lane.ranges for lane in lanes)

    def add(self, first: int, last: int) -> None:
        """Let numbers ``first`` to ``last`` be sent as live ones."""
        self._live.add(first, last)

    def online(self) -> None:
        """Take what is not sent yet for historical."""
        live, self._live = self._live, _Lane()
        self._past([*self._historical.unsent(), *live.unsent()])

    def again(self, numbers: Collection[int]) -> None:
        """Send numbers again that were lost on the way."""
        self._past([*((seq, seq) for seq in numbers), *self._historical.unsent()])

    def ahead(self) -> set[int]:
        """Return the numbers that were read ahead: the store may not drop them."""
        return {entry.seq for lane in (self._historical, self._live) for entry in lane.ahead}

    def pop(self, store: OutboxStore) -> tuple[OutboxEntry | None, bool]:
        """Return the next entry, None if there is none, and whether it is historical."""
        historical, live = self._historical.next(store), self._live.next(store)
        if live is not None and (historical is None or self._since_live >= HISTORICAL_PER_LIVE):
            self._since_live = 0
            return self._live.ahead.popleft(), False
        if historical is not None:
            self._since_live += 1
            return self._historical.ahead.popleft(), True
        return None, False

    def _past(self, ranges: list[Range]) -> None:
        self._historical = _Lane(deque([first, last] for first, last in merged(ranges)))
