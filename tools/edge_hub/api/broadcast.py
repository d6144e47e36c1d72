"""Events to many viewers: one ring of encoded events, and a cursor for each viewer. No I/O.

Theory of operation. An event is encoded once and numbered; ten times per second viewers are given what is
new. A viewer holds the number of the last one it was given and asks for what follows; viewers at the same
place share the same bytes. So a viewer that is slow, or does not read at all, costs nothing but its own
connection: when what it has not had falls out of the ring, it is told to load anew (``resync``). The number
with the ring's own name is the event's id, which a viewer that lost its connection sends as
``Last-Event-ID``; another ring (the hub was restarted) is a resync too.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

RING = 5000
FLUSH_S = 0.1
QUIET = 150
"""Turns without an event after which viewers are woken: a connection that is gone is noticed by writing."""
CHUNK = 500
"""Events that one write to a viewer holds at most."""


class Event(NamedTuple):
    """One event; ``kind`` is what the viewer listens for, ``data`` JSON on one line."""

    number: int
    kind: str
    data: bytes


class Broadcast:
    """The ring. Used from the loop that serves viewers; others hand over by ``call_soon_threadsafe``."""

    def __init__(self, size: int = RING) -> None:
        self.name = self.new_name()
        self.viewers = 0
        self.resyncs = 0
        self.late_s = 0.0
        """How long an event that another process numbered, and gave to its viewers, may take to come here."""
        self.before_events: Callable[[], None] = lambda: None
        """Called before viewers are given events."""
        self._ring: deque[Event] = deque(maxlen=size)
        self._last = 0
        self._flushed = 0
        self._quiet = 0
        self._there = asyncio.Event()
        self._cache: dict[tuple[int, Callable[..., bytes]], tuple[bytes, int]] = {}

    @property
    def last(self) -> int:
        """The number of the last event that viewers were given."""
        return self._flushed

    def say(self, kind: str, value: Any) -> None:
        """Add an event."""
        self._last += 1
        self._ring.append(Event(self._last, kind, msgspec.json.encode(value)))

    @staticmethod
    def new_name() -> str:
        """Return a name that no ring has."""
        return secrets.token_hex(4)

    def rename(self) -> None:
        """Begin a ring of its own after one that another process numbered."""
        self.name = self.new_name()

    def follow(self, name: str, first: int, events: Sequence[tuple[str, bytes]]) -> None:
        """Add events that another process numbered from ``first`` on; what is missing before them is lost.

        Numbers of a ring of another name are above all that there were, or viewers would not notice.
        """
        if (name, first) != (self.name, self._last + 1):
            if first <= self._last and name == self.name:
                return  # they came before
            self._ring.clear()
            self.name = name
            self._last = self._flushed = first - 1
            self._cache.clear()
        for kind, data in events:
            self._last += 1
            self._ring.append(Event(self._last, kind, data))

    def flush(self) -> None:
        """Let viewers have what was said since the last call; after `QUIET` calls without any, wake them."""
        self._quiet += 1
        if self._flushed == self._last and self._quiet < QUIET:
            return
        self._quiet = 0
        if self._flushed < self._last:
            self.before_events()
        self._flushed = self._last
        self._cache.clear()
        there, self._there = self._there, asyncio.Event()
        there.set()

    async def run(self) -> None:
        """Flush regularly, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            self.flush()

    def cursor(self, last_id: str) -> int | None:
        """Return where a viewer that has had ``last_id`` goes on, None if it must load anew."""
        name, _, number = last_id.partition("-")
        if name != self.name or not number.isascii() or not number.isdigit() or len(number) > 18:
            return None
        return int(number) if self._holds(int(number)) else None

    async def resume(self, last_id: str) -> int | None:
        """Return ``cursor(last_id)``, as soon as an event that another process gave earlier is here too."""
        try:
            async with asyncio.timeout(self.late_s):
                while (cursor := self.cursor(last_id)) is None:
                    await self._there.wait()
                return cursor
        except TimeoutError:
            return self.cursor(last_id)

    def id(self, number: int) -> str:
        """Return the id of an event."""
        return f"{self.name}-{number}"

    def events_after(
        self, cursor: int, encode: Callable[[Broadcast, list[Event]], bytes]
    ) -> tuple[bytes, int]:
        """Return what follows ``cursor``, encoded, and where the viewer is then; b"" if it missed some."""
        if not self._holds(cursor):
            self.resyncs += 1
            return b"", self._flushed
        key = (cursor, encode)
        found = self._cache.get(key)
        if found is None:
            first = len(self._ring) - (self._last - cursor)
            events = [self._ring[first + n] for n in range(min(self._flushed - cursor, CHUNK))]
            found = self._cache[key] = (encode(self, events), events[-1].number if events else cursor)
        return found

    async def wait(self, cursor: int) -> bool:
        """Wait until something follows ``cursor``; False if it was quiet for long."""
        # One clock for all: a timer for each viewer and turn costs more than finding out what is new.
        if cursor >= self._flushed:
            await self._there.wait()
        return cursor < self._flushed

    def _holds(self, cursor: int) -> bool:
        return self._last - len(self._ring) <= cursor <= self._last
